/* src/cmd/diff.c - `ws diff`: two adapters -> dW file and its diagnostics. */
#include "cmd/cmd.h"
#include "delta/delta.h"
#include "io/json.h"
#include "model/model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(diff)

enum { K_MODE = 0x500, K_NAME };

static const struct argp_option options[] = {
    {"mode", K_MODE, "MODE", 0,
     "dw: pos - neg as they are (default); bisector: each side to length 1, subtracted, rescaled to ||dW||", 0},
    {"name", K_NAME, "NAME", 0, "row name in tables (default: the adapter's kind)", 0},
    {0}};

static const char doc[] = "Contrast two adapters: dW = theta_pos - theta_neg, in factors, exact in fp32.\n\n"
                          "  ws diff --model M lora/pos lora/neg --out lora/dw.safetensors\n"
                          "  ws diff --model M pos neg --mode bisector --out dw.safetensors --json\n\n"
                          "Adapters that PEFT wrote are welcome.  Norms are Frobenius norms over all\n"
                          "touched matrices.\v";

typedef struct args {
    const char *dir[2];
    int n_dirs;
    ws_contrast_mode mode;
    const char *name;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case K_MODE:
        if (strcmp(arg, "dw") && strcmp(arg, "bisector")) argp_error(state, "--mode %s: dw or bisector", arg);
        a->mode = strcmp(arg, "dw") ? WS_CONTRAST_BISECTOR : WS_CONTRAST_DW;
        break;
    case K_NAME: a->name = arg; break;
    case ARGP_KEY_ARG:
        if (a->n_dirs == 2) argp_error(state, "'%s': two adapter directories are contrasted, not three", arg);
        a->dir[a->n_dirs++] = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print(const args *a, const ws_delta_info *i, const char *out, int json) {
    const struct {
        const char *key, *what;
        double v;
    } row[] = {{"norm_pos", "||theta_pos - base||", i->norm_pos},
               {"norm_neg", "||theta_neg - base||", i->norm_neg},
               {"norm_dw", "||dW||", i->norm},
               {"norm_w", "||W|| of the touched matrices", i->norm_w},
               {"norm_ratio", "||dW|| / ||W||", i->norm / i->norm_w},
               {"cos_pos_neg_flipped", "cos(delta_pos, -delta_neg)", i->cos_pos_neg_flipped},
               {"asymmetry", "||delta_pos|| / ||delta_neg||", i->asymmetry},
               {"drift_ratio", "||(p+n)/2|| / ||(p-n)/2||", i->drift_ratio},
               {"cos_drift", "|cos(dW, (p+n)/2)|", i->cos_drift}};
    const char *mode = a->mode == WS_CONTRAST_BISECTOR ? "bisector" : "dw";
    size_t n = sizeof row / sizeof *row;
    if (json) {
        json_t *j = json_pack("{s:s, s:s, s:i, s:i}", "out", out, "mode", mode, "sites", i->sites, "sites_one_sided",
                              i->sites_one_sided);
        for (size_t k = 0; k < n; k++)
            json_object_set_new(j, row[k].key, isfinite(row[k].v) ? json_real(row[k].v) : json_null());
        ws_print_json(j, 1);
        return;
    }
    printf("%-32s %s\n%-32s %d (%d of them on one side only)\n", "mode", mode, "modules", i->sites, i->sites_one_sided);
    for (size_t k = 0; k < n; k++) {
        if (isfinite(row[k].v))
            printf("%-32s %.6g\n", row[k].what, row[k].v);
        else
            printf("%-32s undefined\n", row[k].what);
    }
}

static ws_status run(int argc, char **argv, ws_err *err) {
    ws_common c;
    args a = {.mode = WS_CONTRAST_DW};
    ws_checkpoint *ck = NULL;
    ws_model *m = NULL;
    ws_adapter *side[2] = {NULL, NULL};
    ws_delta *d = NULL;
    ws_delta_info info;
    static const char *const without[] = {"steer", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "POS_DIR NEG_DIR", doc, &a, &c, err);
    if (st) return st;
    if (a.n_dirs != 2) return ws_fail(err, WS_EUSAGE, "two adapter directories are needed: POS_DIR NEG_DIR");
    if (!c.model) return ws_fail(err, WS_EUSAGE, "--model is missing: the base that both adapters were trained on");
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out is missing: the dW file to write");
    if ((st = ws_cmd_checkpoint(&ck, c.model, &c, err)) || (st = ws_model_open(&m, ck, err))) goto cleanup;
    for (int i = 0; i < 2; i++)
        if ((st = ws_adapter_check_base(m, a.dir[i], c.force, err)) ||
            (st = ws_adapter_load(&side[i], m, a.dir[i], err)))
            goto cleanup;
    if ((st = ws_delta_contrast(&d, m, side[0], side[1], a.mode, &info, err))) goto cleanup;
    static const char *const key[2][2] = {{"pos", "pos_hash"}, {"neg", "neg_hash"}};
    for (int i = 0; i < 2; i++) {
        char hash[65];
        if ((st = ws_adapter_dir_hash(a.dir[i], hash, err))) goto cleanup;
        ws_delta_set_source(d, key[i][0], a.dir[i]);
        ws_delta_set_source(d, key[i][1], hash);
    }
    if (a.name) ws_delta_set_source(d, "name", a.name);
    if ((st = ws_delta_save(d, c.out, err))) goto cleanup;
    print(&a, &info, c.out, c.json);
cleanup:
    ws_delta_free(d);
    ws_adapter_free(side[0]), ws_adapter_free(side[1]);
    ws_model_free(m);
    ws_checkpoint_close(ck);
    return st;
}

const ws_cmd ws_cmd_diff = {30, "diff", "two adapters -> dW file and its geometry", run};
