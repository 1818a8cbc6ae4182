/* src/eval/dose.c - does the dial work?  Free generations without system prompt on held-out topics, at -alpha, -alpha/2, 0,
 * alpha/2 and alpha: the behaviour's counters beside length, distinct-3 and the base model's perplexity of the text.
 * Where a response begins with reasoning the counters see the answer behind it alone; a response that never leaves its
 * think block has no answer and no score, and is counted as such. */
#include "base/progress.h"
#include "base/stats.h"
#include "calibrate/prompts.h"
#include "eval/batch.h"
#include "eval/raw.h"
#include "generate/generate.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(dose)

enum { CHUNK = 192 }; /* texts that are written together */

typedef struct level { /* one strength of one method */
    int method;        /* -1: base */
    const char *name;
    double alpha, dose;
    const char *system;
} level;

enum { SCORE, TOKENS, DISTINCT, NLL, N_MEASURES };
static const char *const measure_name[] = {"score", "tokens", "distinct3", "base_nll"};
typedef struct sample {
    double m[N_MEASURES]; /* NaN: not defined for this text */
    int cut;
    int closed; /* -1: no think block is expected */
} sample;

typedef struct work {
    ws_eval *e;
    ws_think_form form;
    level *level;
    int L, T, S;    /* levels, topics, samples a topic */
    ws_ids *prompt; /* [T, L] */
    sample *out;    /* [T, S, L] */
    /* the chunk that is being generated */
    int first;
    ws_ids *ids; /* [CHUNK] */
    ws_finish *finish;
    int *asked; /* [CHUNK] texts that the model is asked for: places in the chunk */
    const ws_raw *raw;
} work;

/* The text at this place of the chunk is there already, from an evaluation of the base alone. */
static int is_there(const work *w, int i) { return ws_raw_has_base(w->raw, w->first + i, w->L); }

static ws_status check(const ws_eval *e, ws_err *err) {
    const ws_eval_options *o = e->o;
    if (!e->behavior)
        return ws_fail(err, WS_EUSAGE,
                       "the readout dose needs a behaviour for its held-out topics and counters: --behavior NAME");
    if (!e->behavior->n_heldout)
        return ws_fail(err, WS_EUSAGE, "%s has no \"heldout_topics\", which the readout dose needs", e->behavior->path);
    if (o->dose_samples < 1 || o->dose_tokens < 1 || o->dose_min_tokens < 0 || o->dose_min_tokens > o->dose_tokens ||
        o->dose_topics < 0)
        return ws_fail(err, WS_EUSAGE,
                       "the readout dose needs at least one sample and one token (and --dose-min-tokens no larger than "
                       "--dose-tokens)");
    if (o->dose_topics > e->behavior->n_heldout)
        return ws_fail(err, WS_EUSAGE, "--dose-topics %d: %s holds out %d topics", o->dose_topics, e->behavior->path,
                       e->behavior->n_heldout);
    int topics = o->dose_topics ? o->dose_topics : e->behavior->n_heldout, most = ws_model_dims(e->model)->max_pos;
    if (5.0 * topics * o->dose_samples * (e->n_methods + 1) > 1e8)
        return ws_fail(err, WS_EUSAGE, "--dose-samples %d on %d topics: more than 1e8 texts", o->dose_samples, topics);
    if (most > 0 && o->dose_tokens >= most)
        return ws_fail(err, WS_EUSAGE, "--dose-tokens %d: this model has %d positions", o->dose_tokens, most);
    return WS_OK;
}

/* -alpha, -alpha/2, base, alpha/2, alpha: of each method's strongest settings. */
static void levels(work *w) {
    const ws_eval *e = w->e;
    w->level = ws_xmalloc(4 * (size_t)e->n_methods * sizeof *w->level + sizeof *w->level);
    w->level[w->L++] = (level){-1, "base", 0, 0, NULL};
    for (int m = 0; m < e->n_methods; m++)
        for (int s = 1; s < e->n_settings; s++) {
            const ws_setting *x = &e->setting[s];
            if (x->method != m || (x->arm != WS_ARM_PLUS && x->arm != WS_ARM_MINUS)) continue;
            double sign = x->arm == WS_ARM_PLUS ? 1 : -1;
            if (!x->system) w->level[w->L++] = (level){m, x->name, x->alpha / 2, sign / 2, NULL};
            w->level[w->L++] = (level){m, x->name, x->alpha, sign, x->system};
        }
}

