/* src/cmd/main.c - finds the verb, runs it, turns its status into an exit status. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "kernel/kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

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

/* Damerau would be kinder; plain edit distance finds most slips of the finger. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(b), row[64];
    if (n > 62) return 64;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t v = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < v) v = row[j] + 1;
            if (row[j - 1] + 1 < v) v = row[j - 1] + 1;
            row[j] = v;
        }
    }
    return row[n];
}

static int unknown(const char *verb) {
    const ws_cmd *best = NULL;
    size_t d = 3;
    for (int i = 0; i < N_CMDS; i++)
        if (distance(verb, cmds[i]->name) < d) best = cmds[i], d = distance(verb, cmds[i]->name);
    fprintf(stderr, "ws: unknown verb '%s'", verb);
    if (best) fprintf(stderr, "; did you mean '%s'?", best->name);
    fputs("  `ws help` lists them\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    ws_err err = {0};
    qsort(cmds, N_CMDS, sizeof *cmds, by_order);
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    const char *verb = argv[1];
    if (!strcmp(verb, "--version") || !strcmp(verb, "version")) return printf("ws %s\n", WS_VERSION) < 0;
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
    if (ws_kernels_init(&err)) {
        fprintf(stderr, "ws: %s\n", err.msg);
        return 2;
    }
    char name[64];
    snprintf(name, sizeof name, "ws %s", cmd->name);
    argv[1] = name;
    double start = ws_now();
    ws_status st = cmd->run(argc - 1, argv + 1, &err);
    if (!st && (fflush(stdout) || ferror(stdout)))
        st = ws_fail(&err, WS_EIO, "writing to standard output failed (disk full or closed pipe?)");
    struct rusage use;
    if (!getrusage(RUSAGE_SELF, &use)) /* shown with -v */
        ws_detail("ws %s: %.1f s, peak memory %ld MiB", cmd->name, ws_now() - start, use.ru_maxrss / 1024);
    if (!st) return 0;
    ws_progress_clear_line();
    fprintf(stderr, "ws %s: %s\n", cmd->name, err.msg);
    if (st == WS_EUSAGE) return 2;
    if (st == WS_EINTERRUPTED) return 128 + ws_interrupted();
    return 1;
}
