#include "run/behavior_check.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "data/screen.h"
#include "io/file.h"
#include "model/model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_ROWS = 64, BATCH_TOKENS = 4096 };
static const char *const NAME[2] = {"POS", "NEG"};

/* ---------- the measures ---------- */

static void warn(ws_check *c, char *what, const char *advice) {
    WS_ASSERT(c->n_warnings < WS_CHECK_WARNINGS);
    c->warning[c->n_warnings++] = (ws_check_warning){what, ws_xstrdup(advice)};
}

/* What one pair adds to each bootstrapped figure. */
enum { GAP, LEAN, GAIN_POS, GAIN_NEG, TOKENS_POS, TOKENS_NEG, SUMS };
static void add(double s[SUMS], const ws_check_cell *x) {
    for (int k = 0; k < 2; k++) {
        s[GAP] += (x->lp[k][WS_UNDER_OWN] - x->lp[k][WS_UNDER_OTHER]) / 2;
        s[GAIN_POS + k] += x->lp[k][WS_UNDER_OWN] - x->lp[k][WS_UNDER_NONE];
        s[TOKENS_POS + k] += x->tokens[k];
    }
    s[LEAN] += x->lp[0][WS_UNDER_NONE] - x->lp[1][WS_UNDER_NONE];
}

/* Intervals of the means and of the ratio of lengths: pairs are drawn again, with both of their sides. */
static void intervals(ws_check *c, const ws_check_cell *cell, int n, uint64_t seed) {
    double *draw[5];
    for (int k = 0; k < 5; k++) draw[k] = ws_xmalloc(WS_CHECK_DRAWS * sizeof *draw[k]);
    for (int d = 0; d < WS_CHECK_DRAWS; d++) {
        double s[SUMS] = {0};
        for (int i = 0; i < n; i++) add(s, &cell[ws_boot_index(seed, "behavior.check", d, i, n)]);
        for (int k = GAP; k <= GAIN_NEG; k++) draw[k][d] = s[k] / n;
        draw[4][d] = s[TOKENS_POS] / s[TOKENS_NEG];
    }
    c->gap_ci = ws_interval_of(draw[GAP], WS_CHECK_DRAWS);
    c->lean_ci = ws_interval_of(draw[LEAN], WS_CHECK_DRAWS);
    for (int k = 0; k < 2; k++) c->side[k].gain_ci = ws_interval_of(draw[GAIN_POS + k], WS_CHECK_DRAWS);
    c->ratio_ci = ws_interval_of(draw[4], WS_CHECK_DRAWS);
    for (int k = 0; k < 5; k++) free(draw[k]);
}

static void warnings(ws_check *c, int max_new) {
    int n = c->n;
    if (c->same)
        warn(c, ws_sprintf("%d of %d pairs have the same answer on both sides", c->same, n),
             "make the personas differ more, or sample at a higher --temperature");
    if (!(c->told_ci.lo > 0.5))
        warn(c,
             ws_sprintf(
                 "the answers are not told apart: %.0f%% are likelier under their own persona, and chance is 50%%",
                 100 * c->told),
             "word the personas more strongly and further apart, and see with ws render that the chat template shows "
             "the "
             "system prompt");
    else if (c->told < 0.8)
        warn(
            c,
            ws_sprintf("the answers are told apart weakly: %.0f%% are likelier under their own persona", 100 * c->told),
            "word the personas more strongly, or take a larger model");
    for (int k = 0; k < 2; k++)
        if (!(c->side[k].gain_ci.lo > 0))
            warn(c,
                 ws_sprintf("the %s persona changes little: its answers are %+.2f nats per token likelier with it than "
                            "without, interval [%+.2f, %+.2f]",
                            NAME[k], c->side[k].gain, c->side[k].gain_ci.lo, c->side[k].gain_ci.hi),
                 "make that persona differ from how the model talks by itself");
    if (4 * c->side[0].cut >= 3 * n && 4 * c->side[1].cut >= 3 * n)
        warn(c, ws_sprintf("most answers were cut at %d tokens, so their lengths say little", max_new),
             "give --max-new-tokens more room here, or ask for short answers in system_template");
    if ((c->ratio_ci.lo > 1 && c->ratio > 1.25) || (c->ratio_ci.hi < 1 && c->ratio < 0.8))
        warn(c,
             ws_sprintf("POS answers have %.2f times the tokens of NEG answers, interval [%.2f, %.2f]", c->ratio,
                        c->ratio_ci.lo, c->ratio_ci.hi),
             "an adapter would learn length: ask both sides for the same length in system_template, unless length is "
             "the "
             "behaviour");
    for (int k = 0; k < 2; k++) {
        const ws_check_side *s = &c->side[k];
        if (10 * s->refused > n)
            warn(c, ws_sprintf("%d of %d %s answers open like a refusal", s->refused, n, NAME[k]),
                 "soften that persona or the topics it will not speak about; an adapter would learn to refuse");
        if (10 * s->leaked > n && s->leaked > s->leaked_other)
            warn(c,
                 ws_sprintf("%d of %d %s answers repeat %d words of their own persona in a row%s%s%s", s->leaked, n,
                            NAME[k], WS_CHECK_RUN, c->leak[k] ? " (\"" : "", c->leak[k] ? c->leak[k] : "",
                            c->leak[k] ? "\")" : ""),
                 "say in system_template that the role is not to be mentioned, or describe it in words that an answer "
                 "would not use");
    }
}

