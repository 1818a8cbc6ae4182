/* src/cmd/main.c - finds the verb, runs it, turns its status into an exit status (docs/formats.md). */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/profile.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "kernel/peak.h"
#include "text/utf8.h"
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WS_VERSION "0.1.0"

#define X(name) extern const ws_cmd ws_cmd_##name;
#include "cmd.list"
#undef X
static const ws_cmd *cmds[] = {
#define X(name) &ws_cmd_##name,
#include "cmd.list"
#undef X
    NULL};
enum { N_CMDS = sizeof cmds / sizeof *cmds - 1 };

static int by_order(const void *a, const void *b) {
    const ws_cmd *x = *(const ws_cmd *const *)a, *y = *(const ws_cmd *const *)b;
    return x->order != y->order ? (x->order > y->order) - (x->order < y->order) : strcmp(x->name, y->name);
}

static void help(FILE *f) {
    fputs("ws - make a language model's behaviour adjustable, and measure what the adjustment costs\n\n"
          "  ws run --model M --behavior enthusiasm --out out     the whole chain, from persona to table\n"
          "  ws generate --model M --prompts p.jsonl --steer out/enthusiasm/lora/dw.safetensors:2\n"
          "  ws VERB --help                                       examples and options of one verb\n\n",
          f);
    for (int i = 0; i < N_CMDS; i++) fprintf(f, "  %-11s %s\n", cmds[i]->name, cmds[i]->summary);
    fputs("\nExit status: 0 done, 1 failed, 2 wrong usage, 130/143 interrupted.\n", f);
}

static int unknown(const char *verb) {
    const ws_cmd *best = NULL;
    size_t d = 3;
    for (int i = 0; i < N_CMDS; i++)
        if (ws_edit_distance(verb, cmds[i]->name) < d) best = cmds[i], d = ws_edit_distance(verb, cmds[i]->name);
    fprintf(stderr, "ws: unknown verb '%s'", verb);
    if (best) fprintf(stderr, "; did you mean '%s'?", best->name);
    fputs("  `ws help` lists them\n", stderr);
    return 2;
}

/* Help is printed by argp, which looks no further: what does not arrive must not end as success. */
static void flush_at_exit(void) {
    if (!fflush(stdout) && !ferror(stdout)) return;
    fputs("ws: writing to standard output failed (disk full or closed pipe?)\n", stderr);
    _exit(1);
}

/* Names and texts go into JSON, tables and tensor files, all of which are UTF-8. */
static int arguments_are_text(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        size_t bad;
        if (ws_utf8_valid(argv[i], strlen(argv[i]), &bad)) continue;
        fprintf(stderr,
                "ws: argument %d is not UTF-8: byte %zu is 0x%02x; rename the file, or give the text in a file\n", i,
                bad, (unsigned char)argv[i][bad]);
        return 0;
    }
    return 1;
}

/* The peaks are measured when the work is done, so that a warm machine is compared with a warm one. */
static void show_profile(void) {
    ws_str s = {0};
    ws_progress_clear_line();
    ws_profile_table(&s, ws_peak_fma(0), ws_peak_bf16(0), ws_peak_read(0));
    fprintf(stderr, "%s", s.p ? s.p : "");
    ws_str_free(&s);
}

int main(int argc, char **argv) {
    ws_err err = {0};
    atexit(flush_at_exit);
    if (!arguments_are_text(argc, argv)) return 2;
    qsort(cmds, N_CMDS, sizeof *cmds, by_order);
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    const char *verb = argv[1];
    if (!strcmp(verb, "--version") || !strcmp(verb, "version")) {
        printf("ws %s\n", WS_VERSION);
        return 0;
    }
    if (!strcmp(verb, "--help") || !strcmp(verb, "-h") || !strcmp(verb, "help")) {
        if (argc < 3 || verb[0] == '-') {
            help(stdout);
            return 0;
        }
        argv[1] = argv[2], argv[2] = "--help"; /* ws help VERB = ws VERB --help */
        verb = argv[1], argc = 3;
    }
    const ws_cmd *cmd = NULL;
    for (int i = 0; i < N_CMDS; i++)
        if (!strcmp(verb, cmds[i]->name)) cmd = cmds[i];
    if (!cmd) return unknown(verb);

    ws_interrupt_install();
    if (ws_kernels_init(&err) || ws_compute_choose(NULL, &err)) {
        fprintf(stderr, "ws: %s\n", err.msg);
        return 2;
    }
    char name[64];
    snprintf(name, sizeof name, "ws %s", cmd->name);
    argv[1] = name;
    double start = ws_now();
    ws_status st = cmd->run(argc - 1, argv + 1, &err);
    if (fflush(stdout) || ferror(stdout)) {
        if (!st) st = ws_fail(&err, WS_EIO, "writing to standard output failed (disk full or closed pipe?)");
        __fpurge(stdout), clearerr(stdout); /* said once is enough */
    }
    if (ws_profile_on() && st != WS_EUSAGE) show_profile();
    struct rusage use;
    if (!getrusage(RUSAGE_SELF, &use)) /* shown with -v */
        ws_detail("ws %s: %.1f s, peak memory %ld MiB", cmd->name, ws_now() - start, use.ru_maxrss / 1024);
    if (!st) return 0;
    ws_progress_clear_line();
    for (char *c = err.msg; *c; c++) /* what a file says of itself must not steer the terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    fprintf(stderr, "ws %s: %s\n", cmd->name, err.msg);
    if (st == WS_EUSAGE) return 2;
    if (st == WS_EINTERRUPTED) return 128 + ws_interrupted();
    return 1;
}
