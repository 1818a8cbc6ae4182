#include "eval/vigset.h"
#include "data/behavior.h"
#include "io/file.h"
#include "io/json.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const ws_conds[2] = {"other_violate", "self_violate"};
static const char *const known[] = {"Care", "Sanctity", "Authority", "Loyalty", "Fairness", "Liberty", "Social Norms"};
enum { N_KNOWN = sizeof known / sizeof *known };

/* ---- where the files are ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The prefix P for which P + "other_violate.jsonl" exists. */
static char *find_prefix(const char *where, ws_err *err) {
    static const char tail[] = "_other_violate.jsonl";
    if (!ws_is_dir(where)) {
        char *p = ws_sprintf("%s_", where), *file = ws_sprintf("%sother_violate.jsonl", p);
        int found = ws_file_exists(file);
        free(file);
        if (found) return p;
        free(p);
        ws_fail(err, WS_EIO, "%s: no such folder of vignettes, and no %s%s", where, where, tail);
        return NULL;
    }
    static const char *const plain[] = {"", "vignettes_"};
    for (int i = 0; i < 2; i++) {
        char *p = ws_sprintf("%s/%s", where, plain[i]), *file = ws_sprintf("%sother_violate.jsonl", p);
        int found = ws_file_exists(file);
        free(file);
        if (found) return p;
        free(p);
    }
    DIR *d = opendir(where);
    char **set = NULL;
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        size_t len = strlen(e->d_name), t = sizeof tail - 1;
        if (len <= t || strcmp(e->d_name + len - t, tail) || strncmp(e->d_name, "vignettes_", 10)) continue;
        set = ws_xrealloc(set, (size_t)(n + 1) * sizeof *set);
        set[n++] = ws_xstrndup(e->d_name, len - t);
    }
    if (d) closedir(d);
    char *out = NULL;
    ws_str names = {0};
    if (n > 1) qsort(set, (size_t)n, sizeof *set, by_name);
    for (int i = 0; i < n; i++) ws_str_addf(&names, "%s%s/%s", i ? ", " : "", where, set[i]);
    if (n == 1)
        out = ws_sprintf("%s/%s_", where, set[0]);
    else if (n)
        ws_fail(err, WS_EUSAGE, "%s holds several sets of vignettes; choose one: %s", where, names.p);
    else
        ws_fail(err, WS_EIO, "%s: neither other_violate.jsonl nor vignettes_<set>_other_violate.jsonl is there", where);
    for (int i = 0; i < n; i++) free(set[i]);
    free(set);
    ws_str_free(&names);
    return out;
}

/* ---- rows ---- */

typedef struct rowset { /* one file: its rows by id, the last one of each id */
    ws_vigset *s;
    const char *path;
    json_t *rows; /* id -> row with "_where" */
    int repeated;
} rowset;

static ws_status take(void *arg, json_t *v, long line, ws_err *err) {
    rowset *r = arg;
    const char *id, *text;
    char *where = ws_json_where(r->path, line);
    ws_status st = json_is_object(v) ? WS_OK : ws_fail(err, WS_EFORMAT, "%s: a vignette is an object", where);
    if (!st) st = ws_json_str(v, "id", &id, where, err);
    if (!st) st = ws_json_str(v, "text", &text, where, err);
    if (!st && !*text) st = ws_fail(err, WS_EFORMAT, "%s: vignette \"%s\" has no text", where, id);
    if (!st) json_object_set_new(v, "_where", json_string(where));
    free(where);
    if (st) return st;
    if (json_object_get(r->rows, id)) r->repeated++;
    json_object_set(r->rows, id, v); /* keeps its first place, takes the last row */
    return WS_OK;
}

static int foundation_of(ws_vigset *s, const char *name) {
    for (int f = 0; f < s->n_foundations; f++)
        if (!strcmp(s->foundation[f], name)) return f;
    s->foundation = ws_xrealloc(s->foundation, (size_t)(s->n_foundations + 1) * sizeof *s->foundation);
    s->foundation[s->n_foundations] = ws_xstrdup(name);
    return s->n_foundations++;
}

static const char *name_of(const json_t *row) {
    const json_t *f = json_object_get(row, "foundation_coarse");
    if (!json_is_string(f)) f = json_object_get(row, "foundation");
    return json_string_value(f);
}

