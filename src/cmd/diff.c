/* src/cmd/diff.c - `ws diff`: theta_pos and theta_neg, each an adapter or a whole checkpoint -> dW file and diagnostics. */
#include "base/hash.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cmd/cmd.h"
#include "delta/compat.h"
#include "delta/whole.h"
#include "io/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(diff)

enum { K_MODE = 0x500, K_NAME, K_RANK, K_DENSE, K_DTYPE, K_LAYERS, K_MODULES, K_COMPAT };
enum { RANK = 64 }; /* of whole checkpoints, unless asked otherwise */

static const struct argp_option options[] = {
    {"mode", K_MODE, "MODE", 0,
     "dw: pos - neg as they are (default); bisector: each side to length 1, subtracted, rescaled to ||dW||", 1},
    {"name", K_NAME, "NAME", 0, "row name in tables (default: the adapter's kind; of checkpoints \"full\")", 1},
    {"layers", K_LAYERS, "A:B", 0, "of layers A .. B-1 alone (default: all)", 1},
    {"modules", K_MODULES, "LIST", 0, "of these modules alone, by name or ending: q_proj,mlp.up_proj (default: all)",
     1},
    {"rank", K_RANK, "K", 0,
     "keep the best K factors of every matrix and tell what that loses (checkpoints: 64 if nothing is said; adapters "
     "are exact without)",
     2},
    {"dense", K_DENSE, 0, 0, "keep every number: a file as large as the touched weights", 2},
    {"dtype", K_DTYPE, "TYPE", 0, "of --dense: f32 (default), bf16 or f16", 2},
    {"compat", K_COMPAT, 0, 0,
     "tell how much of this dW the reference program would lose: it merges each adapter into BF16 weights and "
     "subtracts "
     "there, in steps as coarse as those of W.  What is written stays exact",
     3},
    {0}};

static const char doc[] =
    "Contrast two fine-tunes of one base: dW = theta_pos - theta_neg.\n\n"
    "  ws diff --model M lora/pos lora/neg --out lora/dw.safetensors\n"
    "  ws diff --model M pos neg --mode bisector --out dw.safetensors --json\n"
    "  ws diff --model M org/fine-tune --out finetune.safetensors          theta - base of a whole checkpoint\n"
    "  ws diff --model M tuned-pos/ tuned-neg/ --rank 128 --out dw.safetensors\n"
    "  ws diff --model M tuned-pos/ tuned-neg/ --dense --dtype bf16 --out dw.safetensors\n"
    "  ws diff --model M lora/pos lora/neg --compat --out lora/dw.safetensors\n"
    "  ws diff --model M lora/pos lora/neg --layers 8:16 --modules o_proj,down_proj --out part.safetensors\n\n"
    "A side is an adapter directory (PEFT's are welcome), a LoRA GGUF, a dW file, or a checkpoint: a directory, a "
    ".gguf "
    "or a hub id of the base's architecture.  Adapters are contrasted in factors, exact in fp32.  Checkpoints are "
    "read "
    "matrix by matrix in little memory; what has no place in dW (norms, embeddings, head) is told with its share of "
    "the "
    "change.  Norms are Frobenius norms over all touched matrices; energy is the share of a squared norm.\v";

