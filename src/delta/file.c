/* src/delta/file.c - dW files (design.md, Files; docs/formats.md): safetensors with <site>.U and <site>.V, for each term
 * <site>.s<j> and <site>.E<j>, <site>.db, and <site>.D where it is dense, which is left in the file and mapped. */
#include "base/log.h"
#include "base/parallel.h"
#include "delta/impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of one edit under their names: <site>.U, .V, for term j .s<j> and .E<j>, .db, .D.  Appends to t. */
static size_t tensors_of(const ws_edit *e, const char *site, ws_tensor *t) {
    size_t n = 0;
    if (e->k) {
        t[n++] = (ws_tensor){.name = ws_sprintf("%s.U", site), .dims = 2, .dim = {e->d_out, e->k}, .data = e->u};
        t[n++] = (ws_tensor){.name = ws_sprintf("%s.V", site), .dims = 2, .dim = {e->k, e->d_in}, .data = e->v};
    }
    for (int j = 0; j < e->n_terms; j++) {
        const ws_edit_term *x = &e->term[j];
        int64_t b = x->e_block;
        if (x->s)
            t[n++] = (ws_tensor){.name = ws_sprintf("%s.s%d", site, j), .dims = 1, .dim = {e->d_out}, .data = x->s};
        if (!x->e) continue;
        t[n] = (ws_tensor){.name = ws_sprintf("%s.E%d", site, j), .dims = 1, .dim = {e->d_in}, .data = x->e};
        if (b > 1) t[n].dims = 3, t[n].dim[0] = e->d_in / b, t[n].dim[1] = b, t[n].dim[2] = b;
        n++;
    }
    if (e->db) t[n++] = (ws_tensor){.name = ws_sprintf("%s.db", site), .dims = 1, .dim = {e->d_out}, .data = e->db};
    for (size_t i = 0; i < n; i++) t[i].type = WS_F32;
    if (e->dense.data)
        t[n++] = (ws_tensor){.name = ws_sprintf("%s.D", site),
                             .type = e->dense.type,
                             .dims = 2,
                             .dim = {e->d_out, e->d_in},
                             .data = e->dense.data};
    for (size_t i = 0; i < n; i++) t[i].bytes = ws_dtype_bytes(t[i].type, ws_tensor_numel(&t[i]));
    return n;
}

json_t *ws_delta_head(const json_t *sources, const ws_checkpoint *base) {
    json_t *meta = json_deep_copy(sources);
    json_object_set_new(meta, "format", json_string("ws-dw"));
    json_object_set_new(meta, "version", json_string("1"));
    json_object_set_new(meta, "base_hash", json_string(ws_checkpoint_hash(base)));
    json_object_set_new(meta, "base_name", json_string(ws_checkpoint_name(base)));
    return meta;
}

typedef struct finite_job {
    const ws_weight *w;
    int64_t *bad; /* [rows] first number that is not finite, -1: none */
} finite_job;

static void look(void *arg, int64_t begin, int64_t end) {
    const finite_job *p = arg;
    float *row = ws_xmalloc((size_t)p->w->cols * sizeof *row);
    for (int64_t r = begin; r < end; r++) {
        ws_weight_rows_f32(p->w, r, 1, row);
        p->bad[r] = -1;
        for (int64_t i = 0; i < p->w->cols && p->bad[r] < 0; i++)
            if (!isfinite(row[i])) p->bad[r] = i;
    }
    free(row);
}

/* The first number of an F32, BF16 or F16 tensor that is not finite; -1: there is none. */
static int64_t first_bad(const ws_tensor *t) {
    const int64_t n = ws_tensor_numel(t), cols = t->dims > 1 && n ? t->dim[t->dims - 1] : n, rows = cols ? n / cols : 0;
    const ws_weight w = {
        .data = t->data, .type = t->type, .rows = rows, .cols = cols, .row_bytes = ws_dtype_bytes(t->type, cols)};
    finite_job p = {&w, ws_xcalloc((size_t)rows, sizeof *p.bad)};
    int64_t bad = -1;
    ws_parallel_for(rows, 64, look, &p);
    for (int64_t r = 0; r < rows && bad < 0; r++)
        if (p.bad[r] >= 0) bad = r * cols + p.bad[r];
    free(p.bad);
    return bad;
}

ws_status ws_delta_save(const ws_delta *d, const char *path, ws_err *err) {
    size_t n = 0, most = 0;
    ws_status st = WS_OK;
    for (int i = 0; i < d->n; i++) most += 4 + 2 * (size_t)d->edit[i].n_terms;
    ws_tensor *t = ws_xcalloc(most, sizeof *t);
    for (int i = 0; i < d->n; i++) n += tensors_of(&d->edit[i], ws_model_site(d->model, d->site[i])->name, t + n);
    for (size_t j = 0; j < n && !st; j++)
        if (first_bad(&t[j]) >= 0)
            st = ws_fail(err, WS_ENONFINITE, "%s holds NaN or infinity; dW is not saved", t[j].name);
    if (!st) {
        json_t *meta = ws_delta_head(d->meta, ws_model_checkpoint(d->model));
        st = ws_safetensors_write(path, t, n, meta, err);
        json_decref(meta);
    }
    for (size_t i = 0; i < n; i++) free(t[i].name);
    free(t);
    return st;
}

