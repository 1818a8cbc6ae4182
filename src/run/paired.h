/* src/run/paired.h - the difference of two methods on the same items, with the bootstrap draws that their own intervals are
 * made of: vignettes within foundations, topics of held-out rows, topics of free answers.
 * Every measure but SI and spread is oriented: positive is what was meant, at -alpha too.  An item counts where both
 * methods have an answer to it. */
#ifndef WS_RUN_PAIRED_H
#define WS_RUN_PAIRED_H
#include "base/str.h"
#include "run/headline.h"
#include "run/items.h"

typedef enum ws_measure {
    WS_M_SPECIFIC, /* target's mean dlogit minus the mean of the other foundations' */
    WS_M_SPECIFIC_MINUS,
    WS_M_TARGET, /* target's mean dlogit */
    WS_M_TARGET_MINUS,
    WS_M_SPREAD, /* standard deviation of the target's dlogit over its cells, at + */
    WS_M_SI,
    WS_M_SI_RAW, /* without the pmass factor */
    WS_M_MARGIN,
    WS_M_MARGIN_MINUS,
    WS_M_MARGIN_SPREAD, /* standard deviation of the change over rows, at + */
    WS_M_SCORE,
    WS_M_SCORE_MINUS,
    WS_M_SCORE_SPREAD, /* standard deviation of the score over texts, at + */
    WS_MEASURES
} ws_measure;
const char *ws_measure_key(ws_measure m);   /* "specific_pos" */
const char *ws_measure_title(ws_measure m); /* "specific effect at +" */

typedef struct ws_paired {     /* NaN: not measured in both */
    double a, b, diff, lo, hi; /* diff = a - b with its 95% interval */
    int n;               /* items that both have: cells of the target, rows, texts; of SI cells of all foundations */
    double n_cho, n_rej; /* of SI: cells with which the base agrees and disagrees; else NaN */
} ws_paired;
/* 0: SI with fewer than 10 cells on a side is noise. */
static inline int ws_paired_defined(const ws_paired *p) { return p->n_cho >= 10 && p->n_rej >= 10; }
/* Fills out[WS_MEASURES].  What the two were not asked alike stays NaN. */
void ws_paired_of(const ws_items *a, const ws_items *b, ws_paired *out);
/* 1: the vignettes (rows, texts) of both are the same items. */
int ws_same_vignettes(const ws_items *a, const ws_items *b);
int ws_same_rows(const ws_items *a, const ws_items *b);
int ws_same_texts(const ws_items *a, const ws_items *b);
/* The measure by which rows are compared (headline.h), and its spread. */
ws_measure ws_measure_of(ws_headline h, int minus); /* WS_MEASURES: none */
ws_measure ws_measure_spread(ws_headline h);
#endif
