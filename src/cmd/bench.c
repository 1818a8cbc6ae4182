/* src/cmd/bench.c - what this machine can do, and which share of it our matrix products and a model's work reach.
 * Figures are the best of several runs; each GEMM's share is of the FMA peak measured right beside it, because other
 * programs and the clock move both. */
#include "cmd/bench.h"
#include "base/interrupt.h"
#include "base/parallel.h"
#include "base/progress.h"
#include "io/hub.h"
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include "kernel/peak.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(bench)

typedef ws_bench_opts opts;
enum {
    K_SHAPES = 1,
    K_TYPES,
    K_NN,
    K_SECONDS,
    K_ROWS,
    K_TOKENS,
    K_CONTEXT,
    K_ROUNDS,
    K_RANK,
    K_MEMORY,
    K_LIKE,
    K_DTYPE,
    K_TEXT_ONLY,
    K_MODEL, /* this and what follows: common options */
    K_OFFLINE,
    K_SEED,
    K_OUT
};
static const struct argp_option options[] = {
    {"shapes", K_SHAPES, "MxNxK,...", 0,
     "products of the subject gemm: M tokens, W [N, K] (default: SmolLM2's and a 4B model's)", 1},
    {"types", K_TYPES, "LIST", 0,
     "stored types of W: F32,F16,BF16,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q4_K,Q5_K,Q6_K (default F32,BF16,Q8_0,Q4_1)", 1},
    {"gradient", K_NN, 0, 0, "y = A W (gradients with respect to activations) instead of y = x W^T", 1},
    {"seconds", K_SECONDS, "S", 0, "time for each figure (default 0.3)", 1},
    {"rows", K_ROWS, "N", 0, "sequences at once (train 4, prefill 1, decode and delta 16)", 2},
    {"tokens", K_TOKENS, "N", 0, "tokens of a sequence (train, prefill, delta: 512), of an answer (decode: 8)", 2},
    {"context", K_CONTEXT, "N", 0, "decode: tokens of each prompt (1024)", 2},
    {"rounds", K_ROUNDS, "N", 0, "repetitions; the fastest counts (train and decode 1, prefill 2, open 3)", 2},
    {"rank", K_RANK, "R", 0,
     "train: of the LoRA on the default layers and modules (32); decode: also with a random dW of this rank at every "
     "linear",
     2},
    {"memory", K_MEMORY, "GIB", 0,
     "train: for activations; above it rows run in parts, or are recomputed, as in ws train (half of what is free)", 2},
    {"like", K_LIKE, "MODEL", 0,
     "make-checkpoint: qwen3.5-4b, qwen3.5-2b, qwen3.5-0.8b, qwen3-0.6b, smollm2-135m, tiny, tiny-qwen3", 3},
    {"dtype", K_DTYPE, "TYPE", 0, "make-checkpoint: bf16 or f32 (bf16)", 3},
    {"text-only", K_TEXT_ONLY, 0, 0, "make-checkpoint: without the vision tower and the MTP block", 3},
    {0}};
static const char doc[] =
    "Measures this machine, matrix products, and a model's work as a share of the machine.\n\n"
    "  ws bench machine                                         peaks: FMA, bf16, memory; one thread and all\n"
    "  ws bench gemm                                            GFLOP/s of usual shapes and weight types\n"
    "  ws bench gemm --shapes 512x1536x576,1x49152x576 --types Q4_1 --threads 1\n"
    "  ws bench gemm --compute bf16 --types BF16                the same products of bf16 pairs\n"
    "  ws bench delta                                           the gated delta rule by chunk length, 4B shape\n"
    "  ws bench train --model M --rows 4 --tokens 512           a whole LoRA step: tokens/s, FLOP/s, memory\n"
    "  ws bench prefill --model M --tokens 512                  reading prompts\n"
    "  ws bench decode --model M --rows 16 --context 1024       writing many answers at once\n"
    "  ws bench decode --model M --rows 1 --context 64 --rank 64    one answer, and what a dW of rank 64 costs\n"
    "  ws bench open --model M                                  how long a model and its tokenizer take to open\n"
    "  ws bench make-checkpoint --like qwen3.5-4b DIR           a model directory of that shape, random weights\n\v"
    "Figures of a model count model FLOPs: recomputed blocks and masked-out positions count nothing. "
    "WS_KERNELS=ref|avx2|avx512|avx512bf16|amx forces a kernel set.";

