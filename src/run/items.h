/* src/run/items.h - what one method of a run answered, item by item: vignettes, held-out rows, free answers.  From this the
 * difference of two methods is drawn on the same items (paired.h). */
#ifndef WS_RUN_ITEMS_H
#define WS_RUN_ITEMS_H
#include "eval/readout.h"
#include "run/results.h"

typedef struct ws_items {
    const char *name; /* the method's */
    const ws_results *run;
    const ws_method_results *method;
    /* vignettes: n is grid.n; no answers at an arm: p is NULL */
    ws_grid grid;
    char **id, **foundation; /* [grid.n], [grid.n_foundations] */
    ws_answers arm[3];       /* base, plus, minus */
    double floor;
    ws_si_rule rule;
    int loading_weighted, dlogit_weighted; /* SI, dlogit */
    double *loading;             /* [n, n_foundations] where weighted and the files are still there; else NULL */
    int turned;                  /* the protocol names + after the fact, and it is the side of -alpha: for SI alone */
    int n_targets, target, sign; /* of the first target; target -1: no vignette has it */
    /* margin: change against the base by row, POS over NEG */
    int n_rows, n_topics;
    int *topic;       /* [n_rows] */
    double *mark[2];  /* [n_rows] tokens of both answers together, and the base's log p of them: is it the same row? */
    double *delta[2]; /* [n_rows] at plus, at minus; NULL: not measured */
    /* dose: score of free answers at the ends */
    int n_dose_topics, n_samples; /* texts of a topic */
    double *score[2];             /* [n_dose_topics * n_samples]; NULL: not measured */
} ws_items;
/* What the folder of the method does not hold stays empty; a file that contradicts itself is an error. */
ws_status ws_items_load(ws_items *x, const ws_results *r, const ws_method_results *m, ws_err *err);
void ws_items_free(ws_items *x);
#endif
