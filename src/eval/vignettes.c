/* src/eval/vignettes.c - moral vignettes, mode A of pipeline.md 6: a scenario, a question, the answer's first token.
 * Paper: the vignettes' foundations are those of moral foundations theory (Clifford et al. 2015); the measure is tinymfv's. */
#include "base/log.h"
#include "base/progress.h"
#include "calibrate/prompts.h"
#include "eval/batch.h"
#include "eval/raw.h"
#include "eval/vigtables.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(vignettes)

enum { CHUNK = 64 }; /* prompts whose settings run together */

typedef struct sets {
    ws_ids yes, no;
} sets;

/* Length of the Unicode white space at p (Python's str.isspace), 0: none. */
static size_t space_at(const char *p, const char *end) {
    const unsigned char *c = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    if (!left) return 0;
    if ((c[0] >= 9 && c[0] <= 13) || (c[0] >= 28 && c[0] <= 32)) return 1;
    if (left >= 2 && c[0] == 0xC2 && (c[1] == 0x85 || c[1] == 0xA0)) return 2;
    if (left < 3) return 0;
    unsigned u = (unsigned)(c[0] & 15) << 12 | (unsigned)(c[1] & 63) << 6 | (c[2] & 63);
    if ((c[0] & 0xF0) != 0xE0) return 0;
    return u == 0x1680 || (u >= 0x2000 && u <= 0x200A) || u == 0x2028 || u == 0x2029 || u == 0x202F || u == 0x205F ||
                   u == 0x3000
               ? 3
               : 0;
}
static void strip(const char **b, const char **e) {
    size_t n;
    while ((n = space_at(*b, *e))) *b += n;
    for (int again = 1; again;) {
        again = 0;
        for (size_t k = 1; k <= 3 && (size_t)(*e - *b) >= k; k++)
            if (space_at(*e - k, *e) == k) *e -= k, again = 1;
    }
}

/* 1: an answer "true", 0: "false", -1: neither; the rule of pipeline.md 6, mode A. */
static int reading(const char *text, size_t n) {
    const char *b = text, *e = text + n;
    strip(&b, &e);
    while (b < e && strchr("\"*#", *b) && *b) b++;
    while (b < e && e[-1] == '"') e--;
    strip(&b, &e);
    size_t k = (size_t)(e - b);
    if ((k == 4 && !strncasecmp(b, "true", 4)) || (k == 1 && *b == '1')) return 1;
    if ((k == 5 && !strncasecmp(b, "false", 5)) || (k == 1 && *b == '0')) return 0;
    return -1;
}

static ws_status answer_ids(const ws_eval *e, sets *s, ws_err *err) {
    int n = ws_tokenizer_base_size(e->tok);
    int64_t vocab = ws_model_dims(e->model)->vocab;
    ws_str text = {0};
    for (int32_t id = 0; id < n && id < vocab; id++) {
        ws_err skip = {0};
        ws_str_clear(&text);
        if (ws_tokenizer_decode(e->tok, &id, 1, 0, &text, &skip)) continue; /* an id that stands for no token */
        int r = text.n ? reading(text.p, text.n) : -1;
        if (r >= 0) ws_ids_add(r ? &s->yes : &s->no, id);
    }
    ws_str_free(&text);
    if (s->yes.n && s->no.n) return WS_OK;
    return ws_fail(err, WS_EUNSUPPORTED,
                   "this tokenizer has no single token that reads as \"%s\", so the vignettes cannot be scored",
                   s->yes.n ? "false" : "true");
}

static ws_status encode(const ws_eval *e, const ws_vigset *set, const char *system, int cell, ws_ids *out,
                        ws_err *err) {
    const ws_vignette *v = &set->v[cell / 4];
    const ws_frame *f = &set->frame[cell % 2];
    ws_str text = {0};
    char *user = ws_sprintf("%s\n%s", v->text[cell / 2 % 2], f->question);
    ws_status st = ws_render_open(e->chat, system, user, 0, &text, err);
    if (!st) ws_str_adds(&text, f->prefill);
    if (!st) st = ws_tokenizer_encode(e->tok, text.p, text.n, 0, out, err);
    if (!st && out->n > ws_model_dims(e->model)->max_pos)
        st = ws_fail(err, WS_EUSAGE, "the prompt has %d tokens, more than the model's %d positions; it is not cut",
                     out->n, ws_model_dims(e->model)->max_pos);
    if (st) ws_fail_prefix(err, "vignette \"%s\" (%s, frame %s)", v->id, ws_conds[cell / 2 % 2], f->name);
    free(user);
    ws_str_free(&text);
    return st;
}

