/* src/cmd/readout.c - `ws readout`: the vignette tables from answers that were computed elsewhere. */
#include "cmd/stages.h"
#include "data/behavior.h"
#include "eval/outside.h"
#include "io/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(readout)

enum { K_VIGNETTES = 1, K_BEHAVIOR, K_PROTOCOL, K_FLOOR, K_K, K_LOADING, K_BOOTSTRAP, K_NAME };

static const struct argp_option options[] = {
    {"vignettes", K_VIGNETTES, "DIR", 0,
     "folder with other_violate.jsonl and self_violate.jsonl that the ids belong to (the program's own)", 0},
    {"behavior", K_BEHAVIOR, "NAME", 0, "behaviour (name or file) whose target is meant to move (Authority down)", 0},
    {"protocol", K_PROTOCOL, "P", 0, "ours, ws or sl: fixes floor, k, weighting and sign rule", 0},
    {"floor", K_FLOOR, "P", 0, "answers with less probability on true and false are left out (0.5)", 0},
    {"k", K_K, "K", 0, "price of a broken judgement in SI (2)", 0},
    {"loading-weighted", K_LOADING, 0, 0, "weigh SI by foundation loadings instead of the label", 0},
    {"bootstrap", K_BOOTSTRAP, "N", 0, "draws for the intervals (1000)", 0},
    {"model-name", K_NAME, "NAME", 0, "base model that the answers are of, for tables", 0},
    {0}};

static const char doc[] =
    "Wrongness, foundations, dlogit, Surgical Informedness, the specific effect and their intervals, from answer "
    "log-probabilities (or p_true and pmass) that another program computed.\n\n"
    "Examples:\n"
    "  ws readout answers.jsonl --vignettes tinymfv/data/vignettes_airisk\n"
    "  ws readout answers.csv --protocol sl --out mine                then: ws table mine\n"
    "  ws readout out/authority/lora/vignettes_raw.jsonl --k 1        our own answers under another rule\n"
    "  ws readout sweep/mean_diff.json sweep/pca.json --vignettes V   steering-lite's files, bare.json beside them\v"
    "A line (JSONL, or a row of a CSV): id, cond (other_violate, self_violate), frame (wrong, accept), method, alpha "
    "(0 is the "
    "base) or arm (base, plus, minus), and either logp_true and logp_false (log of the summed probability of the true "
    "and of "
    "the false answers) or p_true and pmass. With --out each method gets a folder as `ws eval` leaves it.";

typedef struct args {
    ws_eval_options o;
    const char *behavior, *vignettes, *name;
    const char **file;
    int n, floor, k, loading;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    long long n = 0;
    switch (key) {
    case K_VIGNETTES: a->vignettes = arg; break;
    case K_BEHAVIOR: a->behavior = arg; break;
    case K_PROTOCOL: st = ws_opt_protocol(arg, &a->o.protocol, &err); break;
    case K_FLOOR: st = ws_opt_num("--floor", arg, 0, 1, &a->o.floor, &err), a->floor = 1; break;
    case K_K: st = ws_opt_num("--k", arg, 0, 1000, &a->o.k, &err), a->k = 1; break;
    case K_LOADING: a->o.loading_weighted = a->loading = 1; break;
    case K_BOOTSTRAP: st = ws_opt_int("--bootstrap", arg, 1, 1000000, &n, &err), a->o.bootstrap = (int)n; break;
    case K_NAME: a->name = arg; break;
    case ARGP_KEY_ARG:
        a->file = ws_xrealloc(a->file, (size_t)(a->n + 1) * sizeof *a->file);
        a->file[a->n++] = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

static ws_status read_all(ws_answer_file *f, const args *a, const ws_vigset *set, ws_err *err) {
    const char *const frame[2] = {set->frame[0].name, set->frame[1].name};
    ws_status st = WS_OK;
    for (int i = 0; i < a->n && !st; i++) {
        size_t n = strlen(a->file[i]);
        int sl = n > 5 && !strcmp(a->file[i] + n - 5, ".json");
        st = sl ? ws_answer_file_sl(f, a->file[i], err) : ws_answer_file_read(f, a->file[i], frame, err);
    }
    return st;
}

/* A folder for each method, as an evaluation leaves it. */
static ws_status write_all(const ws_answer_file *f, const ws_outside *w, const args *a, const char *out, ws_err *err) {
    ws_status st = WS_OK;
    for (int i = 1; i < f->n && !st; i++) {
        ws_outside one = *w;
        ws_eval_options o = a->o;
        int seen = 0;
        for (int k = 1; k < i; k++) seen |= !strcmp(f->s[k].method, f->s[i].method);
        if (seen) continue;
        if (strchr(f->s[i].method, '/') || *f->s[i].method == '.' || !*f->s[i].method)
            return ws_fail(err, WS_EFORMAT, "method \"%s\" is no name for a folder below --out", f->s[i].method);
        char *dir = ws_path_join(out, f->s[i].method);
        one.method = f->s[i].method, o.out = dir;
        st = ws_outside_tables(f, &one, &o, NULL, NULL, err);
        free(dir);
    }
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const without[] = {"model", "offline", "steer", "force", "template", "compute", NULL};
    args a = {.o = ws_eval_defaults()};
    ws_common c;
    ws_vigset set = {0};
    ws_answer_file f = {0};
    ws_behavior *b = NULL;
    ws_str report = {0};
    json_t *json = NULL;
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "ANSWERS...", doc, &a, &c, err);
    if (!st && !a.n) st = ws_fail(err, WS_EUSAGE, "which answers? give a JSONL, a CSV, or a JSON of steering-lite");
    if (!st && a.o.protocol) {
        st = ws_protocol_fix(a.o.protocol, &a.o, a.floor, a.k, a.loading, 0, err);
        a.o.max_think = 0; /* how the answers came about is the other program's matter */
    }
    if (!st && a.behavior) st = ws_behavior_load(&b, a.behavior, err);
    if (!st) st = ws_vigset_load(&set, a.vignettes, err);
    if (st) goto out;
    char **id = ws_xcalloc((size_t)set.n + 1, sizeof *id);
    for (int i = 0; i < set.n; i++) id[i] = set.v[i].id;
    ws_answer_file_begin(&f, id, set.n);
    st = read_all(&f, &a, &set, err);
    const ws_outside w = {&set, b, a.name, NULL};
    a.o.seed = c.seed;
    if (!st) st = ws_outside_tables(&f, &w, &a.o, &report, &json, err);
    if (!st && c.out) st = write_all(&f, &w, &a, c.out, err);
    if (!st && c.json)
        ws_print_json(json_incref(json), 0);
    else if (!st) {
        fwrite(report.p, 1, report.n, stdout);
        if (a.o.protocol && *a.o.protocol->not_followed) printf("%s\n", a.o.protocol->not_followed);
    }
    ws_answer_file_free(&f);
    free(id);
out:
    json_decref(json);
    ws_str_free(&report);
    ws_vigset_free(&set);
    ws_behavior_free(b);
    free(a.file);
    return st;
}

const ws_cmd ws_cmd_readout = {155, "readout", "answers of another program -> the vignette tables", run};
