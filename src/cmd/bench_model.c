/* src/cmd/bench_model.c - a model's own figures: opening, training, reading prompts, writing answers; and random models. */
#include "base/parallel.h"
#include "base/progress.h"
#include "cmd/bench.h"
#include "delta/delta.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "model/model.h"
#include "run/measure.h"
#include "run/random_model.h"
#include "text/tokenizer.h"
#include <stdio.h>
#include <stdlib.h>

static long long or_else(long long v, long long dflt) { return v ? v : dflt; }

static void heading(const ws_session *s, int json) {
    if (json) return;
    printf("%s (%s, %.1f M parameters), kernel set %s, %d threads\n", ws_checkpoint_name(s->checkpoint),
           ws_model_family(s->model), (double)ws_model_params(s->model) * 1e-6, ws_k.name, ws_threads());
    printf("%-26s %9s %10s %10s %9s %7s\n", "", "tokens", "seconds", "tokens/s", "GFLOP/s", "share");
}

/* Bytes of weights a second in a decode step, which reads them once for all rows. */
static double read_rate(const ws_measured *v) { return v->bytes * (double)v->tokens / v->rows / v->seconds; }

/* `steered`: rank of the dW that hung at every linear; 0: none. */
static void print(const char *what, const char *detail, const ws_session *s, const ws_measured *v, int steered,
                  int json) {
    char label[64];
    const double rate = (double)v->tokens / v->seconds, gflops = v->flops / v->seconds * 1e-9;
    snprintf(label, sizeof label, "%s%s", what, detail);
    if (json)
        printf("{\"subject\": \"%s\", \"model\": \"%s\", \"threads\": %d, \"tokens\": %lld, \"seconds\": %.4f, "
               "\"first_seconds\": %.4f, \"rounds\": %d, \"tokens_per_second\": %.3f, \"model_gflops\": %.2f, "
               "\"peak_gflops\": %.2f, \"share\": %.4f, \"rows_at_once\": %d, \"recompute\": %s, \"steered_rank\": %d",
               what, ws_checkpoint_name(s->checkpoint), ws_threads(), (long long)v->tokens, v->seconds, v->first,
               v->rounds, rate, gflops, v->peak * 1e-9, v->flops / v->seconds / v->peak, v->rows,
               v->recompute ? "true" : "false", steered);
    if (json && v->bytes > 0)
        printf(", \"weight_bytes\": %.0f, \"weight_gbs\": %.3f, \"read_gbs\": %.3f, \"read_share\": %.4f", v->bytes,
               read_rate(v) * 1e-9, v->read * 1e-9, read_rate(v) / v->read);
    if (json)
        printf("}\n");
    else
        printf("%-26s %9lld %10.3f %10.2f %9.1f %6.0f%%\n", label, (long long)v->tokens, v->seconds, rate, gflops,
               100 * v->flops / v->seconds / v->peak);
}

/* What a step reads of memory, and what it could. */
static void reading(const ws_measured *v, int json) {
    char bytes[32];
    if (json) return;
    printf("a step reads %s of weights: %.1f GB/s, %.0f%% of the %.1f GB/s that memory gives\n",
           ws_format_bytes(bytes, v->bytes), read_rate(v) * 1e-9, 100 * read_rate(v) / v->read, v->read * 1e-9);
}

/* Memory of the process, and the peak that the shares are of. */
static void ending(const ws_measured *v, int json) {
    char most[32], file[32], own[32];
    ws_resident r = ws_resident_now();
    if (json) {
        printf("{\"subject\": \"memory\", \"peak_resident\": %lld, \"file\": %lld, \"own\": %lld}\n", (long long)r.most,
               (long long)r.file, (long long)r.own);
        return;
    }
    const int pairs = ws_compute_type() == WS_COMPUTE_BF16 && ws_k.bf16; /* ws_peak_multiply */
    if (v)
        printf("shares are of %.1f GFLOP/s, the %s measured before and after\n", v->peak * 1e-9,
               pairs ? "products of bf16 pairs" : "fused multiply-adds");
    printf("peak resident memory %s; now %s of mapped files and %s of its own\n", ws_format_bytes(most, (double)r.most),
           ws_format_bytes(file, (double)r.file), ws_format_bytes(own, (double)r.own));
}

ws_status ws_bench_open(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    const int rounds = (int)or_else(o->rounds, 3);
    double best[2] = {0};
    for (int i = 0; i < rounds; i++) {
        ws_session s;
        double t = ws_now();
        if (ws_session_open_weights(&s, c, err)) return err->code;
        double model = ws_now() - t;
        t = ws_now();
        ws_status st = ws_tokenizer_open(&s.tokenizer, s.checkpoint, err);
        double text = ws_now() - t;
        ws_session_close(&s);
        if (st) return st;
        if (!i || model < best[0]) best[0] = model;
        if (!i || text < best[1]) best[1] = text;
    }
    if (c->json)
        printf("{\"subject\": \"open\", \"model_seconds\": %.4f, \"tokenizer_seconds\": %.4f}\n", best[0], best[1]);
    else
        printf("%-26s %9.3f s\n%-26s %9.3f s\n", "model opened", best[0], "tokenizer read", best[1]);
    ending(NULL, c->json);
    return WS_OK;
}

