/* include/ws.h - steer a language model from your own program.
 *
 *     ws_error err;
 *     ws_engine *e = ws_engine_open("SmolLM2-135M-Instruct.Q4_1.gguf", NULL, &err);
 *     ws_engine_load_steering(e, "dw.safetensors", &err);        // a dW, an adapter, or a vector of ws extract
 *     float strength[1] = {2.5f};                                // a number per loaded steering, for each request
 *     ws_request r = {.user = "How was your day?", .strength = strength, .max_new_tokens = 64};
 *     ws_engine_generate(e, &r, 1, print_text, NULL, &err);
 *     ws_engine_close(e);
 *
 * The weights are read-only and the strength is an argument of every request: requests at different strengths run in
 * one batch and share one pass over the weights, and strength 0 is the base model, bit for bit.  Functions that can
 * fail return a negative number (or NULL) and fill `err` with one complete sentence; err may be NULL.  An engine is
 * used by one thread at a time; it runs its own threads inside.  Strings are UTF-8.  Link with libws.a and the
 * libraries in the README. */
#ifndef WS_H
#define WS_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct ws_engine ws_engine;
typedef struct ws_error {
    int code; /* 0 none; else the number of a ws_status, see docs/formats.md, "Errors and exit statuses" */
    char message[1024];
} ws_error;

typedef struct ws_engine_options {
    int threads;               /* 0: the cores that this process may use */
    const char *template_file; /* chat template to use instead of the model's own; NULL: the model's */
    int force;                 /* accept steering files that were made on another base model */
    int thinking;        /* enable_thinking of the template: 0 its own default, 1 on, -1 off.  A text then may begin
                                * with reasoning and </think>, which are handed over as they were said */
    const char *compute; /* arithmetic of products with the model's weights: "f32" (the reference), "bf16" (both sides
                          * rounded to bf16), or "auto", bf16 where the CPU is faster so; NULL: auto.  With AMX that
                          * holds from four requests at once: for one chat take "f32".  One for the whole program: the
                          * engine that was opened last decides */
} ws_engine_options;

/* `model`: a Hugging Face directory, a .gguf file, or an id in the Hugging Face cache.  options NULL: all zero. */
ws_engine *ws_engine_open(const char *model, const ws_engine_options *options, ws_error *err);
void ws_engine_close(ws_engine *e); /* NULL is fine */

/* Loads a steering file (a dW that `ws diff` wrote, an adapter directory, a vector of `ws extract`) and returns its
 * number: 0, 1, 2 ...  Every request from then on carries one strength for each. */
int ws_engine_load_steering(ws_engine *e, const char *path, ws_error *err);
int ws_engine_steering_count(const ws_engine *e);

typedef struct ws_request {
    const char *system;    /* NULL: none (the template's default applies) */
    const char *user;      /* the user's message; the chat template is applied */
    const char *raw;       /* instead of system and user: text that is used as it is */
    const float *strength; /* [ws_engine_steering_count()]; NULL: all 0, the base model */
    int max_new_tokens;    /* > 0 */
    double temperature;    /* 0: greedy */
    double top_p, min_p;   /* 0: off */
    int top_k;             /* 0: off */
    uint64_t seed;         /* the same seed gives the same answer, whatever else is in the batch */
} ws_request;

/* Called once for each request when it is finished, in the order of completion.  `finish` is "stop" or "length".
 * Returning non-zero stops the generation. */
typedef int (*ws_text_fn)(void *arg, int request, const char *text, size_t length, const char *finish);
/* Runs n requests together.  0, or a negative number. */
int ws_engine_generate(ws_engine *e, const ws_request *request, int n, ws_text_fn on_text, void *arg, ws_error *err);

/* Sum over the completion's tokens of log p(token | everything before), in nats, and their number.  `prompt` and
 * `completion` are tokenised separately, as they stand. */
int ws_engine_logprob(ws_engine *e, const char *prompt, const char *completion, const float *strength, double *logprob,
                      int *n_tokens, ws_error *err);

/* The chat template applied to (system, user), ending with an open assistant turn.  The caller frees *text. */
int ws_engine_render(ws_engine *e, const char *system, const char *user, char **text, ws_error *err);

#ifdef __cplusplus
}
#endif
#endif
