#include "eval/vigask.h"
#include "base/progress.h"
#include "calibrate/prompts.h"
#include "eval/batch.h"
#include "eval/raw.h"
#include "eval/think.h"
#include "eval/words.h"
#include "generate/generate.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 96, /* mode A: texts of all settings that run together, in whole vignettes */
    SCORED = 32
}; /* mode B: thoughts that are scored and written together */

typedef struct prompt {
    char *text; /* kept in mode B: thought and prefill are written behind it, and the whole is encoded again */
    ws_ids ids;
} prompt;

typedef struct work {
    ws_eval *e;
    const ws_vigset *set;
    prompt **prompt; /* [n_settings] -> [n]; settings without system prompt share one */
    char *own;       /* [n_settings] the array is this setting's own */
    ws_words words;
    ws_vigask *a;
    ws_raw raw;
    int32_t stop; /* mode B: the id that ends a thought */
    int stop_is_tag;
} work;

char *ws_vigask_mode(const ws_eval_options *o) {
    if (!o->max_think)
        return ws_xstrdup(
            "no thinking (mode A): prompt and prefill are steered, the token after the prefill is scored");
    return ws_sprintf(
        "guided thinking of at most %d tokens (mode B): prompt, thought and prefill are steered, the token "
        "after the prefill is scored",
        o->max_think);
}

ws_status ws_vigask_check(const ws_eval *e, const ws_vigset *set, ws_err *err) {
    if (e->o->max_think < 0) return ws_fail(err, WS_EUSAGE, "--max-think %d: less than nothing", e->o->max_think);
    if (!e->o->max_think) return WS_OK;
    if (!set->closing)
        return ws_fail(err, WS_EUSAGE,
                       "--max-think: %s has no \"closing\", the sentence that ends a thought which reached the budget",
                       set->path[2]);
    if (!(e->o->protocol && e->o->protocol->tag_anyway) && ws_think_check(e->chat, err)) return err->code;
    ws_words w = {0};
    ws_status st = ws_words_after_thought(&w, e->tok, err);
    ws_words_free(&w);
    return st;
}

void ws_vigask_free(ws_vigask *a) {
    free(a->logp_true), free(a->logp_false), free(a->stats);
    *a = (ws_vigask){0};
}

/* ---- prompts ---- */

static const ws_vignette *vignette(const work *w, int cell) { return &w->set->v[cell / 4]; }
static const char *cond(int cell) { return ws_conds[cell / 2 % 2]; }
static const ws_frame *frame(const work *w, int cell) { return &w->set->frame[cell % 2]; }

static ws_status name_cell(const work *w, int cell, ws_err *err) {
    return ws_fail_prefix(err, "vignette \"%s\" (%s, frame %s)", vignette(w, cell)->id, cond(cell),
                          frame(w, cell)->name);
}

/* `more`: tokens that will follow. */
static ws_status fits(const work *w, int n, int more, ws_err *err) {
    int most = ws_model_dims(w->e->model)->max_pos;
    if (most <= 0 || (int64_t)n + more <= most) return WS_OK;
    if (!more)
        return ws_fail(err, WS_EUSAGE, "the prompt has %d tokens, more than the model's %d positions; it is not cut", n,
                       most);
    return ws_fail(err, WS_EUSAGE,
                   "the prompt has %d tokens; with a thought of %d and the answer that is more than the model's %d "
                   "positions",
                   n, w->e->o->max_think, most);
}

static ws_status encode(const work *w, const char *system, int cell, prompt *out, ws_err *err) {
    const ws_eval *e = w->e;
    const ws_frame *f = frame(w, cell);
    int thinks = e->o->max_think > 0, more = 0;
    ws_str text = {0};
    const char *preface = thinks && e->o->protocol ? e->o->protocol->preface : "";
    char *user =
        ws_sprintf("%s%s%s%s", vignette(w, cell)->text[cell / 2 % 2], thinks ? "\n\n" : "\n", preface, f->question);
    ws_status st = thinks ? ws_think_prompt(e->chat, system, user, &text, err)
                          : ws_render_open(e->chat, system, user, 0, &text, err);
    if (!st && !thinks) ws_str_adds(&text, f->prefill);
    if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, &out->ids, err);
    if (!st && thinks) { /* what is to follow at most; the whole is looked at again when it stands */
        ws_ids end = {0};
        char *tail = ws_sprintf("%s%s%s", w->set->closing, WS_THINK_END, f->prefill);
        st = ws_tokenizer_encode(e->tok, tail, strlen(tail), 0, &end, err);
        more = e->o->max_think + end.n;
        ws_ids_free(&end);
        free(tail);
    }
    if (!st) st = fits(w, out->ids.n, more, err);
    if (!st && thinks) out->text = ws_str_take(&text);
    if (st) name_cell(w, cell, err);
    free(user);
    ws_str_free(&text);
    return st;
}