#define BIT(key) (1u << (key))

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    ws_err err = {0};
    ws_status st = WS_OK;
    double x = 0;
    switch (key) {
    case K_SHAPES: o->shapes = arg; break;
    case K_TYPES: o->types = arg; break;
    case K_NN: o->nn = 1; break;
    case K_SECONDS: st = ws_opt_num("--seconds", arg, 0.01, 60, &o->seconds, &err); break;
    case K_ROWS: st = ws_opt_int("--rows", arg, 1, 4096, &o->rows, &err); break;
    case K_TOKENS: st = ws_opt_int("--tokens", arg, 4, 1 << 20, &o->tokens, &err); break;
    case K_CONTEXT: st = ws_opt_int("--context", arg, 1, 1 << 20, &o->context, &err); break;
    case K_ROUNDS: st = ws_opt_int("--rounds", arg, 1, 1000, &o->rounds, &err); break;
    case K_RANK: st = ws_opt_int("--rank", arg, 1, 65536, &o->rank, &err); break;
    case K_MEMORY:
        st = ws_opt_num("--memory", arg, 0.001, 1e6, &x, &err);
        o->memory = (int64_t)(x * (double)(1 << 30));
        break;
    case K_LIKE: o->like = arg; break;
    case K_DTYPE:
        if (strcmp(arg, "bf16") && strcmp(arg, "f32")) argp_error(state, "--dtype %s: bf16 or f32", arg);
        o->f32 = !strcmp(arg, "f32");
        break;
    case K_TEXT_ONLY: o->text_only = 1; break;
    case ARGP_KEY_ARG:
        if (!o->subject)
            o->subject = arg;
        else if (!o->dir && !strcmp(o->subject, "make-checkpoint"))
            o->dir = arg;
        else
            argp_error(state, "'%s': one subject at a time", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->subject)
            argp_error(state, "name a subject: machine, gemm, delta, train, prefill, decode, open or make-checkpoint");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
    if (st) argp_error(state, "%s", err.msg);
    o->given |= BIT(key);
    return 0;
}

static ws_status machine(const opts *o, const ws_common *c, ws_err *err) {
    (void)o, (void)err;
    ws_peaks p = ws_peaks_measure(0);
    if (c->json) {
        printf("{\"kernels\": \"%s\", \"threads\": %d, \"fma_gflops\": [%.1f, %.1f], ", ws_k.name, p.threads, p.fma_one,
               p.fma_all);
        if (p.bf16_all > 0) printf("\"bf16_gflops\": [%.1f, %.1f], ", p.bf16_one, p.bf16_all);
        printf("\"read_gbs\": [%.1f, %.1f]}\n", p.read_one, p.read_all);
        return WS_OK;
    }
    printf("kernel set %s\n%-24s %12s %9d threads\n", ws_k.name, "", "1 thread", p.threads);
    printf("%-24s %12.1f %9.1f  GFLOP/s\n", "fused multiply-add", p.fma_one, p.fma_all);
    if (p.bf16_all > 0) printf("%-24s %12.1f %9.1f  GFLOP/s\n", "products of bf16 pairs", p.bf16_one, p.bf16_all);
    printf("%-24s %12.1f %9.1f  GB/s\n", "reading memory", p.read_one, p.read_all);
    return WS_OK;
}

static ws_status find_type(const char *name, size_t n, ws_dtype *t, ws_err *err) {
    for (int i = 0; i < WS_DTYPE_COUNT; i++)
        if (ws_dtypes[i].is_weight && strlen(ws_dtypes[i].name) == n && !strncmp(ws_dtypes[i].name, name, n)) {
            *t = (ws_dtype)i;
            return WS_OK;
        }
    return ws_fail(err, WS_EUSAGE,
                   "--types: '%.*s' is no weight type; there are F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K",
                   (int)n, name);
}

