/* src/cmd/doctor.c - ws doctor: what this machine has for us, where things lie, and what is wrong. */
#include "base/parallel.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "data/behavior.h"
#include "io/hub.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "kernel/peak.h"
#include "train/plan.h"
#include "base/progress.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

WS_ROOM(doctor)

static const char doc[] = "What this machine has: kernels, cores and memory that the process may use, measured peaks, "
                          "folders, and what is wrong.\n\n"
                          "  ws doctor\n"
                          "  ws doctor --threads 1\n"
                          "  ws doctor --json\n\v"
                          "Exit status 1 when something keeps the program from working. Nothing is changed, nothing is "
                          "fetched.";

/* What is found: facts in order, and complaints. */
typedef struct findings {
    json_t *facts;      /* name -> text or number */
    json_t *complaints; /* sentences */
    int broken;         /* one of them keeps the program from working */
} findings;

static void fact(findings *f, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fact(findings *f, const char *name, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_object_set_new(f->facts, name, json_string(text));
}
static void complain(findings *f, int broken, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void complain(findings *f, int broken, const char *fmt, ...) {
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(f->complaints, json_string(text));
    f->broken |= broken;
}

/* The value behind "key : value" in /proc/cpuinfo or /proc/meminfo; 0: not there. */
static int proc_value(const char *path, const char *key, char *out, size_t size) {
    char line[4096];
    FILE *f = fopen(path, "r");
    int found = 0;
    while (f && !found && fgets(line, sizeof line, f)) {
        size_t n = strlen(key);
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, n) || !strchr(" \t:", line[n])) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, size, "%s", colon);
        found = 1;
    }
    if (f) fclose(f);
    return found;
}

static void processor(findings *f) {
    static const char *const wanted[] = {"avx2",        "fma",         "f16c",     "avx512f",  "avx512bw",
                                         "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile", NULL};
    char name[256] = "unknown", flags[4096] = " ";
    ws_str sets = {0}, usable = {0};
    proc_value("/proc/cpuinfo", "model name", name, sizeof name);
    if (proc_value("/proc/cpuinfo", "flags", flags + 1, sizeof flags - 2)) strcat(flags, " ");
    for (int i = 0; wanted[i]; i++) {
        char word[32];
        snprintf(word, sizeof word, " %s ", wanted[i]);
        if (strstr(flags, word)) ws_str_addf(&sets, "%s%s", sets.n ? " " : "", wanted[i]);
    }
    for (int i = 0; ws_kernels_all[i]; i++)
        if (ws_kernels_all[i]->usable()) ws_str_addf(&usable, "%s%s", usable.n ? ", " : "", ws_kernels_all[i]->name);
    fact(f, "processor", "%s", name);
    fact(f, "instructions", "%s", sets.n ? sets.p : "none of those that the kernels use");
    fact(f, "kernel_set", "%s (this CPU can run: %s)", ws_k.name, usable.p);
    fact(f, "compute", "%s (%s)", ws_compute_name(), ws_compute_why());
    if (strcspn(usable.p, ",") != strlen(ws_k.name) || strncmp(usable.p, ws_k.name, strlen(ws_k.name)))
        complain(f, 0, "WS_KERNELS=%s forces a slower kernel set than this CPU has; unset it", ws_k.name);
    else if (!strcmp(ws_k.name, "ref"))
        complain(f, 0,
                 "this CPU lacks AVX2, FMA or F16C: the scalar reference kernels are right, and ten or more times "
                 "slower");
    ws_str_free(&sets), ws_str_free(&usable);
}

static void cores(findings *f, const ws_peaks *p) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    fact(f, "cores", "%d of %ld that are online; %d threads are used", ws_cores(), online, p->threads);
    if (online > ws_cores())
        complain(f, 0, "an affinity mask or a cgroup quota leaves this process %d of %ld cores", ws_cores(), online);
    fact(f, "multiply_add", "%.1f GFLOP/s with 1 thread, %.1f with %d", p->fma_one, p->fma_all, p->threads);
    if (p->bf16_all > 0)
        fact(f, "bf16_pairs", "%.1f GFLOP/s with 1 thread, %.1f with %d", p->bf16_one, p->bf16_all, p->threads);
    fact(f, "memory_read", "%.1f GB/s with 1 thread, %.1f with %d", p->read_one, p->read_all, p->threads);
    if (p->threads > 1 && p->fma_all < 1.3 * p->fma_one)
        complain(f, 0,
                 "%d threads calculate %.2f times as fast as one: they share a core, or another program is running",
                 p->threads, p->fma_all / p->fma_one);
}

