#include "cmd/sampling.h"

void ws_sampling_args_init(ws_sampling_args *a) { *a = (ws_sampling_args){.thinking = -1}; }

error_t ws_sampling_parse(ws_sampling_args *a, int key, char *arg, struct argp_state *state) {
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    switch (key) {
    case WS_SAMPLE_TEMPERATURE: st = ws_opt_num("--temperature", arg, 0, 100, &a->value.temperature, &err); break;
    case WS_SAMPLE_TOP_K: st = ws_opt_int("--top-k", arg, 0, 1000000, &n, &err), a->value.top_k = (int)n; break;
    case WS_SAMPLE_TOP_P: st = ws_opt_num("--top-p", arg, 1e-9, 1, &a->value.top_p, &err); break;
    case WS_SAMPLE_MIN_P: st = ws_opt_num("--min-p", arg, 0, 1, &a->value.min_p, &err); break;
    case WS_SAMPLE_THINKING: st = ws_opt_on_off("--thinking", arg, &a->thinking, &err); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    if (key < WS_SAMPLE_THINKING) a->given[key - WS_SAMPLE_TEMPERATURE] = 1;
    return 0;
}

const char *ws_sampling_given(const ws_sampling_args *a) {
    static const char *const name[] = {"temperature", "top-k", "top-p", "min-p"};
    for (int i = 0; i < 4; i++)
        if (a->given[i]) return name[i];
    return a->thinking >= 0 ? "thinking" : NULL;
}

void ws_sampling_take(const ws_sampling_args *a, ws_sampling *s) {
    if (a->given[0]) s->temperature = a->value.temperature;
    if (a->given[1]) s->top_k = a->value.top_k;
    if (a->given[2]) s->top_p = a->value.top_p;
    if (a->given[3]) s->min_p = a->value.min_p;
}