/* One line: the best rate within `seconds`, beside the peak measured before and after. */
static ws_status one(long M, long N, long K, ws_dtype t, const opts *o, int json, ws_err *err) {
    const long rows = o->nn ? K : N, cols = o->nn ? N : K;
    if (!o->nn) ws_compute_for(M); /* auto, as for so many texts */
    const size_t bytes = ws_dtype_bytes(t, (int64_t)rows * cols);
    float *x = ws_try_alloc((size_t)M * (size_t)K, sizeof *x), *y = ws_try_alloc((size_t)M * (size_t)N, sizeof *y);
    uint8_t *w = ws_try_alloc(bytes, 1);
    ws_status st = WS_OK;
    if (!x || !y || !w) {
        st = ws_fail(err, WS_ENOMEM, "no memory for a product of %ld x %ld x %ld", M, N, K);
        goto out;
    }
    for (size_t i = 0; i < bytes; i++) w[i] = (uint8_t)(i * 2654435761u >> 13) & 0x3b; /* finite in every type */
    /* and not below the normal range, where Intel's cores take a hundred times as long */
    const size_t size = t == WS_F32 ? 4 : t == WS_BF16 ? 2 : 0;
    for (size_t i = size; size && i <= bytes; i += size) w[i - 1] |= 0x20;
    for (int64_t i = 0; i < (int64_t)M * K; i++) x[i] = (float)(i % 61) * 0.01f;
    const ws_weight weight = {.data = w, .type = t, .rows = rows, .cols = cols, .row_bytes = ws_dtype_bytes(t, cols)};
    const double flops = 2.0 * (double)M * (double)N * (double)K;
    double peak = ws_peak_multiply(0), best = 0;
    for (double end = ws_now() + o->seconds; ws_now() < end;) {
        const long times = 1 + (long)(2e8 / flops); /* about a millisecond or more */
        double start = ws_now();
        for (long i = 0; i < times; i++) {
            if (o->nn)
                ws_base_nn(y, N, x, K, M, &weight, 0);
            else
                ws_base_nt(y, N, x, K, M, &weight, 0);
        }
        double rate = (double)times / (ws_now() - start);
        if (rate > best) best = rate;
    }
    double after = ws_peak_multiply(0);
    if (after > peak) peak = after;
    double gflops = flops * best * 1e-9, gbs = (double)bytes * best * 1e-9;
    if (json)
        printf(
            "{\"op\": \"%s\", \"type\": \"%s\", \"m\": %ld, \"n\": %ld, \"k\": %ld, \"gflops\": %.2f, \"peak\": %.2f, "
            "\"gbs\": %.2f, \"compute\": \"%s\"}\n",
            o->nn ? "nn" : "nt", ws_dtypes[t].name, M, N, K, gflops, peak, gbs, ws_compute_name());
    else
        printf("%-5s %6ld x%6ld x%6ld %8s %10.1f %9.1f %7.0f%% %9.1f\n", ws_dtypes[t].name, M, N, K, ws_compute_name(),
               gflops, peak, 100 * gflops / peak, gbs);
    fflush(stdout);
out:
    free(x), free(y), free(w);
    return st;
}

/* Every shape with every type: looks whether they exist, or measures them. */
static ws_status all_products(const opts *o, int measure, int json, ws_err *err) {
    const char *s = o->shapes;
    do {
        long M, N, K;
        int used = 0;
        if (sscanf(s, "%ldx%ldx%ld%n", &M, &N, &K, &used) != 3 || (s[used] && s[used] != ',') || M < 1 || N < 1 ||
            K < 1 || M > 1 << 20 || N > 1 << 20 || K > 1 << 20)
            return ws_fail(err, WS_EUSAGE, "--shapes: '%s' does not begin with MxNxK, each 1..1048576", s);
        s += used + (s[used] == ',');
        const long cols = o->nn ? N : K;
        const char *t = o->types;
        do {
            const size_t n = strcspn(t, ",");
            ws_dtype type = WS_F32;
            if (ws_interrupt_check(err) || find_type(t, n, &type, err)) return err->code;
            if (cols % ws_dtypes[type].block)
                return ws_fail(err, WS_EUSAGE,
                               "--shapes: rows of %ld weights cannot be stored as %s, which has blocks of %d", cols,
                               ws_dtypes[type].name, ws_dtypes[type].block);
            if (measure && one(M, N, K, type, o, json, err)) return err->code;
            t += n + (t[n] == ',');
        } while (*t);
    } while (*s);
    return WS_OK;
}

