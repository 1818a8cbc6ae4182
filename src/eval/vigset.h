/* src/eval/vigset.h - vignettes and the questions asked about them (docs/formats.md). */
#ifndef WS_EVAL_VIGSET_H
#define WS_EVAL_VIGSET_H
#include "base/err.h"

typedef struct ws_vignette {
    char *id;
    int foundation;
    double wrong;    /* NaN: no human rating */
    double *loading; /* [n_foundations] shares that sum to 1; NULL: none given */
    char *text[2];   /* other_violate, self_violate */
} ws_vignette;
typedef struct ws_frame {
    char *name, *field, *question, *prefill;
} ws_frame;
typedef struct ws_vigset {
    int n, n_foundations;
    ws_vignette *v;
    char **foundation; /* display order */
    ws_frame frame[2]; /* [0] polarity +1, [1] polarity -1 */
    char *closing;     /* ends a thought that its budget cuts off; NULL: the file of frames has none */
    char *path[3];     /* the two files of vignettes, the file of frames */
    int repeated;      /* rows that a later row of the same id replaced */
} ws_vigset;
extern const char *const ws_conds[2]; /* "other_violate", "self_violate" */

/* `where`: folder or prefix; NULL: the program's own data/vignettes. */
ws_status ws_vigset_load(ws_vigset *s, const char *where, ws_err *err);
void ws_vigset_free(ws_vigset *s);
#endif
