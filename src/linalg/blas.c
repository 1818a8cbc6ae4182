/* src/linalg/blas.c - OpenBLAS has three flavours, and each is made safe for our threads in its own way.
 *     OpenMP   what we link: locks its buffers, starts no thread when it is loaded; a thread that asks for one gets one
 *     pthread  locks its buffers, starts its threads when it is loaded; told once to use one
 *     serial   locks nothing: two calls at a time overwrite each other's numbers, so one waits for the other */
#include "linalg/blas.h"
#include <cblas.h>
#include <pthread.h>

/* Of libgomp, which the OpenMP flavour loads; its header belongs to the compiler and clang has none. */
void omp_set_num_threads(int n);
int omp_get_max_threads(void);

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int flavour;

static void look(void) {
    flavour = openblas_get_parallel();
    if (flavour == OPENBLAS_THREAD) openblas_set_num_threads(1);
}

int ws_blas_alone(void) {
    pthread_once(&once, look);
    if (flavour == OPENBLAS_SEQUENTIAL) pthread_mutex_lock(&one_at_a_time);
    if (flavour != OPENBLAS_OPENMP) return 0;
    int was = omp_get_max_threads(); /* of this thread alone, and given back: the program around us may use OpenMP */
    omp_set_num_threads(1);
    return was;
}

void ws_blas_done(int was) {
    if (flavour == OPENBLAS_SEQUENTIAL) pthread_mutex_unlock(&one_at_a_time);
    if (flavour == OPENBLAS_OPENMP) omp_set_num_threads(was);
}

void ws_dgemm(int ta, int tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda, const double *b,
              int64_t ldb, double beta, double *c, int64_t ldc) {
    int was = ws_blas_alone();
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
                1, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    ws_blas_done(was);
}
