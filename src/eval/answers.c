#include "eval/answers.h"
#include "eval/vigset.h"
#include "io/csv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SLACK = 1e-6; /* a sum of rounded probabilities may lie a little above 1 */

void ws_answer_file_begin(ws_answer_file *f, char *const *id, int n_ids) {
    *f = (ws_answer_file){.n_ids = n_ids, .id = id, .at = json_object()};
    for (int i = 0; i < n_ids; i++) json_object_set_new(f->at, id[i], json_integer(i));
    ws_answer_file_put(f, "base", 0, -1, NAN, NAN);
}

void ws_answer_file_free(ws_answer_file *f) {
    for (int i = 0; i < f->n; i++) free(f->s[i].method), free(f->s[i].p);
    free(f->s);
    json_decref(f->at);
    *f = (ws_answer_file){0};
}

int ws_answer_file_id(const ws_answer_file *f, const char *id) {
    const json_t *v = json_object_get(f->at, id);
    return v ? (int)json_integer_value(v) : -1;
}

int ws_answer_cond(const char *text) {
    for (int c = 0; c < 2; c++)
        if (!strcmp(text, ws_conds[c])) return c;
    return -1;
}

int ws_answer_frame(const char *text, const char *const frame[2]) {
    static const char *const known[2][2] = {{"wrong", "is_wrong"}, {"accept", "is_acceptable"}};
    for (int k = 0; k < 2; k++)
        if ((frame && !strcmp(text, frame[k])) || !strcmp(text, known[k][0]) || !strcmp(text, known[k][1])) return k;
    return -1;
}

static ws_answered *setting(ws_answer_file *f, const char *method, double alpha) {
    if (alpha == 0) method = "base"; /* strength 0 is the base, whatever it is called */
    for (int i = 0; i < f->n; i++)
        if (f->s[i].alpha == alpha && !strcmp(f->s[i].method, method)) return &f->s[i];
    size_t N = 4 * (size_t)f->n_ids;
    f->s = ws_xrealloc(f->s, (size_t)(f->n + 1) * sizeof *f->s);
    ws_answered *s = &f->s[f->n++];
    *s = (ws_answered){.method = ws_xstrdup(method), .alpha = alpha, .p = ws_xmalloc((2 * N + 1) * sizeof(double))};
    s->mass = s->p + N;
    for (size_t i = 0; i < 2 * N; i++) s->p[i] = NAN;
    return s;
}

int ws_answer_file_put(ws_answer_file *f, const char *method, double alpha, int cell, double p, double mass) {
    ws_answered *s = setting(f, method, alpha);
    if (cell < 0) return 1;
    if (!isnan(s->p[cell]) || !isnan(s->mass[cell])) return 0;
    s->p[cell] = p, s->mass[cell] = mass, s->n += !isnan(p);
    return 1;
}

/* ---- a line ---- */

typedef struct line { /* texts where the file has them, else NULL; numbers NaN */
    const char *id, *cond, *frame, *method, *arm;
    double alpha, logp_true, logp_false, p_true, pmass;
} line;

static ws_status take(ws_answer_file *f, const line *l, const char *const frame[2], const char *where, ws_err *err) {
    if (!l->id || !l->cond || !l->frame)
        return ws_fail(err, WS_EFORMAT, "%s: an answer needs \"id\", \"cond\" and \"frame\"", where);
    int v = ws_answer_file_id(f, l->id), c = ws_answer_cond(l->cond), k = ws_answer_frame(l->frame, frame);
    if (v < 0)
        return ws_fail(err, WS_EFORMAT, "%s: no vignette has the id \"%s\": were other vignettes asked?", where, l->id);
    if (c < 0)
        return ws_fail(err, WS_EFORMAT, "%s: cond \"%s\" is neither %s nor %s", where, l->cond, ws_conds[0],
                       ws_conds[1]);
    if (k < 0) return ws_fail(err, WS_EFORMAT, "%s: frame \"%s\" is neither wrong nor accept", where, l->frame);
    double alpha = l->alpha;
    if (l->arm && isnan(alpha)) {
        alpha = !strcmp(l->arm, "plus") ? 1 : !strcmp(l->arm, "minus") ? -1 : !strcmp(l->arm, "base") ? 0 : NAN;
        if (isnan(alpha))
            return ws_fail(err, WS_EFORMAT, "%s: arm \"%s\" is none of base, plus, minus; give alpha", where, l->arm);
    }
    if (isnan(alpha) && l->method && !strcmp(l->method, "base")) alpha = 0;
    if (isnan(alpha)) return ws_fail(err, WS_EFORMAT, "%s: an answer needs \"alpha\" or \"arm\"", where);
    int logs = !isnan(l->logp_true) || !isnan(l->logp_false);
    double p = l->p_true, mass = l->pmass;
    if (logs && !isnan(p))
        return ws_fail(err, WS_EFORMAT, "%s: give either logp_true and logp_false, or p_true and pmass", where);
    if (logs) {
        if (isnan(l->logp_true) || isnan(l->logp_false) || l->logp_true > SLACK || l->logp_false > SLACK)
            return ws_fail(err, WS_EFORMAT, "%s: logp_true and logp_false must both be there and at most 0", where);
        int none = isinf(l->logp_true) && isinf(l->logp_false);
        p = none ? NAN : 1 / (1 + exp(l->logp_false - l->logp_true));
        mass = exp(l->logp_true) + exp(l->logp_false);
    }
    if (!(isnan(p) || (p >= 0 && p <= 1)) || !(isnan(mass) || (mass >= 0 && mass <= 1 + SLACK)))
        return ws_fail(err, WS_EFORMAT, "%s: p_true and pmass are probabilities, between 0 and 1", where);
    if (!ws_answer_file_put(f, l->method ? l->method : "method", alpha, (v * 2 + c) * 2 + k, p, mass))
        return ws_fail(err, WS_EFORMAT, "%s: vignette \"%s\" (%s, frame %s) is answered twice at this strength", where,
                       l->id, l->cond, l->frame);
    return WS_OK;
}