/* ---- raw answers ---- */

static ws_status take(void *arg, int i, const json_t *v, ws_err *err) {
    work *w = arg;
    int S = w->e->n_settings, cell = i / S, at = i % S * w->a->n + cell;
    const char *id = json_string_value(json_object_get(v, "id"));
    const json_t *t = json_object_get(v, "logp_true"), *f = json_object_get(v, "logp_false");
    const json_t *loop = json_object_get(v, "loop"), *tokens = json_object_get(v, "tokens");
    if (!id || strcmp(id, vignette(w, cell)->id) || !json_is_number(t) || !json_is_number(f) ||
        (w->a->stats && (!json_is_number(loop) || !json_is_integer(tokens))))
        return ws_fail(err, WS_EFORMAT, "not the answer for vignette \"%s\" that belongs here; use --fresh",
                       vignette(w, cell)->id);
    w->a->logp_true[at] = json_number_value(t), w->a->logp_false[at] = json_number_value(f);
    if (w->a->stats)
        w->a->stats[at] =
            (ws_thought_stats){(int)json_integer_value(tokens), json_is_true(json_object_get(v, "closed")),
                               json_is_true(json_object_get(v, "own_prefill")), json_number_value(loop)};
    return WS_OK;
}

static json_t *json_text(const ws_str *s) {
    ws_str out = {0};
    ws_raw_text(&out, s);
    json_t *v = json_stringn(out.p, out.n);
    ws_str_free(&out);
    return v;
}

/* Answer i, in the file's order: cells, and within a cell settings. */
static ws_status record(work *w, int i, double lt, double lf, const ws_thought *x, const ws_ids *said, ws_err *err) {
    const ws_eval *e = w->e;
    int cell = i / e->n_settings, s = i % e->n_settings, at = s * w->a->n + cell;
    if (!isfinite(lt) || !isfinite(lf))
        return ws_fail(err, WS_ENONFINITE, "%s at alpha %+g: the logits for vignette \"%s\" are not finite",
                       e->setting[s].name, e->setting[s].alpha, vignette(w, cell)->id);
    w->a->logp_true[at] = lt, w->a->logp_false[at] = lf;
    json_t *v = json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f}", "id", vignette(w, cell)->id, "cond", cond(cell),
                          "frame", frame(w, cell)->name, "method", e->setting[s].name, "alpha", e->setting[s].alpha,
                          "logp_true", lt, "logp_false", lf);
    if (x) {
        w->a->stats[at] = (ws_thought_stats){x->tokens, x->closed, x->prefilled, x->loop};
        json_object_set_new(v, "closed", json_boolean(x->closed));
        json_object_set_new(v, "own_prefill", json_boolean(x->prefilled));
        json_object_set_new(v, "tokens", json_integer(x->tokens));
        json_object_set_new(v, "loop", json_real(x->loop));
        json_object_set_new(v, "thought", json_text(&x->text));
        if (x->rest.n) json_object_set_new(v, "rest", json_text(&x->rest));
        json_t *ids = json_array();
        for (int k = 0; k < said->n; k++) json_array_append_new(ids, json_integer(said->id[k]));
        json_object_set_new(v, "ids", ids);
    }
    return ws_raw_add(&w->raw, v, err);
}

static void answers(const work *w, const float *hidden, int n, double *lt, double *lf) {
    ws_eval_answer(w->e, hidden, n, w->words.yes.id, w->words.yes.n, w->words.no.id, w->words.no.n, lt, lf);
}

/* ---- mode A ---- */