static void memory(findings *f) {
    char total[64] = "?", free_text[32];
    int64_t left = ws_memory_free();
    long long kib;
    if (proc_value("/proc/meminfo", "MemTotal", total, sizeof total) && sscanf(total, "%lld", &kib) == 1)
        ws_format_bytes(total, (double)kib * 1024);
    fact(f, "memory", "%s, of which this process may take %s more", total, ws_format_bytes(free_text, (double)left));
    if (left < (int64_t)1 << 30)
        complain(f, 0, "%s of memory are left: the default 135M model and its training need about 1 GiB", free_text);
}

static void place(findings *f, const char *name, const char *path, const char *what) {
    char existing[4096], bytes[32];
    struct statvfs v;
    snprintf(existing, sizeof existing, "%s", path);
    for (char *slash; access(existing, F_OK) && (slash = strrchr(existing, '/')) && slash > existing;) *slash = 0;
    int there = !access(path, F_OK), writable = !access(existing, W_OK);
    double left = statvfs(existing, &v) ? 0 : (double)v.f_bavail * (double)v.f_frsize;
    fact(f, name, "%s (%s; %s free)", path, there ? "there" : "not there yet", ws_format_bytes(bytes, left));
    if (!writable) complain(f, 0, "%s cannot be written: %s", path, what);
    if (writable && left < 1e9) complain(f, 0, "%s has %s free: %s", existing, bytes, what);
}

static int count_models(const char *cache) {
    DIR *d = opendir(cache);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += !strncmp(e->d_name, "models--", 8);
    if (d) closedir(d);
    return n;
}

static void folders(findings *f, int offline) {
    char *cache = ws_hub_cache(), *token = ws_hub_token_path(), here[4096];
    ws_err err = {0};
    place(f, "model_cache", cache, "models cannot be pulled; set HF_HOME or HF_HUB_CACHE to another folder");
    fact(f, "cached_models", "%d", count_models(cache));
    const char *set = getenv("HF_TOKEN");
    fact(f, "hub_token", "%s", set && *set ? "set in HF_TOKEN" : !access(token, R_OK) ? "in its file" : "none");
    fact(f, "network", "%s", offline ? "forbidden (--offline or HF_HUB_OFFLINE)" : "for pulling models, nothing else");
    if (getcwd(here, sizeof here)) place(f, "results", here, "runs write to ./out; give --out");
    char *data = ws_data_path("prompts.jsonl", &err);
    if (data) {
        char *slash = strrchr(data, '/');
        if (slash) *slash = 0;
        fact(f, "data", "%s", data);
    } else
        complain(f, 1, "%s", err.msg);
    free(cache), free(token), free(data);
}

static void print(const findings *f) {
    const char *name;
    json_t *v;
    size_t i;
    json_object_foreach(f->facts, name, v) {
        char label[32];
        snprintf(label, sizeof label, "%s", name);
        for (char *c = label; *c; c++)
            if (*c == '_') *c = ' ';
        printf("%-14s %s\n", label, json_string_value(v));
    }
    if (!json_array_size(f->complaints)) puts("\nnothing wrong was found");
    json_array_foreach(f->complaints, i, v) printf("%s%s\n", i ? "" : "\n", json_string_value(v));
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const without[] = {"model", "template", "steer", "force", "seed", "out", NULL};
    static const struct argp_option options[] = {{0}};
    findings f = {json_object(), json_array(), 0};
    ws_common c;
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, NULL, "", doc, NULL, &c, err);
    if (!st) {
        ws_peaks p = ws_peaks_measure(0);
        processor(&f);
        cores(&f, &p);
        memory(&f);
        folders(&f, c.offline);
        if (c.json)
            ws_print_json(json_pack("{s:O, s:O, s:b}", "machine", f.facts, "wrong", f.complaints, "usable", !f.broken),
                          0);
        else
            print(&f);
        if (f.broken) st = ws_fail(err, WS_EIO, "something keeps the program from working; see above");
    }
    json_decref(f.facts), json_decref(f.complaints);
    return st;
}

const ws_cmd ws_cmd_doctor = {190, "doctor", "this machine: kernels, cores, memory, peaks, folders, and what is wrong",
                              run};
