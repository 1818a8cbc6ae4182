/* src/eval/canaries.c - is the model still whole?  KL says how far it was moved, not whether it still works, so at every
 * strength three things are looked at on the calibration prompts, each against the base on the same prompts:
 *     a greedy answer          distinct-3 of its tokens, and the loop score (share of runs of 4 tokens that stood before)
 *     a JSON object on request the share of answers that parse
 *     true or false on request the probability of both together behind a prefill
 * A setting is broken when a rule below says so; what is asked stands in data/canaries.json. */
#include "base/progress.h"
#include "base/stats.h"
#include "calibrate/prompts.h"
#include "eval/batch.h"
#include "eval/raw.h"
#include "eval/think.h"
#include "eval/words.h"
#include "generate/generate.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(canaries)

enum { CHUNK = 64, TOKENS = 50, JSON_TOKENS = 80, TEXTS = 2 };
enum { DISTINCT, LOOP, JSON_SHARE, MASS, N_MEASURES };
static const char *const names[] = {"distinct3", "loop", "json", "mass"};

/* The rules.  Shares of so few prompts swing, so for loops and JSON the paired interval must leave 0 out as well. */
static const double least_distinct = 0.5, least_mass = 0.75, most_loops = 0.1, most_json_lost = 0.2;

typedef struct asked { /* data/canaries.json */
    char *json_request, *question, *prefill, *path;
} asked;

typedef struct work {
    ws_eval *e;
    asked q;
    int n;          /* prompts */
    char **text;    /* [n] */
    ws_ids *prompt; /* [n, settings, 3]: plain, JSON, prefill */
    double *out;    /* [n, settings, N_MEASURES] */
    ws_words words;
    const ws_raw *raw;
    int first, *place; /* the chunk: its first item, and the item and text of each request */
    ws_ids *said;      /* [CHUNK, TEXTS] */
} work;

/* ---- what is asked ---- */

static ws_status load_asked(asked *a, ws_err *err) {
    json_t *j = NULL;
    *a = (asked){.path = ws_data_path("canaries.json", err)};
    if (!a->path || ws_json_load(&j, a->path, err)) return err->code;
    const struct {
        const char *key;
        char **to;
    } part[] = {{"json_request", &a->json_request}, {"question", &a->question}, {"prefill", &a->prefill}};
    const char *format = json_string_value(json_object_get(j, "format"));
    ws_status st = WS_OK;
    if (!format || strcmp(format, "ws-canaries") || json_integer_value(json_object_get(j, "version")) != 1)
        st = ws_fail(err, WS_EFORMAT, "%s: not a \"ws-canaries\" file of version 1", a->path);
    for (int i = 0; i < 3 && !st; i++) {
        const char *s = NULL;
        if (!(st = ws_json_str(j, part[i].key, &s, a->path, err))) *part[i].to = ws_xstrdup(s);
    }
    json_decref(j);
    return st;
}

static void free_asked(asked *a) { free(a->json_request), free(a->question), free(a->prefill), free(a->path); }

static ws_status check(const ws_eval *e, ws_err *err) {
    asked a;
    ws_status st = load_asked(&a, err);
    free_asked(&a);
    int most = ws_model_dims(e->model)->max_pos;
    if (!st && e->o->canary_prompts < 1)
        st = ws_fail(err, WS_EUSAGE, "the readout canaries needs at least one prompt: --canary-prompts");
    if (!st && most > 0 && JSON_TOKENS >= most)
        st = ws_fail(err, WS_EUSAGE, "the readout canaries writes %d tokens, and this model has %d positions",
                     JSON_TOKENS, most);
    return st;
}