typedef struct args {
    const char *path[2];
    int n;
    ws_whole_options o;
    int dense, has_dtype, first, last, part, compat;
    const char *name, *modules;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    static const struct {
        const char *name;
        ws_dtype type;
    } types[] = {{"f32", WS_F32}, {"bf16", WS_BF16}, {"f16", WS_F16}};
    args *a = state->input;
    ws_err err = {0};
    long long n;
    double lo, hi;
    switch (key) {
    case K_MODE:
        if (strcmp(arg, "dw") && strcmp(arg, "bisector")) argp_error(state, "--mode %s: dw or bisector", arg);
        a->o.mode = strcmp(arg, "dw") ? WS_CONTRAST_BISECTOR : WS_CONTRAST_DW;
        break;
    case K_NAME: a->name = arg; break;
    case K_RANK:
        if (ws_opt_int("--rank", arg, 1, 1 << 20, &n, &err)) argp_error(state, "%s", err.msg);
        a->o.rank = n;
        break;
    case K_DENSE: a->dense = 1; break;
    case K_DTYPE:
        for (size_t i = 0; i < 3; i++)
            if (!strcmp(arg, types[i].name)) a->o.dtype = types[i].type, a->has_dtype = 1;
        if (!a->has_dtype) argp_error(state, "--dtype %s: f32, bf16 or f16", arg);
        break;
    case K_LAYERS:
        if (ws_opt_range("--layers", arg, &lo, &hi, &err)) argp_error(state, "%s", err.msg);
        if (lo != floor(lo) || hi != floor(hi) || lo < 0 || hi > 100000)
            argp_error(state, "--layers %s: whole numbers A:B, half open", arg);
        a->first = (int)lo, a->last = (int)hi;
        break;
    case K_MODULES: a->modules = arg; break;
    case K_COMPAT: a->compat = 1; break;
    case ARGP_KEY_ARG:
        if (a->n == 2) argp_error(state, "'%s': two sides are contrasted, not three", arg);
        a->path[a->n++] = arg;
        break;
    case ARGP_KEY_END:
        if (a->dense && a->o.rank) argp_error(state, "--rank and --dense are two ways to keep dW; give one of them");
        if (a->compat && (a->n != 2 || a->dense || a->o.rank || a->o.mode != WS_CONTRAST_DW))
            argp_error(state,
                       "--compat is about the dW of two adapter directories as it is, without --rank, --dense and "
                       "--mode bisector");
        if (a->has_dtype && !a->dense) argp_error(state, "--dtype is the type of --dense; factors are F32");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---------- what is printed ---------- */

static void print_whole(const ws_whole_report *r, const ws_whole_options *o) {
    json_t *j = ws_whole_json(r, o), *x;
    size_t i;
    printf("\n%-28s %7s %10s %12s %12s\n", "kept in dW", "number", o->rank ? "mean rank" : "", "||dW||", "energy lost");
    json_array_foreach(json_object_get(j, "kinds"), i, x) {
        const json_t *rank = json_object_get(x, "mean_rank");
        printf("%-28s %7lld ", json_string_value(json_object_get(x, "modules")),
               (long long)json_integer_value(json_object_get(x, "number")));
        if (rank)
            printf("%10.4g", json_real_value(rank));
        else
            printf("%10s", "");
        printf(" %12.6g %12.4g\n", json_real_value(json_object_get(x, "norm_dw")),
               json_real_value(json_object_get(x, "energy_lost")));
    }
    printf("%-28s %7s %10s %12s %12.4g\n", "all of it", "", "", "", ws_whole_lost(r));
    if (json_array_size(json_object_get(j, "left_out")))
        printf("\n%-28s %7s %10s %12s %12s\n", "not in dW", "number", "", "||change||", "energy");
    json_array_foreach(json_object_get(j, "left_out"), i, x)
        printf("%-28s %7lld %10s %12.6g %12.4g\n", json_string_value(json_object_get(x, "parameters")),
               (long long)json_integer_value(json_object_get(x, "number")), "",
               json_real_value(json_object_get(x, "norm")), json_real_value(json_object_get(x, "energy")));
    json_decref(j);
}

/* What the reference program would have made of the same adapters. */
typedef struct compat {
    ws_compat_part *part;
    int n;
} compat;

static void print_compat(const compat *c) {
    printf("\n%-28s %7s %12s %12s %12s\n", "lost in BF16", "number", "||dW||/||W||", "of dW", "of W + dW");
    for (int k = 0; k < c->n; k++) {
        const ws_compat_part *p = &c->part[k];
        printf("%-28s %7d %12.4g %11.3g%% %11.3g%%\n", p->kind ? p->kind : "all", p->sites, p->dw / p->w, 100 * p->lost,
               100 * p->applied);
    }
    printf("The reference program merges, subtracts and adds in BF16: ||its dW - dW|| / ||dW||, and the same of what\n"
           "W + its dW holds at strength 1.  The dW written here loses nothing.\n");
}

static json_t *compat_json(const compat *c) {
    json_t *list = json_array();
    for (int k = 0; k < c->n; k++) {
        const ws_compat_part *p = &c->part[k];
        json_t *lost = isfinite(p->lost) ? json_real(p->lost) : json_null(),
               *applied = isfinite(p->applied) ? json_real(p->applied) : json_null();
        json_array_append_new(list, json_pack("{s:s?, s:i, s:f, s:f, s:o, s:o}", "modules", p->kind, "number", p->sites,
                                              "norm_dw", p->dw, "norm_w", p->w, "lost", lost, "lost_applied", applied));
    }
    return list;
}

static void print(const args *a, const ws_whole_report *r, int whole, const compat *bf16, const char *out, int json) {
    const ws_delta_info *i = &r->info;
    const struct {
        const char *key, *what;
        double v;
        int two; /* of two sides */
    } row[] = {{"norm_pos", "||theta_pos - base||", i->norm_pos, 0},
               {"norm_neg", "||theta_neg - base||", i->norm_neg, 1},
               {"norm_dw", "||dW||", i->norm, 0},
               {"norm_w", "||W|| of the touched matrices", i->norm_w, 0},
               {"norm_ratio", "||dW|| / ||W||", i->norm / i->norm_w, 0},
               {"cos_pos_neg_flipped", "cos(delta_pos, -delta_neg)", i->cos_pos_neg_flipped, 1},
               {"asymmetry", "||delta_pos|| / ||delta_neg||", i->asymmetry, 1},
               {"drift_ratio", "||(p+n)/2|| / ||(p-n)/2||", i->drift_ratio, 1},
               {"cos_drift", "|cos(dW, (p+n)/2)|", i->cos_drift, 1}};
    const char *mode = a->n == 1 ? "delta" : a->o.mode == WS_CONTRAST_BISECTOR ? "bisector" : "dw";
    size_t n = sizeof row / sizeof *row;
    if (json) {
        json_t *j = json_pack("{s:s, s:s, s:i, s:i}", "out", out, "mode", mode, "sites", i->sites, "sites_one_sided",
                              a->n == 2 ? i->sites_one_sided : 0);
        for (size_t k = 0; k < n; k++)
            if (a->n == 2 || !row[k].two)
                json_object_set_new(j, row[k].key, isfinite(row[k].v) ? json_real(row[k].v) : json_null());
        if (whole) json_object_set_new(j, "whole", ws_whole_json(r, &a->o));
        if (bf16->n) json_object_set_new(j, "compat", compat_json(bf16));
        ws_print_json(j, 1);
        return;
    }
    printf("%-32s %s\n%-32s %d", "mode", mode, "modules", i->sites);
    if (a->n == 2) printf(" (%d of them on one side only)", i->sites_one_sided);
    puts("");
    for (size_t k = 0; k < n; k++) {
        if (a->n == 1 && row[k].two) continue;
        if (isfinite(row[k].v))
            printf("%-32s %.6g\n", row[k].what, row[k].v);
        else
            printf("%-32s undefined\n", row[k].what);
    }
    if (whole) print_whole(r, &a->o);
    if (bf16->n) print_compat(bf16);
}

/* ---------- the two ways ---------- */

/* Adapters and what stands in factors already: exact. */
static ws_status exact(const args *a, const ws_model *m, const ws_common *c, const char *only, const json_t *sources,
                       ws_delta_info *info, compat *bf16, ws_err *err) {
    ws_adapter *side[2] = {NULL, NULL};
    ws_delta *d = NULL, *of[2] = {NULL, NULL};
    ws_status st = WS_OK;
    const char *key;
    json_t *v;
    if (a->n == 2 && ws_is_dir(a->path[0]) && ws_is_dir(a->path[1])) { /* what both sides share is left out */
        for (int i = 0; i < 2 && !st; i++) {
            st = ws_adapter_check_base(m, a->path[i], c->force, err);
            if (!st) st = ws_adapter_load(&side[i], m, a->path[i], err);
        }
        if (!st) st = ws_delta_contrast_of(&d, m, side[0], side[1], a->o.mode, only, info, err);
        if (!st && a->compat) st = ws_compat_loss(&bf16->part, &bf16->n, m, side[0], side[1], only, err);
    } else if (a->compat) {
        st = ws_fail(err, WS_EUSAGE, "--compat needs two adapter directories, which the reference program merges");
    } else {
        for (int i = 0; i < a->n && !st; i++) {
            st = ws_delta_open(&of[i], m, a->path[i], c->force, err);
            if (!st && only) st = ws_delta_keep(of[i], only, err);
        }
        if (!st && a->n == 2) {
            st = ws_delta_subtract(&d, of[0], of[1], a->o.mode, info, err);
            const char *name = ws_delta_source(of[0], "name");
            if (!st && name) ws_delta_set_source(d, "name", name);
        } else if (!st) {
            d = of[0], of[0] = NULL;
            *info = (ws_delta_info){.norm_pos = ws_delta_norm(d), .sites = ws_delta_n_sites(d)};
            info->norm = info->norm_pos, info->norm_w = ws_delta_weight_norm(d);
        }
    }
    if (!st)
        json_object_foreach((json_t *)(uintptr_t)sources, key, v) ws_delta_set_source(d, key, json_string_value(v));
    if (!st) st = ws_delta_save(d, c->out, err);
    for (int i = 0; i < 2; i++) ws_adapter_free(side[i]), ws_delta_free(of[i]);
    ws_delta_free(d);
    return st;
}

static ws_status open_side(ws_side *s, const ws_model *m, const char *path, const ws_common *c, ws_err *err) {
    ws_checkpoint *ck = NULL;
    if (ws_is_edits(path)) return ws_side_from_edits(s, m, path, c->force, err);
    if (ws_cmd_checkpoint(&ck, path, c, err)) return err->code;
    return ws_side_from_checkpoint(s, m, ck, err);
}

static ws_status whole(const args *a, const ws_model *m, const ws_common *c, json_t *sources, int say_rank,
                       ws_whole_report *r, ws_err *err) {
    static const char *const hash[] = {"pos_hash", "neg_hash"};
    ws_side side[2] = {{0}, {0}};
    ws_status st = WS_OK;
    for (int i = 0; i < a->n && !st; i++)
        if (!(st = open_side(&side[i], m, a->path[i], c, err)))
            json_object_set_new(sources, hash[i], json_string(side[i].hash));
    if (!st && say_rank)
        ws_note("a checkpoint's change has full rank: the best %d factors of every matrix are kept (--rank K, --dense)",
                RANK);
    if (!st) st = ws_whole_save(&side[0], a->n == 2 ? &side[1] : NULL, &a->o, sources, c->out, r, err);
    for (int i = 0; i < 2; i++) ws_side_close(&side[i]);
    return st;
}

static void advise(const args *a, const ws_whole_report *r) {
    const double lost = ws_whole_lost(r), left = ws_whole_left_out(r);
    if (a->o.rank && lost > 0.1)
        ws_warn("rank %lld leaves %.0f%% of ||dW||^2 out; a higher --rank keeps more, --dense all of it",
                (long long)a->o.rank, 100 * lost);
    if (left > 0.1)
        ws_warn("%.0f%% of the change's squared norm is in parameters that dW has no place for", 100 * left);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const source[] = {"pos", "neg"}, *const without[] = {"steer", "template", "seed", NULL};
    ws_common c;
    args a = {.o = {.mode = WS_CONTRAST_DW, .dtype = WS_F32}, .first = -1};
    ws_session s = {0};
    char *only = NULL;
    ws_whole_report r = {.n_kinds = 0};
    compat bf16 = {NULL, 0};
    int edits = 1;
    ws_common_init(&c);
    c.without = without;
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "POS [NEG]", doc, &a, &c, err);
    if (st) return st;
    if (!a.n)
        return ws_fail(err, WS_EUSAGE,
                       "a side is missing: POS NEG, or POS alone for theta_pos - base; each an adapter "
                       "directory or a checkpoint");
    if (!c.model) return ws_fail(err, WS_EUSAGE, "--model is missing: the base that both sides were trained from");
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out is missing: the dW file to write");
    if (a.n == 1 && a.o.mode == WS_CONTRAST_BISECTOR)
        return ws_fail(err, WS_EUSAGE, "--mode bisector is between two sides; NEG is missing");
    if (ws_out_try(c.out, err) || ws_session_open_weights(&s, &c, err)) return err->code;
    if (a.first >= 0 || a.modules)
        st = ws_sites_pick(&only, s.model, a.first >= 0 ? a.first : 0,
                           a.first >= 0 ? a.last : ws_model_dims(s.model)->layers, a.modules, err);
    json_t *sources = json_object();
    for (int i = 0; i < a.n; i++) {
        json_object_set_new(sources, source[i], json_string(a.path[i]));
        edits &= ws_is_edits(a.path[i]);
    }
    if (!st && a.compat && !edits)
        st = ws_fail(err, WS_EUSAGE, "--compat needs two adapter directories, not checkpoints");
    const int factors = edits && !a.o.rank && !a.dense;
    if (a.name || !factors) json_object_set_new(sources, "name", json_string(a.name ? a.name : "full"));
    const int rank_chosen = a.o.rank || a.dense;
    if (!rank_chosen && !edits) a.o.rank = RANK;
    a.o.only = only;
    if (!st && factors) {
        static const char *const hash[] = {"pos_hash", "neg_hash"};
        for (int i = 0; i < a.n && !st; i++) {
            char hex[65];
            st = ws_is_dir(a.path[i]) ? ws_adapter_dir_hash(a.path[i], hex, err) : ws_hash_file(a.path[i], hex, err);
            if (!st) json_object_set_new(sources, hash[i], json_string(hex));
        }
        if (!st) st = exact(&a, s.model, &c, only, sources, &r.info, &bf16, err);
    } else if (!st)
        st = whole(&a, s.model, &c, sources, !rank_chosen, &r, err);
    if (!st) print(&a, &r, !factors, &bf16, c.out, c.json);
    ws_compat_free(bf16.part, bf16.n);
    if (!st && !factors) advise(&a, &r);
    ws_whole_report_free(&r);
    json_decref(sources);
    free(only);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_diff = {30, "diff", "two adapters or checkpoints -> dW file and its geometry", run};