static ws_status encode(work *w, int t, int l, ws_err *err) {
    const ws_eval *e = w->e;
    const ws_render r = {.generation_prompt = 1, .thinking = e->o->thinking, .date = WS_CHAT_FIXED_DATE};
    ws_str text = {0};
    ws_status st = ws_chat_render_plain(e->chat, w->level[l].system, e->behavior->heldout[t], NULL, &r, &text, err);
    if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, &w->prompt[t * w->L + l], err);
    ws_str_free(&text);
    return st;
}

static ws_status on_done(void *arg, int index, const ws_gen_result *r, ws_err *err) {
    (void)err;
    work *w = arg;
    int i = w->asked[index];
    w->ids[i].n = 0;
    ws_ids_addn(&w->ids[i], r->ids, r->n);
    w->finish[i] = r->finish;
    return WS_OK;
}

/* Mean nats per token of each text of the chunk under the base model, given its prompt without system prompt. */
static ws_status base_nll(work *w, int n, double *nll, ws_err *err) {
    const ws_eval *e = w->e;
    ws_eval_row *row = ws_xmalloc((size_t)n * sizeof *row + 1);
    ws_ids *text = ws_xcalloc((size_t)n + 1, sizeof *text), target = {0};
    int rows = 0;
    for (int i = 0; i < n; i++) {
        const ws_ids *p = &w->prompt[(w->first + i) / (w->S * w->L) * w->L]; /* level 0: the base's prompt */
        nll[i] = NAN;
        if (is_there(w, i)) w->ids[i].n = 0;
        if (!w->ids[i].n) continue;
        ws_ids_addn(&text[i], p->id, p->n), ws_ids_addn(&text[i], w->ids[i].id, w->ids[i].n - 1);
        ws_ids_addn(&target, w->ids[i].id, w->ids[i].n);
        row[rows++] = (ws_eval_row){0, text[i].id, text[i].n, w->ids[i].n};
    }
    float *hidden = ws_xmalloc((size_t)target.n * (size_t)ws_model_dims(e->model)->hidden * sizeof *hidden + 1);
    float *logp = ws_xmalloc((size_t)target.n * sizeof *logp + 1);
    ws_status st = rows ? ws_eval_rows(e, row, rows, hidden, err) : WS_OK;
    if (!st && rows) st = ws_logprob(e->model, hidden, target.n, target.id, logp, err);
    int64_t at = 0;
    for (int i = 0; i < n && !st; i++) {
        double sum = 0;
        for (int t = 0; t < w->ids[i].n; t++) sum -= logp[at++];
        if (w->ids[i].n) nll[i] = sum / w->ids[i].n;
        if (isinf(nll[i]))
            st = ws_fail(err, WS_ENONFINITE, "the base model gives a text of %s at alpha %+g no probability",
                         w->level[(w->first + i) % w->L].name, w->level[(w->first + i) % w->L].alpha);
    }
    for (int i = 0; i < n; i++) ws_ids_free(&text[i]);
    ws_ids_free(&target);
    free(row), free(text), free(hidden), free(logp);
    return st;
}