static ws_status ask(work *w, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings, total = w->a->n * S, most = (CHUNK / (4 * S) > 1 ? CHUNK / (4 * S) : 1) * 4 * S;
    ws_eval_row *row = ws_xmalloc((size_t)most * sizeof *row);
    float *hidden = ws_xmalloc((size_t)most * (size_t)ws_model_dims(e->model)->hidden * sizeof *hidden);
    double *lt = ws_xmalloc(2 * (size_t)most * sizeof *lt), *lf = lt + most;
    ws_progress bar;
    ws_progress_start(&bar, "vignettes", "answers", total);
    ws_status st = WS_OK;
    for (int i = w->raw.n; i < total && !st;) {
        int n = 0, end = (i / most + 1) * most < total ? (i / most + 1) * most : total;
        for (int k = i; k < end; k++) {
            if (ws_raw_has_base(&w->raw, k, S)) continue;
            const ws_ids *ids = &w->prompt[k % S][k / S].ids;
            row[n++] = (ws_eval_row){k % S, ids->id, ids->n, 1};
        }
        if (n) st = ws_eval_rows(e, row, n, hidden, err);
        if (!st && n) answers(w, hidden, n, lt, lf);
        for (n = 0; i < end && !st; i++) {
            if (ws_raw_has_base(&w->raw, i, S))
                st = ws_raw_take_base(&w->raw, i, S, err);
            else
                st = record(w, i, lt[n], lf[n], NULL, NULL, err), n++;
        }
        ws_progress_update(&bar, i, NULL);
    }
    ws_progress_end(&bar);
    free(row), free(hidden), free(lt);
    return st;
}

/* ---- mode B ---- */

typedef struct mind { /* a row whose thought has ended */
    ws_ids said;
    ws_thought x;
    double lt, lf;
    int scored;
    int base; /* its answer is there already */
} mind;

/* Thoughts end in any order.  The next ones to end are scored together, going on from what the model has read of them
 * already; they are written in the file's order, so those that wait for an earlier one wait in `mind`. */
typedef struct thinker {
    work *w;
    int first, n;        /* rows first .. first + n - 1 are thought about */
    int n_asked, *asked; /* those of them that the model is asked, [n_asked] */
    int ended, written;
    mind *mind; /* [n] */
    int most;   /* that are scored together */
    int n_wait, wait[SCORED], from[SCORED],
        seq[SCORED];     /* rows to be scored; `from` tokens of each stand in its `seq` */
    ws_ids text[SCORED]; /* whole, its last token is followed by the answer */
    int in_answer;       /* the failure came from scoring, which has told whose it is */
} thinker;

/* How many tokens of the text to be scored can be had from the row's sequence; the last one is always left to be read.
 * Less than it holds, or in models with a running state none, where the tokenizer spells a thought otherwise than the model, or leaves special tokens out. */
static int shared(const ws_ids *text, const ws_ids *asked, const ws_gen_result *r) {
    int most = ws_seq_len(r->state, r->seq), n = 0;
    if (most > text->n - 1) most = text->n - 1;
    while (n < most && text->id[n] == (n < asked->n ? asked->id[n] : r->ids[n - asked->n])) n++;
    return ws_seq_holds(r->state, r->seq, n) ? n : 0;
}

static ws_status end_thought(thinker *t, int index, const ws_gen_result *r, ws_err *err) {
    work *w = t->w;
    const ws_eval *e = w->e;
    int i = t->first + index, cell = i / e->n_settings, k = t->n_wait;
    const prompt *p = &w->prompt[i % e->n_settings][cell];
    mind *m = &t->mind[index];
    ws_str text = {0};
    ws_ids_addn(&m->said, r->ids, r->n);
    t->text[k].n = 0;
    ws_status st = ws_think_end(e->tok, p->text, r->ids, r->n, r->finish == WS_FINISH_STOP && w->stop_is_tag,
                                w->set->closing, frame(w, cell)->prefill, &m->x, &text, err);
    if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, &t->text[k], err);
    if (!st) st = fits(w, t->text[k].n, 0, err);
    if (st) name_cell(w, cell, err);
    if (!st) {
        t->wait[k] = index, t->from[k] = shared(&t->text[k], &p->ids, r);
        t->seq[k] = t->from[k] ? ws_seq_fork(r->state, r->seq, t->from[k]) : -1;
        t->n_wait++;
    }
    ws_str_free(&text);
    return st;
}

