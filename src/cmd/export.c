/* src/cmd/export.c - ws export: dW in forms that other programs load, read back and compared before it says done. */
#include "base/interrupt.h"
#include "base/log.h"
#include "cmd/check_prompts.h"
#include "export/export.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(export)

typedef struct opts {
    const ws_export_ops *form;
    const char *prompts;
    int rank, has_dtype;
    ws_dtype dtype;
    double max_kl;
} opts;
enum { K_TO = 0x500, K_RANK, K_DTYPE, K_PROMPTS, K_KL };
static const struct argp_option options[] = {
    {"to", K_TO, "FORM", 0, "peft, dora, ia3, gguf-lora, merged, dense or gguf-control-vector", 1},
    {"rank", K_RANK, "K", 0,
     "peft, gguf-lora: at most K factors a module, the best K (default: all, where they are exact)", 1},
    {"dtype", K_DTYPE, "TYPE", 0,
     "f32, bf16 or f16. merged: of the weights that change (default: their own); dense, gguf-lora: of the file (f32)",
     1},
    {"max-kl", K_KL, "X", 0,
     "KL that the comparison may show anywhere, nats (default 0.0001; with --rank or a 16-bit type 0.05)", 2},
    {"check-prompts", K_PROMPTS, "F", 0, "compare on these texts, one a line (default: six fixed ones)", 2},
    {0}};

static ws_status find_form(const char *name, const ws_export_ops **form, ws_err *err) {
    int n;
    const ws_export_ops *const *all = ws_export_forms(&n);
    ws_str names = {0};
    if ((*form = ws_export_find(name))) return WS_OK;
    for (int i = 0; i < n; i++) ws_str_addf(&names, "%s%s", i ? ", " : "", all[i]->name);
    ws_fail(err, WS_EUSAGE, "--to %s: there is no such form (%s)", name, names.p);
    ws_str_free(&names);
    return WS_EUSAGE;
}