ws_status ws_bench_train(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    const int rank = (int)or_else(o->rank, 32);
    const ws_adapter_config a = {
        .kind = "lora", .rank = rank, .alpha = 2 * rank, .layer_begin = -1, .layer_end = -1, .targets = NULL};
    ws_session s;
    ws_measured v;
    if (ws_session_open_weights(&s, c, err)) return err->code;
    heading(&s, c->json);
    ws_status st = ws_measure_train(&v, s.model, &a, (int)or_else(o->rows, 4), (int)or_else(o->tokens, 512),
                                    (int)or_else(o->rounds, 1), o->memory, err);
    char how[48];
    snprintf(how, sizeof how, ", %d rows at once%s", v.rows, v.recompute ? ", recomputed" : "");
    if (!st) print("train", how, &s, &v, 0, c->json);
    if (!st) ending(&v, c->json);
    ws_session_close(&s);
    return st;
}

ws_status ws_bench_prefill(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    ws_session s;
    ws_measured v;
    if (ws_session_open_weights(&s, c, err)) return err->code;
    heading(&s, c->json);
    ws_status st = ws_measure_prefill(&v, s.model, (int)or_else(o->rows, 1), (int)or_else(o->tokens, 512),
                                      (int)or_else(o->rounds, 2), err);
    if (!st) print("prefill", "", &s, &v, 0, c->json), ending(&v, c->json);
    ws_session_close(&s);
    return st;
}

/* With --rank first without and then with a random dW of that rank at every linear. */
ws_status ws_bench_decode(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    const int rows = (int)or_else(o->rows, 16), context = (int)or_else(o->context, 1024),
              tokens = (int)or_else(o->tokens, 8), rounds = (int)or_else(o->rounds, 1), rank = (int)o->rank;
    ws_session s;
    ws_measured v, steered, prompts;
    ws_delta *dw = NULL;
    char how[48];
    ws_compute_for(rows);
    if (ws_session_open_weights(&s, c, err)) return err->code;
    heading(&s, c->json);
    ws_status st = ws_measure_decode(&v, &prompts, s.model, rows, context, tokens, rounds, NULL, err);
    if (!st) {
        print("prompts", "", &s, &prompts, 0, c->json);
        print("decode", "", &s, &v, 0, c->json);
        reading(&v, c->json);
    }
    if (!st && rank) st = ws_delta_random_everywhere(&dw, s.model, rank, c->seed, err);
    if (!st && rank)
        st = ws_measure_decode(&steered, &prompts, s.model, rows, context, tokens, rounds, ws_delta_patch(dw), err);
    if (!st && rank) {
        snprintf(how, sizeof how, ", dW of rank %d", rank);
        print("prompts", how, &s, &prompts, rank, c->json);
        print("decode", how, &s, &steered, rank, c->json);
        if (!c->json) printf("steering costs %.1f%% of a step\n", 100 * (steered.seconds / v.seconds - 1));
    }
    if (!st) ending(&v, c->json);
    ws_delta_free(dw);
    ws_session_close(&s);
    return st;
}

ws_status ws_bench_make_checkpoint(const ws_bench_opts *o, const ws_common *c, ws_err *err) {
    const ws_random_model_options r = {c->seed, o->f32, o->text_only};
    if (!o->like)
        return ws_fail(err, WS_EUSAGE, "--like is missing: the model whose shape is wanted: %s", ws_likeness_names());
    const ws_likeness *l = ws_likeness_find(o->like);
    if (!l)
        return ws_fail(err, WS_EUSAGE, "--like %s: no such shape is known; there are %s", o->like, ws_likeness_names());
    if (!o->dir) return ws_fail(err, WS_EUSAGE, "name the directory to write: ws bench make-checkpoint --like X DIR");
    double t = ws_now();
    ws_random_model_size size;
    if (ws_random_model_write(l, o->dir, &r, err)) return err->code;
    ws_random_model_measure(l, &r, &size);
    char bytes[32], time[32];
    if (c->json) {
        json_t *j = json_pack("{s:s, s:s, s:i, s:i, s:I, s:I, s:I}", "like", l->name, "dir", o->dir, "files",
                              size.files, "tensors", size.tensors, "bytes", (json_int_t)size.bytes, "params",
                              (json_int_t)size.params, "text_params", (json_int_t)size.text_params);
        ws_print_json(j, 1);
    } else
        printf("%s: random weights in the shape of %s, %d tensors, %s, in %s\n", o->dir, l->name, size.tensors,
               ws_format_bytes(bytes, (double)size.bytes), ws_format_seconds(time, ws_now() - t));
    return WS_OK;
}
