/* src/cmd/train.c - `ws train`: pairs + adapter + side -> a PEFT directory. */
#include "base/interrupt.h"
#include "cmd/stages.h"
#include "base/progress.h"
#include "data/pairs.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(train)

enum {
    K_PAIRS = 0x500,
    K_SIDE,
    K_ADAPTER,
    K_INIT,
    K_ORDER,
    K_HOLDOUT,
    K_BATCH,
    K_ACCUM,
    K_EPOCHS,
    K_MAX_STEPS,
    K_MAX_LEN,
    K_LR,
    K_WARMUP,
    K_DECAY,
    K_CLIP,
    K_RANK,
    K_LORA_ALPHA,
    K_BLOCK,
    K_LAMBDA,
    K_LAYERS,
    K_TARGETS,
    K_SAVE,
    K_EVAL,
    K_KEEP_END,
    K_FRESH,
    K_MEMORY
};

static const struct argp_option options[] = {
    {"pairs", K_PAIRS, "FILE", 0,
     "pairs as `ws data` writes them, or your own: JSON lines or CSV with prompt, and pos and neg or chosen and "
     "rejected",
     0},
    {"side", K_SIDE, "pos|neg", 0, "which answers to learn", 0},
    {"adapter", K_ADAPTER, "KIND", 0, "kind of adapter (lora):"
#define X(name) " " #name
#include "adapter.list"
#undef X
     ,
     0},
    {"rank", K_RANK, "R", 0, "rank of lora, dora, pissa and delora (32)", 1},
    {"lora-alpha", K_LORA_ALPHA, "A", 0, "alpha of lora, dora and pissa; the adapter is scaled by alpha / rank (64)",
     1},
    {"delora-lambda", K_LAMBDA, "X", 0,
     "delora's bound at the start: dW is no longer than X times the weight's longest column (15)", 1},
    {"block-size", K_BLOCK, "N", 0, "inputs that oft and boft turn together (8)", 1},
    {"layers", K_LAYERS, "A:B", 0, "layers A to B-1 (default: 0.3 to 0.8 of the depth)", 1},
    {"targets", K_TARGETS, "LIST", 0,
     "modules, comma-separated (q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj), or all-linear: in Qwen3.5 "
     "that "
     "adds in_proj_qkv, in_proj_z, in_proj_b, in_proj_a and out_proj of the delta rule",
     1},
    {"init", K_INIT, "DIR", 0, "start from this PEFT adapter instead of fresh values", 1},
    {"epochs", K_EPOCHS, "N", 0, "passes over the rows (1)", 2},
    {"max-steps", K_MAX_STEPS, "N", 0, "optimiser steps, instead of --epochs", 2},
    {"batch", K_BATCH, "N", 0, "sequences in a micro-batch (4)", 2},
    {"accum", K_ACCUM, "N", 0, "micro-batches in an optimiser step (4)", 2},
    {"lr", K_LR, "X", 0, "peak learning rate (2e-4), linear to 0", 2},
    {"warmup", K_WARMUP, "N", 0, "steps of linear warm-up; step 1 has rate 0 (5)", 2},
    {"weight-decay", K_DECAY, "X", 0, "AdamW's decay, on every tensor (0.01)", 2},
    {"clip", K_CLIP, "X", 0, "largest global gradient norm; 0: none (1)", 2},
    {"max-len", K_MAX_LEN, "N", 0, "tokens of a row, cut on the right (512)", 3},
    {"holdout", K_HOLDOUT, "X", 0, "share of the rows held out for eval_loss; 0: none (0.1)", 3},
    {"order", K_ORDER, "ORDER", 0, "shuffled or file; file with --holdout 0 takes the rows as they stand (shuffled)",
     3},
    {"keep-end", K_KEEP_END, 0, 0, "also learn the end-of-turn token of answers that were cut by length", 3},
    {"eval-every", K_EVAL, "N", 0, "steps between evaluations of the held-out rows; 0: at the end only (10)", 4},
    {"save-every", K_SAVE, "N", 0, "steps between checkpoints, beside one every 30 s; 0: by time only (10)", 4},
    {"memory", K_MEMORY, "GIB", 0,
     "memory for activations: micro-batches that need more run in parts of whole rows, and a row that alone needs more "
     "is recomputed block by block; the result is the same (half of what is free beside the model)",
     4},
    {"fresh", K_FRESH, 0, 0, "forget an unfinished or another run in --out", 4},
    {0}};

