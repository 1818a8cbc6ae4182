#include "run/items.h"
#include "eval/answers.h"
#include "eval/protocol.h"
#include "eval/vigset.h"
#include "io/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 10000000 };

/* ---- vignettes: their order and foundations from vignettes.csv, their answers from vignettes_raw.jsonl ---- */

static int index_of(char **list, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], name)) return i;
    return -1;
}

static ws_status grid_of(ws_items *x, const ws_method_results *m, const ws_csv *c, ws_err *err) {
    int method = ws_csv_col(c, "method"), id = ws_csv_col(c, "id"), of = ws_csv_col(c, "foundation");
    if (method < 0 || id < 0 || of < 0)
        return ws_fail(err, WS_EFORMAT, "%s/vignettes.csv: columns method, id and foundation are needed", m->dir);
    int *foundation = ws_xmalloc((size_t)c->rows * sizeof *foundation + 1);
    double *human = ws_xmalloc((size_t)c->rows * sizeof *human + 1);
    x->id = ws_xcalloc((size_t)c->rows + 1, sizeof *x->id);
    x->foundation = ws_xcalloc((size_t)c->rows + 1, sizeof *x->foundation);
    x->grid.foundation = foundation, x->grid.human = human;
    for (int i = 0; i < m->foundations.csv.rows; i++) { /* display order */
        const char *f = ws_sheet_text(&m->foundations, i, "foundation");
        if (x->grid.n_foundations < c->rows && index_of(x->foundation, x->grid.n_foundations, f) < 0)
            x->foundation[x->grid.n_foundations++] = ws_xstrdup(f);
    }
    for (int r = 0; r < c->rows; r++) { /* the base's rows, two a vignette */
        char **row = c->cell + (size_t)r * (size_t)c->cols;
        if (strcmp(row[method], "base") || (x->grid.n && !strcmp(x->id[x->grid.n - 1], row[id]))) continue;
        int f = index_of(x->foundation, x->grid.n_foundations, row[of]);
        if (f < 0)
            return ws_fail(err, WS_EFORMAT, "%s/vignettes.csv: foundation \"%s\" is not in foundations.csv", m->dir,
                           row[of]);
        foundation[x->grid.n] = f, human[x->grid.n] = NAN, x->id[x->grid.n++] = ws_xstrdup(row[id]);
    }
    return WS_OK;
}

/* The setting of an arm as eval.json names it. */
static double arm_alpha(const ws_method_results *m, int minus) {
    const json_t *v, *list = json_object_get(m->eval, "methods");
    size_t i;
    json_array_foreach(list, i, v) {
        const char *name = json_string_value(json_object_get(v, "name"));
        const json_t *a = json_object_get(v, minus ? "alpha_minus" : "alpha_plus");
        if (name && !strcmp(name, m->name)) return json_is_number(a) ? json_number_value(a) : (double)NAN;
    }
    return NAN;
}

static void targets(ws_items *x, const json_t *v) {
    const char *name = json_string_value(json_object_get(v, "target"));
    const ws_protocol *p = ws_protocol_find(json_string_value(json_object_get(v, "protocol")));
    x->rule = ws_protocol_si(p, json_number_value(json_object_get(v, "k")));
    x->floor = json_number_value(json_object_get(v, "floor")), x->dlogit_weighted = p && p->dlogit_weighted;
    x->loading_weighted = json_is_true(json_object_get(v, "loading_weighted")) ||
                          json_integer_value(json_object_get(v, "loading_weighted")) > 0;
    x->sign = json_integer_value(json_object_get(v, "target_sign")) < 0 ? -1 : 1;
    x->target = name ? index_of(x->foundation, x->grid.n_foundations, name) : -1;
    x->n_targets = name != NULL;
}

/* The names of the two frames: within a cell they stand in the order of their polarity. */
typedef struct frames {
    char *name[2];
} frames;
static ws_status name_frames(void *arg, json_t *v, long line, ws_err *err) {
    frames *f = arg;
    const char *name = json_string_value(json_object_get(v, "frame"));
    (void)line, (void)err;
    if (!name || (f->name[0] && f->name[1]) || (f->name[0] && !strcmp(f->name[0], name))) return WS_OK;
    f->name[f->name[0] != NULL] = ws_xstrdup(name);
    return WS_OK;
}

