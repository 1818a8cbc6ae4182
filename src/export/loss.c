#include "export/loss.h"
#include "base/err.h"
#include "export/export.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void ws_loss_add(ws_loss *l, const char *site, int64_t rank, double full, double lost) {
    const char *kind = ws_delta_kind(site);
    int i = 0;
    while (i < l->n && strcmp(l->kind[i].kind, kind)) i++;
    if (i == l->n) {
        l->kind = ws_xrealloc(l->kind, (size_t)(l->n + 1) * sizeof *l->kind);
        l->kind[l->n++] = (ws_loss_kind){.kind = ws_xstrdup(kind)};
    }
    l->kind[i].sites++, l->kind[i].ranks += rank;
    l->kind[i].full += full, l->kind[i].lost += lost > 0 || isnan(lost) ? lost : 0; /* rounding may leave it below 0 */
}

double ws_loss_share(double full, double lost) { return lost == 0 ? 0 : sqrt(lost / full); }

static ws_loss_kind all(const ws_loss *l) {
    ws_loss_kind a = {.kind = "all"};
    for (int i = 0; i < l->n; i++)
        a.sites += l->kind[i].sites, a.ranks += l->kind[i].ranks, a.full += l->kind[i].full, a.lost += l->kind[i].lost;
    return a;
}

double ws_loss_all(const ws_loss *l) {
    ws_loss_kind a = all(l);
    return ws_loss_share(a.full, a.lost);
}

static void line(const ws_loss_kind *k, int ranks, FILE *f) {
    fprintf(f, "%-28s %7d", k->kind, k->sites);
    if (ranks) fprintf(f, " %10.4g", (double)k->ranks / k->sites);
    fprintf(f, " %12.6g %14.6g\n", sqrt(k->full), ws_loss_share(k->full, k->lost));
}

void ws_loss_print(const ws_loss *l, FILE *f) {
    ws_loss_kind a = all(l);
    int ranks = a.ranks > 0;
    fprintf(f, "%-28s %7s%s %12s %14s\n", "modules", "number", ranks ? "  mean rank" : "", "||dW||", "share lost");
    for (int i = 0; i < l->n; i++) line(&l->kind[i], ranks, f);
    line(&a, ranks, f);
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *entry(const ws_loss_kind *k) {
    json_t *o = json_pack("{s:s, s:i, s:o, s:o}", "modules", k->kind, "number", k->sites, "norm_dw",
                          number(sqrt(k->full)), "lost", number(ws_loss_share(k->full, k->lost)));
    if (k->ranks) json_object_set_new(o, "mean_rank", json_real((double)k->ranks / k->sites));
    return o;
}

json_t *ws_loss_json(const ws_loss *l) {
    json_t *list = json_array();
    ws_loss_kind a = all(l);
    for (int i = 0; i < l->n; i++) json_array_append_new(list, entry(&l->kind[i]));
    json_array_append_new(list, entry(&a));
    return list;
}

void ws_loss_free(ws_loss *l) {
    for (int i = 0; i < l->n; i++) free(l->kind[i].kind);
    free(l->kind);
    *l = (ws_loss){0};
}