static ws_status check_head(const ws_model *m, const json_t *meta, const char *path, int force, ws_err *err) {
    const char *format = json_string_value(json_object_get(meta, "format")),
               *version = json_string_value(json_object_get(meta, "version"));
    const char *hash = json_string_value(json_object_get(meta, "base_hash")),
               *name = json_string_value(json_object_get(meta, "base_name"));
    const ws_checkpoint *c = ws_model_checkpoint(m);
    if (!format || strcmp(format, "ws-dw"))
        return ws_fail(err, WS_EFORMAT, "%s: not a dW file (metadata format is %s, not ws-dw)", path,
                       format ? format : "missing");
    if (!version || strcmp(version, "1"))
        return ws_fail(err, WS_EUNSUPPORTED, "%s: dW file of version %s; this build reads version 1", path,
                       version ? version : "?");
    if (!hash) return ws_fail(err, WS_EFORMAT, "%s: metadata base_hash is missing", path);
    if (!strcmp(hash, ws_checkpoint_hash(c))) return WS_OK;
    if (!force)
        return ws_fail(
            err, WS_ESTATE,
            "%s was made on %s (hash %.12s), this base is %s (hash %.12s); if that is the same model in another "
            "file (a GGUF and the directory it was made from), --force is right",
            path, name ? name : "another base", hash, ws_checkpoint_name(c), ws_checkpoint_hash(c));
    ws_warn("%s was made on another base (%s)", path, name ? name : hash);
    return WS_OK;
}

/* F32 numbers of the given shape, all finite, in fresh memory. */
static ws_status read_numbers(float **out, const ws_tensor *t, int dims, const int64_t *dim, const char *path,
                              ws_err *err) {
    int same = t->dims == dims && t->type == WS_F32;
    for (int i = 0; same && i < dims; i++) same = t->dim[i] == dim[i];
    if (!same) {
        ws_str s = {0};
        for (int i = 0; i < dims; i++) ws_str_addf(&s, "%s%lld", i ? ", " : "", (long long)dim[i]);
        ws_fail(err, WS_ESHAPE, "%s: %s must be F32 [%s] on this base", path, t->name, s.p);
        ws_str_free(&s);
        return err->code;
    }
    if (!(*out = ws_tensor_f32(t))) return ws_fail(err, WS_ENOMEM, "%s: out of memory for %s", path, t->name);
    for (int64_t i = 0, n = ws_tensor_numel(t); i < n; i++)
        if (!isfinite((*out)[i]))
            return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t->name,
                           (long long)i);
    return WS_OK;
}

/* One edit's tensors while the file is read. */
typedef struct parts {
    const ws_tensor *u, *v, *db, *dense, **s, **e;
    int n_terms;
} parts;

enum { MAX_TERMS = 64 }; /* of one site: far more than adding up contrasts makes */

/* "12" without sign, blank or leading zero; -1: something else. */
static int term_number(const char *p) {
    if (*p < '0' || *p > '9' || (*p == '0' && p[1])) return -1;
    int n = 0;
    for (; *p >= '0' && *p <= '9' && n < MAX_TERMS; p++) n = 10 * n + *p - '0';
    return *p || n >= MAX_TERMS ? -1 : n;
}

/* Puts tensor t to its place; 0: it is no part of an edit of a linear of this model. */
static int sort_in(const ws_model *m, parts *of, const ws_tensor *t) {
    const char *dot = strrchr(t->name, '.');
    if (!dot) return 0;
    char *name = ws_xstrndup(t->name, (size_t)(dot - t->name));
    int i = ws_model_find_site(m, name);
    free(name);
    if (i < 0 || ws_model_site(m, i)->kind != WS_SITE_LINEAR) return 0;
    parts *p = &of[i];
    dot++;
    const ws_tensor **to = !strcmp(dot, "U")    ? &p->u
                           : !strcmp(dot, "V")  ? &p->v
                           : !strcmp(dot, "db") ? &p->db
                           : !strcmp(dot, "D")  ? &p->dense
                                                : NULL;
    if (!to && (*dot == 's' || *dot == 'E')) {
        int j = term_number(dot + 1);
        if (j < 0) return 0;
        if (!p->s) p->s = ws_xcalloc(2 * MAX_TERMS, sizeof *p->s), p->e = p->s + MAX_TERMS;
        if (j >= p->n_terms) p->n_terms = j + 1;
        to = *dot == 's' ? &p->s[j] : &p->e[j];
    }
    if (to) *to = t;
    return to != NULL;
}

