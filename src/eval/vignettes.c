/* src/eval/vignettes.c - moral vignettes (pipeline.md 6): a scenario, a question, perhaps a thought, the answer's first token.
 * Paper: the vignettes' foundations are those of moral foundations theory (Clifford et al. 2015); the measure is tinymfv's. */
#include "base/log.h"
#include "eval/vigtables.h"
#include <stdlib.h>

WS_ROOM(vignettes)

static ws_status check(const ws_eval *e, ws_err *err) {
    ws_vigset s;
    ws_status st = ws_vigset_load(&s, e->o->vignettes, err);
    if (st) return st;
    for (int i = 0; i < s.n && !st && e->o->loading_weighted; i++)
        if (!s.v[i].loading)
            st = ws_fail(
                err, WS_EUSAGE,
                "SI weighted by loadings (--loading-weighted, --protocol sl): vignette \"%s\" of %s has no loadings",
                s.v[i].id, s.path[0]);
    if (!st) st = ws_vigask_check(e, &s, err);
    ws_vigset_free(&s);
    return st;
}

static ws_status run(ws_eval *e, ws_err *err) {
    ws_vigwork t = {.e = e};
    ws_status st = ws_vigset_load(&t.set, e->o->vignettes, err);
    if (st) return st;
    int n = t.set.n, S = e->n_settings;
    const size_t N = 4 * (size_t)n;
    if (t.set.repeated)
        ws_note("vignettes: %d rows of %s repeat an id; the last one counts", t.set.repeated, t.set.path[0]);
    char *mode = ws_vigask_mode(e->o);
    ws_note("vignettes: %s", mode);
    free(mode);
    st = ws_vigask_run(&t.ask, e, &t.set, err);

    t.answers = ws_xcalloc((size_t)S, sizeof *t.answers);
    for (int s = 0; s < S && !st; s++)
        ws_answers_fill(&t.answers[s], n, t.ask.logp_true + (size_t)s * N, t.ask.logp_false + (size_t)s * N,
                        e->o->floor);
    if (!st) st = ws_vigwork_tables(&t, err);

    for (int s = 0; s < S; s++) ws_answers_free(&t.answers[s]);
    free(t.answers);
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