/* A human share is "83 %" or a number: other text says that the file is not what it seems. */
static ws_status check_shares(const json_t *row, const char *where, ws_err *err) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)row, key, v) {
        int share = !strncmp(key, "human_", 6) || !strcmp(key, "Not Wrong");
        for (int k = 0; k < N_KNOWN; k++) share |= !strcmp(key, known[k]);
        if (!share || json_is_number(v) || json_is_null(v)) continue;
        char *end = NULL;
        const char *text = json_string_value(v);
        if (text) strtod(text, &end);
        if (text && end != text && !end[strspn(end, " %")]) continue;
        return ws_fail(err, WS_EFORMAT, "%s: \"%s\" is a share, \"83 %%\" or a number", where, key);
    }
    return WS_OK;
}

/* The number under calibrated_<Foundation> (without blanks); 0 where there is none. */
static ws_status loading_of(const json_t *row, const char *foundation, double *out, int *any, const char *where,
                            ws_err *err) {
    char key[128] = "calibrated_";
    for (const char *c = foundation; *c; c++)
        if (*c != ' ' && strlen(key) + 2 < sizeof key) strncat(key, c, 1);
    *out = 0;
    if (!json_object_get(row, key)) return WS_OK;
    *any = 1;
    if (ws_json_num_or(row, key, 0, out, where, err)) return err->code;
    if (*out < 0 || !isfinite(*out)) return ws_fail(err, WS_EFORMAT, "%s: \"%s\" must not be below 0", where, key);
    return WS_OK;
}

/* L_f / sum L, where the sum also counts the seven foundations that no vignette of this set is labelled with. */
static ws_status loadings(ws_vigset *s, ws_vignette *v, const json_t *row, const char *where, ws_err *err) {
    double sum = 0, x;
    int any = 0;
    v->loading = ws_xcalloc((size_t)s->n_foundations, sizeof *v->loading);
    for (int f = 0; f < s->n_foundations; f++) {
        if (loading_of(row, s->foundation[f], &v->loading[f], &any, where, err)) return err->code;
        sum += v->loading[f];
    }
    for (int k = 0; k < N_KNOWN; k++) {
        int here = 0;
        for (int f = 0; f < s->n_foundations; f++) here |= !strcmp(s->foundation[f], known[k]);
        if (here) continue;
        if (loading_of(row, known[k], &x, &any, where, err)) return err->code;
        sum += x;
    }
    if (!any || sum <= 0) {
        free(v->loading);
        v->loading = NULL;
        return WS_OK;
    }
    for (int f = 0; f < s->n_foundations; f++) v->loading[f] /= sum;
    return WS_OK;
}

static const char *where_of(const json_t *row) { return json_string_value(json_object_get(row, "_where")); }

static ws_status join(ws_vigset *s, const rowset *r, ws_err *err) {
    const char *id;
    json_t *row;
    for (int c = 0; c < 2; c++)
        json_object_foreach(r[c].rows, id, row) if (!json_object_get(r[1 - c].rows, id)) return ws_fail(
            err, WS_EFORMAT, "%s: vignette \"%s\" has no partner in %s", where_of(row), id, r[1 - c].path);
    int used[N_KNOWN] = {0};
    json_object_foreach(r[0].rows, id, row) {
        const char *name = name_of(row);
        if (!name || !*name)
            return ws_fail(err, WS_EFORMAT, "%s: vignette \"%s\" has neither \"foundation_coarse\" nor \"foundation\"",
                           where_of(row), id);
        for (int k = 0; k < N_KNOWN; k++) used[k] |= !strcmp(name, known[k]);
    }
    for (int k = 0; k < N_KNOWN; k++)
        if (used[k]) foundation_of(s, known[k]);
    json_object_foreach(r[0].rows, id, row) foundation_of(s, name_of(row));
    s->v = ws_xcalloc(json_object_size(r[0].rows) + 1, sizeof *s->v);
    json_object_foreach(r[0].rows, id, row) {
        ws_vignette *v = &s->v[s->n++];
        const char *where = where_of(row);
        v->id = ws_xstrdup(id), v->foundation = foundation_of(s, name_of(row));
        v->text[0] = ws_xstrdup(json_string_value(json_object_get(row, "text")));
        v->text[1] = ws_xstrdup(json_string_value(json_object_get(json_object_get(r[1].rows, id), "text")));
        ws_status st = ws_json_num_or(row, "wrong", NAN, &v->wrong, where, err);
        if (!st) st = check_shares(row, where, err);
        if (!st) st = loadings(s, v, row, where, err);
        if (st) return st;
    }
    return s->n ? WS_OK : ws_fail(err, WS_EFORMAT, "%s: no vignettes in it", r[0].path);
}

