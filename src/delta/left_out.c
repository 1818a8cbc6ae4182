#include "delta/left_out.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/parallel.h"
#include "family/family.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char embed[] = "model.embed_tokens.weight", head[] = "lm_head.weight";

/* The tensor behind a name in a checkpoint; a head that is tied is the embedding. */
static const ws_tensor *in_checkpoint(const ws_checkpoint *c, const char *name) {
    const ws_tensor *t = ws_checkpoint_find(c, name);
    return !t && !strcmp(name, head) ? ws_checkpoint_find(c, embed) : t;
}
static const ws_tensor *of_side(const ws_side *s, const char *name) {
    return !s || s->edits ? NULL : in_checkpoint(s->c, name);
}
static int tied(const ws_side *s) { return !s || s->edits || ws_model_arch(s->m)->tied; }

static int belongs_to_linear(const ws_model *m, const char *name) {
    const char *dot = strrchr(name, '.');
    if (!dot || (strcmp(dot, ".weight") && strcmp(dot, ".bias"))) return 0;
    char *site = ws_xstrndup(name, (size_t)(dot - name));
    int i = ws_model_find_site(m, site);
    free(site);
    return i >= 0 && ws_model_site(m, i)->kind == WS_SITE_LINEAR;
}

enum { ROWS = 256 };
typedef struct change_job {
    const ws_tensor *base, *pos, *neg; /* NULL: as the base */
    double cp, cn;
    int64_t cols;
    double *part;
} change_job;

static void change_rows(void *arg, int64_t begin, int64_t end) {
    const change_job *j = arg;
    float *b = ws_xmalloc(3 * (size_t)j->cols * sizeof *b), *p = b + j->cols, *n = p + j->cols;
    double sum = 0;
    for (int64_t r = begin; r < end; r++) {
        ws_tensor_row_f32(j->base, r, b);
        if (j->pos) ws_tensor_row_f32(j->pos, r, p);
        if (j->neg) ws_tensor_row_f32(j->neg, r, n);
        for (int64_t i = 0; i < j->cols; i++) {
            double x = (j->pos ? j->cp * ((double)p[i] - (double)b[i]) : 0) +
                       (j->neg ? j->cn * ((double)n[i] - (double)b[i]) : 0);
            sum += x * x;
        }
    }
    j->part[begin / ROWS] = sum;
    free(b);
}

static int64_t rows(const ws_tensor *t) { return t->dims > 0 ? t->dim[0] : 1; }
static int64_t cols(const ws_tensor *t) { return rows(t) ? ws_tensor_numel(t) / rows(t) : 0; }

/* How many rows both have.  Vocabularies are resized; another width was refused when the side was opened, by its config. */
static int64_t common_rows(const ws_tensor *base, const ws_tensor *t, const ws_side *s) {
    if (!t || rows(t) == rows(base)) return rows(base);
    ws_warn("%s: %s has %lld rows, in the base %lld; the rows that both have are compared, and dW carries none of them",
            s->path, base->name, (long long)rows(t), (long long)rows(base));
    return rows(t) < rows(base) ? rows(t) : rows(base);
}

static ws_status one(ws_whole_report *r, const char *name, const ws_tensor *base, const ws_side *pos,
                     const ws_side *neg, double cp, double cn, ws_err *err) {
    const ws_tensor *p = of_side(pos, name), *n = of_side(neg, name);
    if ((!p && !n) || !ws_dtypes[base->type].is_weight) return WS_OK;
    const ws_tensor *both[] = {p, n};
    for (int i = 0; i < 2; i++)
        if (both[i] && (cols(both[i]) != cols(base) || !ws_dtypes[both[i]->type].is_weight)) {
            char has[96], want[96];
            ws_tensor_shape(both[i], has), ws_tensor_shape(base, want);
            return ws_fail(err, WS_ESHAPE, "%s: %s is %s, in the base it is %s", (i ? neg : pos)->path, name, has,
                           want);
        }
    int64_t a = common_rows(base, p, pos), b = common_rows(base, n, neg), count = a < b ? a : b;
    change_job j = {base, p, n, cp, cn, cols(base), ws_xcalloc((size_t)(count / ROWS + 1), sizeof(double))};
    double sum = 0;
    ws_parallel_for(count, ROWS, change_rows, &j);
    for (int64_t i = 0; i * ROWS < count; i++) sum += j.part[i];
    free(j.part);
    if (!isfinite(sum))
        return ws_fail(err, WS_ENONFINITE, "%s of %s%s%s holds NaN or infinity", name, pos->path, neg ? " or " : "",
                       neg ? neg->path : "");
    ws_map_forget(base->data, base->bytes);
    for (int i = 0; i < 2; i++)
        if (both[i]) ws_map_forget(both[i]->data, both[i]->bytes);
    if (sum == 0) return WS_OK;
    const char *kind = ws_delta_kind(name);
    int i = 0;
    while (i < r->n_left && strcmp(r->left[i].kind, kind)) i++;
    if (i == r->n_left) {
        r->left = ws_xrealloc(r->left, (size_t)(r->n_left + 1) * sizeof *r->left);
        r->left[r->n_left++] = (ws_whole_part){.kind = ws_xstrdup(kind)};
    }
    r->left[i].n++, r->left[i].full += sum, r->left[i].lost += sum;
    return WS_OK;
}

ws_status ws_left_out(ws_whole_report *r, const ws_side *pos, const ws_side *neg, double cp, double cn, ws_err *err) {
    const ws_checkpoint *c = ws_model_checkpoint(pos->base);
    const int heads = !(ws_model_arch(pos->base)->tied && tied(pos) && tied(neg));
    ws_status st = WS_OK;
    for (size_t i = 0; i < ws_checkpoint_count(c) && !st; i++) {
        const ws_tensor *t = ws_checkpoint_at(c, i);
        if (belongs_to_linear(pos->base, t->name) || !strcmp(t->name, head)) continue;
        st = one(r, t->name, t, pos, neg, cp, cn, err);
        if (!st) st = ws_interrupt_check(err);
    }
    if (!st && heads) st = one(r, head, in_checkpoint(c, head), pos, neg, cp, cn, err);
    return st;
}
