/* src/eval/margin.c - does the model prefer the POS answer?  Mean over held-out rows of the mean per-token
 * log p(response_pos) - log p(response_neg), without system prompt; interval by bootstrap over topics.
 * A response is scored as it was said: all the text after its prompt.  One with a think block, reasoning and </think>
 * included, stands behind the prompt that asks for reasoning; the others behind the prompt with thinking off. */
#include "base/progress.h"
#include "base/stats.h"
#include "calibrate/prompts.h"
#include "eval/batch.h"
#include "eval/raw.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(margin)

enum { CHUNK_TOKENS = 12288 };

typedef struct cell { /* one (row, setting) */
    double logp[2];   /* sums over the response's tokens: pos, neg */
    int n[2];
} cell;

typedef struct work {
    ws_eval *e;
    const ws_pairs *pairs;
    int n_topics, *topic; /* [rows] from 0 */
    int n_think;          /* rows with a think block */
    ws_think_form form;   /* of prompts that ask for reasoning */
    ws_ids *ids;          /* [rows, settings, 2] prompt, then response without its last token */
    ws_ids *resp;         /* [rows, 2] */
    cell *cell;           /* [rows, settings] */
} work;

static ws_status check(const ws_eval *e, ws_err *err) {
    if (!e->o->pairs) return ws_fail(err, WS_EUSAGE, "the readout margin needs held-out pairs: --pairs heldout.jsonl");
    ws_pairs *p = NULL;
    ws_status st = ws_pairs_load(&p, e->o->pairs, err);
    ws_pairs_free(p);
    return st;
}

/* Rows of one topic belong together in the bootstrap: by number where all rows have one, else by the prompt's text. */
static void topics(work *w) {
    const ws_pairs *p = w->pairs;
    int numbered = 1;
    for (int i = 0; i < p->n; i++) numbered &= p->row[i].topic >= 0;
    for (int i = 0; i < p->n; i++) {
        int k = 0;
        while (k < i &&
               (numbered ? p->row[k].topic != p->row[i].topic : strcmp(p->row[k].prompt, p->row[i].prompt) != 0))
            k++;
        w->topic[i] = k < i ? w->topic[k] : w->n_topics++;
    }
}

static int thinks(const ws_pair *p) { return p->answer[0] || p->answer[1]; }

/* The prompt behind which responses with a think block were said: enable_thinking is passed where the template has it. */
static int thinking_of(const ws_eval *e) { return ws_chat_has(e->chat, "enable_thinking") ? 1 : -1; }

/* The text of a response; a <think> that the prompt holds already is left out. */
static const char *response(const work *w, const ws_pair *p, int side) {
    const char *text = side ? p->neg : p->pos;
    if (!thinks(p) || w->form != WS_THINK_OPEN) return text;
    const char *t = text + strspn(text, " \t\r\n");
    if (strncmp(t, WS_THINK_BEGIN, strlen(WS_THINK_BEGIN))) return text;
    t += strlen(WS_THINK_BEGIN);
    return t + strspn(t, "\n");
}

static ws_status encode(work *w, int row, int s, ws_err *err) {
    const ws_eval *e = w->e;
    const ws_pair *p = &w->pairs->row[row];
    ws_ids *out = &w->ids[2 * (row * e->n_settings + s)];
    ws_str text = {0};
    const ws_render r = {.generation_prompt = 1, .thinking = thinking_of(e), .date = WS_CHAT_FIXED_DATE};
    ws_status st = thinks(p) ? ws_chat_render_plain(e->chat, e->setting[s].system, p->prompt, NULL, &r, &text, err)
                             : ws_render_open(e->chat, e->setting[s].system, p->prompt, 0, &text, err);
    if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, &out[0], err);
    ws_str_free(&text);
    if (!st) {
        ws_ids_addn(&out[1], out[0].id, out[0].n);
        for (int k = 0; k < 2; k++) ws_ids_addn(&out[k], w->resp[2 * row + k].id, w->resp[2 * row + k].n - 1);
    }
    for (int k = 0; k < 2 && !st; k++)
        if (out[k].n + 1 > ws_model_dims(e->model)->max_pos)
            st = ws_fail(err, WS_EUSAGE, "prompt and response have %d tokens, more than the model's %d positions",
                         out[k].n + 1, ws_model_dims(e->model)->max_pos);
    return st;
}

static ws_status take(void *arg, int i, const json_t *v, ws_err *err) {
    work *w = arg;
    const json_t *lp = json_object_get(v, "logp_pos"), *ln = json_object_get(v, "logp_neg");
    cell *c = &w->cell[i];
    if (json_integer_value(json_object_get(v, "row")) != i / w->e->n_settings || !json_is_number(lp) ||
        !json_is_number(ln))
        return ws_fail(err, WS_EFORMAT, "not the result of row %d that belongs here; use --fresh",
                       i / w->e->n_settings);
    *c = (cell){{json_number_value(lp), json_number_value(ln)},
                {w->resp[2 * (i / w->e->n_settings)].n, w->resp[2 * (i / w->e->n_settings) + 1].n}};
    return WS_OK;
}