static json_t *real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static ws_status record(work *w, ws_raw *raw, int i, double nll, ws_err *err) {
    const ws_eval *e = w->e;
    int at = w->first + i, l = at % w->L, t = at / (w->S * w->L);
    const ws_ids *ids = &w->ids[i];
    sample *s = &w->out[at];
    ws_str decoded = {0}, text = {0};
    json_t *counts = json_object();
    ws_status st = ws_think_decode(e->tok, ids->id, ids->n, &decoded, err);
    ws_raw_text(&text, &decoded);
    ws_str_free(&decoded);
    ws_think_parts part;
    ws_think_split(text.p, text.n, w->form >= WS_THINK_FREE ? w->form : WS_THINK_NONE, &part);
    s->closed = w->form >= WS_THINK_FREE ? part.closed : -1;
    if (!st) st = ws_behavior_score(e->behavior, part.answer, part.n_answer, &s->m[SCORE], err);
    if (!part.closed) s->m[SCORE] = NAN;
    for (int c = 0; c < e->behavior->n_counters && !st; c++) {
        long k = ws_regex_count(e->behavior->counter[c].re, part.answer, part.n_answer, err);
        if (k < 0) st = err->code;
        json_object_set_new(counts, e->behavior->counter[c].name, json_integer(k));
    }
    s->m[TOKENS] = ids->n, s->m[DISTINCT] = ws_distinct(ids->id, ids->n, 3), s->m[NLL] = nll,
    s->cut = w->finish[i] == WS_FINISH_LENGTH;
    if (!st) {
        json_t *line =
            json_pack("{s:i, s:i, s:s, s:s, s:f, s:f, s:s%, s:i, s:s, s:o, s:O, s:o, s:o}", "topic", t, "sample",
                      at / w->L % w->S, "prompt", e->behavior->heldout[t], "method", w->level[l].name, "alpha",
                      w->level[l].alpha, "dose", w->level[l].dose, "text", text.p, text.n, "tokens", ids->n,
                      "finish_reason", s->cut ? "length" : "stop", "score", real_or_null(s->m[SCORE]), "counts", counts,
                      "distinct3", real_or_null(s->m[DISTINCT]), "base_nll", real_or_null(nll));
        if (s->closed >= 0) {
            json_object_set_new(line, "reasoning", json_stringn(part.reasoning, part.n_reasoning));
            json_object_set_new(line, "answer", json_stringn(part.answer, part.n_answer));
            json_object_set_new(line, "closed", json_boolean(s->closed));
        }
        st = ws_raw_add(raw, line, err);
    }
    json_decref(counts);
    ws_str_free(&text);
    return st;
}

static double number(const json_t *v, const char *key) {
    const json_t *x = json_object_get(v, key);
    return json_is_number(x) ? json_number_value(x) : NAN;
}

static ws_status take(void *arg, int i, const json_t *v, ws_err *err) {
    work *w = arg;
    sample *s = &w->out[i];
    const char *finish = json_string_value(json_object_get(v, "finish_reason"));
    const json_t *closed = json_object_get(v, "closed");
    s->closed = json_is_boolean(closed) ? json_is_true(closed) : -1;
    if (json_integer_value(json_object_get(v, "topic")) != i / (w->S * w->L) ||
        number(v, "alpha") != w->level[i % w->L].alpha || !finish || (isnan(number(v, "score")) && s->closed != 0) ||
        (s->closed >= 0) != (w->form >= WS_THINK_FREE))
        return ws_fail(err, WS_EFORMAT, "not the text that belongs here; use --fresh");
    for (int m = 0; m < N_MEASURES; m++) s->m[m] = number(v, measure_name[m]);
    s->cut = !strcmp(finish, "length");
    return WS_OK;
}