static ws_status find_type(const char *name, ws_dtype *type, ws_err *err) {
    static const struct {
        const char *name;
        ws_dtype type;
    } known[] = {{"f32", WS_F32}, {"bf16", WS_BF16}, {"f16", WS_F16}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name)) {
            *type = known[i].type;
            return WS_OK;
        }
    return ws_fail(err, WS_EUSAGE, "--dtype %s: f32, bf16 or f16", name);
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    ws_err err = {0};
    long long n;
    switch (key) {
    case K_TO:
        if (find_form(arg, &o->form, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_RANK:
        if (ws_opt_int("--rank", arg, 1, 1 << 20, &n, &err)) argp_error(state, "%s", err.msg);
        o->rank = (int)n;
        break;
    case K_DTYPE:
        if (find_type(arg, &o->dtype, &err)) argp_error(state, "%s", err.msg);
        o->has_dtype = 1;
        break;
    case K_KL:
        if (ws_opt_num("--max-kl", arg, 0, 1e6, &o->max_kl, &err)) argp_error(state, "%s", err.msg);
        break;
    case K_PROMPTS: o->prompts = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give dW with --steer and the place with --out", arg); break;
    case ARGP_KEY_END:
        if (!o->form)
            argp_error(state, "--to is missing: peft, dora, ia3, gguf-lora, merged, dense or gguf-control-vector");
        if (o->form && o->rank && !o->form->takes_rank) argp_error(state, "--rank means nothing to %s", o->form->name);
        if (o->form && o->has_dtype && !o->form->takes_dtype)
            argp_error(state, "--dtype means nothing to %s, whose tensors are F32", o->form->name);
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* All that is steered with, as one vector at one strength; *own: it was made here. */
static ws_status one_vector(ws_export *x, int *own, const ws_steering *s, ws_err *err) {
    const ws_vector **v = ws_xcalloc((size_t)s->n, sizeof *v);
    double *alpha = ws_xcalloc((size_t)s->n, sizeof *alpha);
    json_t *from = json_array();
    ws_status st = WS_OK;
    *own = 0;
    for (int i = 0; i < s->n && !st; i++) {
        v[i] = ws_method_vector(s->method[i]), alpha[i] = (double)s->alpha[i];
        json_array_append_new(from, json_pack("{s:s, s:s, s:s, s:f}", "name", s->method[i]->name, "method",
                                              s->method[i]->ops->name, "hash", s->method[i]->hash, "alpha", alpha[i]));
        if (!v[i])
            st =
                ws_fail(err, WS_EUNSUPPORTED,
                        "%s moves weights, and a control vector moves states; --to gguf-lora is llama.cpp's form of dW",
                        s->method[i]->path);
        else if (alpha[i] == 0)
            st = ws_fail(err, WS_EUSAGE, "%s at strength 0 is the base model itself", s->method[i]->path);
    }
    json_object_set_new(x->report, "steer", from);
    if (!st && s->n == 1) x->v = (ws_vector *)(uintptr_t)v[0], x->strength = alpha[0];
    if (!st && s->n > 1) {
        x->strength = 1, *own = 1;
        st = ws_vector_add(&x->v, v, alpha, s->n, err);
    }
    free(v), free(alpha);
    return st;
}

/* All that is steered with, as one dW; told in the report. */
static ws_status mix(ws_delta **out, json_t *report, const ws_model *m, const ws_steering *s, ws_err *err) {
    ws_delta **d = ws_xcalloc((size_t)s->n, sizeof *d);
    double *alpha = ws_xcalloc((size_t)s->n, sizeof *alpha);
    json_t *from = json_array();
    ws_status st = WS_OK;
    int moved = 0;
    for (int i = 0; i < s->n && !st; i++) {
        d[i] = ws_method_delta(s->method[i]), alpha[i] = (double)s->alpha[i];
        moved |= alpha[i] != 0;
        json_array_append_new(from, json_pack("{s:s, s:s, s:f}", "name", s->method[i]->name, "hash", s->method[i]->hash,
                                              "alpha", alpha[i]));
        if (!d[i])
            st = ws_fail(err, WS_EUNSUPPORTED, "%s: a %s method moves no weights, so there is no dW to export%s",
                         s->method[i]->path, s->method[i]->ops->name,
                         ws_method_vector(s->method[i]) ? "; --to gguf-control-vector takes vectors that are added"
                                                        : "");
    }
    json_object_set_new(report, "steer", from);
    if (!st && !moved) st = ws_fail(err, WS_EUSAGE, "every strength is 0: that is the base model itself");
    if (!st) st = ws_delta_mix(out, m, s->n, d, alpha, err);
    free(d), free(alpha);
    return st;
}

static void print(const opts *o, const ws_export *x, const ws_agreement *a, const char *out, int json) {
    if (json) {
        json_t *j = json_deep_copy(x->report);
        json_object_set_new(j, "out", json_string(out));
        if (x->loss.n) json_object_set_new(j, "loss", ws_loss_json(&x->loss));
        ws_print_json(j, 0);
        return;
    }
    int n = x->v ? ws_vector_n_sites(x->v) : ws_delta_n_sites(x->d);
    printf("%s: %s, %d %s%s\n", out, o->form->name, n, x->v ? "layer" : "module", n == 1 ? "" : "s");
    if (x->lossy && x->loss.n) ws_loss_print(&x->loss, stdout);
    if (a->positions)
        printf("read back and compared at %lld positions: KL mean %.3g, max %.3g nats; max |delta log p| %.3g "
               "(the steering itself: KL mean %.3g)\n",
               (long long)a->positions, a->mean_kl, a->max_kl, a->max_dlogp, a->mean_kl_unedited);
    else
        printf("read back and compared by rows\n");
}

/* A flat spectrum is nobody's mistake, but has to be known. */
static void advise(const opts *o, const ws_export *x) {
    double share = ws_loss_all(&x->loss);
    if (o->rank && share > 0.3)
        ws_warn("rank %d leaves %.0f%% of ||dW|| out; rotations (OFT, BOFT) have flat spectra and no good low rank: "
                "--to merged is exact",
                o->rank, 100 * share);
    if (!o->rank && o->form->takes_dtype && share > 0.1)
        ws_warn("rounding to 16 bits takes %.0f%% of ||dW|| with it; --dtype f32 keeps all, and so does --to peft or "
                "gguf-lora where it is exact",
                100 * share);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {.max_kl = -1};
    ws_common c;
    ws_session s = {0};
    ws_steering steering = {0};
    ws_export x = {.report = NULL};
    ws_delta *d = NULL;
    ws_ids *prompt = NULL;
    ws_agreement agreement;
    int n_prompts = 0, own = 0;
    static const char *const without[] = {"template", "seed", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_interrupt_says(WS_STARTS_OVER);
    ws_status st = ws_cmd_parse(
        argc, argv, options, parse, "--model M --steer FILE[:ALPHA] --to FORM --out PLACE",
        "Write dW, or a vector, at its strength, in a form that other programs load.\n\n"
        "  ws export --model M --steer dw.safetensors:2.5 --to peft --out steered-lora\n"
        "  ws export --model M.gguf --steer dw.safetensors:2.5 --to gguf-lora --out steered.gguf\n"
        "  ws export --model M --steer a/dw.safetensors:1 --steer b/dw.safetensors:-2 --to merged --out steered-model\n"
        "  ws export --model M --steer oft/dw.safetensors:2 --to peft --rank 32 --out approx\n"
        "  ws export --model M --steer dw.safetensors --to dense --out dw-dense.safetensors\n"
        "  ws export --model M.gguf --steer vectors/mean_diff.safetensors:12 --to gguf-control-vector --out cv.gguf\n\n"
        "FORM    what it is                       exact for\n"
        "peft    a PEFT LoRA directory            lora, pissa, delora; others with --rank\n"
        "gguf-lora  llama.cpp's --lora file       the same\n"
        "dora    a PEFT DoRA directory            dora, and what peft takes\n"
        "ia3     a PEFT IA3 directory             ia3\n"
        "merged  a Hugging Face checkpoint        everything; bf16 rounds, and tells how much of dW is lost\n"
        "dense   dW as safetensors for Python     everything\n"
        "gguf-control-vector  llama.cpp's --control-vector file   vectors of ws extract that are added: mean_diff, pca "
        "...\n\n"
        "What is written is read back and its log-probabilities are compared with the model steered here, before it "
        "is put in place; beyond --max-kl nothing is left and the exit status is 1.\v",
        &o, &c, err);
    if (st) return st;
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out is missing: the folder or file to write");
    if (!c.n_steer) return ws_fail(err, WS_EUSAGE, "--steer is missing: the dW file or adapter to export");
    if ((st = ws_session_open_weights(&s, &c, err))) return st;
    x.m = s.model, x.rank = o.rank, x.has_dtype = o.has_dtype, x.dtype = o.dtype;
    x.report = json_pack("{s:s, s:i, s:s, s:s}", "format", "ws-export", "version", 1, "base_name",
                         ws_checkpoint_name(s.checkpoint), "base_hash", ws_checkpoint_hash(s.checkpoint));
    for (int i = 0; i < c.n_steer && !st; i++) st = ws_steering_add(&steering, s.model, c.steer[i], c.force, err);
    if (!st && o.form->of_vector)
        st = one_vector(&x, &own, &steering, err);
    else if (!st)
        st = mix(&d, x.report, s.model, &steering, err);
    if (!st && o.rank) json_object_set_new(x.report, "rank", json_integer(o.rank));
    if (!st && o.has_dtype) json_object_set_new(x.report, "dtype", json_string(ws_dtypes[o.dtype].name));
    x.d = d;
    if (!st && o.form->reopen) st = ws_check_prompts(&prompt, &n_prompts, s.model, o.prompts, err);
    if (!st) st = ws_export_run(o.form, &x, c.out, prompt, n_prompts, o.max_kl, &agreement, err);
    if (!st) {
        print(&o, &x, &agreement, c.out, c.json);
        advise(&o, &x);
    } else if (x.loss.n && x.lossy && !c.json)
        ws_loss_print(&x.loss, stderr); /* why, before the sentence */
    ws_check_prompts_free(prompt, n_prompts);
    ws_loss_free(&x.loss);
    ws_delta_free(d);
    if (own) ws_vector_free(x.v);
    ws_steering_free(&steering);
    json_decref(x.report);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_export = {210, "export",
                              "dW or vector -> PEFT, llama.cpp, merged checkpoint, dense; read back and compared", run};