/* Shares of the foundations, from the files that were asked, where SI was weighted by them and they are still the same. */
static ws_status loadings(ws_items *x, const json_t *about, ws_err *err) {
    static const char tail[] = "other_violate.jsonl";
    const char *source = json_string_value(json_object_get(about, "source"));
    size_t n = source ? strlen(source) : 0, k = sizeof tail - 1;
    if (n < k || !ws_file_exists(source)) return WS_OK;
    char *where = ws_xstrndup(source, n - k > 0 ? n - k - 1 : 0); /* without "/" or "_" */
    ws_vigset set;
    ws_status st = ws_vigset_load(&set, *where ? where : ".", err);
    free(where);
    if (st) return st;
    int same = set.n == x->grid.n && set.n_foundations == x->grid.n_foundations;
    for (int v = 0; v < set.n && same; v++) same = !strcmp(set.v[v].id, x->id[v]) && set.v[v].loading;
    for (int f = 0; f < set.n_foundations && same; f++) same = !strcmp(set.foundation[f], x->foundation[f]);
    if (same) {
        size_t F = (size_t)set.n_foundations;
        double *l = ws_xmalloc((size_t)set.n * F * sizeof *l + 1);
        for (int v = 0; v < set.n; v++) memcpy(l + (size_t)v * F, set.v[v].loading, F * sizeof *l);
        x->loading = l;
    }
    ws_vigset_free(&set);
    return WS_OK;
}

static ws_status vignettes(ws_items *x, const ws_method_results *m, ws_err *err) {
    char *raw = ws_path_join(m->dir, "vignettes_raw.jsonl"), *table = ws_path_join(m->dir, "vignettes.csv");
    const json_t *about = json_object_get(m->eval, "vignettes");
    ws_csv c = {0};
    ws_answer_file f = {0};
    frames names = {{NULL, NULL}};
    const ws_protocol *p = ws_protocol_find(json_string_value(json_object_get(about, "protocol")));
    int after = p && p->sign_after;
    ws_status st = WS_OK;
    if (!json_is_object(about) || !ws_file_exists(raw) || !ws_file_exists(table)) goto out;
    st = ws_csv_load(&c, table, err);
    if (!st) st = grid_of(x, m, &c, err);
    if (st) goto out;
    targets(x, about);
    ws_answer_file_begin(&f, x->id, x->grid.n);
    if ((st = ws_jsonl_each(raw, name_frames, &names, err))) goto out;
    if (!names.name[1]) {
        st = ws_fail(err, WS_EFORMAT, "%s: has not the answers to two frames", raw);
        goto out;
    }
    const char *const name[2] = {names.name[0], names.name[1]};
    if ((st = ws_answer_file_read(&f, raw, name, err))) goto out;
    if (x->loading_weighted && (st = loadings(x, about, err))) goto out;
    double alpha[3] = {0, arm_alpha(m, 0), arm_alpha(m, 1)};
    for (int k = 0; k < 3; k++)
        for (int s = 0; s < f.n; s++)
            if (f.s[s].alpha == alpha[k] && !strcmp(f.s[s].method, k ? m->name : "base"))
                ws_answers_from_p(&x->arm[k], x->grid.n, f.s[s].p, f.s[s].mass, x->floor);
    if (!x->arm[0].p) st = ws_fail(err, WS_EFORMAT, "%s: has no answers of the base", raw);
    if (!st && after && x->target >= 0 && x->arm[1].p && x->arm[2].p) {
        ws_grid g = x->grid;
        if (x->dlogit_weighted) g.loading = x->loading;
        x->turned = ws_readout_turned(&g, &x->arm[0], &x->arm[1], &x->arm[2], x->target, x->sign);
    }
out:
    ws_answer_file_free(&f);
    ws_csv_free(&c);
    free(raw), free(table), free(names.name[0]), free(names.name[1]);
    return st;
}

/* ---- margin ---- */

typedef struct margins {
    ws_items *x;
    const ws_method_results *m;
    double *of[3]; /* [n_rows] base, plus, minus */
    double alpha[3];
    const char *path;
} margins;