/* The prompts that calibration uses with the same seed, as far as they are asked for. */
static ws_status choose(work *w, ws_err *err) {
    ws_pool pool = {0};
    int *pick = NULL, *rest = NULL;
    char *path = ws_data_path("prompts.jsonl", err);
    ws_status st = path ? ws_pool_load(&pool, path, err) : err->code;
    w->n = w->e->o->canary_prompts;
    if (!st) {
        pick = ws_xmalloc((size_t)pool.n * sizeof *pick), rest = ws_xmalloc((size_t)pool.n * sizeof *rest);
        st = ws_pool_choose(&pool, w->n, w->e->o->seed, pick, rest, err);
    }
    if (!st) w->text = ws_xcalloc((size_t)w->n, sizeof *w->text);
    for (int i = 0; i < w->n && !st; i++) w->text[i] = ws_xstrdup(pool.prompt[pick[i]].text);
    ws_pool_free(&pool);
    free(pick), free(rest), free(path);
    return st;
}

static ws_status encode(work *w, int i, int s, ws_err *err) {
    const ws_eval *e = w->e;
    const char *more[] = {NULL, w->q.json_request, w->q.question};
    for (int k = 0; k < 3; k++) {
        ws_str text = {0};
        char *user = more[k] ? ws_sprintf("%s\n\n%s", w->text[i], more[k]) : ws_xstrdup(w->text[i]);
        ws_status st = ws_render_open(e->chat, e->setting[s].system, user, 0, &text, err);
        if (!st && k == 2) ws_str_adds(&text, w->q.prefill);
        ws_ids *ids = &w->prompt[(i * e->n_settings + s) * 3 + k];
        if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, ids, err);
        int most = ws_model_dims(e->model)->max_pos;
        if (!st && most > 0 && ids->n + JSON_TOKENS > most)
            st =
                ws_fail(err, WS_EUSAGE, "canary prompt %d has %d tokens; with an answer that is more than %d positions",
                        i, ids->n, most);
        free(user);
        ws_str_free(&text);
        if (st) return st;
    }
    return WS_OK;
}

/* ---- raw results ---- */

/* A JSON object and nothing else but white space and a fence of three backticks around it. */
static int is_json(const char *text) {
    const char *p = text + strspn(text, " \t\r\n"), *end = p + strlen(p);
    if (!strncmp(p, "```", 3)) {
        p += 3;
        if (!strncmp(p, "json", 4)) p += 4;
        while (end > p && strchr(" \t\r\n", end[-1])) end--;
        if (end - p < 3 || strncmp(end - 3, "```", 3)) return 0;
        end -= 3;
    }
    json_error_t error;
    json_t *j = json_loadb(p, (size_t)(end - p), JSON_REJECT_DUPLICATES, &error);
    int ok = json_is_object(j);
    json_decref(j);
    return ok;
}

static json_t *real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static ws_status record(work *w, ws_raw *raw, int at, double mass, ws_err *err) {
    const ws_eval *e = w->e;
    const ws_setting *s = &e->setting[at % e->n_settings];
    double *out = w->out + at * N_MEASURES;
    const ws_ids *said = &w->said[(at - w->first) * TEXTS];
    ws_str text[TEXTS] = {{0}, {0}};
    ws_status st = WS_OK;
    for (int k = 0; k < TEXTS && !st; k++) {
        ws_str decoded = {0};
        st = ws_tokenizer_decode(e->tok, said[k].id, said[k].n, 1, &decoded, err);
        ws_raw_text(&text[k], &decoded);
        ws_str_free(&decoded);
    }
    out[DISTINCT] = ws_distinct(said[0].id, said[0].n, 3), out[LOOP] = ws_think_loop(said[0].id, said[0].n);
    out[JSON_SHARE] = !st && is_json(text[1].p), out[MASS] = mass;
    if (!st)
        st = ws_raw_add(raw,
                        json_pack("{s:i, s:s, s:f, s:s, s:s, s:o, s:f, s:f, s:f}", "prompt", at / e->n_settings,
                                  "method", s->name, "alpha", s->alpha, "text", text[0].p, "json_text", text[1].p,
                                  names[DISTINCT], real_or_null(out[DISTINCT]), names[LOOP], out[LOOP],
                                  names[JSON_SHARE], out[JSON_SHARE], names[MASS], out[MASS]),
                        err);
    for (int k = 0; k < TEXTS; k++) ws_str_free(&text[k]);
    return st;
}

