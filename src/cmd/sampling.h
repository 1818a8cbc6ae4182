/* src/cmd/sampling.h - how answers are sampled, and whether the model thinks before them: the same options in every verb
 * that generates. */
#ifndef WS_CMD_SAMPLING_H
#define WS_CMD_SAMPLING_H
#include "cmd/cmd.h"
#include "generate/sample.h"

typedef struct ws_sampling_args { /* begin with ws_sampling_args_init */
    ws_sampling value;
    char given[4]; /* temperature, top_k, top_p, min_p */
    int thinking;  /* -1: not given */
} ws_sampling_args;
void ws_sampling_args_init(ws_sampling_args *a);

enum {
    WS_SAMPLE_TEMPERATURE = 0x600,
    WS_SAMPLE_TOP_K,
    WS_SAMPLE_TOP_P,
    WS_SAMPLE_MIN_P,
    WS_SAMPLE_THINKING,
    WS_SAMPLE_END
};
/* Entries of a verb's option table, in `group`, with the defaults that its help names; its parser hands these keys to
 * ws_sampling_parse. */
#define WS_SAMPLING_OPTIONS(group, temperature, k, p)                                                                  \
    {"temperature", WS_SAMPLE_TEMPERATURE, "T", 0, "0: always the likeliest token (" temperature ")", group},          \
        {"top-k", WS_SAMPLE_TOP_K, "N", 0, "only the N likeliest tokens (" k "); 0: off", group},                      \
        {"top-p", WS_SAMPLE_TOP_P, "P", 0, "only the likeliest tokens that make up P (" p "); 1: off", group},         \
        {"min-p", WS_SAMPLE_MIN_P, "P", 0, "only tokens at least P times as likely as the likeliest (0: off)", group}, \
        WS_THINKING_OPTION(group)
#define WS_THINKING_OPTION(group)                                                                                      \
    {                                                                                                                  \
        "thinking", WS_SAMPLE_THINKING, "on|off", 0,                                                                   \
            "enable_thinking of the chat template (default: the template's own)", group                                \
    }
/* ARGP_ERR_UNKNOWN for every other key. */
error_t ws_sampling_parse(ws_sampling_args *a, int key, char *arg, struct argp_state *state);
const char *ws_sampling_given(const ws_sampling_args *a); /* the first option of these that was given; NULL: none */
/* What was given, over the defaults in *s. */
void ws_sampling_take(const ws_sampling_args *a, ws_sampling *s);
#endif