static ws_status score(work *w, ws_raw *raw, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings, total = w->pairs->n * S;
    int64_t d = ws_model_dims(e->model)->hidden;
    ws_eval_row *row = ws_xmalloc(2 * (size_t)(total + 1) * sizeof *row);
    ws_progress bar;
    ws_progress_start(&bar, "margin", "answers", 2 * (int64_t)total);
    ws_status st = WS_OK;
    for (int i = raw->n, end; i < total && !st; i = end) {
        int64_t tokens = 0, outs = 0;
        int n = 0;
        for (end = i; end < total && (end == i || tokens < CHUNK_TOKENS); end++)
            for (int k = 0; k < 2 && !ws_raw_has_base(raw, end, S); k++) {
                const ws_ids *x = &w->ids[2 * end + k];
                row[n++] = (ws_eval_row){end % S, x->id, x->n, w->resp[2 * (end / S) + k].n};
                tokens += x->n, outs += row[n - 1].n_out;
            }
        float *hidden = ws_xmalloc((size_t)outs * (size_t)d * sizeof *hidden),
              *logp = ws_xmalloc((size_t)outs * sizeof *logp);
        int32_t *target = ws_xmalloc((size_t)outs * sizeof *target);
        int64_t at = 0;
        for (int q = i; q < end; q++)
            for (int k = 0; k < 2 && !ws_raw_has_base(raw, q, S); k++) {
                const ws_ids *r = &w->resp[2 * (q / S) + k];
                memcpy(target + at, r->id, (size_t)r->n * sizeof *target), at += r->n;
            }
        if (n) st = ws_eval_rows(e, row, n, hidden, err);
        if (!st && n) st = ws_logprob(e->model, hidden, outs, target, logp, err);
        at = 0;
        for (int q = i; q < end && !st; q++) {
            cell *c = &w->cell[q];
            const ws_setting *s = &e->setting[q % S];
            if (ws_raw_has_base(raw, q, S)) {
                st = ws_raw_take_base(raw, q, S, err);
                continue;
            }
            for (int k = 0; k < 2; k++) {
                c->n[k] = w->resp[2 * (q / S) + k].n, c->logp[k] = 0;
                for (int t = 0; t < c->n[k]; t++) c->logp[k] += logp[at++];
            }
            if (!isfinite(c->logp[0]) || !isfinite(c->logp[1]))
                st = ws_fail(err, WS_ENONFINITE, "%s at alpha %+g: the log-probability of row %d is not finite",
                             s->name, s->alpha, q / S);
            if (!st)
                st = ws_raw_add(raw,
                                json_pack("{s:i, s:i, s:s, s:f, s:f, s:i, s:f, s:i}", "row", q / S, "topic",
                                          w->topic[q / S], "method", s->name, "alpha", s->alpha, "logp_pos", c->logp[0],
                                          "n_pos", c->n[0], "logp_neg", c->logp[1], "n_neg", c->n[1]),
                                err);
        }
        free(hidden), free(logp), free(target);
        ws_progress_update(&bar, 2 * (int64_t)end, NULL);
    }
    ws_progress_end(&bar);
    free(row);
    return st;
}

static double margin_of(const cell *c) { return c->logp[0] / c->n[0] - c->logp[1] / c->n[1]; }

