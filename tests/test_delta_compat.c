/* tests/test_delta_compat.c - the BF16 arithmetic of the reference program (adapters.md 3.6, test 18) against the same done by
 * PEFT and torch in BF16: merged weights of one linear in 29 configurations, dW_ref of whole adapters, and how much of dW that
 * loses.
 * Tolerance: the same bits, but that PEFT's fp32 sum and ours may fall on two sides of a rounding: a difference of 1e-7 of a
 * number whose steps are 2^-8 of it meets one in some 10^4, so one number in 2000 may differ, by one step.  PiSSA's residual
 * is 4e-6 off in PEFT (an SVD in fp32), and it is rounded itself: one in 100.  Losses 1e-3 of their size, as they count such
 * steps; on the base in fp32 5e-2, as its dW is not the one of the rounded base. */
#include "adapter_help.h"
#include "delta/compat.h"

/* Numbers that differ from BF16's `want`, at most; none by more than one step. */
static int64_t differing(const char *what, const float *got, const ws_tensor *want, int64_t first, int64_t n) {
    const uint16_t *w = want->data;
    int64_t off = 0;
    assert_int_equal(want->type, WS_BF16);
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = ws_f32_bf16(got[i]);
        if (ws_bf16_f32(h) != got[i]) fail_msg("%s: %g is no BF16 number", what, got[i]);
        const double x = got[i], y = ws_bf16_f32(w[first + i]);
        off += x != y;
    }
    return off;
}
/* Steps of numbers as large as W's largest: how far one different rounding of a merged weight may carry dW_ref. */
static double largest_step(const float *w, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(w[i]));
    return ldexp(1, (int)floor(log2(most)) - 7);
}

#define SITE "model.layers.0.self_attn.q_proj"

static void merged_weights_have_pefts_bits(void **state) {
    (void)state;
    fixture f;
    part_open(&f, "linear", ADAPTERS "linear/model");
    base_copy half = copy_base(&f, "half", 0, 1);
    const json_t *cases = json_object_get(f.info, "cases"), *c;
    const int site = ws_model_find_site(half.m, SITE);
    enum { D_IN = 48, D_OUT = 40 };
    int64_t of[ALL_KINDS] = {0}, off[ALL_KINDS] = {0};
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)cases, i, c) {
        ws_err err = {0};
        const char *name = json_string_value(json_object_get(c, "name")),
                   *kind = json_string_value(json_object_get(c, "kind"));
        char dir[128], prefix[96];
        ws_tensor t[4];
        size_t n = 0;
        snprintf(dir, sizeof dir, "%s/%s", f.tmp, name), snprintf(prefix, sizeof prefix, "param.%s.", name);
        for (size_t k = 0; k < ws_safetensors_count(f.want); k++) {
            const ws_tensor *p = ws_safetensors_at(f.want, k);
            if (strncmp(p->name, prefix, strlen(prefix))) continue;
            t[n] = *p;
            t[n++].name = ws_sprintf("base_model.model." SITE ".%s", p->name + strlen(prefix));
        }
        OK(ws_mkdirs(dir, &err));
        OK(ws_peft_write(dir, json_object_get(c, "config"), t, n, &err));
        for (size_t k = 0; k < n; k++) free(t[k].name);
        ws_adapter *a = load_from(half.m, "%s", dir);
        const ws_tensor *want = want_tensor(&f, "merged16.%s", name); /* every other row */
        float got[D_OUT * D_IN], piece[D_IN];
        OK(ws_compat_merged(half.m, a, site, 0, D_OUT, got, &err));
        OK(ws_compat_merged(half.m, a, site, 13, 14, piece, &err));
        assert_memory_equal(piece, got + 13 * D_IN, sizeof piece);
        int64_t wrong = 0;
        for (int o = 0; o < D_OUT; o += 2) wrong += differing(name, got + o * D_IN, want, o / 2 * D_IN, D_IN);
        const int64_t numbers = D_OUT / 2 * D_IN;
        if (wrong * (strcmp(kind, "pissa") ? 2000 : 100) > numbers)
            fail_msg("%s: %lld of %lld merged weights differ", name, (long long)wrong, (long long)numbers);
        for (int k = 0; k < ALL_KINDS; k++)
            if (!strcmp(all_kinds[k], kind)) of[k] += numbers, off[k] += wrong;
        ws_adapter_free(a);
    }
    for (int k = 0; k < ALL_KINDS; k++) {
        printf("  %-6s %lld of %lld differ\n", all_kinds[k], (long long)off[k], (long long)of[k]);
        assert_true(of[k] > 0);
    }
    copy_close(&half);
    fixture_close(&f);
}

