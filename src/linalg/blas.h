/* src/linalg/blas.h - BLAS and LAPACK called by many of our threads side by side, each call on its own thread alone.
 *     int was = ws_blas_alone();  ... calls ...  ws_blas_done(was); */
#ifndef WS_LINALG_BLAS_H
#define WS_LINALG_BLAS_H
#include <stdint.h>
int ws_blas_alone(void);
void ws_blas_done(int was);
/* c [m, n] (ldc) = a b + beta c, row-major; ta, tb: a or b is stored transposed. */
void ws_dgemm(int ta, int tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda, const double *b,
              int64_t ldb, double beta, double *c, int64_t ldc);
#endif