/* All that wait for none before them. */
static ws_status write_ended(thinker *t, ws_err *err) {
    work *w = t->w;
    ws_status st = WS_OK;
    for (mind *m; !st && t->written < t->n && ((m = &t->mind[t->written])->scored || m->base); t->written++) {
        int i = t->first + t->written;
        st = m->base ? ws_raw_take_base(&w->raw, i, w->e->n_settings, err)
                     : record(w, i, m->lt, m->lf, &m->x, &m->said, err);
        ws_thought_free(&m->x), ws_ids_free(&m->said);
    }
    return st;
}

static ws_status score(thinker *t, ws_state *state, ws_err *err) {
    work *w = t->w;
    const ws_eval *e = w->e;
    int n = t->n_wait;
    ws_eval_row row[SCORED];
    double lt[SCORED], lf[SCORED];
    float *hidden = ws_xmalloc((size_t)n * (size_t)ws_model_dims(e->model)->hidden * sizeof *hidden);
    for (int k = 0; k < n; k++)
        row[k] = (ws_eval_row){(t->first + t->wait[k]) % e->n_settings, t->text[k].id + t->from[k],
                               t->text[k].n - t->from[k], 1};
    ws_status st = ws_eval_rows_from(e, state, row, t->seq, n, hidden, err);
    if (!st) answers(w, hidden, n, lt, lf);
    for (int k = 0; k < n && !st; k++) {
        mind *m = &t->mind[t->wait[k]];
        m->lt = lt[k], m->lf = lf[k], m->scored = 1;
    }
    t->n_wait = 0;
    free(hidden);
    return st ? st : write_ended(t, err);
}

static ws_status on_done(void *arg, int index, const ws_gen_result *r, ws_err *err) {
    thinker *t = arg;
    t->in_answer = 1;
    ws_status st = end_thought(t, t->asked[index], r, err);
    t->ended++;
    if (!st && (t->n_wait == t->most || t->ended == t->n_asked)) st = score(t, r->state, err);
    if (!st) t->in_answer = 0;
    return st;
}

/* Any of them may have been thinking when a value overflowed. */
static void name_settings(const ws_eval *e, ws_err *err) {
    ws_str list = {0};
    for (int s = 0; s < e->n_settings; s++)
        ws_str_addf(&list, "%s%s at alpha %+g", s ? ", " : "", e->setting[s].name, e->setting[s].alpha);
    ws_fail_prefix(err, "among the thoughts of %s", list.p);
    ws_str_free(&list);
}

static ws_status think(work *w, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings, P = e->n_patches;
    thinker t = {.w = w, .first = w->raw.n, .n = w->a->n * S - w->raw.n};
    if (!t.n) return WS_OK;
    ws_gen_request *req = ws_xcalloc((size_t)t.n, sizeof *req);
    float *alpha = ws_xcalloc((size_t)S * (size_t)(P + 1), sizeof *alpha);
    t.most = ws_eval_sequences(e) < SCORED ? (int)ws_eval_sequences(e) : SCORED;
    t.mind = ws_xcalloc((size_t)t.n, sizeof *t.mind);
    t.asked = ws_xcalloc((size_t)t.n, sizeof *t.asked);
    for (int s = 0; s < S; s++)
        for (int p = 0; p < P; p++) alpha[s * P + p] = ws_eval_alpha(e, e->setting[s].method, e->setting[s].alpha, p);
    for (int k = 0; k < t.n; k++) {
        int i = t.first + k;
        const ws_ids *p = &w->prompt[i % S][i / S].ids;
        t.mind[k].base = ws_raw_has_base(&w->raw, i, S);
        if (t.mind[k].base) continue;
        t.asked[t.n_asked] = k;
        req[t.n_asked++] =
            (ws_gen_request){.prompt = p->id, .n_prompt = p->n, .max_new = e->o->max_think, .alpha = alpha + i % S * P};
    }
    const ws_gen_options o = {.sampling = {.temperature = 0, .top_p = 1}, /* greedy */
                              .stream = "eval.vignettes",
                              .max_rows = e->o->max_rows,
                              .n_patches = P,
                              .patch = e->patch,
                              .stops = &w->stop,
                              .n_stops = w->stop >= 0,
                              .vocab_limit = ws_tokenizer_size(e->tok),
                              .progress = "vignettes, thinking"};
    ws_status st = t.n_asked ? ws_generate(e->model, req, t.n_asked, &o, on_done, NULL, &t, err) : WS_OK;
    if (st == WS_ENONFINITE && !t.in_answer) name_settings(e, err);
    if (!st) st = write_ended(&t, err); /* where the last ones are the base's */
    for (int k = 0; k < t.n; k++) ws_thought_free(&t.mind[k].x), ws_ids_free(&t.mind[k].said);
    for (int k = 0; k < SCORED; k++) ws_ids_free(&t.text[k]);
    free(req), free(alpha), free(t.mind), free(t.asked);
    return st;
}