static char *direction(const ws_check *c) {
    if (c->lean_ci.lo > 0)
        return ws_xstrdup(
            "Without a persona the model is nearer to POS: expect +alpha to change it little, and -alpha to "
            "move its answers towards NEG.");
    if (c->lean_ci.hi < 0)
        return ws_xstrdup(
            "Without a persona the model is nearer to NEG: expect +alpha to move its answers towards POS, and "
            "-alpha to change it little.");
    return ws_xstrdup(
        "Without a persona the model is not clearly nearer to either side: expect +alpha to move its answers "
        "towards POS and -alpha towards NEG alike.");
}

void ws_check_measure(ws_check *c, const ws_check_cell *cell, int n, int max_new, uint64_t seed) {
    double s[SUMS] = {0};
    int told = 0;
    WS_ASSERT(n > 0);
    c->n = n;
    for (int i = 0; i < n; i++) {
        const ws_check_cell *x = &cell[i];
        add(s, x);
        c->same += x->same;
        for (int k = 0; k < 2; k++) {
            ws_check_side *o = &c->side[k];
            o->own += x->lp[k][WS_UNDER_OWN] / n, o->other += x->lp[k][WS_UNDER_OTHER] / n;
            o->none += x->lp[k][WS_UNDER_NONE] / n;
            o->tokens += (double)x->tokens[k] / n;
            o->told += x->lp[k][WS_UNDER_OWN] > x->lp[k][WS_UNDER_OTHER];
            o->cut += x->cut[k], o->refused += x->refused[k];
            o->leaked += x->leaked[k], o->leaked_other += x->leaked_other[k];
        }
    }
    for (int k = 0; k < 2; k++) c->side[k].gain = s[GAIN_POS + k] / n, told += c->side[k].told;
    c->told = told / (2.0 * n), c->told_ci = ws_wilson(told, 2 * n);
    c->gap = s[GAP] / n, c->lean = s[LEAN] / n, c->ratio = s[TOKENS_POS] / s[TOKENS_NEG];
    intervals(c, cell, n, seed);
    warnings(c, max_new);
    c->direction = direction(c);
}

/* ---------- generating and scoring ---------- */

static ws_status generate(ws_check *c, ws_model *m, const ws_tokenizer *t, const ws_chat *chat, const ws_behavior *b,
                          const ws_contrast_options *o, ws_err *err) {
    static const char *const left[] = {"pairs.jsonl", "data.json", ".lock"};
    const char *tmp = getenv("TMPDIR");
    char *dir = ws_sprintf("%s/ws-behavior-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        ws_fail(err, WS_EIO, "cannot make a temporary folder like %s; set TMPDIR to one that can be written to", dir);
        free(dir);
        return err->code;
    }
    ws_contrast_options here = *o;
    here.dir = dir;
    char *path = ws_path_join(dir, "pairs.jsonl");
    ws_status st = ws_contrast_run(m, t, chat, b, &here, NULL, err);
    if (!st) st = ws_pairs_load(&c->pairs, path, err);
    free(path);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        path = ws_path_join(dir, left[i]);
        unlink(path);
        free(path);
    }
    rmdir(dir);
    free(dir);
    return st;
}

typedef struct text { /* prompt and answer; the last n_answer of the ids are scored */
    ws_ids ids;
    int n_answer;
} text;

static ws_status encode(text *x, const ws_tokenizer *t, const ws_chat *chat, const char *system, const char *prompt,
                        const char *answer, int thinking, int most, ws_err *err) {
    const ws_render r = {.generation_prompt = 1, .thinking = thinking, .date = WS_CHAT_FIXED_DATE};
    ws_str s = {0};
    ws_status st = ws_chat_render_plain(chat, system, prompt, NULL, &r, &s, err);
    if (!st) st = ws_tokenizer_encode(t, s.p, s.n, 0, &x->ids, err);
    int n = x->ids.n;
    if (!st) st = ws_tokenizer_encode(t, answer, strlen(answer), 0, &x->ids, err);
    x->n_answer = x->ids.n - n;
    if (!st && (!n || !x->n_answer))
        st = ws_fail(err, WS_EFORMAT, "a prompt or an answer has no token: \"%s\"", n ? answer : prompt);
    if (!st && most > 0 && x->ids.n > most)
        st = ws_fail(err, WS_EUSAGE, "prompt and answer have %d tokens, more than the model's %d positions", x->ids.n,
                     most);
    ws_str_free(&s);
    return st;
}