static ws_status speak(work *w, ws_raw *raw, ws_err *err) {
    const ws_eval *e = w->e;
    int total = w->T * w->S * w->L, n_stops, P = e->n_patches;
    const int32_t *stops = ws_tokenizer_stops(e->tok, &n_stops);
    float *alpha = ws_xcalloc((size_t)CHUNK * (size_t)(P + 1), sizeof *alpha);
    ws_gen_request *req = ws_xcalloc(CHUNK, sizeof *req);
    double nll[CHUNK];
    ws_status st = WS_OK;
    w->raw = raw;
    for (w->first = raw->n; w->first < total && !st;) {
        int end = (w->first / CHUNK + 1) * CHUNK < total ? (w->first / CHUNK + 1) * CHUNK : total, n = end - w->first;
        int asked = 0;
        for (int i = 0; i < n; i++) {
            int at = w->first + i, l = at % w->L;
            const level *x = &w->level[l];
            if (is_there(w, i)) continue;
            for (int p = 0; p < P; p++) alpha[i * P + p] = ws_eval_alpha(e, x->method, x->alpha, p);
            const ws_ids *prompt = &w->prompt[at / (w->S * w->L) * w->L + l];
            /* all levels draw from the same stream: they differ by their strength, not by luck */
            w->asked[asked] = i;
            req[asked++] = (ws_gen_request){.prompt = prompt->id,
                                            .n_prompt = prompt->n,
                                            .max_new = e->o->dose_tokens,
                                            .min_new = e->o->dose_min_tokens,
                                            .stream_row = (uint64_t)(at / w->L),
                                            .alpha = alpha + i * P};
        }
        char title[64];
        snprintf(title, sizeof title, "dose, texts %d to %d of %d", w->first + 1, end, total);
        const ws_gen_options o = {.sampling = e->o->sampling,
                                  .seed = e->o->seed,
                                  .stream = "eval.dose",
                                  .max_rows = e->o->max_rows,
                                  .n_patches = P,
                                  .patch = e->patch,
                                  .stops = stops,
                                  .n_stops = n_stops,
                                  .vocab_limit = ws_tokenizer_size(e->tok),
                                  .progress = title};
        if (asked) st = ws_generate(e->model, req, asked, &o, on_done, NULL, w, err);
        if (st == WS_ENONFINITE) {
            ws_str list = {0};
            for (int l = 0; l < w->L; l++)
                ws_str_addf(&list, "%s%s at alpha %+g", l ? ", " : "", w->level[l].name, w->level[l].alpha);
            ws_fail_prefix(err, "among the texts of %s", list.p);
            ws_str_free(&list);
        }
        if (!st) st = base_nll(w, n, nll, err);
        for (int i = 0; i < n && !st; i++)
            st = is_there(w, i) ? ws_raw_take_base(raw, w->first + i, w->L, err) : record(w, raw, i, nll[i], err);
        w->first = end;
    }
    free(alpha), free(req);
    return st;
}

static ws_status tables(work *w, ws_err *err) {
    ws_eval *e = w->e;
    int T = w->T, S = w->S, L = w->L, D = e->o->bootstrap, n = T * S;
    double *draw = ws_xmalloc((size_t)D * sizeof *draw), *value = ws_xmalloc((size_t)n * sizeof *value);
    ws_str csv = {0};
    ws_str_adds(&csv, "method,alpha,dose,score,score_lo,score_hi,score_se,tokens,tokens_lo,tokens_hi,distinct3,"
                      "distinct3_lo,distinct3_hi,base_nll,base_nll_lo,base_nll_hi,"
                      "base_ppl,cut,n,n_topics,n_scored,closed\n");
    ws_str_addf(e->report,
                "Dose: %s; %d held-out topics x %d samples of at most %d tokens, no system prompt, [95%% interval over "
                "topics]\n",
                e->behavior->title, T, S, e->o->dose_tokens);
    if (w->form >= WS_THINK_FREE)
        ws_str_addf(e->report, "  thinking: %s; the score is of answers alone, the rest of whole responses\n",
                    ws_think_say(w->form));
    for (int l = 0; l < L; l++) {
        ws_col(&csv, w->level[l].name), ws_num(&csv, w->level[l].alpha), ws_num(&csv, w->level[l].dose);
        ws_str_addf(e->report, "%-16s %+8.3f", w->level[l].name, w->level[l].alpha);
        double nll = NAN, cut = 0, closed = 0, scored = 0;
        for (int m = 0; m < N_MEASURES; m++) {
            for (int i = 0; i < n; i++) value[i] = w->out[i * L + l].m[m];
            for (int d = 0; d < D; d++) {
                double sum = 0;
                int count = 0;
                for (int t = 0; t < T; t++) {
                    const double *v = value + S * ws_boot_index(e->o->seed, "eval.dose.topics", d, t, T);
                    for (int k = 0; k < S; k++)
                        if (!isnan(v[k])) sum += v[k], count++;
                }
                draw[d] = count ? sum / count : NAN;
            }
            ws_interval v = ws_interval_of(draw, D);
            double mean = ws_mean(value, n);
            ws_num(&csv, mean), ws_num(&csv, v.lo), ws_num(&csv, v.hi);
            if (m == SCORE) {
                scored = (double)ws_count(value, n);
                ws_num(&csv, ws_std(value, n, 1) / sqrt(scored));
                ws_str_addf(e->report, "  score %+6.2f [%+.2f, %+.2f]", mean, v.lo, v.hi);
            }
            if (m == TOKENS) ws_str_addf(e->report, "  tokens %5.1f", mean);
            if (m == DISTINCT) ws_str_addf(e->report, "  distinct-3 %.3f", mean);
            if (m == NLL) nll = mean;
        }
        for (int i = 0; i < n; i++)
            cut += (double)w->out[i * L + l].cut / n, closed += (double)w->out[i * L + l].closed / n;
        ws_num(&csv, exp(nll)), ws_num(&csv, cut), ws_num(&csv, n), ws_num(&csv, T);
        ws_num(&csv, scored), ws_num(&csv, w->form >= WS_THINK_FREE ? closed : NAN), ws_str_addc(&csv, '\n');
        ws_str_addf(e->report, "  base perplexity %.1f", exp(nll));
        if (w->form >= WS_THINK_FREE) ws_str_addf(e->report, "  closed %3.0f %%", 100 * closed);
        ws_str_addc(e->report, '\n');
    }
    ws_str_addc(e->report, '\n');
    const ws_sampling *q = &e->o->sampling;
    json_object_set_new(e->json, "dose",
                        json_pack("{s:i, s:i, s:s, s:i, s:f, s:f, s:i}", "n_topics", T, "n_samples", S, "scored",
                                  w->form >= WS_THINK_FREE ? "answer behind the reasoning" : "answer", "max_new_tokens",
                                  e->o->dose_tokens, "temperature", q->temperature, "top_p", q->top_p, "top_k",
                                  q->top_k));
    ws_status st = ws_eval_write(e, "dose.csv", &csv, err);
    ws_str_free(&csv);
    free(draw), free(value);
    return st;
}

