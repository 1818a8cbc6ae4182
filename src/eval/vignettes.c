/* src/eval/vignettes.c - moral vignettes (pipeline.md 6): a scenario, a question, perhaps a thought, the answer's first token.
 * Paper: the vignettes' foundations are those of moral foundations theory (Clifford et al. 2015); the measure is tinymfv's. */
#include "base/log.h"
#include "base/hash.h"
#include "eval/vigtables.h"
#include <stdlib.h>
#include <string.h>

WS_ROOM(vignettes)

static ws_status check(const ws_eval *e, ws_err *err) {
    ws_vigset s;
    ws_status st = ws_vigset_load(&s, e->o->vignettes, err);
    if (st) return st;
    for (int i = 0; i < s.n && !st && e->o->loading_weighted; i++)
        if (!s.v[i].loading)
            st = ws_fail(err, WS_EUSAGE, "--loading-weighted: vignette \"%s\" of %s has no loadings", s.v[i].id,
                         s.path[0]);
    if (!st) st = ws_vigask_check(e, &s, err);
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
    int n = t.set.n, S = e->n_settings, F = t.set.n_foundations;
    const size_t N = 4 * (size_t)n;
    if (t.set.repeated)
        ws_note("vignettes: %d rows of %s repeat an id; the last one counts", t.set.repeated, t.set.path[0]);
    char *mode = ws_vigask_mode(e->o);
    ws_note("vignettes: %s", mode);
    free(mode);
    st = ws_vigask_run(&t.ask, e, &t.set, err);

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
        ws_answers_fill(&t.answers[s], n, t.ask.logp_true + (size_t)s * N, t.ask.logp_false + (size_t)s * N,
                        e->o->floor);
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

    for (int s = 0; s < S; s++) ws_answers_free(&t.answers[s]);
    free(foundation), free(human), free(loading), free(t.answers), free(t.target), free(t.sign);
    ws_vigask_free(&t.ask);
    ws_vigset_free(&t.set);
    return st;
}

const ws_eval_ops ws_eval_vignettes = {
    .name = "vignettes",
    .title = "moral vignettes: which judgements move",
    .check = check,
    .run = run,
};
