#include "run/stage.h"
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/profile.h"
#include "base/progress.h"
#include "io/file.h"
#include "kernel/compute.h"
#include "run/tree.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void push(char ***list, int *n, const char *path) {
    *list = ws_xrealloc(*list, (size_t)(*n + 1) * sizeof **list);
    (*list)[(*n)++] = ws_xstrdup(path);
}
void ws_stage_input_of(ws_stage *s, const char *path, int group) {
    s->input_group = ws_xrealloc(s->input_group, (size_t)(s->n_inputs + 1) * sizeof *s->input_group);
    s->input_group[s->n_inputs] = group;
    push(&s->input, &s->n_inputs, path);
}
void ws_stage_input(ws_stage *s, const char *path) { ws_stage_input_of(s, path, 0); }
void ws_stage_output(ws_stage *s, const char *path) { push(&s->output, &s->n_outputs, path); }
void ws_stage_scratch(ws_stage *s, const char *path) { push(&s->scratch, &s->n_scratch, path); }

void ws_stages_free(ws_stage *s, int n) {
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < s[i].n_inputs; k++) free(s[i].input[k]);
        for (int k = 0; k < s[i].n_outputs; k++) free(s[i].output[k]);
        for (int k = 0; k < s[i].n_scratch; k++) free(s[i].scratch[k]);
        free(s[i].input), free(s[i].input_group);
        free(s[i].output);
        free(s[i].scratch);
        free(s[i].does);
        json_decref(s[i].options);
    }
}

/* Paths in the manifest are relative to the folder that holds the run, so that a run can be moved. */
static size_t parent_length(const ws_manifest *m) {
    const char *dir = ws_manifest_dir(m), *slash = strrchr(dir, '/');
    return slash ? (size_t)(slash - dir) + 1 : 0;
}
static const char *relative(const ws_manifest *m, const char *path) {
    size_t n = parent_length(m);
    return n && !strncmp(path, ws_manifest_dir(m), n) ? path + n : path;
}
static char *absolute(const ws_manifest *m, const char *key) {
    return *key == '/' ? ws_xstrdup(key) : ws_sprintf("%.*s%s", (int)parent_length(m), ws_manifest_dir(m), key);
}

/* {path: sha256} of all files; a missing one is an error. */
static ws_status contents(const ws_manifest *m, char **path, int n, json_t **out, ws_err *err) {
    json_t *o = json_object();
    *out = NULL;
    for (int i = 0; i < n; i++) {
        char hex[65];
        if (ws_hash_file(path[i], hex, err)) {
            json_decref(o);
            return err->code;
        }
        json_object_set_new(o, relative(m, path[i]), json_string(hex));
    }
    *out = o;
    return WS_OK;
}

/* Inputs count by their contents, in the stage's order: where a file lies does not matter. */
static ws_status fingerprint(const ws_stage *s, const ws_manifest *m, char hex[65], json_t **inputs, ws_err *err) {
    char format[32];
    if (contents(m, s->input, s->n_inputs, inputs, err)) return err->code;
    ws_hash *h = ws_hash_new();
    ws_hash_adds(h, s->name);
    snprintf(format, sizeof format, "%d", s->format);
    ws_hash_adds(h, format);
    char *options = json_dumps(s->options, JSON_COMPACT | JSON_SORT_KEYS);
    WS_ASSERT(options);
    ws_hash_adds(h, options);
    free(options);
    for (int i = 0; i < s->n_inputs; i++)
        ws_hash_adds(h, json_string_value(json_object_get(*inputs, relative(m, s->input[i]))));
    ws_hash_done(h, hex);
    return WS_OK;
}