typedef struct work {
    ws_eval *e;
    const ws_vigset *set;
    ws_ids **ids; /* [n_settings] -> [4 n]; settings without system prompt share one */
    char *own;    /* [n_settings] the array is this setting's own */
    sets words;
    double *lt, *lf; /* [n_settings, 4 n] */
    int n;           /* prompts */
} work;

static ws_status take(void *arg, int i, const json_t *v, ws_err *err) {
    work *w = arg;
    int S = w->e->n_settings, cell = i / S, s = i % S;
    const ws_vignette *x = &w->set->v[cell / 4];
    const char *id = json_string_value(json_object_get(v, "id"));
    const json_t *t = json_object_get(v, "logp_true"), *f = json_object_get(v, "logp_false");
    if (!id || strcmp(id, x->id) || !json_is_number(t) || !json_is_number(f))
        return ws_fail(err, WS_EFORMAT, "not the answer for vignette \"%s\" that belongs here; use --fresh", x->id);
    w->lt[s * w->n + cell] = json_number_value(t), w->lf[s * w->n + cell] = json_number_value(f);
    return WS_OK;
}

static ws_status ask(work *w, ws_raw *raw, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings, total = w->n * S, most = CHUNK * S;
    int64_t d = ws_model_dims(e->model)->hidden;
    ws_eval_row *row = ws_xmalloc((size_t)most * sizeof *row);
    float *hidden = ws_xmalloc((size_t)most * (size_t)d * sizeof *hidden);
    double *lt = ws_xmalloc(2 * (size_t)most * sizeof *lt), *lf = lt + most;
    ws_progress bar;
    ws_progress_start(&bar, "vignettes", "answers", total);
    ws_status st = WS_OK;
    for (int i = raw->n; i < total && !st;) {
        int n = 0, end = (i / most + 1) * most;
        for (int k = i; k < end && k < total; k++) {
            const ws_ids *p = &w->ids[k % S][k / S];
            row[n++] = (ws_eval_row){k % S, p->id, p->n, 1};
        }
        st = ws_eval_rows(e, row, n, hidden, err);
        if (!st) ws_eval_answer(e, hidden, n, w->words.yes.id, w->words.yes.n, w->words.no.id, w->words.no.n, lt, lf);
        for (int k = 0; k < n && !st; k++) {
            int cell = (i + k) / S, s = (i + k) % S;
            const ws_vignette *v = &w->set->v[cell / 4];
            if (!isfinite(lt[k]) || !isfinite(lf[k]))
                st = ws_fail(err, WS_ENONFINITE, "%s at alpha %+g: the logits for vignette \"%s\" are not finite",
                             e->setting[s].name, e->setting[s].alpha, v->id);
            if (st) break;
            w->lt[s * w->n + cell] = lt[k], w->lf[s * w->n + cell] = lf[k];
            st =
                ws_raw_add(raw,
                           json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f}", "id", v->id, "cond", ws_conds[cell / 2 % 2],
                                     "frame", w->set->frame[cell % 2].name, "method", e->setting[s].name, "alpha",
                                     e->setting[s].alpha, "logp_true", lt[k], "logp_false", lf[k]),
                           err);
        }
        i += n;
        ws_progress_update(&bar, i, NULL);
    }
    ws_progress_end(&bar);
    free(row), free(hidden), free(lt);
    return st;
}

static ws_status collect(work *w, ws_err *err) {
    const ws_eval *e = w->e;
    int S = e->n_settings;
    char key[65];
    ws_hash *h = ws_raw_key(e, "ws-vignettes-raw");
    ws_status st = answer_ids(e, &w->words, err);
    for (int s = 0; s < S && !st; s++) {
        for (int k = 0; k < s && !w->ids[s]; k++)
            if (!e->setting[s].system && !e->setting[k].system) w->ids[s] = w->ids[k];
        if (w->ids[s]) continue;
        w->ids[s] = ws_xcalloc((size_t)w->n, sizeof *w->ids[s]);
        w->own[s] = 1;
        for (int i = 0; i < w->n && !st; i++) {
            st = encode(e, w->set, e->setting[s].system, i, &w->ids[s][i], err);
            ws_hash_add(h, &w->ids[s][i].n, sizeof w->ids[s][i].n);
            ws_hash_add(h, w->ids[s][i].id, (size_t)w->ids[s][i].n * sizeof(int32_t));
        }
    }
    for (int i = 0; i < w->n / 4; i++) ws_hash_adds(h, w->set->v[i].id);
    ws_hash_add(h, w->words.yes.id, (size_t)w->words.yes.n * sizeof(int32_t));
    ws_hash_add(h, w->words.no.id, (size_t)w->words.no.n * sizeof(int32_t));
    ws_hash_done(h, key);
    ws_raw raw;
    if (!st) st = ws_raw_open(&raw, e, "vignettes_raw.jsonl", "ws-vignettes-raw", key, w->n * S, take, w, err);
    if (st) return st;
    st = ask(w, &raw, err);
    ws_status closed = ws_raw_close(&raw, st ? NULL : err);
    return st ? st : closed;
}

