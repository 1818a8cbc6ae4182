#include "base/profile.h"
#include "base/err.h"
#include "base/parallel.h"
#include "base/progress.h"
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 16, STAGE = 32 };

typedef struct row {
    const char *kernel;
    int64_t calls;
    double seconds, flops, bytes;
} row;
typedef struct stage {
    char name[STAGE];
    double begun, seconds;
    int n;
    row *row;
} stage;

static _Thread_local int on;
static struct {
    int n_stages, at; /* the running one */
    stage *stage;
    int depth;
    struct {
        int row;
        double begun, inner; /* seconds of nested brackets */
    } open[MAX_DEPTH];
} p;

int ws_profile_on(void) { return on && !ws_parallel_inside(); }

static void stage_ends(void) {
    if (p.n_stages) p.stage[p.at].seconds += ws_now() - p.stage[p.at].begun;
}

static void stage_begins(const char *name) {
    for (p.at = 0; p.at < p.n_stages && strncmp(p.stage[p.at].name, name, STAGE - 1); p.at++) {}
    if (p.at == p.n_stages) {
        p.stage = ws_xrealloc(p.stage, (size_t)(p.n_stages + 1) * sizeof *p.stage);
        p.stage[p.n_stages] = (stage){0};
        strncpy(p.stage[p.n_stages++].name, name, STAGE - 1);
    }
    p.stage[p.at].begun = ws_now();
}

void ws_profile_start(const char *name) {
    on = 1;
    stage_begins(name);
}

void ws_profile_stage(const char *name) {
    if (!on) return;
    WS_ASSERT(!p.depth);
    stage_ends();
    stage_begins(name);
}

void ws_profile_enter(const char *kernel) {
    if (!ws_profile_on()) return;
    stage *s = &p.stage[p.at];
    int i = 0;
    while (i < s->n && s->row[i].kernel != kernel && strcmp(s->row[i].kernel, kernel)) i++;
    if (i == s->n) {
        s->row = ws_xrealloc(s->row, (size_t)(s->n + 1) * sizeof *s->row);
        s->row[s->n++] = (row){.kernel = kernel};
    }
    WS_ASSERT(p.depth < MAX_DEPTH);
    p.open[p.depth].row = i, p.open[p.depth].begun = ws_now(), p.open[p.depth].inner = 0;
    p.depth++;
}

void ws_profile_leave(double flops, double bytes) {
    if (!ws_profile_on()) return;
    WS_ASSERT(p.depth > 0);
    p.depth--;
    row *r = &p.stage[p.at].row[p.open[p.depth].row];
    double whole = ws_now() - p.open[p.depth].begun;
    r->calls++, r->seconds += whole - p.open[p.depth].inner, r->flops += flops, r->bytes += bytes;
    if (p.depth) p.open[p.depth - 1].inner += whole;
}

static int slower(const void *a, const void *b) {
    double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;
    return (x < y) - (x > y);
}

static void line(ws_str *out, const row *r, double all, double gflops, double gbs) {
    ws_str_addf(out, "%-22s %10lld %9.3f %5.1f%%", r->kernel, (long long)r->calls, r->seconds,
                all > 0 ? 100 * r->seconds / all : 0);
    const struct {
        double rate, peak;
    } col[2] = {{r->flops / r->seconds * 1e-9, gflops}, {r->bytes / r->seconds * 1e-9, gbs}};
    for (int c = 0; c < 2; c++) {
        if (r->seconds > 0 && col[c].rate > 0)
            ws_str_addf(out, " %9.1f %4.0f%%", col[c].rate, col[c].peak > 0 ? 100 * col[c].rate / col[c].peak : 0);
        else
            ws_str_adds(out, "         -     -");
    }
    ws_str_addc(out, '\n');
}

void ws_profile_table(ws_str *out, double gflops, double bf16, double gbs) {
    if (!p.n_stages) return;
    stage_ends();
    p.stage[p.at].begun = ws_now();
    ws_str_addf(out, "peaks measured now: %.1f GFLOP/s,", gflops);
    if (bf16 > 0) ws_str_addf(out, " %.1f GFLOP/s bf16,", bf16);
    ws_str_addf(out, " %.1f GB/s\n", gbs);
    for (int i = 0; i < p.n_stages; i++) {
        stage *s = &p.stage[i];
        double sum = 0;
        if (!s->n) continue;
        ws_str_addf(out, "\n%-22s %10s %9s %6s %9s %5s %9s %5s\n", s->name, "calls", "seconds", "share", "GFLOP/s",
                    "peak", "GB/s", "peak");
        qsort(s->row, (size_t)s->n, sizeof *s->row, slower);
        for (int k = 0; k < s->n; k++) {
            const int pairs = bf16 > 0 && strstr(s->row[k].kernel, "bf16");
            sum += s->row[k].seconds;
            line(out, &s->row[k], s->seconds, pairs ? bf16 : gflops, gbs);
        }
        row rest = {.kernel = "everything else", .calls = 0, .seconds = s->seconds - sum};
        line(out, &rest, s->seconds, gflops, gbs);
        row all = {.kernel = "the whole stage", .seconds = s->seconds};
        for (int k = 0; k < s->n; k++) all.calls += s->row[k].calls, all.flops += s->row[k].flops;
        line(out, &all, s->seconds, gflops, gbs);
    }
}