static ws_status tables(work *w, ws_err *err) {
    ws_eval *e = w->e;
    int S = e->n_settings, n = w->pairs->n, T = w->n_topics, D = e->o->bootstrap;
    /* sums by topic: a draw of topics is then a sum of T terms */
    double *sum = ws_xcalloc((size_t)(S * T) + 1, sizeof *sum), *draw = ws_xmalloc(2 * (size_t)D * sizeof *draw);
    int *count = ws_xcalloc((size_t)T + 1, sizeof *count);
    for (int i = 0; i < n; i++) {
        count[w->topic[i]]++;
        for (int s = 0; s < S; s++) sum[s * T + w->topic[i]] += margin_of(&w->cell[i * S + s]);
    }
    ws_str csv = {0};
    ws_str_adds(&csv, "method,alpha,arm,margin,lo,hi,delta,delta_lo,delta_hi,lp_pos,lp_neg,n_rows,n_topics\n");
    ws_str_addf(e->report,
                "Margin: log p per token of the POS answer minus the NEG answer, %d held-out rows on %d topics, [95%% "
                "interval over topics]\n",
                n, T);
    if (w->n_think)
        ws_str_addf(e->report,
                    "  %d of the rows have a think block: all of their response is scored, reasoning included\n",
                    w->n_think);
    for (int s = 0; s < S; s++) {
        double m = 0, m0 = 0, lp[2] = {0};
        for (int i = 0; i < n; i++) {
            m += margin_of(&w->cell[i * S + s]) / n, m0 += margin_of(&w->cell[i * S]) / n;
            for (int k = 0; k < 2; k++) lp[k] += w->cell[i * S + s].logp[k] / w->cell[i * S + s].n[k] / n;
        }
        for (int d = 0; d < D; d++) {
            double a = 0, b = 0;
            int64_t rows = 0;
            for (int t = 0; t < T; t++) {
                int64_t k = ws_boot_index(e->o->seed, "eval.margin", d, t, T);
                a += sum[s * T + k], b += sum[k], rows += count[k];
            }
            draw[d] = a / (double)rows, draw[D + d] = (a - b) / (double)rows;
        }
        ws_interval i = ws_interval_of(draw, D), di = ws_interval_of(draw + D, D);
        ws_col_setting(&csv, &e->setting[s]), ws_num(&csv, m), ws_num(&csv, i.lo), ws_num(&csv, i.hi),
            ws_num(&csv, m - m0), ws_num(&csv, di.lo), ws_num(&csv, di.hi);
        ws_num(&csv, lp[0]), ws_num(&csv, lp[1]), ws_num(&csv, n), ws_num(&csv, T), ws_str_addc(&csv, '\n');
        ws_str_addf(
            e->report,
            "%-16s %+8.3f  margin %+7.3f [%+.3f, %+.3f]  against base %+7.3f [%+.3f, %+.3f]  POS %.3f NEG %.3f\n",
            e->setting[s].name, e->setting[s].alpha, m, i.lo, i.hi, m - m0, di.lo, di.hi, lp[0], lp[1]);
    }
    ws_str_addc(e->report, '\n');
    json_object_set_new(
        e->json, "margin",
        json_pack("{s:i, s:i, s:i, s:s}", "n_rows", n, "n_think", w->n_think, "n_topics", T, "pairs", e->o->pairs));
    ws_status st = ws_eval_write(e, "margin.csv", &csv, err);
    ws_str_free(&csv);
    free(sum), free(draw), free(count);
    return st;
}

static ws_status run(ws_eval *e, ws_err *err) {
    ws_pairs *p = NULL;
    if (ws_pairs_load(&p, e->o->pairs, err)) return err->code;
    int n = p->n, S = e->n_settings;
    work w = {.e = e, .pairs = p};
    w.topic = ws_xmalloc((size_t)n * sizeof *w.topic);
    w.ids = ws_xcalloc(2 * (size_t)n * (size_t)S, sizeof *w.ids), w.resp = ws_xcalloc(2 * (size_t)n, sizeof *w.resp);
    w.cell = ws_xcalloc((size_t)n * (size_t)S, sizeof *w.cell);
    topics(&w);
    ws_hash *h = ws_raw_key(e, "ws-margin-raw");
    for (int i = 0; i < n; i++) w.n_think += thinks(&p->row[i]);
    ws_status st = w.n_think ? ws_think_form_of(&w.form, e->chat, thinking_of(e), err) : WS_OK;
    for (int i = 0; i < n && !st; i++) {
        const char *text[2] = {response(&w, &p->row[i], 0), response(&w, &p->row[i], 1)};
        /* </think> is a token, as it was when the response was made; other responses hold no control tokens */
        int flags = thinks(&p->row[i]) ? 0 : WS_TOK_PLAIN;
        for (int k = 0; k < 2 && !st; k++) {
            st = ws_tokenizer_encode(e->tok, text[k], strlen(text[k]), flags, &w.resp[2 * i + k], err);
            if (!st && !w.resp[2 * i + k].n) st = ws_fail(err, WS_EFORMAT, "the %s answer is empty", k ? "NEG" : "POS");
        }
        for (int s = 0; s < S && !st; s++) st = encode(&w, i, s, err);
        if (st) ws_fail_prefix(err, "%s: row %d", p->path, i + 1);
        for (int s = 0; s < S && !st; s++)
            for (int k = 0; k < 2; k++) {
                const ws_ids *x = &w.ids[2 * (i * S + s) + k];
                ws_hash_add(h, &x->n, sizeof x->n), ws_hash_add(h, x->id, (size_t)x->n * sizeof *x->id);
                ws_hash_add(h, &w.resp[2 * i + k].id[w.resp[2 * i + k].n - 1], sizeof(int32_t));
            }
        ws_hash_add(h, &w.topic[i], sizeof w.topic[i]);
    }
    char key[65];
    ws_hash_done(h, key);
    ws_raw raw;
    if (!st) st = ws_raw_open(&raw, e, "margin_raw.jsonl", "ws-margin-raw", key, n * S, take, &w, err);
    if (!st) {
        st = score(&w, &raw, err);
        ws_status closed = ws_raw_close(&raw, st ? NULL : err);
        if (!st) st = closed;
    }
    if (!st) st = tables(&w, err);
    for (int i = 0; i < 2 * n * S; i++) ws_ids_free(&w.ids[i]);
    for (int i = 0; i < 2 * n; i++) ws_ids_free(&w.resp[i]);
    free(w.topic), free(w.ids), free(w.resp), free(w.cell);
    ws_pairs_free(p);
    return st;
}

const ws_eval_ops ws_eval_margin = {
    .name = "margin",
    .title = "preference between held-out POS and NEG answers",
    .check = check,
    .run = run,
};