static ws_status read_term(ws_edit *e, const parts *p, int j, const char *site, const char *path, ws_err *err) {
    const ws_tensor *s = p->s[j], *E = p->e[j];
    float *sv = NULL, *ev = NULL;
    int64_t b = 1;
    ws_status st = WS_OK;
    if (!s && !E)
        return ws_fail(err, WS_EFORMAT, "%s: term %d of %s is missing (%s.s%d or %s.E%d), though it has %d", path, j,
                       site, site, j, site, j, p->n_terms);
    if (s) st = read_numbers(&sv, s, 1, &e->d_out, path, err);
    if (!st && E) {
        b = E->dims == 3 ? E->dim[1] : 1;
        if (E->dims == 3 && (b < 2 || b > e->d_in || e->d_in % b))
            st = ws_fail(err, WS_ESHAPE, "%s: the blocks of %s do not divide %lld inputs", path, E->name,
                         (long long)e->d_in);
        else
            st = read_numbers(&ev, E, b > 1 ? 3 : 1, b > 1 ? (int64_t[]){e->d_in / b, b, b} : &e->d_in, path, err);
    }
    if (st)
        free(sv), free(ev);
    else
        ws_edit_add_term(e, sv, ev, (int)b);
    return st;
}

/* Stays in the file, which is mapped as long as the dW lives. */
static ws_status read_dense(ws_edit *e, const ws_tensor *t, const char *path, ws_err *err) {
    int64_t bad;
    if (t->dims != 2 || t->dim[0] != e->d_out || t->dim[1] != e->d_in ||
        (t->type != WS_F32 && t->type != WS_BF16 && t->type != WS_F16))
        return ws_fail(err, WS_ESHAPE, "%s: %s must be F32, BF16 or F16 [%lld, %lld] on this base", path, t->name,
                       (long long)e->d_out, (long long)e->d_in);
    if ((bad = first_bad(t)) >= 0)
        return ws_fail(err, WS_ENONFINITE, "%s: %s holds NaN or infinity (element %lld)", path, t->name,
                       (long long)bad);
    return ws_weight_from_tensor(&e->dense, t, err);
}

static ws_status read_edit(ws_edit *e, const ws_site *at, const parts *p, const char *path, ws_err *err) {
    *e = (ws_edit){.d_out = at->d_out, .d_in = at->d_in};
    if (!p->u != !p->v)
        return ws_fail(err, WS_EFORMAT, "%s: %s stands without its partner", path, p->u ? p->u->name : p->v->name);
    if (p->u) {
        int64_t k = p->v->dims == 2 ? p->v->dim[0] : 0;
        if (k < 1) return ws_fail(err, WS_ESHAPE, "%s: %s is no matrix of at least one row", path, p->v->name);
        if (read_numbers(&e->u, p->u, 2, (int64_t[]){at->d_out, k}, path, err) ||
            read_numbers(&e->v, p->v, 2, (int64_t[]){k, at->d_in}, path, err))
            return err->code;
        e->k = k;
    }
    for (int j = 0; j < p->n_terms; j++)
        if (read_term(e, p, j, at->name, path, err)) return err->code;
    if (p->dense && read_dense(e, p->dense, path, err)) return err->code;
    return p->db ? read_numbers(&e->db, p->db, 1, &at->d_out, path, err) : WS_OK;
}

ws_status ws_delta_load(ws_delta **out, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_safetensors *s = NULL;
    ws_delta *d = NULL;
    ws_edit e = {0};
    int n_sites = ws_model_n_sites(m);
    parts *of = NULL;
    int dense = 0;
    *out = NULL;
    if (ws_safetensors_open(&s, path, err)) return err->code;
    const json_t *meta = ws_safetensors_meta(s);
    if (check_head(m, meta, path, force, err)) goto cleanup;
    of = ws_xcalloc((size_t)n_sites, sizeof *of);
    for (size_t i = 0; i < ws_safetensors_count(s); i++) {
        const ws_tensor *t = ws_safetensors_at(s, i);
        if (sort_in(m, of, t)) continue;
        ws_fail(err, WS_EUNSUPPORTED,
                "%s: tensor %s is no part (.U, .V, .s0, .E0 ... .db, .D) of an edit of a linear layer of this model",
                path, t->name);
        goto cleanup;
    }
    d = ws_delta_alloc(m);
    for (int site = 0; site < n_sites; site++) {
        const parts *p = &of[site];
        if (!p->u && !p->v && !p->n_terms && !p->db && !p->dense) continue;
        dense |= p->dense != NULL;
        if (read_edit(&e, ws_model_site(m, site), p, path, err) || ws_delta_add(d, site, &e, err)) goto cleanup;
    }
    if (!d->n) {
        ws_fail(err, WS_EFORMAT, "%s: holds no edit", path);
        goto cleanup;
    }
    for (void *it = json_object_iter((json_t *)meta); it; it = json_object_iter_next((json_t *)meta, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "format") && strcmp(key, "version") && strcmp(key, "base_hash") && strcmp(key, "base_name"))
            json_object_set(d->meta, key, json_object_iter_value(it));
    }
    if (dense) d->file = s, s = NULL;
    *out = d, d = NULL;
cleanup:
    for (int i = 0; of && i < n_sites; i++) free(of[i].s);
    free(of);
    ws_edit_release(&e);
    ws_delta_free(d);
    ws_safetensors_close(s);
    return *out ? WS_OK : err->code;
}