static ws_status check(const ws_eval *e, ws_err *err) {
    ws_vigset s;
    ws_status st = ws_vigset_load(&s, e->o->vignettes, err);
    if (st) return st;
    for (int i = 0; i < s.n && !st && e->o->loading_weighted; i++)
        if (!s.v[i].loading)
            st = ws_fail(err, WS_EUSAGE, "--loading-weighted: vignette \"%s\" of %s has no loadings", s.v[i].id,
                         s.path[0]);
    ws_vigset_free(&s);
    return st;
}

static ws_status hash_set(const ws_vigset *s, char hex[65], ws_err *err) {
    ws_hash *h = ws_hash_new();
    ws_status st = WS_OK;
    for (int c = 0; c < 2 && !st; c++) {
        char one[65] = "";
        st = ws_hash_file(s->path[c], one, err);
        ws_hash_adds(h, one);
    }
    ws_hash_done(h, hex);
    return st;
}

static ws_status run(ws_eval *e, ws_err *err) {
    ws_vigwork t = {.e = e};
    ws_status st = ws_vigset_load(&t.set, e->o->vignettes, err);
    if (st) return st;
    int n = t.set.n, S = e->n_settings, F = t.set.n_foundations, N = 4 * n;
    if (t.set.repeated)
        ws_note("vignettes: %d rows of %s repeat an id; the last one counts", t.set.repeated, t.set.path[0]);
    work w = {.e = e, .set = &t.set, .n = N};
    w.ids = ws_xcalloc((size_t)S, sizeof *w.ids);
    w.own = ws_xcalloc((size_t)S, 1);
    w.lt = ws_xmalloc((size_t)S * (size_t)N * sizeof *w.lt), w.lf = ws_xmalloc((size_t)S * (size_t)N * sizeof *w.lf);
    st = collect(&w, err);

    int *foundation = ws_xmalloc((size_t)n * sizeof *foundation);
    double *human = ws_xmalloc((size_t)n * sizeof *human),
           *loading = e->o->loading_weighted ? ws_xmalloc((size_t)(n * F) * sizeof *loading) : NULL;
    for (int i = 0; i < n; i++) {
        foundation[i] = t.set.v[i].foundation, human[i] = t.set.v[i].wrong;
        if (loading) memcpy(loading + (size_t)i * (size_t)F, t.set.v[i].loading, (size_t)F * sizeof *loading);
    }
    t.grid = t.grid_si = (ws_grid){n, F, foundation, human, NULL};
    t.grid_si.loading = loading;
    t.answers = ws_xcalloc((size_t)S, sizeof *t.answers);
    for (int s = 0; s < S && !st; s++)
        ws_answers_fill(&t.answers[s], n, w.lt + (size_t)s * (size_t)N, w.lf + (size_t)s * (size_t)N, e->o->floor);
    int own = e->behavior ? e->behavior->n_targets : 0;
    t.meant = own || !e->behavior;
    t.n_targets = own ? own : 1;
    t.target = ws_xmalloc((size_t)t.n_targets * sizeof *t.target),
    t.sign = ws_xmalloc((size_t)t.n_targets * sizeof *t.sign);
    for (int k = 0; k < t.n_targets; k++) {
        const char *name = own ? e->behavior->target[k] : "Authority";
        if (!k) t.target_name = name;
        t.sign[k] = own ? e->behavior->target_sign[k] : -1, t.target[k] = -1;
        for (int f = 0; f < F; f++)
            if (!strcmp(t.set.foundation[f], name)) t.target[k] = f;
        if (t.target[k] < 0)
            ws_warn("no vignette of %s has the foundation \"%s\" that is meant to move", t.set.path[0], name);
    }
    if (!st) st = hash_set(&t.set, t.set_hash, err);
    if (!st) st = ws_hash_file(t.set.path[2], t.frames_hash, err);
    if (!st) st = ws_vigtables(&t, err);

    for (int s = 0; s < S; s++) {
        ws_answers_free(&t.answers[s]);
        for (int i = 0; i < N && w.own[s]; i++) ws_ids_free(&w.ids[s][i]);
        if (w.own[s]) free(w.ids[s]);
    }
    free(w.own);
    free(w.ids), free(w.lt), free(w.lf), free(foundation), free(human), free(loading), free(t.answers), free(t.target),
        free(t.sign);
    ws_ids_free(&w.words.yes), ws_ids_free(&w.words.no);
    ws_vigset_free(&t.set);
    return st;
}

const ws_eval_ops ws_eval_vignettes = {
    .name = "vignettes",
    .title = "moral vignettes: which judgements move",
    .check = check,
    .run = run,
};