static ws_status take(void *arg, int i, const json_t *v, ws_err *err) {
    work *w = arg;
    if (json_integer_value(json_object_get(v, "prompt")) != i / w->e->n_settings ||
        !json_is_number(json_object_get(v, names[MASS])))
        return ws_fail(err, WS_EFORMAT, "not the result of prompt %d that belongs here; use --fresh",
                       i / w->e->n_settings);
    for (int k = 0; k < N_MEASURES; k++) {
        const json_t *x = json_object_get(v, names[k]);
        w->out[i * N_MEASURES + k] = json_is_number(x) ? json_number_value(x) : (double)NAN;
    }
    return WS_OK;
}

static ws_status on_done(void *arg, int index, const ws_gen_result *r, ws_err *err) {
    (void)err;
    work *w = arg;
    ws_ids *to = &w->said[w->place[index]];
    to->n = 0;
    ws_ids_addn(to, r->ids, r->n);
    return WS_OK;
}

/* Probability of true and false together behind the prefill, for the items at[0 .. n). */
static ws_status masses(work *w, const int *at, int n, double *mass, ws_err *err) {
    const ws_eval *e = w->e;
    ws_eval_row *row = ws_xmalloc((size_t)n * sizeof *row + 1);
    float *hidden = ws_xmalloc((size_t)n * (size_t)ws_model_dims(e->model)->hidden * sizeof *hidden + 1);
    double *lt = ws_xmalloc(2 * (size_t)n * sizeof *lt + 1), *lf = lt + n;
    for (int i = 0; i < n; i++) {
        const ws_ids *p = &w->prompt[at[i] * 3 + 2];
        row[i] = (ws_eval_row){at[i] % e->n_settings, p->id, p->n, 1};
    }
    ws_status st = n ? ws_eval_rows(e, row, n, hidden, err) : WS_OK;
    if (!st && n) ws_eval_answer(e, hidden, n, w->words.yes.id, w->words.yes.n, w->words.no.id, w->words.no.n, lt, lf);
    for (int i = 0; i < n && !st; i++) {
        mass[i] = exp(lt[i]) + exp(lf[i]);
        if (!isfinite(mass[i]))
            st = ws_fail(err, WS_ENONFINITE, "%s at alpha %+g: the logits of canary prompt %d are not finite",
                         e->setting[at[i] % e->n_settings].name, e->setting[at[i] % e->n_settings].alpha,
                         at[i] / e->n_settings);
    }
    free(row), free(hidden), free(lt);
    return st;
}

static ws_status speak(work *w, ws_raw *raw, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings, total = w->n * S, n_stops, P = e->n_patches, at[CHUNK];
    const int32_t *stops = ws_tokenizer_stops(e->tok, &n_stops);
    float *alpha = ws_xcalloc((size_t)S * (size_t)(P + 1), sizeof *alpha);
    ws_gen_request *req = ws_xcalloc(CHUNK * TEXTS, sizeof *req);
    double mass[CHUNK];
    ws_status st = WS_OK;
    for (int s = 0; s < S; s++)
        for (int p = 0; p < P; p++) alpha[s * P + p] = ws_eval_alpha(e, e->setting[s].method, e->setting[s].alpha, p);
    for (w->first = raw->n; w->first < total && !st;) {
        int end = w->first + CHUNK < total ? w->first + CHUNK : total, n = 0, texts = 0;
        for (int i = w->first; i < end; i++) {
            if (ws_raw_has_base(raw, i, S)) continue;
            for (int k = 0; k < TEXTS; k++) {
                const ws_ids *p = &w->prompt[i * 3 + k];
                w->place[texts] = (i - w->first) * TEXTS + k;
                req[texts++] = (ws_gen_request){
                    .prompt = p->id, .n_prompt = p->n, .max_new = k ? JSON_TOKENS : TOKENS, .alpha = alpha + i % S * P};
            }
            at[n++] = i;
        }
        char title[64];
        snprintf(title, sizeof title, "canaries, %d to %d of %d", w->first + 1, end, total);
        const ws_gen_options o = {.sampling = {.temperature = 0, .top_p = 1},
                                  .stream = "eval.canaries",
                                  .max_rows = e->o->max_rows,
                                  .n_patches = P,
                                  .patch = e->patch,
                                  .stops = stops,
                                  .n_stops = n_stops,
                                  .vocab_limit = ws_tokenizer_size(e->tok),
                                  .progress = title};
        if (texts) st = ws_generate(e->model, req, texts, &o, on_done, NULL, w, err);
        if (!st) st = masses(w, at, n, mass, err);
        for (int i = w->first, k = 0; i < end && !st; i++)
            if (ws_raw_has_base(raw, i, S))
                st = ws_raw_take_base(raw, i, S, err);
            else
                st = record(w, raw, i, mass[k++], err);
        w->first = end;
    }
    free(alpha), free(req);
    return st;
}