static ws_status gemm(const opts *o, const ws_common *c, ws_err *err) {
    if (all_products(o, 0, c->json, err)) return err->code;
    if (!c->json) {
        printf("kernel set %s, %d threads, %s; share: of the peak of the compute type\n", ws_k.name, ws_threads(),
               o->nn ? "y = A W" : "y = x W^T");
        printf("%-5s %6s  %6s  %6s %8s %10s %9s %8s %9s\n", "W", "M", "N", "K", "compute", "GFLOP/s", "peak", "share",
               "W GB/s");
    }
    return all_products(o, 1, c->json, err);
}

/* Which options a subject takes; the others are refused, not ignored. */
typedef struct subject {
    const char *name;
    unsigned takes;
    ws_status (*run)(const opts *o, const ws_common *c, ws_err *err);
} subject;
#define SIZES (BIT(K_ROWS) | BIT(K_TOKENS) | BIT(K_MODEL) | BIT(K_OFFLINE) | BIT(K_OUT))
static const subject subjects[] = {
    {"machine", BIT(K_OUT), machine},
    {"gemm", BIT(K_SHAPES) | BIT(K_TYPES) | BIT(K_NN) | BIT(K_SECONDS) | BIT(K_OUT), gemm},
    {"delta", BIT(K_ROWS) | BIT(K_TOKENS) | BIT(K_SECONDS) | BIT(K_OUT), ws_bench_delta},
    {"train", SIZES | BIT(K_ROUNDS) | BIT(K_RANK) | BIT(K_MEMORY), ws_bench_train},
    {"prefill", SIZES | BIT(K_ROUNDS), ws_bench_prefill},
    {"decode", SIZES | BIT(K_CONTEXT) | BIT(K_ROUNDS) | BIT(K_RANK), ws_bench_decode},
    {"open", BIT(K_MODEL) | BIT(K_OFFLINE) | BIT(K_ROUNDS) | BIT(K_OUT), ws_bench_open},
    {"make-checkpoint", BIT(K_LIKE) | BIT(K_DTYPE) | BIT(K_TEXT_ONLY) | BIT(K_SEED), ws_bench_make_checkpoint}};
enum { N_SUBJECTS = sizeof subjects / sizeof *subjects };

static ws_status check_taken(const subject *s, unsigned given, ws_err *err) {
    static const char *const common[] = {"model", "offline", "seed", "out"};
    for (int key = 1; key <= K_OUT; key++) {
        if (!(given & BIT(key)) || s->takes & BIT(key)) continue;
        const char *name = key >= K_MODEL ? common[key - K_MODEL] : NULL;
        for (const struct argp_option *o = options; !name && o->name; o++)
            if (o->key == key) name = o->name;
        return ws_fail(err, WS_EUSAGE, "%s takes no --%s", s->name, name);
    }
    return WS_OK;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {.shapes = "512x1536x576,512x576x1536,512x576x576,256x2560x2560,32x1536x576,1x1536x576,1x9216x2560",
              .types = "F32,BF16,Q8_0,Q4_1",
              .seconds = 0.3};
    ws_common c;
    ws_sink sink;
    static const char *const without[] = {"steer", "force", "template", NULL};
    const subject *s = NULL;
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "SUBJECT [DIR]", doc, &o, &c, err);
    if (st) return st;
    for (int i = 0; i < N_SUBJECTS; i++)
        if (!strcmp(subjects[i].name, o.subject)) s = &subjects[i];
    if (!s)
        return ws_fail(
            err, WS_EUSAGE,
            "'%s' is no subject; there are machine, gemm, delta, train, prefill, decode, open and make-checkpoint",
            o.subject);
    if (c.model) o.given |= BIT(K_MODEL);
    if (c.offline && !ws_hub_offline()) o.given |= BIT(K_OFFLINE);
    if (c.seed) o.given |= BIT(K_SEED);
    if (c.out) o.given |= BIT(K_OUT);
    if (check_taken(s, o.given, err)) return err->code;
    if ((st = ws_sink_open(&sink, c.out, err))) return st;
    st = s->run(&o, &c, err);
    return ws_sink_close(&sink, st, err);
}

const ws_cmd ws_cmd_bench = {240, "bench", "speed: this machine's peaks, and our share of them", run};