static const char *str_at(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* What changed between a record and now, in a phrase. */
static void explain(const json_t *rec, const ws_stage *s, const json_t *inputs, ws_str *why) {
    const char *key;
    json_t *v;
    if (json_integer_value(json_object_get(rec, "format")) != s->format) {
        ws_str_adds(why, "this version of the program writes another format");
        return;
    }
    json_object_foreach((json_t *)inputs, key, v) {
        if (strcmp(str_at(json_object_get(rec, "inputs"), key), json_string_value(v))) {
            ws_str_addf(why, "its input %s changed", key);
            return;
        }
    }
    ws_str_adds(why, "its options changed");
}

typedef enum verdict { CURRENT, NEVER_RAN, BEGUN, STALE, OUTPUT_GONE, OUTPUT_CHANGED } verdict;

/* Every recorded output must stand there as recorded, and every output of the stage be recorded. */
static verdict check_outputs(const ws_stage *s, const ws_manifest *m, const json_t *recorded, ws_str *why) {
    const char *key;
    json_t *want;
    ws_err err;
    verdict v = CURRENT;
    for (int i = 0; i < s->n_outputs; i++)
        if (!json_object_get(recorded, relative(m, s->output[i]))) {
            ws_str_addf(why, "%s is new", s->output[i]);
            return OUTPUT_GONE;
        }
    json_object_foreach((json_t *)recorded, key, want) {
        char *path = absolute(m, key), hex[65];
        if (!ws_file_exists(path))
            v = OUTPUT_GONE;
        else if (ws_hash_file(path, hex, &err) || strcmp(hex, json_string_value(want)))
            v = OUTPUT_CHANGED;
        if (v != CURRENT) ws_str_addf(why, "%s %s", path, v == OUTPUT_GONE ? "is gone" : "was changed afterwards");
        free(path);
        if (v != CURRENT) break;
    }
    return v;
}

static verdict judge(const ws_stage *s, const ws_manifest *m, ws_str *why) {
    const json_t *rec = ws_manifest_stage(m, s->name);
    json_t *inputs = NULL;
    char hex[65];
    ws_err err;
    verdict v;
    if (!rec) {
        ws_str_adds(why, "not done yet");
        return NEVER_RAN;
    }
    if (fingerprint(s, m, hex, &inputs, &err)) {
        ws_str_adds(why, "an input is missing");
        return STALE;
    }
    if (strcmp(str_at(rec, "fingerprint"), hex)) {
        explain(rec, s, inputs, why);
        v = STALE;
    } else if (strcmp(str_at(rec, "state"), "done")) {
        const char *kernels = str_at(rec, "kernels");
        int other = s->same_kernels && *kernels && strcmp(kernels, ws_arithmetic());
        ws_str_addf(why, "begun, not finished%s%s%s", other ? "; begun with the " : "", other ? kernels : "",
                    other ? " kernels, whose bits are others" : "");
        v = other ? STALE : BEGUN;
    } else {
        v = check_outputs(s, m, json_object_get(rec, "outputs"), why);
    }
    json_decref(inputs);
    return v;
}

int ws_stage_current(const ws_stage *s, const ws_manifest *m, ws_str *why) {
    ws_str mine = {0};
    verdict v = judge(s, m, &mine);
    if (why && mine.n) ws_str_adds(why, mine.p);
    ws_str_free(&mine);
    return v == CURRENT;
}

/* Results that a person changed are never thrown away: they go to RUN/changed/. */
static ws_status set_aside(const ws_stage *s, const ws_manifest *m, ws_err *err) {
    const char *key;
    json_t *want;
    json_object_foreach(json_object_get(ws_manifest_stage(m, s->name), "outputs"), key, want) {
        char hex[65], *path = absolute(m, key), *dir = ws_path_join(ws_manifest_dir(m), "changed"),
                      *flat = ws_xstrdup(key), *keep = NULL;
        for (char *c = flat; *c; c++)
            if (*c == '/') *c = '-';
        keep = ws_path_join(dir, flat);
        if (ws_file_exists(path) && !ws_hash_file(path, hex, err) && strcmp(hex, json_string_value(want)) &&
            !ws_mkdirs(dir, err)) {
            if (rename(path, keep))
                ws_fail(err, WS_EIO, "cannot rename %s to %s: %s", path, keep, strerror(errno));
            else
                ws_warn("%s is not what `%s` made; it is kept as %s and made anew", path, s->name, keep);
        }
        free(path), free(dir), free(flat), free(keep);
        if (err->code) break;
    }
    return err->code;
}

ws_status ws_stage_clear(const ws_stage *s, ws_err *err) {
    for (int i = 0; i < s->n_outputs; i++)
        if (ws_tree_remove(s->output[i], err)) return err->code;
    for (int i = 0; i < s->n_scratch; i++)
        if (ws_tree_remove(s->scratch[i], err)) return err->code;
    return WS_OK;
}

/* The outputs that the record names go too. */
static ws_status clear(const ws_stage *s, const ws_manifest *m, ws_err *err) {
    const char *key;
    json_t *v;
    if (ws_stage_clear(s, err)) return err->code;
    json_object_foreach(json_object_get(ws_manifest_stage(m, s->name), "outputs"), key, v) {
        char *path = absolute(m, key);
        ws_tree_remove(path, err);
        free(path);
        if (err->code) return err->code;
    }
    return WS_OK;
}

/* ---------- the time that the whole still needs ---------- */
typedef struct outlook {
    const ws_stage *s;
    const char *pending; /* [n] */
    int n, at;
    double begun;           /* of the stage that runs */
    double planned, needed; /* estimates and true times of the finished ones */
} outlook;

/* `age` and `share` of the bar that is drawn; 0, 0 without one.  The pace of the rest is the true time over the planned
 * time of what has been done so far. */
static double seconds_left(void *arg, double age, double share) {
    const outlook *o = arg;
    const ws_stage *s = &o->s[o->at];
    double planned = o->planned, needed = o->needed, after = 0;
    int told = s->one_bar && age > 5 && share > 0.02;
    if (told) planned += s->seconds * share, needed += age;
    double pace = planned > 1 ? needed / planned : 1;
    double left = told ? age * (1 - share) / share : s->seconds * pace - (ws_now() - o->begun);
    for (int i = o->at + 1; i < o->n; i++)
        if (o->pending[i]) after += o->s[i].seconds * pace;
    return (left > 0 ? left : 0) + after;
}

/* Largest resident set since the last peak_restart; where the kernel does not count from there, of the process so far. */
static long peak_kib(void) {
    long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static void peak_restart(void) {
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
}

static ws_status run_one(ws_stage *s, ws_manifest *m, verdict v, ws_err *err) {
    json_t *inputs = NULL, *outputs = NULL;
    char hex[65];
    double t = ws_now();
    peak_restart();
    if (fingerprint(s, m, hex, &inputs, err)) return err->code;
    if (v == OUTPUT_CHANGED && set_aside(s, m, err)) goto out;
    if (v != NEVER_RAN && v != BEGUN && clear(s, m, err)) goto out;
    ws_manifest_set_stage(m, s->name,
                          json_pack("{s:s, s:s, s:s, s:i, s:O, s:O}", "state", "begun", "kernels", ws_arithmetic(),
                                    "fingerprint", hex, "format", s->format, "options", s->options, "inputs", inputs));
    if (ws_manifest_save(m, err) || s->run(s->arg, err)) goto out;
    if (contents(m, s->output, s->n_outputs, &outputs, err)) {
        ws_fail_prefix(err, "stage `%s` ended without all of its files", s->name);
        goto out;
    }
    ws_manifest_set_stage(m, s->name,
                          json_pack("{s:s, s:s, s:i, s:O, s:O, s:O, s:f, s:I, s:f, s:I}", "state", "done",
                                    "fingerprint", hex, "format", s->format, "options", s->options, "inputs", inputs,
                                    "outputs", outputs, "seconds", ws_now() - t, "peak_kib", (json_int_t)peak_kib(),
                                    "planned_seconds", s->seconds, "planned_bytes", (json_int_t)s->memory));
    ws_manifest_save(m, err);
out:
    json_decref(inputs);
    json_decref(outputs);
    return err->code;
}

/* What is left of a group that failed: nothing of an earlier session may stand for it, and no later stage waits for it. */
static ws_status leave_out(ws_stage *s, int n, ws_manifest *m, int group, ws_err *err) {
    for (int i = 0; i < n; i++) {
        if (s[i].group == group && !ws_stage_current(&s[i], m, NULL)) {
            if (clear(&s[i], m, err)) return err->code;
            ws_manifest_set_stage(m, s[i].name, NULL);
        }
        int kept = 0;
        for (int k = 0; k < s[i].n_inputs; k++) {
            if (s[i].input_group[k] == group) {
                free(s[i].input[k]);
                continue;
            }
            s[i].input[kept] = s[i].input[k], s[i].input_group[kept++] = s[i].input_group[k];
        }
        s[i].n_inputs = kept;
    }
    return ws_manifest_save(m, err);
}

/* s[0] failed, or cannot be because `stage` did: recorded, and its group given up. */
static ws_status give_up(ws_stage *s, int n, ws_manifest *m, const char *stage, const char *why, ws_err *err) {
    json_t *rec = json_deep_copy(ws_manifest_stage(m, s->name));
    if (!rec) rec = json_pack("{s:s, s:s, s:i}", "state", "begun", "fingerprint", "", "format", s->format);
    json_object_set_new(rec, "failed", json_string(stage));
    json_object_set_new(rec, "error", json_string(why));
    ws_manifest_set_stage(m, s->name, rec);
    for (int i = 1; i < n; i++) { /* what all rows go into says so, and is made again when that changes */
        if (s[i].group) continue;
        json_t *failed = json_object_get(s[i].options, "failed");
        if (!failed) json_object_set_new(s[i].options, "failed", failed = json_object());
        json_object_set_new(failed, s->name, json_string(why));
    }
    err->code = WS_OK;
    return leave_out(s + 1, n - 1, m, s->group, err);
}

ws_status ws_stages_run(ws_stage *s, int n, ws_manifest *m, ws_stages_result *r, ws_err *err) {
    double begun = ws_now();
    char *pending = ws_xcalloc((size_t)n, 1), *stale, time[2][32];
    const ws_stage **given_up; /* [groups + 1] the stage whose failure ended it */
    int groups = 0;
    outlook o = {s, pending, n, 0, 0, 0, 0};
    ws_status st = WS_OK;
    memset(r, 0, sizeof *r);
    err->code = WS_OK;
    /* what stands after a stage that must run again gets new inputs as a rule; the outlook counts it as work to do */
    for (int i = 0; i < n; i++) groups = s[i].group > groups ? s[i].group : groups;
    given_up = ws_xcalloc((size_t)groups + 1, sizeof *given_up), stale = ws_xcalloc((size_t)groups + 1, 1);
    for (int i = 0; i < n; i++) { /* [0]: what all wait for, or what waits for all */
        char *of = &stale[s[i].group];
        *of |= stale[0] | stale[s[i].needs] | (char)!ws_stage_current(&s[i], m, NULL);
        for (int g = 1; !s[i].group && g <= groups; g++) *of |= stale[g];
        pending[i] = *of;
    }
    for (int i = 0; i < n && !st; i++) {
        ws_str why = {0};
        double t = ws_now();
        if ((st = ws_interrupt_check(err))) break;
        const ws_stage *lost = s[i].needs ? given_up[s[i].needs] : NULL;
        if (given_up[s[i].group] || lost) {
            ws_note("[%d/%d] %s: left out", i + 1, n, s[i].name);
            pending[i] = 0;
            if (given_up[s[i].group]) continue;
            const char *said = json_string_value(json_object_get(ws_manifest_stage(m, lost->name), "error"));
            char *copy = ws_xstrdup(said ? said : "");
            given_up[s[i].group] = lost, r->n_failures++;
            st = give_up(&s[i], n - i, m, lost->name, copy, err);
            free(copy);
            continue;
        }
        verdict v = judge(&s[i], m, &why);
        if (v == CURRENT) {
            ws_note("[%d/%d] %s: up to date, skipped", i + 1, n, s[i].name);
            r->skipped++;
        } else {
            o.at = i, o.begun = t;
            ws_note("[%d/%d] %s: %s%s%s%s", i + 1, n, s[i].name, s[i].does, v == NEVER_RAN ? "" : " (",
                    v == NEVER_RAN ? "" : why.p, v == NEVER_RAN ? "" : ")");
            ws_progress_whole(seconds_left, &o);
            ws_profile_stage(s[i].name);
            st = run_one(&s[i], m, v, err);
            ws_progress_whole(NULL, NULL);
            if (st && st != WS_EINTERRUPTED && s[i].group) {
                ws_err said = *err;
                ws_warn("%s: %s", s[i].name, said.msg);
                ws_warn("%s failed; what hangs on it is left out, the rest goes on", s[i].name);
                if (!*r->gave_up) snprintf(r->gave_up, sizeof r->gave_up, "%s", s[i].name), r->why = said;
                r->n_failures++;
                given_up[s[i].group] = &s[i];
                st = give_up(&s[i], n - i, m, s[i].name, said.msg, err);
            }
            if (st) snprintf(r->failed, sizeof r->failed, "%s", s[i].name);
            o.planned += s[i].seconds, o.needed += ws_now() - t;
            r->ran++;
            o.at = i + 1, o.begun = ws_now();
            if (!st && i + 1 < n && ws_now() - t >= 2)
                ws_note("[%d/%d] %s: done in %s; the rest needs about %s", i + 1, n, s[i].name,
                        ws_format_seconds(time[0], ws_now() - t), ws_format_seconds(time[1], seconds_left(&o, 0, 0)));
        }
        ws_str_free(&why);
    }
    r->seconds = ws_now() - begun;
    free(pending), free(given_up), free(stale);
    return st;
}
