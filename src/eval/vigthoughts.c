/* src/eval/vigthoughts.c - what became of the thoughts of mode B: how many closed by themselves, how long they were, and
 * whether they went round in circles.  A strength that breaks thinking shows here before it shows in the answers. */
#include "base/parallel.h"
#include "base/stats.h"
#include "eval/raw.h"
#include "eval/vigtables.h"
#include <stdio.h>
#include <stdlib.h>

enum { CLOSED, TOKENS, LOOP, N_MEANS };
typedef struct tally {
    const ws_vigwork *w;
    double *mean; /* [n_settings, N_MEANS] over the vignettes as often as each counts */
    double *draw; /* [n_settings, N_MEANS, draws] */
    int draws;
} tally;

static void means(const ws_vigwork *w, const int *times, double *out) {
    for (int s = 0; s < w->e->n_settings; s++) {
        double n = 0, sum[N_MEANS] = {0};
        for (int i = 0; i < w->ask.n; i++) {
            const ws_thought_stats *m = &w->ask.stats[(size_t)s * (size_t)w->ask.n + (size_t)i];
            double t = times ? times[i / 4] : 1, x[N_MEANS] = {m->closed, m->tokens, m->loop};
            n += t;
            for (int k = 0; k < N_MEANS; k++) sum[k] += t * x[k];
        }
        for (int k = 0; k < N_MEANS; k++) out[s * N_MEANS + k] = sum[k] / n;
    }
}

static void draw_some(void *arg, int64_t begin, int64_t end) {
    tally *t = arg;
    int n = t->w->e->n_settings * N_MEANS, *times = ws_xmalloc((size_t)t->w->grid.n * sizeof *times);
    double *out = ws_xmalloc((size_t)n * sizeof *out);
    for (int64_t d = begin; d < end; d++) {
        ws_readout_draw(&t->w->grid, t->w->e->o->seed, d, times);
        means(t->w, times, out);
        for (int i = 0; i < n; i++) t->draw[(int64_t)i * t->draws + d] = out[i];
    }
    free(times), free(out);
}

ws_status ws_vigthoughts(const ws_vigwork *w, ws_err *err) {
    const ws_eval *e = w->e;
    if (!w->ask.stats && !e->o->out) return WS_OK;
    if (!w->ask.stats) { /* what an evaluation with thoughts left here is not this one's */
        char *path = ws_path_join(e->o->out, "thinking.csv");
        ws_status gone =
            ws_file_exists(path) && remove(path) ? ws_fail(err, WS_EIO, "%s cannot be removed", path) : WS_OK;
        free(path);
        return gone;
    }
    size_t n = (size_t)e->n_settings * N_MEANS;
    tally t = {w, ws_xmalloc(n * sizeof(double)), ws_xmalloc(n * (size_t)e->o->bootstrap * sizeof(double)),
               e->o->bootstrap};
    ws_str csv = {0}, *o = e->report;
    means(w, NULL, t.mean);
    ws_parallel_for(t.draws, 8, draw_some, &t);
    ws_str_adds(&csv, "method,alpha,arm,n,max_think,closed,closed_lo,closed_hi,forced,own_prefill,tokens,tokens_lo,"
                      "tokens_hi,loop,loop_lo,loop_hi\n");
    ws_str_addf(o,
                "Thoughts of at most %d tokens [95%% interval over vignettes]; loop: share of 4-token runs that "
                "stood before in the same thought\n%-16s %8s  %-20s %8s %8s  %-22s %s\n",
                e->o->max_think, "method", "alpha", "closed", "forced", "prefill", "tokens", "loop");
    for (int s = 0; s < e->n_settings; s++) {
        const ws_setting *x = &e->setting[s];
        const ws_thought_stats *m = w->ask.stats + (size_t)s * (size_t)w->ask.n;
        const double *mean = t.mean + (size_t)s * N_MEANS;
        ws_interval in[N_MEANS];
        int forced = 0, own = 0;
        for (int i = 0; i < w->ask.n; i++) forced += !m[i].closed, own += m[i].prefilled;
        for (int k = 0; k < N_MEANS; k++)
            in[k] = ws_interval_of(t.draw + ((size_t)s * N_MEANS + (size_t)k) * (size_t)t.draws, t.draws);
        ws_col_setting(&csv, x), ws_num(&csv, w->ask.n), ws_num(&csv, e->o->max_think);
        for (int k = 0; k < N_MEANS; k++) {
            if (k == TOKENS) ws_num(&csv, forced), ws_num(&csv, own);
            ws_num(&csv, mean[k]), ws_num(&csv, in[k].lo), ws_num(&csv, in[k].hi);
        }
        ws_str_addc(&csv, '\n');
        char text[N_MEANS][64];
        for (int k = 0; k < N_MEANS; k++)
            snprintf(text[k], sizeof text[k], k == TOKENS ? "%.1f [%.1f, %.1f]" : "%.2f [%.2f, %.2f]", mean[k],
                     in[k].lo, in[k].hi);
        ws_str_addf(o, "%-16s %+8.3f  %-20s %8d %8d  %-22s %s\n", x->name, x->alpha, text[CLOSED], forced, own,
                    text[TOKENS], text[LOOP]);
    }
    ws_str_addc(o, '\n');
    ws_status st = ws_eval_write(e, "thinking.csv", &csv, err);
    ws_str_free(&csv);
    free(t.mean), free(t.draw);
    return st;
}