static ws_status run(ws_eval *e, ws_err *err) {
    const ws_eval_options *o = e->o;
    work w = {.e = e, .S = o->dose_samples, .T = e->behavior->n_heldout};
    if (o->dose_topics) w.T = o->dose_topics;
    if (ws_think_form_of(&w.form, e->chat, o->thinking, err)) return err->code;
    levels(&w);
    int total = w.T * w.S * w.L;
    w.prompt = ws_xcalloc((size_t)w.T * (size_t)w.L, sizeof *w.prompt);
    w.out = ws_xcalloc((size_t)total, sizeof *w.out);
    w.ids = ws_xcalloc(CHUNK, sizeof *w.ids), w.finish = ws_xcalloc(CHUNK, sizeof *w.finish);
    w.asked = ws_xcalloc(CHUNK, sizeof *w.asked);
    ws_hash *h = ws_raw_key(e, "ws-samples");
    ws_hash_adds(h, e->behavior->hash);
    const double shape[] = {o->sampling.temperature, o->sampling.top_p, o->sampling.min_p};
    ws_hash_add(h, shape, sizeof shape), ws_hash_add(h, &o->seed, sizeof o->seed);
    const int sizes[] = {o->sampling.top_k, w.T, w.S, w.L, o->dose_tokens, o->dose_min_tokens};
    ws_hash_add(h, sizes, sizeof sizes);
    int n_stops;
    const int32_t *stops = ws_tokenizer_stops(e->tok, &n_stops);
    ws_hash_add(h, stops, (size_t)n_stops * sizeof *stops);
    ws_status st = WS_OK;
    for (int i = 0; i < w.T * w.L && !st; i++) {
        st = encode(&w, i / w.L, i % w.L, err);
        ws_hash_add(h, w.prompt[i].id, (size_t)w.prompt[i].n * sizeof(int32_t));
    }
    char key[65];
    ws_hash_done(h, key);
    ws_raw raw;
    if (!st) st = ws_raw_open(&raw, e, "samples.jsonl", "ws-samples", key, total, take, &w, err);
    if (!st) {
        st = speak(&w, &raw, err);
        ws_status closed = ws_raw_close(&raw, st ? NULL : err);
        if (!st) st = closed;
    }
    if (!st) st = tables(&w, err);
    for (int i = 0; i < w.T * w.L; i++) ws_ids_free(&w.prompt[i]);
    for (int i = 0; i < CHUNK; i++) ws_ids_free(&w.ids[i]);
    free(w.prompt), free(w.out), free(w.ids), free(w.finish), free(w.asked), free(w.level);
    return st;
}

const ws_eval_ops ws_eval_dose = {
    .name = "dose",
    .title = "free answers on held-out topics at five strengths",
    .check = check,
    .run = run,
};