static ws_status take_margin(void *arg, json_t *v, long line, ws_err *err) {
    margins *w = arg;
    ws_items *x = w->x;
    int64_t row, topic;
    double alpha, lp[2], n[2];
    const char *method;
    if (json_object_get(v, "format")) return WS_OK;
    char *where = ws_json_where(w->path, line);
    ws_status st = WS_OK;
    if (ws_json_int(v, "row", &row, where, err) || ws_json_int(v, "topic", &topic, where, err) ||
        ws_json_num(v, "alpha", &alpha, where, err) || ws_json_str(v, "method", &method, where, err) ||
        ws_json_num(v, "logp_pos", &lp[0], where, err) || ws_json_num(v, "logp_neg", &lp[1], where, err) ||
        ws_json_num(v, "n_pos", &n[0], where, err) || ws_json_num(v, "n_neg", &n[1], where, err))
        st = err->code;
    else if (row < 0 || row > MOST_ROWS || topic < 0 || topic > row || !(n[0] > 0) || !(n[1] > 0))
        st = ws_fail(err, WS_EFORMAT, "%s: no line that ws eval writes", where);
    free(where);
    if (st) return st;
    if (row >= x->n_rows) {
        int more = (int)row + 1;
        x->topic = ws_xrealloc(x->topic, (size_t)more * sizeof *x->topic);
        for (int k = 0; k < 2; k++) x->mark[k] = ws_xrealloc(x->mark[k], (size_t)more * sizeof(double));
        for (int k = 0; k < 3; k++) w->of[k] = ws_xrealloc(w->of[k], (size_t)more * sizeof(double));
        for (; x->n_rows < more; x->n_rows++) {
            x->topic[x->n_rows] = 0, x->mark[0][x->n_rows] = x->mark[1][x->n_rows] = NAN;
            for (int k = 0; k < 3; k++) w->of[k][x->n_rows] = NAN;
        }
    }
    x->topic[row] = (int)topic;
    if (alpha == 0) x->mark[0][row] = n[0] + n[1], x->mark[1][row] = lp[0] + lp[1];
    if (topic >= x->n_topics) x->n_topics = (int)topic + 1;
    for (int k = 0; k < 3; k++)
        if (alpha == w->alpha[k] && (!k || !strcmp(method, w->m->name))) w->of[k][row] = lp[0] / n[0] - lp[1] / n[1];
    return WS_OK;
}

static ws_status margin(ws_items *x, const ws_method_results *m, ws_err *err) {
    char *path = ws_path_join(m->dir, "margin_raw.jsonl");
    margins w = {.x = x, .m = m, .alpha = {0, arm_alpha(m, 0), arm_alpha(m, 1)}, .path = path};
    ws_status st = ws_file_exists(path) && m->margin.csv.rows ? ws_jsonl_each(path, take_margin, &w, err) : WS_OK;
    for (int k = 0; k < 2 && !st && x->n_rows; k++) {
        int n = 0;
        x->delta[k] = ws_xmalloc((size_t)x->n_rows * sizeof(double));
        for (int i = 0; i < x->n_rows; i++) n += !isnan(x->delta[k][i] = w.of[k + 1][i] - w.of[0][i]);
        if (!n) free(x->delta[k]), x->delta[k] = NULL;
    }
    for (int k = 0; k < 3; k++) free(w.of[k]);
    free(path);
    return st;
}

/* ---- dose ---- */

static void dose(ws_items *x, const ws_method_results *m) {
    for (int i = 0; i < m->n_samples; i++) {
        if (m->sample[i].topic >= x->n_dose_topics) x->n_dose_topics = m->sample[i].topic + 1;
        if (m->sample[i].sample >= x->n_samples) x->n_samples = m->sample[i].sample + 1;
    }
    /* the texts of several methods in one folder are not told apart */
    if (json_array_size(json_object_get(m->eval, "methods")) > 1) x->n_dose_topics = x->n_samples = 0;
    if ((int64_t)x->n_dose_topics * x->n_samples > MOST_ROWS) x->n_dose_topics = x->n_samples = 0;
    int n = x->n_dose_topics * x->n_samples;
    for (int k = 0; k < 2 && n; k++) {
        int found = 0;
        double *s = x->score[k] = ws_xmalloc((size_t)n * sizeof *s);
        for (int i = 0; i < n; i++) s[i] = NAN;
        for (int i = 0; i < m->n_samples; i++)
            if (m->sample[i].dose == (k ? -1 : 1))
                s[m->sample[i].topic * x->n_samples + m->sample[i].sample] = m->sample[i].score, found++;
        if (!found) free(s), x->score[k] = NULL;
    }
}

ws_status ws_items_load(ws_items *x, const ws_results *r, const ws_method_results *m, ws_err *err) {
    *x = (ws_items){.name = m->name, .run = r, .method = m};
    ws_status st = vignettes(x, m, err);
    if (!st) st = margin(x, m, err);
    if (!st) dose(x, m);
    if (st) ws_items_free(x);
    return st;
}

void ws_items_free(ws_items *x) {
    for (int i = 0; x->id && i < x->grid.n; i++) free(x->id[i]);
    for (int i = 0; x->foundation && i < x->grid.n_foundations; i++) free(x->foundation[i]);
    free(x->id), free(x->foundation), free((void *)(uintptr_t)x->grid.foundation),
        free((void *)(uintptr_t)x->grid.human);
    for (int k = 0; k < 3; k++) ws_answers_free(&x->arm[k]);
    free(x->topic), free(x->loading);
    for (int k = 0; k < 2; k++) free(x->delta[k]), free(x->score[k]), free(x->mark[k]);
    *x = (ws_items){0};
}
