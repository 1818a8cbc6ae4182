/* src/steer/extract.h - persona pairs -> vectors of every hidden-state method, one file each (pipeline.md 8).
 *     behaviour x suffixes -> prompts -> H+, H- -> [vectors] -> calibrate
 * The states of all methods come from one pass over the prompts. */
#ifndef WS_STEER_EXTRACT_H
#define WS_STEER_EXTRACT_H
#include "data/behavior.h"
#include "steer/states.h"
#include "text/chat.h"

#define WS_EXTRACT_LINEARS "mlp\\.down_proj|self_attn\\.o_proj"

typedef struct ws_extract_options {
    const char *methods;              /* "all", or names with commas between them */
    const char *out;                  /* folder of <method>.safetensors and extract.json */
    const char *suffixes, *neutral;   /* files; NULL: the program's own; none */
    const char *linears;              /* regex that a linear's path in its layer matches as a whole */
    int first, last;                  /* layers [first, last); -1, -1: [max(2, int(0.2 L)), min(L - 2, int(0.8 L))) */
    int n, max_len;                   /* pairs; longest prompt in tokens */
    uint64_t seed;                    /* of the choice of pairs and personas */
    const char *states, *keep_states; /* file to take H+ and H- from; file to leave them in; NULL: none */
    int force;                        /* states of another base */
    ws_vector_cfg cfg;
} ws_extract_options;
ws_extract_options ws_extract_defaults(void);

typedef struct ws_extract_result {
    int n; /* methods */
    const struct ws_steer_ops **method;
    char **path;
    double *norm;   /* [n] median length of what strength is measured in */
    double *cosine; /* [n, n] likeness; NaN: nothing to compare */
    json_t *told;   /* array of {"a", "b", "cosine", "declared", "why"} for |cosine| > 0.9999 */
    int64_t pairs;
    int first, last, sites;
    double seconds_states, seconds;
} ws_extract_result;
/* `behavior` may be NULL with o->states. */
ws_status ws_extract_run(ws_model *m, const ws_tokenizer *t, const ws_chat *c, const ws_behavior *behavior,
                         const ws_extract_options *o, ws_extract_result *r, ws_err *err);
void ws_extract_result_free(ws_extract_result *r);
/* The layers [first, last) that it will take; WS_EUSAGE where the model has not those. */
ws_status ws_extract_layers(const ws_model *m, const ws_extract_options *o, int *first, int *last, ws_err *err);

/* One method's vector from states (tests, and programs that have their own). */
ws_status ws_extract_vector(ws_vector **out, ws_extraction *x, const struct ws_steer_ops *method,
                            const ws_vector_cfg *cfg, ws_err *err);
void ws_extraction_open(ws_extraction *x, const ws_model *m, const ws_state_set *s);
void ws_extraction_close(ws_extraction *x);
/* The rooms that a list names ("all": every hidden-state method); caller frees. */
ws_status ws_extract_methods(const char *list, const struct ws_steer_ops ***out, int *n, ws_err *err);
#endif
