/* src/kernel/compute.c - which arithmetic is used, and why. */
#include "kernel/compute.h"
#include "kernel/kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ws_compute type;
static int chosen_by_auto, few;
static char why[160] = "nothing else was asked for";

void ws_compute_for(int64_t rows) {
    if (!chosen_by_auto) return;
    const ws_bf16_kernels *b = ws_k.bf16;
    const int many = b && b->fast(INT64_MAX);
    few = many && !b->fast(rows);
    type = many && !few ? WS_COMPUTE_BF16 : WS_COMPUTE_F32;
    if (few)
        snprintf(why, sizeof why, "auto; the %s kernels multiply %lld row%s faster than in bf16", ws_k.name,
                 (long long)rows, rows == 1 ? "" : "s");
    else
        snprintf(why, sizeof why, "auto; the %s kernels %s", ws_k.name,
                 !b         ? "have no product of bf16 pairs"
                 : b->tiles ? "multiply tiles of bf16"
                 : many     ? "multiply pairs of bf16 in one instruction"
                            : "multiply pairs of bf16 slower than fp32 on this CPU");
}

ws_status ws_compute_choose(const char *name, ws_err *err) {
    const char *from = "--compute", *set = getenv("WS_COMPUTE");
    if (!name && set && *set) name = set, from = "WS_COMPUTE";
    if (!name) name = "auto";
    chosen_by_auto = !strcmp(name, "auto"), few = 0;
    if (chosen_by_auto) {
        ws_compute_for(INT64_MAX);
        return WS_OK;
    }
    if (strcmp(name, "f32") && strcmp(name, "bf16"))
        return ws_fail(err, WS_EUSAGE, "%s %s: there are f32, bf16 and auto", from, name);
    type = !strcmp(name, "bf16") ? WS_COMPUTE_BF16 : WS_COMPUTE_F32;
    snprintf(why, sizeof why, "%s; the %s kernels %s", from, ws_k.name,
             type == WS_COMPUTE_F32          ? "multiply fp32"
             : ws_k.bf16 && ws_k.bf16->tiles ? "multiply tiles of bf16"
             : ws_k.bf16                     ? "multiply pairs of bf16 in one instruction"
                                             : "round to bf16 and multiply in fp32, which is slow");
    return WS_OK;
}

ws_compute ws_compute_type(void) { return type; }
const char *ws_compute_name(void) { return type == WS_COMPUTE_BF16 ? "bf16" : "f32"; }
const char *ws_compute_why(void) { return why; }
int ws_compute_is_auto(void) { return chosen_by_auto; }
int ws_compute_few(void) { return few; }

const char *ws_arithmetic(void) {
    static _Thread_local char both[64];
    if (!ws_k.name) return ""; /* before the kernels are chosen */
    if (type == WS_COMPUTE_F32) return ws_k.name;
    snprintf(both, sizeof both, "%s bf16", ws_k.name);
    return both;
}