/* ---- tables ---- */

static ws_interval interval(const work *w, int s, int m, int against, double *draw) {
    int S = w->e->n_settings, D = w->e->o->bootstrap;
    for (int d = 0; d < D; d++) {
        double sum = 0;
        int count = 0;
        for (int i = 0; i < w->n; i++) {
            int64_t k = ws_boot_index(w->e->o->seed, "eval.canaries", d, i, w->n);
            double v = w->out[(k * S + s) * N_MEASURES + m];
            if (against) v -= w->out[k * S * N_MEASURES + m];
            if (!isnan(v)) sum += v, count++;
        }
        draw[d] = count ? sum / count : (double)NAN;
    }
    return ws_interval_of(draw, D);
}

static double mean(const work *w, int s, int m) {
    double sum = 0;
    int n = 0;
    for (int i = 0; i < w->n; i++) {
        double v = w->out[(i * w->e->n_settings + s) * N_MEASURES + m];
        if (!isnan(v)) sum += v, n++;
    }
    return n ? sum / n : (double)NAN;
}

/* Why setting s is broken; "" when it is not. */
static void verdict(const work *w, int s, double *draw, char why[128]) {
    double base[N_MEASURES], v[N_MEASURES];
    ws_str t = {0};
    for (int m = 0; m < N_MEASURES; m++) base[m] = mean(w, 0, m), v[m] = mean(w, s, m);
    ws_interval loop = interval(w, s, LOOP, 1, draw), json = interval(w, s, JSON_SHARE, 1, draw);
    if (!(v[DISTINCT] >= least_distinct * base[DISTINCT])) ws_str_adds(&t, "repeats itself; ");
    if (v[LOOP] > base[LOOP] + most_loops && loop.lo > 0) ws_str_adds(&t, "loops; ");
    if (v[JSON_SHARE] < base[JSON_SHARE] - most_json_lost && json.hi < 0) ws_str_adds(&t, "loses JSON; ");
    if (!(v[MASS] >= least_mass * base[MASS])) ws_str_adds(&t, "no longer answers true or false; ");
    if (t.n) t.p[t.n - 2] = 0;
    snprintf(why, 128, "%s", t.n ? t.p : "");
    ws_str_free(&t);
}

