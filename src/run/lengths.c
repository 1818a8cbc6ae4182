#include "run/lengths.h"
#include "calibrate/prompts.h"
#include "eval/vigset.h"
#include <stdlib.h>
#include <string.h>

enum { SOME = 16 };

static ws_status count(const ws_run_input *in, const ws_str *text, double *sum, ws_err *err) {
    ws_ids ids = {0};
    ws_status st = ws_tokenizer_encode(in->tokenizer, text->p, text->n, 0, &ids, err);
    *sum += ids.n;
    ws_ids_free(&ids);
    return st;
}

/* Adds the tokens of one rendered prompt. */
static ws_status prompt(const ws_run_input *in, const ws_run_options *o, const char *system, const char *user,
                        double *sum, ws_err *err) {
    const ws_render r = {.generation_prompt = 1, .thinking = o->data.thinking, .date = WS_CHAT_FIXED_DATE};
    ws_str s = {0};
    ws_status st = ws_chat_render_plain(in->chat, system, user, NULL, &r, &s, err);
    if (!st) st = count(in, &s, sum, err);
    ws_str_free(&s);
    return st;
}

static ws_status topics(ws_lengths *l, const ws_run_input *in, const ws_run_options *o, ws_err *err) {
    const ws_behavior *b = in->behavior;
    int n = b->n_topics < SOME ? b->n_topics : SOME;
    double alone = 0, whole = 0;
    for (int i = 0; i < n; i++) {
        int k = i % b->n_personas;
        const char *system = i % 2 ? b->system_neg[k] : b->system_pos[k];
        if (prompt(in, o, NULL, b->topic[i], &alone, err) || prompt(in, o, system, b->topic[i], &whole, err))
            return err->code;
    }
    l->prompt = alone / n, l->system = (whole - alone) / n;
    return WS_OK;
}

static ws_status vignettes(ws_lengths *l, const ws_run_input *in, const ws_run_options *o, ws_err *err) {
    ws_vigset set;
    double sum = 0;
    int asked = 0;
    if (ws_vigset_load(&set, o->eval.vignettes, err)) return err->code;
    ws_status st = WS_OK;
    for (int i = 0; i < set.n && i < SOME && !st; i++) {
        const ws_frame *f = &set.frame[i % 2];
        ws_str s = {0};
        char *user = ws_sprintf("%s\n%s", set.v[i].text[i / 2 % 2], f->question);
        st = ws_render_open(in->chat, NULL, user, 0, &s, err);
        ws_str_adds(&s, f->prefill);
        if (!st) st = count(in, &s, &sum, err);
        free(user);
        ws_str_free(&s);
        asked++;
    }
    l->vignettes = set.n;
    l->vignette = asked ? sum / asked : 0;
    ws_vigset_free(&set);
    return st;
}

static ws_status questions(ws_lengths *l, const ws_run_input *in, const ws_run_options *o, const char *path,
                           ws_err *err) {
    ws_pool pool;
    double sum = 0;
    int n = 0;
    if (ws_pool_open(&pool, path, o->calibrate.messages, o->seed, err)) return err->code;
    ws_status st = WS_OK;
    for (int step = pool.n / SOME + 1, i = 0; i < pool.n && !st; i += step, n++) {
        ws_str s = {0};
        st = ws_render_open(in->chat, NULL, pool.prompt[i].text, o->data.thinking, &s, err);
        if (!st) st = count(in, &s, &sum, err);
        ws_str_free(&s);
    }
    l->question = n ? sum / n : 0;
    ws_pool_free(&pool);
    return st;
}

ws_status ws_lengths_of(ws_lengths *l, const ws_run_input *in, const ws_run_options *o, const char *prompts,
                        ws_err *err) {
    memset(l, 0, sizeof *l);
    if (topics(l, in, o, err) || questions(l, in, o, prompts, err)) return err->code;
    return ws_eval_asked(&o->eval, "vignettes") ? vignettes(l, in, o, err) : WS_OK;
}
