/* src/eval/readout.h - pure functions of the answers' log-probabilities (pipeline.md 6): wrongness, delta tables,
 * Surgical Informedness, the specific effect, and their bootstrap intervals.  They know no model and no file.
 *
 * A grid has V vignettes, each with 2 conditions (0 other_violate, 1 self_violate), each asked in 2 frames (0 polarity
 * +1, "is it wrong", 1 polarity -1, "is it acceptable").  Answer (v, c, f) stands at [(v*2 + c)*2 + f], cell (v, c) at
 * [v*2 + c]. Every statistic takes `times` [V], how often each vignette counts (NULL: once): a bootstrap draw is
 * nothing else. */
#ifndef WS_EVAL_READOUT_H
#define WS_EVAL_READOUT_H
#include <stdint.h>

typedef struct ws_grid {
    int n;                 /* V */
    int n_foundations;     /* F */
    const int *foundation; /* [V] */
    const double *human;   /* [V] human wrongness, NaN where not given */
    const double *loading; /* [V, F] shares that sum to 1 for each vignette; NULL: 1 for its own foundation */
} ws_grid;                 /* loadings are weights of dlogit and SI, nothing else reads them */

/* One setting's answers and what follows from them. */
typedef struct ws_answers {
    double *p;     /* [V*4] p_true of the two answers, NaN missing */
    double *mass;  /* [V*4] probability of both answers, NaN missing */
    double *w;     /* [V*2] wrongness; NaN where a frame is missing or its mass is under the floor */
    double *logit; /* [V*2] of w clipped to [0.01, 0.99] */
} ws_answers;
/* From log-probabilities of the true and the false answers [V*4].  A mass that is NaN counts as 1 for the floor. */
void ws_answers_fill(ws_answers *a, int n, const double *logp_true, const double *logp_false, double floor);
/* The same from p_true and mass as another program gives them. */
void ws_answers_from_p(ws_answers *a, int n, const double *p, const double *mass, double floor);
void ws_answers_free(ws_answers *a);
double ws_wrongness(double p_wrong, double mass_wrong, double p_accept, double mass_accept, double floor);
double ws_logit_clipped(double w); /* NaN stays NaN */

typedef struct ws_dlogit {
    double mean, std; /* std with ddof 1; 0 for n = 1; both NaN for n = 0 */
    int n, n_total;   /* cells with a weight above 0; n: of these the valid ones */
    double weight;    /* of the valid cells together; n without loadings */
} ws_dlogit;
/* Of logit(steered) - logit(base), paired, over foundation f (-1: all).  base NULL: of logit(steered) itself.  With loadings
 * every cell counts by its share of f, and std is that of the weights: sqrt(sum w (x - mean)^2 / sum w). */
ws_dlogit ws_readout_dlogit(const ws_grid *g, const ws_answers *base, const ws_answers *steered, int f,
                            const int *times);

/* 1: -alpha moves f further in the direction `sign` than +alpha does, or alone has a value: where + is named after the fact. */
int ws_readout_turned(const ws_grid *g, const ws_answers *base, const ws_answers *plus, const ws_answers *minus, int f,
                      int sign);

typedef struct ws_flips {
    int to_wrong, to_right, n; /* n: cells valid at both */
} ws_flips;
ws_flips ws_readout_flips(const ws_grid *g, const ws_answers *base, const ws_answers *steered, int f);

typedef struct ws_si_rule {
    double k;      /* price of a broken cell */
    int own_cells; /* 1: the - arm's n_cho and n_rej are of the cells valid at base and -alpha, not at base and +alpha */
    int frame_min; /* 1: pmass is the mean over cells of the smaller of the two frames', not over single answers */
} ws_si_rule;
typedef struct ws_si {
    double n_cho, n_rej, fix, broke, flip_rev, counter; /* weighted counts; whole numbers without loadings */
    double n_cho_minus, n_rej_minus;                    /* what the - arm's counts are shares of */
    double fwd, rev, raw;                               /* raw: mean of the arms that are not NaN */
    double pmass_plus, pmass_minus, pmass_scale;
    int pmass_nan; /* answers without a mass, left out of the means */
    double si, separation;
} ws_si;
/* Foundation f with intent s = +1 or -1; `minus` NULL: no - arm. */
ws_si ws_readout_si(const ws_grid *g, const ws_answers *base, const ws_answers *plus, const ws_answers *minus, int f,
                    int intent, const ws_si_rule *rule, const int *times);
/* 1: every count that the arms are shares of is at least 10; below, SI is noise. */
int ws_si_defined(const ws_si *s, int has_minus);

typedef struct ws_vig_effect {
    double target, others, specific; /* mean dlogit of the target; mean over the other foundations' means; difference */
    double abs_others;               /* mean over the other foundations of the size of their means */
    double axis;                     /* sum over targets of sign * mean dlogit; NaN if a part is NaN */
} ws_vig_effect;
ws_vig_effect ws_readout_effect(const ws_grid *g, const ws_answers *base, const ws_answers *steered, const int *target,
                                const int *sign, int n_targets, const int *times);

typedef struct ws_vig_headline {
    double s_other, gap; /* unweighted mean over foundations of s = 2w - 1 (third person), and of other - self */
    double s_other_vig, gap_vig; /* mean over vignettes */
    double agreement;            /* Pearson of p_true(wrong) and 1 - p_true(accept) over all cells */
    double human_r;              /* Pearson of human wrongness and s_other */
    double pmass, p_wrong, p_accept;
    int n_cells, n_valid, pmass_nan, n_human;
} ws_vig_headline;
ws_vig_headline ws_readout_headline(const ws_grid *g, const ws_answers *a, const int *times);

typedef struct ws_foundation_row {
    double w, s_other, s_self, gap, pmass;
} ws_foundation_row;
ws_foundation_row ws_readout_foundation(const ws_grid *g, const ws_answers *a, int f, const int *times);

/* Draw `draw` of the bootstrap over vignettes, within foundations: times [V].  The same for every setting and method,
 * so differences are paired. */
void ws_readout_draw(const ws_grid *g, uint64_t seed, int64_t draw, int *times);

/* Does the readout carry signal on this model?  The rule, on the base: mean pmass at least 0.5, at least half of the
 * cells valid, agreement of the frames at least 0.3 with its interval above 0, and, where at least 10 vignettes have a
 * human rating, the human correlation's interval above 0.  `why` gets a sentence (256 bytes). */
int ws_readout_signal(const ws_vig_headline *h, double agreement_lo, double human_lo, char why[256]);
#endif