static const char doc[] = "Train an adapter on one side's answers; the directory it leaves loads in PEFT.\n\n"
                          "  ws train --model M --pairs pairs.jsonl --side pos --out lora/pos\n"
                          "  ws train --model M --pairs mine.jsonl --side neg --rank 8 --epochs 3 --out neg\n"
                          "  ws train --model M --pairs mine.jsonl --side pos --adapter dora --out dora/pos\n"
                          "  ws train --model M --pairs mine.jsonl --side pos --init pos --out pos2\n\n"
                          "The same command goes on after an interruption, to the same tensors bit for\n"
                          "bit.  log.csv has a row per optimiser step:\n"
                          "step,epoch,loss,grad_norm,lr,tokens,eval_loss.\v";

static error_t parse(int key, char *arg, struct argp_state *state) {
    ws_train_args *a = state->input;
    ws_train_options *o = &a->o;
    ws_err err = {0};
    long long n = 0;
    double x = 0, y = 0;
    ws_status st = WS_OK;
    switch (key) {
    case K_PAIRS: a->pairs = arg; break;
    case K_SIDE:
        if (strcmp(arg, "pos") && strcmp(arg, "neg")) argp_error(state, "--side %s: pos or neg", arg);
        a->side = arg;
        break;
    case K_ADAPTER: o->adapter.kind = arg, a->shapes = 1; break;
    case K_INIT: o->init = arg; break;
    case K_ORDER:
        if (strcmp(arg, "file") && strcmp(arg, "shuffled")) argp_error(state, "--order %s: file or shuffled", arg);
        o->shuffled = !strcmp(arg, "shuffled");
        break;
    case K_HOLDOUT: st = ws_opt_num("--holdout", arg, 0, 0.999, &o->holdout, &err); break;
    case K_BATCH: st = ws_opt_int("--batch", arg, 1, 4096, &n, &err), o->batch = (int)n; break;
    case K_ACCUM: st = ws_opt_int("--accum", arg, 1, 4096, &n, &err), o->accum = (int)n; break;
    case K_EPOCHS:
        st = ws_opt_num("--epochs", arg, 0, 1e5, &o->epochs, &err);
        if (!st && !(o->epochs > 0)) argp_error(state, "--epochs %s: must be above 0", arg);
        break;
    case K_MAX_STEPS: st = ws_opt_int("--max-steps", arg, 1, 10000000, &n, &err), o->max_steps = n; break;
    case K_MAX_LEN: st = ws_opt_int("--max-len", arg, 2, 1 << 20, &n, &err), a->max_len = (int)n; break;
    case K_LR: st = ws_opt_num("--lr", arg, 0, 1e3, &o->lr, &err); break;
    case K_WARMUP: st = ws_opt_int("--warmup", arg, 0, 1000000, &n, &err), o->warmup = (int)n; break;
    case K_DECAY: st = ws_opt_num("--weight-decay", arg, 0, 1e3, &o->weight_decay, &err); break;
    case K_CLIP: st = ws_opt_num("--clip", arg, 0, 1e9, &o->clip, &err); break;
    case K_RANK:
        st = ws_opt_int("--rank", arg, 1, 65536, &n, &err);
        o->adapter.rank = (int)n, a->given |= WS_READS_RANK;
        break;
    case K_LORA_ALPHA:
        st = ws_opt_num("--lora-alpha", arg, -1e6, 1e6, &o->adapter.alpha, &err);
        a->given |= WS_READS_ALPHA;
        break;
    case K_BLOCK:
        st = ws_opt_int("--block-size", arg, 2, 65536, &n, &err);
        o->adapter.block = (int)n, a->given |= WS_READS_BLOCK;
        break;
    case K_LAMBDA:
        st = ws_opt_num("--delora-lambda", arg, -1e6, 1e6, &o->adapter.lambda, &err);
        if (!st && o->adapter.lambda == 0)
            argp_error(state, "--delora-lambda %s: a bound of 0 lets nothing be learnt", arg);
        a->given |= WS_READS_LAMBDA;
        break;
    case K_LAYERS:
        st = ws_opt_range("--layers", arg, &x, &y, &err);
        if (!st && (x != floor(x) || y != floor(y) || x < 0 || y > 1e6))
            argp_error(state, "--layers %s: two layer numbers A:B", arg);
        o->adapter.layer_begin = (int)x, o->adapter.layer_end = (int)y, a->given |= WS_READS_LAYERS;
        break;
    case K_TARGETS: o->adapter.targets = arg, a->shapes = 1; break;
    case K_SAVE: st = ws_opt_int("--save-every", arg, 0, 10000000, &n, &err), o->save_every = n; break;
    case K_EVAL: st = ws_opt_int("--eval-every", arg, 0, 10000000, &n, &err), o->eval_every = n; break;
    case K_MEMORY:
        st = ws_opt_num("--memory", arg, 0.001, 1e6, &x, &err);
        o->memory = (int64_t)(x * (double)(1 << 30));
        break;
    case K_KEEP_END: a->keep_end = 1; break;
    case K_FRESH: o->fresh = 1; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    return 0;
}

const struct argp ws_train_argp = {options, parse, 0, 0, 0, 0, 0};

void ws_train_args_init(ws_train_args *a) {
    memset(a, 0, sizeof *a);
    a->max_len = 512;
    ws_train_defaults(&a->o);
}

ws_status ws_train_args_check(const ws_train_args *a, ws_err *err) {
    return ws_adapter_check_options(a->o.adapter.kind, a->given, err);
}

static void print(const ws_train_args *a, const ws_train_result *r, int json) {
    double rate = r->seconds > 0 ? (double)r->seconds_tokens / r->seconds : 0;
    char time[32];
    if (json) {
        json_t *j =
            json_pack("{s:s, s:s, s:b, s:I, s:I, s:f}", "side", a->side, "out", a->o.out, "up_to_date", r->up_to_date,
                      "steps", (json_int_t)r->steps, "tokens", (json_int_t)r->tokens, "loss", r->loss);
        json_object_set_new(j, "eval_loss", isnan(r->eval_loss) ? json_null() : json_real(r->eval_loss));
        json_object_set_new(j, "resumed", json_integer(r->resumed));
        json_object_set_new(j, "seconds", json_real(r->seconds));
        json_object_set_new(j, "tokens_per_second", json_real(rate));
        ws_print_json(j, 1);
        return;
    }
    printf("side       %s\nadapter    %s\nsteps      %lld\ntokens     %lld\nloss       %.6f\n", a->side, a->o.out,
           (long long)r->steps, (long long)r->tokens, r->loss);
    if (!isnan(r->eval_loss)) printf("eval_loss  %.6f\n", r->eval_loss);
    if (!r->up_to_date) printf("time       %s (%.0f tokens/s)\n", ws_format_seconds(time, r->seconds), rate);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    ws_common c;
    ws_session s = {0};
    ws_train_args a;
    ws_pairs *pairs = NULL;
    ws_examples *data = NULL;
    ws_train_result r;
    static const char *const without[] = {"steer", NULL};
    ws_common_init(&c);
    ws_interrupt_says(WS_RESUMES);
    c.without = without;
    ws_train_args_init(&a);
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &c, err);
    if (st) return st;
    if (!a.pairs) return ws_fail(err, WS_EUSAGE, "--pairs is missing: the answers to learn");
    if (!a.side) return ws_fail(err, WS_EUSAGE, "--side is missing: pos or neg");
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out is missing: where the adapter goes");
    if (a.o.init && (a.shapes || a.given))
        return ws_fail(
            err, WS_EUSAGE,
            "--init brings its own adapter, rank, alpha, block size, lambda, layers and targets; leave those "
            "options out");
    if ((st = ws_train_args_check(&a, err))) return st;
    a.o.out = c.out, a.o.seed = c.seed, a.o.force = c.force;
    if ((st = ws_pairs_load(&pairs, a.pairs, err)) || (st = ws_session_open(&s, &c, err)) ||
        (st = ws_session_chat(&s, &c, err)))
        goto cleanup;
    ws_side side = strcmp(a.side, "pos") ? WS_NEG : WS_POS;
    if ((st = ws_examples_build(&data, pairs, side, s.tokenizer, s.chat, a.max_len, a.keep_end, err))) goto cleanup;
    if ((st = ws_train(s.model, data, &a.o, &r, err))) goto cleanup;
    print(&a, &r, c.json);
cleanup:
    ws_examples_free(data);
    ws_pairs_free(pairs);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_train = {20, "train", "pairs + adapter + side -> a PEFT adapter directory", run};