static ws_status tables(work *w, ws_err *err) {
    ws_eval *e = w->e;
    double *draw = ws_xmalloc((size_t)e->o->bootstrap * sizeof *draw);
    ws_str csv = {0};
    int broken = 0;
    ws_str_adds(&csv, "method,alpha,arm");
    for (int m = 0; m < N_MEASURES; m++) ws_str_addf(&csv, ",%s,%s_lo,%s_hi", names[m], names[m], names[m]);
    ws_str_adds(&csv, ",n,broken,why\n");
    ws_str_addf(e->report, "Canaries: %d calibration prompts, greedy, [95%% interval over prompts]\n", w->n);
    for (int s = 0; s < e->n_settings; s++) {
        char why[128] = "";
        if (s) verdict(w, s, draw, why);
        ws_col_setting(&csv, &e->setting[s]);
        ws_str_addf(e->report, "%-16s %+8.3f", e->setting[s].name, e->setting[s].alpha);
        for (int m = 0; m < N_MEASURES; m++) {
            ws_interval i = interval(w, s, m, 0, draw);
            ws_num(&csv, mean(w, s, m)), ws_num(&csv, i.lo), ws_num(&csv, i.hi);
            ws_str_addf(e->report, "  %s %.3f", names[m], mean(w, s, m));
        }
        ws_num(&csv, w->n), ws_num(&csv, *why != 0), ws_col(&csv, why), ws_str_addc(&csv, '\n');
        ws_str_addf(e->report, "%s%s\n", *why ? "  BROKEN: " : "", why);
        broken += *why != 0;
    }
    ws_str_addc(e->report, '\n');
    json_object_set_new(e->json, "canaries",
                        json_pack("{s:i, s:i, s:i, s:i}", "n_prompts", w->n, "tokens", TOKENS, "json_tokens",
                                  JSON_TOKENS, "broken", broken));
    ws_status st = ws_eval_write(e, "canaries.csv", &csv, err);
    ws_str_free(&csv);
    free(draw);
    return st;
}

static ws_status run(ws_eval *e, ws_err *err) {
    work w = {.e = e};
    int S = e->n_settings;
    ws_status st = load_asked(&w.q, err);
    if (!st) st = choose(&w, err);
    if (!st) st = ws_words_direct(&w.words, e->tok, ws_model_dims(e->model)->vocab, err);
    w.prompt = ws_xcalloc(3 * (size_t)w.n * (size_t)S, sizeof *w.prompt);
    w.out = ws_xcalloc((size_t)w.n * (size_t)S * N_MEASURES, sizeof *w.out);
    w.said = ws_xcalloc(CHUNK * TEXTS, sizeof *w.said), w.place = ws_xcalloc(CHUNK * TEXTS, sizeof *w.place);
    ws_hash *h = ws_raw_key(e, "ws-canaries-raw");
    const int sizes[] = {w.n, TOKENS, JSON_TOKENS};
    ws_hash_add(h, sizes, sizeof sizes);
    for (int i = 0; i < w.n * S && !st; i++) {
        st = encode(&w, i / S, i % S, err);
        for (int k = 0; k < 3; k++) {
            const ws_ids *x = &w.prompt[i * 3 + k];
            ws_hash_add(h, &x->n, sizeof x->n), ws_hash_add(h, x->id, (size_t)x->n * sizeof *x->id);
        }
    }
    char key[65];
    ws_hash_done(h, key);
    ws_raw raw;
    if (!st) st = ws_raw_open(&raw, e, "canaries_raw.jsonl", "ws-canaries-raw", key, w.n * S, take, &w, err);
    if (!st) {
        st = speak(&w, &raw, err);
        ws_status closed = ws_raw_close(&raw, st ? NULL : err);
        if (!st) st = closed;
    }
    if (!st) st = tables(&w, err);
    for (int i = 0; i < 3 * w.n * S; i++) ws_ids_free(&w.prompt[i]);
    for (int i = 0; i < CHUNK * TEXTS; i++) ws_ids_free(&w.said[i]);
    for (int i = 0; i < w.n && w.text; i++) free(w.text[i]);
    free(w.text), free(w.prompt), free(w.out), free(w.said), free(w.place);
    ws_words_free(&w.words);
    free_asked(&w.q);
    return st;
}

const ws_eval_ops ws_eval_canaries = {
    .name = "canaries",
    .title = "is the model still whole: repetition, loops, JSON, true or false",
    .check = check,
    .run = run,
};
