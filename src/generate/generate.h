/* src/generate/generate.h - many prompts at once, continuous batching: a finished row is replaced at once.
 * A row's tokens depend on its prompt, steering, sampling settings, seed and stream row alone: not on the batch, the
 * order, the threads or where a run was resumed. */
#ifndef WS_GENERATE_GENERATE_H
#define WS_GENERATE_GENERATE_H
#include "generate/sample.h"
#include "model/model.h"
#include "text/tokenizer.h"

enum { WS_GEN_ROWS = 64 };
/* What shared beginnings may hold in the state: 256 MiB, and more where a sequence is dear by itself. */
int64_t ws_gen_prefix_bytes(const ws_model *m);

typedef struct ws_gen_request {
    const int32_t *prompt; /* [n_prompt] */
    int n_prompt;
    int max_new, min_new;
    uint64_t stream_row;         /* row of the counter stream */
    const float *alpha;          /* [n_patches] strengths of this row */
    const ws_sampling *sampling; /* of this row alone; NULL: the options' */
    uint64_t seed;               /* 0: the options' seed */
} ws_gen_request;

typedef enum ws_finish { WS_FINISH_STOP, WS_FINISH_LENGTH } ws_finish;
typedef struct ws_gen_result {
    const int32_t *ids; /* without the stop id; valid during the callback */
    int n;
    ws_finish finish;
    /* The row's sequence: its prompt and those of the ids that were read again, all but the last of a row that reached
     * its limit.  Valid during the callback, which may fork it; the state lasts as long as ws_generate.  -1: none. */
    ws_state *state;
    int seq;
} ws_gen_result;

typedef struct ws_gen_options {
    ws_sampling sampling;
    uint64_t seed;
    const char *stream;   /* name of the random stream: "data.pos" */
    int max_rows;         /* rows in flight; 0: default (WS_GEN_ROWS) */
    int separate_prompts; /* 1: prompts that begin alike are not computed once but each for itself (same result) */
    int n_patches;
    ws_patch *const *patch;
    const int32_t *stops;
    int n_stops;
    int vocab_limit;      /* ids >= this are never sampled (unused rows of the head); 0: none */
    const char *progress; /* title of the bar, NULL: none */
} ws_gen_options;
/* on_done is called from the calling thread, in the order of completion (`index` = request number); returning an error
 * stops. on_token (may be NULL) is called for every new token of every row. */
typedef ws_status (*ws_gen_done_fn)(void *arg, int index, const ws_gen_result *r, ws_err *err);
typedef ws_status (*ws_gen_token_fn)(void *arg, int index, int32_t id, ws_err *err);
ws_status ws_generate(ws_model *m, const ws_gen_request *req, int n, const ws_gen_options *o, ws_gen_done_fn on_done,
                      ws_gen_token_fn on_token, void *arg, ws_err *err);
#endif