/* lp[i]: mean log-probability of text i's answer. */
static ws_status score(ws_model *m, const text *x, int n, double *lp, ws_err *err) {
    int64_t d = ws_model_dims(m)->hidden;
    ws_progress bar;
    ws_status st = WS_OK;
    ws_progress_start(&bar, "score", "answers", n);
    for (int i = 0, k; i < n && !st; i += k) {
        ws_row row[BATCH_ROWS];
        int64_t tokens = 0, outs = 0, at = 0;
        for (k = 0; i + k < n && k < BATCH_ROWS && (!k || tokens + x[i + k].ids.n <= BATCH_TOKENS); k++) {
            row[k] = (ws_row){-1, x[i + k].ids.id, x[i + k].ids.n - 1, x[i + k].n_answer};
            tokens += x[i + k].ids.n, outs += x[i + k].n_answer;
        }
        float *hidden = ws_xmalloc((size_t)(outs * d) * sizeof *hidden),
              *logp = ws_xmalloc((size_t)outs * sizeof *logp);
        int32_t *target = ws_xmalloc((size_t)outs * sizeof *target);
        for (int j = 0; j < k; at += x[i + j++].n_answer)
            memcpy(target + at, x[i + j].ids.id + x[i + j].ids.n - x[i + j].n_answer,
                   (size_t)x[i + j].n_answer * sizeof *target);
        const ws_batch b = {.n_rows = k, .row = row};
        st = ws_interrupt_check(err);
        if (!st) st = ws_forward(m, NULL, &b, hidden, err);
        if (!st) st = ws_logprob(m, hidden, outs, target, logp, err);
        at = 0;
        for (int j = 0; j < k && !st; j++) {
            double sum = 0;
            for (int q = 0; q < x[i + j].n_answer; q++) sum += (double)logp[at++];
            lp[i + j] = sum / x[i + j].n_answer;
            if (!isfinite(lp[i + j]))
                st = ws_fail(err, WS_ENONFINITE, "the log-probability of answer %d is not finite", (i + j) / WS_UNDERS);
        }
        free(hidden), free(logp), free(target);
        ws_progress_update(&bar, i + k, NULL);
    }
    ws_progress_end(&bar);
    return st;
}

static void screen(ws_check *c, const ws_behavior *b, const ws_refusals *refusals) {
    for (int i = 0; i < c->pairs->n; i++) {
        const ws_pair *p = &c->pairs->row[i];
        ws_check_cell *x = &c->cell[i];
        x->same = !strcmp(p->pos, p->neg);
        for (int k = 0; k < 2; k++) {
            const char *answer = ws_pair_answer(p, k),
                       *persona[2] = {b->persona_pos[p->persona], b->persona_neg[p->persona]};
            char *run = NULL;
            x->tokens[k] = k ? p->tokens_neg : p->tokens_pos, x->cut[k] = k ? p->cut_neg : p->cut_pos;
            x->refused[k] = ws_refusals_find(refusals, answer) >= 0;
            x->leaked[k] = ws_shared_runs(answer, persona[k], p->prompt, WS_CHECK_RUN, &run) > 0;
            x->leaked_other[k] = ws_shared_runs(answer, persona[!k], p->prompt, WS_CHECK_RUN, NULL) > 0;
            if (run && !c->leak[k])
                c->leak[k] = run;
            else
                free(run);
        }
    }
}

ws_status ws_check_behavior(ws_check *c, ws_model *m, const ws_tokenizer *t, const ws_chat *chat, const ws_behavior *b,
                            const ws_contrast_options *o, ws_err *err) {
    ws_refusals refusals;
    if (ws_refusals_load(&refusals, NULL, err)) return err->code;
    ws_status st = generate(c, m, t, chat, b, o, err);
    int n = c->pairs ? c->pairs->n : 0, most = ws_model_dims(m)->max_pos, N = n * 2 * WS_UNDERS;
    text *x = ws_xcalloc((size_t)N + 1, sizeof *x);
    double *lp = ws_xmalloc(((size_t)N + 1) * sizeof *lp);
    c->cell = ws_xcalloc((size_t)n + 1, sizeof *c->cell);
    for (int i = 0; i < N && !st; i++) {
        const ws_pair *p = &c->pairs->row[i / WS_UNDERS / 2];
        int side = i / WS_UNDERS % 2, under = i % WS_UNDERS;
        const char *system[2] = {p->sys_pos, p->sys_neg};
        st = encode(&x[i], t, chat, under == WS_UNDER_NONE ? NULL : system[under == WS_UNDER_OWN ? side : !side],
                    p->prompt, side ? p->neg : p->pos, o->thinking, most, err);
    }
    if (!st) st = score(m, x, N, lp, err);
    for (int i = 0; i < N && !st; i++) c->cell[i / WS_UNDERS / 2].lp[i / WS_UNDERS % 2][i % WS_UNDERS] = lp[i];
    if (!st) {
        screen(c, b, &refusals);
        ws_check_measure(c, c->cell, n, o->max_new, o->seed);
    }
    for (int i = 0; i < N; i++) ws_ids_free(&x[i].ids);
    free(x), free(lp);
    ws_refusals_free(&refusals);
    return st;
}

void ws_check_free(ws_check *c) {
    for (int i = 0; i < c->n_warnings; i++) free(c->warning[i].what), free(c->warning[i].advice);
    free(c->direction), free(c->cell), free(c->leak[0]), free(c->leak[1]);
    ws_pairs_free(c->pairs);
    *c = (ws_check){0};
}
