/* src/run/plan_print.c - the plan as text and as JSON: before a run, and beside what its finished stages took. */
#include "base/parallel.h"
#include "base/progress.h"
#include "kernel/peak.h"
#include "run/pipeline_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Times on `cores` cores of this kind: where reading memory gets faster with them [0], and where it does not [1]. */
typedef struct more_cores {
    int cores;
    double *seconds[2], total[2]; /* seconds: [n_stages] */
} more_cores;

static void on_more_cores(const ws_pipeline *p, more_cores *c, const char *pending) {
    const double times = (double)c->cores / ws_threads();
    for (int k = 0; k < 2; k++) {
        const ws_speed v = ws_speed_scaled(&p->speed, times, k ? 1 : times);
        c->seconds[k] = ws_xcalloc((size_t)p->n_stages, sizeof *c->seconds[k]);
        ws_pipeline_times(p, &v, c->seconds[k]);
        c->total[k] = 0;
        for (int i = 0; i < p->n_stages; i++) c->total[k] += pending[i] ? c->seconds[k][i] : 0;
    }
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

/* A finished stage's record has what was planned when it ran, and what it took. */
static void beside(const json_t *rec, ws_str *out) {
    char t[2][32], m[2][32];
    if (!json_object_get(rec, "planned_seconds")) {
        ws_str_adds(out, " (up to date)");
        return;
    }
    ws_str_addf(out, " (up to date; planned %s and %s, took %s and %s)",
                ws_format_seconds(t[0], number(rec, "planned_seconds")),
                ws_format_bytes(m[0], number(rec, "planned_bytes")), ws_format_seconds(t[1], number(rec, "seconds")),
                ws_format_bytes(m[1], number(rec, "peak_kib") * 1024));
}

static void cores_text(const ws_pipeline *p, const more_cores *c, ws_str *out) {
    char a[32], b[32];
    ws_str_addf(
        out,
        "%d cores, each as fast as one of the %d used here (%.0f GFLOP/s of fused multiply-adds): %s if memory is "
        "read faster in the same measure, %s if it is not. Assumed: the work is shared evenly among them; no "
        "machine larger than this one was measured.\n",
        c->cores, ws_threads(), p->speed.peak * 1e-9 / ws_threads(), ws_format_seconds(a, c->total[0]),
        ws_format_seconds(b, c->total[1]));
}

static void text(const ws_pipeline *p, const char *pending, const more_cores *c, double total, int64_t memory,
                 int64_t disk, ws_str *out) {
    char a[32], b[32], d[32], e[32];
    int name = 10; /* width of the first column */
    for (int i = 0; i < p->n_stages; i++)
        if ((int)strlen(p->stage[i].name) > name) name = (int)strlen(p->stage[i].name);
    const ws_checkpoint *k = ws_model_checkpoint(p->in->model);
    ws_str_addf(out, "%s (%s, %.1f M parameters), behaviour %s, %d threads; results in %s\n\n", ws_checkpoint_name(k),
                ws_model_family(p->in->model), (double)ws_model_params(p->in->model) / 1e6, p->in->behavior->name,
                ws_threads(), p->run);
    ws_str_addf(out, "%-*s %13s", name, "stage", "time");
    if (c->cores) ws_str_addf(out, " %7d cores", c->cores);
    ws_str_addf(out, " %11s %11s  %s\n", "memory", "disk", "what");
    for (int i = 0; i < p->n_stages; i++) {
        const ws_stage *s = &p->stage[i];
        ws_str_addf(out, "%-*s %13s", name, s->name, pending[i] ? ws_format_seconds(a, s->seconds) : "-");
        if (c->cores) ws_str_addf(out, " %13s", pending[i] ? ws_format_seconds(b, c->seconds[0][i]) : "-");
        ws_str_addf(out, " %11s %11s  %s", ws_format_bytes(d, (double)s->memory), ws_format_bytes(e, (double)s->disk),
                    s->does);
        if (!pending[i]) beside(ws_manifest_stage(p->manifest, s->name), out);
        ws_str_addc(out, '\n');
    }
    ws_str_addf(out, "\n%s at most, %s at the peak, %s on disk; %s of memory are free\n", ws_format_seconds(a, total),
                ws_format_bytes(b, (double)memory), ws_format_bytes(d, (double)disk),
                ws_format_bytes(e, (double)ws_memory_free()));
    if (c->cores) cores_text(p, c, out);
}

static void as_json(const ws_pipeline *p, const char *pending, const more_cores *c, double total, int64_t memory,
                    int64_t disk, ws_str *out) {
    json_t *list = json_array();
    for (int i = 0; i < p->n_stages; i++) {
        const ws_stage *s = &p->stage[i];
        json_t *j =
            json_pack("{s:s, s:b, s:f, s:I, s:I, s:s}", "stage", s->name, "up_to_date", !pending[i], "seconds",
                      s->seconds, "memory", (json_int_t)s->memory, "disk", (json_int_t)s->disk, "what", s->does);
        if (c->cores)
            json_object_set_new(j, "seconds_on_cores", json_pack("[f,f]", c->seconds[0][i], c->seconds[1][i]));
        if (!pending[i]) {
            const json_t *rec = ws_manifest_stage(p->manifest, s->name);
            json_object_set_new(j, "took_seconds", json_real(number(rec, "seconds")));
            json_object_set_new(j, "took_memory", json_integer((json_int_t)(number(rec, "peak_kib") * 1024)));
        }
        json_array_append_new(list, j);
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:f, s:o, s:f, s:I, s:I, s:I}", "model",
                          ws_checkpoint_name(ws_model_checkpoint(p->in->model)), "behavior", p->in->behavior->name,
                          "run", p->run, "threads", ws_threads(), "peak_gflops", p->speed.peak * 1e-9, "stages", list,
                          "seconds", total, "memory", (json_int_t)memory, "disk", (json_int_t)disk, "memory_free",
                          (json_int_t)ws_memory_free());
    if (c->cores) {
        json_object_set_new(j, "cores", json_integer(c->cores));
        json_object_set_new(j, "seconds_on_cores", json_pack("[f,f]", c->total[0], c->total[1]));
    }
    WS_ASSERT(j);
    ws_json_dump(j, out, 0);
    ws_str_addc(out, '\n');
    json_decref(j);
}

ws_status ws_pipeline_plan(ws_pipeline *p, int cores, int json, ws_str *out, ws_err *err) {
    char *pending;
    more_cores c = {.cores = cores};
    double total = 0;
    int64_t memory = 0, disk = 0;
    if (ws_pipeline_estimate(p, 1, err)) return err->code;
    pending = ws_xcalloc((size_t)p->n_stages, 1);
    for (int i = 0; i < p->n_stages; i++) {
        const ws_stage *s = &p->stage[i];
        pending[i] = (char)!ws_stage_current(s, p->manifest, NULL);
        total += pending[i] ? s->seconds : 0;
        if (pending[i] && s->memory > memory) memory = s->memory;
        disk += s->disk;
    }
    if (cores) on_more_cores(p, &c, pending);
    (json ? as_json : text)(p, pending, &c, total, memory, disk, out);
    free(pending), free(c.seconds[0]), free(c.seconds[1]);
    return WS_OK;
}
