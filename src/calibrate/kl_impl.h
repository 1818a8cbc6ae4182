/* src/calibrate/kl_impl.h - what the files of the runner share: kl.c (prompts, forwards, a run), kl_speak.c (the steered rows
 * speak), kl_base.c (the base model along their answers, and KL). */
#ifndef WS_CALIBRATE_KL_IMPL_H
#define WS_CALIBRATE_KL_IMPL_H
#include "base/progress.h"
#include "calibrate/kl.h"

enum {
    WS_KL_TOKENS = 4096, /* packed tokens of one forward */
    WS_KL_ROWS = 384,    /* rows of one decode step */
    WS_KL_AHEAD = 8,     /* tokens of an expected answer that are checked in one forward */
    WS_KL_HEAD = 64      /* steered states whose logits are held at once, and as many of the base */
};

/* The base model along an answer: what it computed, and its sequence while one can go on from inside it. */
typedef struct ws_kl_track {
    int seq;       /* prompt and ids[0..n); -1: given back */
    int n;         /* tokens read */
    int32_t *ids;  /* [n_tokens] */
    float *hidden; /* [n_tokens, d]: [t] is the final state after ids[0..t); 1 .. n are there */
    int64_t used;  /* the last run that had this answer */
} ws_kl_track;
typedef struct ws_kl_tracks {
    int n;
    ws_kl_track *track;
} ws_kl_tracks;

/* Answers of an earlier run: what the same prompts are expected to be answered with now. */
typedef struct ws_kl_heard {
    const ws_patch *patch; /* compared, never called: it may be gone */
    double alpha, mean;    /* of the KL */
    int *n;                /* [n] tokens of each prompt's answer */
    int32_t *ids;          /* [n, n_tokens] */
} ws_kl_heard;

struct ws_kl {
    ws_model *m;
    ws_state *state;
    const ws_kl_prompt *prompt;
    int n, n_tokens;
    int32_t eos;
    int64_t budget; /* of rows in flight */
    int64_t d, vocab;
    int common_base, common_steered; /* tokens that all prompts begin with */
    int base_header;                 /* sequence of the common beginning at alpha 0; -1: not yet */
    int *base_seq;                   /* [n] base prefill of each prompt; -1: not yet */
    float *base_hidden;              /* [n, d] its last hidden state */
    int keep;                        /* base prefills fit in the budget and are kept between runs */
    int keep_tracks;                 /* the base along the last run's answers likewise */
    ws_kl_tracks *tracks;            /* [n] */
    ws_kl_heard *heard;
    int n_heard;
    int64_t runs, forwards; /* so far */
    float *states, *logits; /* [2 WS_KL_HEAD, d]; [2 WS_KL_HEAD, vocab], then a scratch row per thread */
};

/* A steered row. */
typedef struct ws_kl_speaker {
    int arm, prompt;
    int seq;              /* -1: not begun, or done */
    int n;                /* tokens of the answer that are known: out[arm].n[prompt] when it is done */
    int over, stop;       /* the answer is complete; what the last forward computed beyond it is of no use */
    int measured;         /* positions whose KL is known, from the first on; the others' states wait for the base's */
    const int32_t *draft; /* [n_draft] the answer that is expected; NULL: none, or it turned out otherwise */
    int n_draft;
    int32_t *ids;  /* [n_tokens] of the result */
    double *kl;    /* [n_tokens] likewise */
    float *hidden; /* [n_tokens, d] */
} ws_kl_speaker;

/* Everything of one ws_kl_run. */
typedef struct ws_kl_job {
    ws_kl *k;
    const ws_kl_arm *arm;
    int n_arms, n_patches;
    ws_patch **patch;
    int *arm_patch;  /* [n_arms] index into patch, -1 none */
    int *arm_header; /* [n_arms] */
    ws_kl_result *out;
    ws_kl_speaker *rows; /* of the chunk of prompts, prompt by prompt */
    int n_rows;
    float *waiting; /* [n_rows, n_tokens, d] */
    float *hidden;  /* states that a forward returns */
    ws_progress bar;
    int64_t done;
} ws_kl_job;

/* One or more forwards over rows whose arm is given (-1: base). */
ws_status ws_kl_forward(ws_kl_job *j, const ws_row *r, const int *arm, int n, float *hidden, ws_err *err);
/* A group of rows that one forward takes: from `i` on, tokens[i] tokens each; returns its end. */
int ws_kl_group(const int *tokens, int i, int n);

/* The rows speak their answers. */
ws_status ws_kl_speak(ws_kl_job *j, ws_err *err);

/* A position whose KL is due: the steered state's row of k->logits, and the base's state. */
typedef struct ws_kl_pair {
    ws_kl_speaker *row;
    int t, steered, base;
    const float *state;
} ws_kl_pair;
/* Up to WS_KL_HEAD pairs whose steered logits are there; those of the base are computed behind row `used`, of equal states
 * once. */
ws_status ws_kl_measure(ws_kl_job *j, ws_kl_pair *p, int n, int used, ws_err *err);
ws_status ws_kl_not_finite(const ws_kl_job *j, const ws_kl_speaker *x, int t, ws_err *err);
/* The base's final state after the first t tokens of an answer to prompt p; NULL: it has not read them. */
const float *ws_kl_base_state(const ws_kl *k, int p, const int32_t *ids, int t);
/* The base reads what it has not yet of the rows' answers, and the KL of all positions left is measured. */
ws_status ws_kl_follow(ws_kl_job *j, ws_err *err);
/* Tracks of prompts [p0, p1) that no answer of this run needed; all: every one. */
void ws_kl_drop_tracks(ws_kl *k, int p0, int p1, int all);
#endif
