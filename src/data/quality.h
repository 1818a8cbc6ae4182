/* src/data/quality.h - what the pairs look like before anything is trained on them.
 * An adapter learns whatever tells the two sides apart: mood, but also length, sentences cut in the middle, or the
 * words of the persona repeated.  This shows which of these are there (conventions.md 4.8, rows 13 and 27).
 * Of responses with a think block the answer alone is looked at, and only where there is one; length in tokens and cuts
 * are of the whole response. */
#ifndef WS_DATA_QUALITY_H
#define WS_DATA_QUALITY_H
#include "data/behavior.h"
#include "data/pairs.h"

typedef struct ws_side_quality {
    double cut;    /* share of answers that were cut by length; NaN: not told by the file */
    double tokens; /* mean length in tokens; NaN: not told */
    double words;  /* mean length in words; NaN: no answer at all */
    int distinct;  /* different answers */
    int answers;   /* rows with an answer: all, but for think blocks that were not closed or have nothing behind them */
    double closed; /* share of responses whose think block was closed; NaN: none has one */
    double thought; /* mean length of the reasoning in words; NaN: none */
    double leak;    /* share of answers with a word that stands in this side's persona alone; NaN: no personas told */
    double leak_other; /* the same with the words of the other side's persona: what chance gives */
    double score;      /* mean score of the behaviour's counters; NaN: no counters */
    double score_se;   /* its standard error */
} ws_side_quality;

enum { WS_LEAK_WORDS = 8 };
typedef struct ws_pairs_quality {
    int n, topics, personas;     /* rows, different topics, different personas (0: not told) */
    int identical;               /* rows whose two responses are the same */
    ws_side_quality side[2];     /* POS, NEG */
    char *leaked[WS_LEAK_WORDS]; /* persona words that stand in most answers */
    int leaked_rows[WS_LEAK_WORDS], n_leaked;
    double accuracy;    /* of a bag-of-words classifier (multinomial naive Bayes, add-one) that tells POS from NEG on
                         * topics    it has not seen; 0.5 is chance; NaN with fewer than two topics */
    double accuracy_se; /* standard error, by topics */
    int folds;
} ws_pairs_quality;

/* `b` (may be NULL) has the counters. */
ws_status ws_pairs_quality_of(ws_pairs_quality *q, const ws_pairs *p, const ws_behavior *b, ws_err *err);
void ws_pairs_quality_free(ws_pairs_quality *q);
json_t *ws_pairs_quality_json(const ws_pairs_quality *q); /* caller decrefs */
/* The table that `ws data` prints, with a sentence for everything that looks wrong. */
void ws_pairs_quality_print(const ws_pairs_quality *q, ws_str *out);
#endif