/* ---- frames ---- */

static ws_status frames(ws_vigset *s, const char *path, ws_err *err) {
    json_t *v = NULL;
    if (ws_json_load(&v, path, err)) return err->code;
    const char *format = NULL;
    ws_status st = ws_json_str(v, "format", &format, path, err);
    const json_t *list = json_object_get(v, "frames"), *closing = json_object_get(v, "closing"), *f;
    if (!st && strcmp(format, "ws-frames"))
        st = ws_fail(err, WS_EFORMAT, "%s: format \"%s\" is not \"ws-frames\"", path, format);
    if (!st && json_array_size(list) != 2)
        st = ws_fail(err, WS_EFORMAT, "%s: \"frames\" must hold two frames, of polarity 1 and -1", path);
    if (!st && closing && !json_string_length(closing))
        st = ws_fail(err, WS_EFORMAT, "%s: \"closing\" must be the text that ends a thought", path);
    if (!st && closing) s->closing = ws_xstrdup(json_string_value(closing));
    for (size_t i = 0; i < 2 && !st; i++) {
        f = json_array_get(list, i);
        int64_t polarity = 0;
        const char *name, *field, *question, *prefill;
        st = ws_json_int(f, "polarity", &polarity, path, err);
        if (!st) st = ws_json_str(f, "name", &name, path, err);
        if (!st) st = ws_json_str(f, "field", &field, path, err);
        if (!st) st = ws_json_str(f, "question", &question, path, err);
        if (!st) st = ws_json_str(f, "prefill", &prefill, path, err);
        if (st) break;
        ws_frame *to = &s->frame[polarity == -1];
        if ((polarity != 1 && polarity != -1) || to->name)
            st = ws_fail(err, WS_EFORMAT, "%s: one frame must have polarity 1 and the other -1", path);
        else if (!*prefill || !*question)
            st = ws_fail(err, WS_EFORMAT, "%s: frame \"%s\" has an empty question or prefill", path, name);
        else
            *to = (ws_frame){ws_xstrdup(name), ws_xstrdup(field), ws_xstrdup(question), ws_xstrdup(prefill)};
    }
    json_decref(v);
    return st;
}

ws_status ws_vigset_load(ws_vigset *s, const char *where, ws_err *err) {
    memset(s, 0, sizeof *s);
    char *own = where ? NULL : ws_data_path("vignettes", err), *prefix = NULL;
    if (!where && !(where = own)) return err->code;
    rowset r[2] = {{s, NULL, json_object(), 0}, {s, NULL, json_object(), 0}};
    ws_status st = WS_OK;
    if (!(prefix = find_prefix(where, err))) st = err->code;
    for (int c = 0; c < 2 && !st; c++) {
        r[c].path = s->path[c] = ws_sprintf("%s%s.jsonl", prefix, ws_conds[c]);
        st = ws_jsonl_each(r[c].path, take, &r[c], err);
    }
    if (!st) st = join(s, r, err);
    if (!st) {
        s->repeated = r[0].repeated;
        s->path[2] = ws_is_dir(where) ? ws_path_join(where, "frames.json") : NULL;
        if (!s->path[2] || !ws_file_exists(s->path[2])) {
            free(s->path[2]);
            if (!(s->path[2] = ws_data_path("vignettes/frames.json", err))) st = err->code;
        }
    }
    if (!st) st = frames(s, s->path[2], err);
    json_decref(r[0].rows), json_decref(r[1].rows);
    free(own), free(prefix);
    if (st) ws_vigset_free(s);
    return st;
}

void ws_vigset_free(ws_vigset *s) {
    if (!s) return;
    for (int i = 0; i < s->n; i++) {
        ws_vignette *v = &s->v[i];
        free(v->id), free(v->loading), free(v->text[0]), free(v->text[1]);
    }
    for (int f = 0; f < s->n_foundations; f++) free(s->foundation[f]);
    for (int k = 0; k < 2; k++)
        free(s->frame[k].name), free(s->frame[k].field), free(s->frame[k].question), free(s->frame[k].prefill);
    for (int k = 0; k < 3; k++) free(s->path[k]);
    free(s->v), free(s->foundation), free(s->closing);
    memset(s, 0, sizeof *s);
}
