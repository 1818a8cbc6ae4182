/* src/calibrate/kl.h - per-token KL(steered || base) along the steered model's own greedy continuation.
 *     steered prompt, alpha_i [prefill] --------------------> s1 s2 s3 ...   greedy, many at once along an expected answer
 *     base prompt, alpha 0    [prefill once, kept] --fork--> b1 b2 b3 ...   teacher-forced, all of it in large batches
 * What the base has read is shared by all strengths for as long as their tokens agree, and kept from run to run; the answers of
 * an earlier run are what the next one checks first (kl_speak.c).  Neither changes a bit.  KL = sum_v p_s(v) (logp_s(v) - logp_b(v))
 * in nats, from fp32 logits with double sums; the position that predicts the end-of-text token counts, and ends the
 * row. */
#ifndef WS_CALIBRATE_KL_H
#define WS_CALIBRATE_KL_H
#include "model/model.h"

/* KL between two rows of logits; *argmax (may be NULL) = lowest id of the largest steered logit.  NaN when a logit is
 * not finite or the result is not.  Thread-safe; scratch [vocab]. */
double ws_kl_row(const float *steered, const float *base, int64_t vocab, float *scratch, int32_t *argmax);

typedef struct ws_kl_prompt {
    const int32_t *base;    /* [n_base] rendered prompt, assistant turn open */
    const int32_t *steered; /* [n_steered]; the same array unless the method changes the prompt */
    int n_base, n_steered;
} ws_kl_prompt;

/* One strength of one method, probed on all prompts. */
typedef struct ws_kl_arm {
    ws_patch *patch; /* NULL: the change is in the prompt alone */
    double alpha;
} ws_kl_arm;

typedef struct ws_kl_result {
    int n_prompts, n_tokens;
    int *n;       /* [n_prompts] positions of each prompt, 1..n_tokens */
    double *kl;   /* [n_prompts, n_tokens] */
    int32_t *ids; /* [n_prompts, n_tokens] the greedy tokens, a final end-of-text token included */
} ws_kl_result;
void ws_kl_result_free(ws_kl_result *r);

typedef struct ws_kl ws_kl; /* keeps the base prefills of its prompts between runs */
/* The prompts' arrays must outlive the runner.  eos -1: rows end at n_tokens only.  budget: bytes for what sequences
 * remember (0: ws_kl_budget); it sets how many prompts run at once and changes no value. */
ws_status ws_kl_new(ws_kl **out, ws_model *m, const ws_kl_prompt *prompt, int n_prompts, int n_tokens, int32_t eos,
                    int64_t budget, ws_err *err);
/* 1 GiB, and more where a sequence is dear by itself: room for a batch that keeps the weights busy. */
int64_t ws_kl_budget(const ws_model *m);
void ws_kl_free(ws_kl *k);
/* out [n_arms].  `title` of the progress bar, NULL: none.  Non-finite values are WS_ENONFINITE naming strength, prompt
 * and position; Ctrl-C is WS_EINTERRUPTED; on error nothing is left in `out`. */
ws_status ws_kl_run(ws_kl *k, const ws_kl_arm *arm, int n_arms, const char *title, ws_kl_result *out, ws_err *err);

/* Pooled over (prompt, position). */
typedef struct ws_kl_stats {
    double p95, mean, p50, p99, max;
    int64_t n;
} ws_kl_stats;
ws_kl_stats ws_kl_summary(const ws_kl_result *r);
/* 95% interval of p95: bootstrap over prompts. */
void ws_kl_p95_interval(const ws_kl_result *r, int draws, uint64_t seed, double *lo, double *hi);
#endif