typedef struct subject {
    fixture f;
    base_copy half;
    ws_adapter *side[2];
} subject;
static void begin(subject *s) {
    part_open(&s->f, "compat", PEFT_DIR "model");
    s->half = copy_base(&s->f, "half", 0, 1);
}
static void sides(subject *s, ws_model *m, const char *kind) {
    s->side[0] = load_from(m, ADAPTERS "llama/%s_pos", kind), s->side[1] = load_from(m, ADAPTERS "llama/%s_neg", kind);
}
static void end_sides(subject *s) { ws_adapter_free(s->side[0]), ws_adapter_free(s->side[1]); }
static void end(subject *s) {
    copy_close(&s->half);
    fixture_close(&s->f);
}

static void differences_have_the_reference_bits(void **state) {
    (void)state;
    subject s;
    begin(&s);
    for (int k = 0; k < ALL_KINDS; k++) {
        const char *kind = all_kinds[k];
        char prefix[32];
        int64_t of = 0, off = 0, found = 0;
        snprintf(prefix, sizeof prefix, "%s.dw.", kind);
        sides(&s, s.half.m, kind);
        for (size_t i = 0; i < ws_safetensors_count(s.f.want); i++) {
            const ws_tensor *t = ws_safetensors_at(s.f.want, i);
            ws_err err = {0};
            if (strncmp(t->name, prefix, strlen(prefix))) continue;
            const int site = ws_model_find_site(s.half.m, t->name + strlen(prefix));
            assert_true(site >= 0);
            const int64_t n = ws_tensor_numel(t);
            float *got = malloc((size_t)n * sizeof *got), *want = ws_tensor_f32(t), *w = malloc((size_t)n * sizeof *w);
            OK(ws_compat_dw(s.half.m, s.side[0], s.side[1], site, got, &err));
            ws_weight_rows_f32(ws_model_site(s.half.m, site)->w, 0, ws_model_site(s.half.m, site)->d_out, w);
            off += differing(t->name, got, t, 0, n), of += n, found++;
            if (worst_error(got, want, n, NULL) > 2 * largest_step(w, n)) fail_msg("%s is far off", t->name);
            free(got), free(want), free(w);
        }
        printf("  %-6s %lld of %lld differ\n", kind, (long long)off, (long long)of);
        assert_true(found >= 4 && off * (strcmp(kind, "pissa") ? 2000 : 100) <= of);
        end_sides(&s);
    }
    end(&s);
}

static void losses_are_counted_as_in_double(void **state) {
    (void)state;
    subject s;
    begin(&s);
    for (int k = 0; k < ALL_KINDS; k++)
        for (int bf16 = 0; bf16 < 2; bf16++) { /* an fp32 base is rounded as the reference program loads it */
            ws_err err = {0};
            ws_compat_part *part;
            int n;
            ws_model *m = bf16 ? s.half.m : s.f.m;
            const json_t *want = json_object_get(json_object_get(s.f.info, "kinds"), all_kinds[k]),
                         *lost = json_object_get(want, "lost");
            sides(&s, m, all_kinds[k]);
            OK(ws_compat_loss(&part, &n, m, s.side[0], s.side[1], NULL, &err));
            assert_int_equal(n, (int)json_object_size(lost));
            assert_int_equal(part[n - 1].sites, (int)json_array_size(json_object_get(want, "sites")));
            for (int i = 0; i < n; i++) {
                const json_t *w = json_object_get(lost, part[i].kind ? part[i].kind : "");
                if (!w) fail_msg("the fixture has no %s", part[i].kind);
                const double x[3] = {json_number_value(json_array_get(w, 0)), json_number_value(json_array_get(w, 1)),
                                     json_number_value(json_array_get(w, 2))};
                /* dW of DoRA, OFT, BOFT and IA3 is made from W, which is another one in fp32 */
                const double near = bf16 ? 1e-6 : 5e-3, loss = bf16 ? 1e-3 : 5e-2;
                if (!(fabs(part[i].dw - x[0]) < near * x[0]) || !(fabs(part[i].lost - x[1]) < loss * x[1]) ||
                    !(fabs(part[i].applied - x[2]) < loss * x[2]))
                    fail_msg("%s %s: ||dW|| %g, lost %g, applied %g; want %g, %g, %g", all_kinds[k],
                             part[i].kind ? part[i].kind : "in all", part[i].dw, part[i].lost, part[i].applied, x[0],
                             x[1], x[2]);
            }
            if (bf16)
                printf("  %-6s ||dW|| / ||W|| %.3f, lost %.3f, in W + dW_ref %.3f\n", all_kinds[k],
                       part[n - 1].dw / part[n - 1].w, part[n - 1].lost, part[n - 1].applied);
            assert_true(part[n - 1].lost > 0.001 && part[n - 1].lost < 1);
            ws_compat_free(part, n);
            end_sides(&s);
        }
    end(&s);
}

#define T(name) cmocka_unit_test(name)
int main(void) {
    const struct CMUnitTest tests[] = {T(merged_weights_have_pefts_bits), T(differences_have_the_reference_bits),
                                       T(losses_are_counted_as_in_double)};
    return cmocka_run_group_tests_name("delta/compat", tests, NULL, NULL);
}