/* ---- both ---- */

static ws_status prompts(work *w, ws_hash *h, ws_err *err) {
    const ws_eval *e = w->e;
    ws_status st = WS_OK;
    for (int s = 0; s < e->n_settings && !st; s++) {
        for (int k = 0; k < s && !w->prompt[s]; k++)
            if (!e->setting[s].system && !e->setting[k].system) w->prompt[s] = w->prompt[k];
        if (w->prompt[s]) continue;
        w->prompt[s] = ws_xcalloc((size_t)w->a->n, sizeof *w->prompt[s]);
        w->own[s] = 1;
        for (int i = 0; i < w->a->n && !st; i++) {
            const ws_ids *ids = &w->prompt[s][i].ids;
            st = encode(w, e->setting[s].system, i, &w->prompt[s][i], err);
            ws_hash_add(h, &ids->n, sizeof ids->n);
            ws_hash_add(h, ids->id, (size_t)ids->n * sizeof *ids->id);
        }
    }
    return st;
}

static void add_words(ws_hash *h, const ws_ids *v) { ws_hash_add(h, v->id, (size_t)v->n * sizeof *v->id); }

ws_status ws_vigask_run(ws_vigask *a, ws_eval *e, const ws_vigset *set, ws_err *err) {
    int S = e->n_settings, n = 4 * set->n, thinks = e->o->max_think;
    size_t cells = (size_t)S * (size_t)n;
    char key[65];
    *a = (ws_vigask){n, ws_xmalloc(cells * sizeof(double)), ws_xmalloc(cells * sizeof(double)),
                     thinks ? ws_xcalloc(cells, sizeof *a->stats) : NULL};
    work w = {.e = e, .set = set, .a = a};
    w.prompt = ws_xcalloc((size_t)S, sizeof *w.prompt), w.own = ws_xcalloc((size_t)S, 1);
    w.stop = ws_think_stop(e->tok, &w.stop_is_tag);
    ws_hash *h = ws_raw_key(e, "ws-vignettes-raw");
    ws_status st = thinks ? ws_words_after_thought(&w.words, e->tok, err)
                          : ws_words_direct(&w.words, e->tok, ws_model_dims(e->model)->vocab, err);
    if (!st) st = prompts(&w, h, err);
    for (int i = 0; i < set->n; i++) ws_hash_adds(h, set->v[i].id);
    add_words(h, &w.words.yes), add_words(h, &w.words.no);
    if (thinks) {
        ws_hash_adds(h, "guided thinking"), ws_hash_add(h, &thinks, sizeof thinks);
        ws_hash_adds(h, set->closing), ws_hash_add(h, &w.stop, sizeof w.stop);
        for (int f = 0; f < 2; f++) ws_hash_adds(h, set->frame[f].prefill);
    }
    ws_hash_done(h, key);
    if (!st) st = ws_raw_open(&w.raw, e, "vignettes_raw.jsonl", "ws-vignettes-raw", key, (int)cells, take, &w, err);
    if (!st) {
        st = thinks ? think(&w, err) : ask(&w, err);
        ws_status closed = ws_raw_close(&w.raw, st ? NULL : err);
        if (!st) st = closed;
    }
    for (int s = 0; s < S; s++) {
        for (int i = 0; i < n && w.own[s]; i++) free(w.prompt[s][i].text), ws_ids_free(&w.prompt[s][i].ids);
        if (w.own[s]) free(w.prompt[s]);
    }
    free(w.prompt), free(w.own);
    ws_words_free(&w.words);
    return st;
}