typedef struct reader {
    ws_answer_file *f;
    const char *path;
    const char *const *frame;
} reader;

static ws_status read_json(void *arg, json_t *v, long at, ws_err *err) {
    static const char *const number[] = {"alpha", "logp_true", "logp_false", "p_true", "pmass"};
    reader *r = arg;
    if (!json_is_object(v) || json_object_get(v, "format"))
        return json_is_object(v) ? WS_OK : ws_fail(err, WS_EFORMAT, "%s:%ld: an answer is an object", r->path, at);
    char *where = ws_json_where(r->path, at);
    line l = {json_string_value(json_object_get(v, "id")),
              json_string_value(json_object_get(v, "cond")),
              json_string_value(json_object_get(v, "frame")),
              json_string_value(json_object_get(v, "method")),
              json_string_value(json_object_get(v, "arm")),
              NAN,
              NAN,
              NAN,
              NAN,
              NAN};
    double *to[] = {&l.alpha, &l.logp_true, &l.logp_false, &l.p_true, &l.pmass};
    ws_status st = WS_OK;
    for (int i = 0; i < 5 && !st; i++) st = ws_json_num_or(v, number[i], NAN, to[i], where, err);
    if (!st) st = take(r->f, &l, r->frame, where, err);
    free(where);
    return st;
}

static ws_status number_at(const ws_csv *c, int row, int col, double *out, const char *where, ws_err *err) {
    char *end;
    *out = NAN;
    if (col < 0) return WS_OK;
    const char *t = c->cell[row * c->cols + col];
    if (!*t) return WS_OK;
    *out = strtod(t, &end);
    return *end ? ws_fail(err, WS_EFORMAT, "%s: %s is no number: \"%s\"", where, c->head[col], t) : WS_OK;
}

static ws_status read_csv(reader *r, ws_err *err) {
    static const char *const text[] = {"id", "cond", "frame", "method", "arm"}, *const number[] = {"alpha", "logp_true",
                                                                                                   "logp_false",
                                                                                                   "p_true", "pmass"};
    ws_csv c;
    ws_status st = ws_csv_load(&c, r->path, err);
    for (int i = 0; !st && i < c.rows; i++) {
        char *where = ws_sprintf("%s, row %d", r->path, i + 1);
        line l = {0};
        const char **words[] = {&l.id, &l.cond, &l.frame, &l.method, &l.arm};
        double *to[] = {&l.alpha, &l.logp_true, &l.logp_false, &l.p_true, &l.pmass};
        for (int k = 0; k < 5; k++) {
            int col = ws_csv_col(&c, text[k]);
            if (col >= 0 && *c.cell[i * c.cols + col]) *words[k] = c.cell[i * c.cols + col];
        }
        for (int k = 0; k < 5 && !st; k++) st = number_at(&c, i, ws_csv_col(&c, number[k]), to[k], where, err);
        if (!st) st = take(r->f, &l, r->frame, where, err);
        free(where);
    }
    ws_csv_free(&c);
    return st;
}

ws_status ws_answer_file_read(ws_answer_file *f, const char *path, const char *const frame[2], ws_err *err) {
    reader r = {f, path, frame};
    size_t n = strlen(path);
    return n > 4 && !strcmp(path + n - 4, ".csv") ? read_csv(&r, err) : ws_jsonl_each(path, read_json, &r, err);
}
