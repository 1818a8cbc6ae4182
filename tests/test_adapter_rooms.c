/* tests/test_adapter_rooms.c - every adapter on whole models, a tiny llama and a tiny Qwen3.5 (delta, full attention, delta):
 * logits, both losses, gradients over two micro-batches, directories that PEFT saved, and the bits that nothing may change.
 * Tolerances (adapters.md 5): logits and losses 1e-6 of the largest logit, of the loss; gradients 1e-5 of the largest number
 * of their tensor.  Where PEFT itself in fp32 is farther than that from PEFT in double (the fixture says how far; sums that
 * cancel, such as the gradient of one lambda), three times as far; logits of the hybrid 5e-6, as its base model alone is
 * already 1.5e-6 off in fp32.  Everything else is exact. */
#include "adapter_help.h"
#include "base/parallel.h"

static const struct {
    const char *name, *model;
} parts[] = {{"llama", PEFT_DIR "model"}, {"qwen35", "tests/fixtures/models/qwen35_1x"}};
enum { PARTS = 2, MAX_ROWS = 5, MAX_IDS = 64 };

static const json_t *info_of(const fixture *f, const char *kind) {
    const json_t *j = json_object_get(json_object_get(f->info, "kinds"), kind);
    if (!j) fail_msg("the fixture has nothing of %s", kind);
    return j;
}

/* fn for every kind and part, on pos of PEFT. */
typedef struct subject {
    const fixture *f;
    const char *part, *kind;
    ws_adapter *a;
} subject;
static void each(void (*fn)(subject *s, double *worst), const char *what) {
    for (int p = 0; p < PARTS; p++) {
        fixture f;
        part_open(&f, parts[p].name, parts[p].model);
        printf("  %s:", parts[p].name);
        for (int k = 0; k < ALL_KINDS; k++) {
            double worst = 0;
            subject s = {&f, parts[p].name, all_kinds[k],
                         load_from(f.m, ADAPTERS "%s/%s_pos", parts[p].name, all_kinds[k])};
            assert_string_equal(ws_adapter_kind(s.a), all_kinds[k]);
            fn(&s, &worst);
            if (worst > 0) printf(" %s %.1e", all_kinds[k], worst);
            ws_adapter_free(s.a);
        }
        printf("%s\n", what);
        fixture_close(&f);
    }
}
#define LIMIT(s, e, limit, what)                                                                                       \
    do {                                                                                                               \
        if (!((e) < (limit))) fail_msg("%s of %s: %s is off by %.3g", (s)->kind, (s)->part, what, (double)(e));        \
    } while (0)

static void logits_of_subject(subject *s, double *worst) {
    int64_t vocab = ws_model_dims(s->f->m)->vocab;
    int found = 0;
    for (int r = 0; r < MAX_ROWS; r++) {
        char name[64];
        snprintf(name, sizeof name, "%s.logits.%d", s->kind, r);
        const ws_tensor *t = ws_safetensors_find(s->f->want, name);
        if (!t) continue;
        int n;
        float *got = logits_of(s->f, s->f->m, r, ws_adapter_patch(s->a), 1, &n),
              *base = logits_of(s->f, s->f->m, r, NULL, 0, &n);
        assert_int_equal(ws_tensor_numel(t), n * vocab);
        keep_worst(worst, relative_error(got, t->data, n * vocab));
        assert_true(relative_error(base, t->data, n * vocab) > 0.01); /* the adapter does something */
        free(got), free(base);
        found++;
    }
    assert_true(found > 0);
    LIMIT(s, *worst, strcmp(s->part, "llama") ? 5e-6 : 1e-6, "a logit");
}
static void logits_are_pefts(void **state) {
    (void)state;
    each(logits_of_subject, "");
}

/* ---------- training passes ---------- */

typedef struct rows {
    int32_t ids[MAX_ROWS][MAX_IDS];
    ws_train_row row[MAX_ROWS];
    int n, batches, batch[4];
} rows;
static void rows_of(rows *x, const fixture *f, int by_batch) {
    x->n = (int)json_array_size(json_object_get(f->info, "rows"));
    const json_t *batches = json_object_get(f->info, "batches");
    int items = 0, at = 0;
    assert_true(x->n <= MAX_ROWS);
    for (int r = 0; r < x->n; r++) {
        int first, n = row_of(f, r, x->ids[r], &first);
        x->row[r] = (ws_train_row){x->ids[r], n, first, 0};
        items += n - first;
    }
    x->batches = (int)json_array_size(batches);
    for (int b = 0; b < x->batches; b++) {
        int here = 0;
        x->batch[b] = (int)json_integer_value(json_array_get(batches, (size_t)b));
        for (int r = at; r < at + x->batch[b]; r++) here += x->row[r].n - x->row[r].first;
        for (int r = at; r < at + x->batch[b]; r++)
            x->row[r].weight = (float)(by_batch ? 1.0 / here / x->batches : 1.0 / items);
        at += x->batch[b];
    }
}

/* Loss of the step; gradients stay in the adapter.  `each_row`: a pass for every row. */
static double step(const fixture *f, ws_adapter *a, const rows *x, int each_row) {
    ws_err err = {0};
    ws_patch *patch = ws_adapter_patch(a);
    double loss = 0;
    ws_adapter_zero_grad(a);
    for (int b = 0, at = 0; b < x->batches; at += x->batch[b++])
        for (int r = 0; r < x->batch[b]; r += each_row ? 1 : x->batch[b]) {
            ws_train_out out;
            OK(ws_train_pass(f->m, x->row + at + r, each_row ? 1 : x->batch[b], &patch, 1, 0, &out, NULL, &err));
            loss += out.loss;
        }
    ws_adapter_finish_grad(a);
    return loss;
}

static void gradients_of_subject(subject *s, double *worst) {
    rows x, means;
    rows_of(&x, s->f, 0), rows_of(&means, s->f, 1);
    const json_t *info = info_of(s->f, s->kind);
    double want = json_real_value(json_object_get(info, "mean_loss")), loss = step(s->f, s->a, &means, 0),
           single = json_real_value(json_object_get(info, "fp32_grads")), limit = single > 1e-5 / 3 ? 3 * single : 1e-5;
    LIMIT(s, fabs(loss - want) / want, 1e-6, "the loss averaged over micro-batches");
    want = json_real_value(json_object_get(info, "loss")), loss = step(s->f, s->a, &x, 0);
    LIMIT(s, fabs(loss - want) / want, 1e-6, "the loss over all tokens");
    for (int i = 0; i < ws_adapter_n_params(s->a); i++) {
        const ws_param *p = ws_adapter_param(s->a, i);
        if (!p->grad) continue;
        char *name = param_name(s->f, p);
        const ws_tensor *t = want_tensor(s->f, "%s.grad.%s", s->kind, name);
        assert_int_equal(ws_tensor_numel(t), p->rows * p->cols);
        double e = relative_error(p->grad, t->data, p->rows * p->cols);
        LIMIT(s, e, limit, name);
        keep_worst(worst, e);
        free(name);
    }
}
static void losses_and_gradients_are_pefts(void **state) {
    (void)state;
    each(gradients_of_subject, "");
}

static void bits_of_subject(subject *s, double *worst) {
    (void)worst;
    const fixture *f = s->f;
    rows x;
    rows_of(&x, f, 0);
    size_t bytes = (size_t)ws_adapter_size(s->a) * sizeof(float);
    float *grads = malloc(bytes);
    ws_threads_set(1);
    double loss = step(f, s->a, &x, 0);
    memcpy(grads, ws_adapter_grads(s->a), bytes);
    for (int how = 0; how < 5; how++) {
        static const char *const what[] = {"threads", "passes of one row", "recomputed blocks", "parts of a pass",
                                           "parts and recomputed blocks"};
        ws_threads_set(how ? 0 : 3);
        ws_model_set_recompute(f->m, how == 2);
        ws_model_set_part(f->m, how == 3 ? 40 : how == 4 ? 10 : 0);
        double again = step(f, s->a, &x, how == 1);
        if (how == 1 ? fabs(loss - again) > 1e-14 : loss != again) /* one more sum in this file */
            fail_msg("%s of %s: %s change the loss", s->kind, s->part, what[how]);
        if (memcmp(grads, ws_adapter_grads(s->a), bytes))
            fail_msg("%s of %s: %s change the gradients", s->kind, s->part, what[how]);
    }
    ws_model_set_recompute(f->m, 0), ws_model_set_part(f->m, 0), ws_threads_set(0);
    free(grads);
}
static void neither_threads_nor_grouping_change_a_bit(void **state) {
    (void)state;
    each(bits_of_subject, " the same bits");
}

/* ---------- directories ---------- */

static void same_file_tensors(const char *a_dir, const char *b_dir, int narrow) {
    ws_err err = {0};
    ws_peft_dir a, b;
    OK(ws_peft_open(&a, a_dir, &err));
    OK(ws_peft_open(&b, b_dir, &err));
    assert_int_equal(ws_safetensors_count(a.tensors), ws_safetensors_count(b.tensors));
    for (size_t i = 0; i < ws_safetensors_count(a.tensors); i++) {
        const ws_tensor *t = ws_safetensors_at(a.tensors, i), *u = ws_safetensors_find(b.tensors, t->name);
        if (!u) fail_msg("%s is not in %s", t->name, b_dir);
        float *x = ws_tensor_f32(t), *y = ws_tensor_f32(u);
        assert_int_equal(t->dims, u->dims);
        for (int d = 0; d < t->dims; d++) assert_int_equal(t->dim[d], u->dim[d]);
        for (int64_t k = 0; k < ws_tensor_numel(t); k++) {
            if (narrow) x[k] = ws_bf16_f32(ws_f32_bf16(x[k]));
            if (memcmp(&x[k], &y[k], sizeof *x)) fail_msg("%s of %s: %.9g, %.9g", t->name, b_dir, x[k], y[k]);
        }
        free(x), free(y);
    }
    if (!json_equal(a.config, b.config)) {
        char *x = json_dumps(a.config, JSON_SORT_KEYS), *y = json_dumps(b.config, JSON_SORT_KEYS);
        fail_msg("%s\n%s", x, y);
    }
    ws_peft_close(&a), ws_peft_close(&b);
}

/* A copy in BF16, the last tensor first. */
static void narrow_copy(const char *from, const char *to) {
    ws_err err = {0};
    ws_peft_dir d;
    OK(ws_peft_open(&d, from, &err));
    size_t n = ws_safetensors_count(d.tensors);
    ws_tensor *t = calloc(n, sizeof *t);
    for (size_t i = 0; i < n; i++) {
        const ws_tensor *x = ws_safetensors_at(d.tensors, n - 1 - i);
        int64_t numbers = ws_tensor_numel(x);
        uint16_t *h = malloc((size_t)numbers * sizeof *h);
        float *v = ws_tensor_f32(x);
        for (int64_t k = 0; k < numbers; k++) h[k] = ws_f32_bf16(v[k]);
        t[i] = *x, t[i].data = h, t[i].type = WS_BF16, t[i].bytes = (size_t)numbers * 2;
        free(v);
    }
    OK(ws_mkdirs(to, &err));
    OK(ws_peft_write(to, d.config, t, n, &err));
    for (size_t i = 0; i < n; i++) free((void *)(uintptr_t)t[i].data);
    free(t);
    ws_peft_close(&d);
}

static void directories_of_subject(subject *s, double *worst) {
    (void)worst;
    ws_err err = {0};
    for (int side = 0; side < 2; side++) {
        char dir[128], again[128], narrow[128], wide[128];
        snprintf(dir, sizeof dir, ADAPTERS "%s/%s_%s", s->part, s->kind, side ? "neg" : "pos");
        snprintf(again, sizeof again, "%s/%s_again%d", s->f->tmp, s->kind, side);
        snprintf(narrow, sizeof narrow, "%s/%s_narrow%d", s->f->tmp, s->kind, side);
        snprintf(wide, sizeof wide, "%s/%s_wide%d", s->f->tmp, s->kind, side);
        ws_adapter *a = load_from(s->f->m, "%s", dir);
        assert_string_equal(ws_adapter_kind(a), s->kind);
        OK(ws_adapter_save(a, again, &err));
        same_file_tensors(dir, again, 0);
        OK(ws_adapter_check_base(s->f->m, again, 0, &err));
        ws_adapter_free(a);
        narrow_copy(dir, narrow);
        a = load_from(s->f->m, "%s", narrow);
        OK(ws_adapter_save(a, wide, &err));
        same_file_tensors(dir, wide, 1);
        ws_adapter_free(a);
    }
}
static void directories_come_back_exactly(void **state) {
    (void)state;
    each(directories_of_subject, " the same tensors and configurations");
}

/* A tensor too few, a tensor too many, a wrong shape, a NaN: the key is named. */
static void damage_of_subject(subject *s, double *worst) {
    (void)worst;
    ws_err err = {0};
    ws_peft_dir d;
    char dir[128], bad[128];
    snprintf(dir, sizeof dir, ADAPTERS "%s/%s_pos", s->part, s->kind);
    snprintf(bad, sizeof bad, "%s/%s_bad", s->f->tmp, s->kind);
    OK(ws_peft_open(&d, dir, &err));
    OK(ws_mkdirs(bad, &err));
    size_t n = ws_safetensors_count(d.tensors);
    ws_tensor *t = calloc(n + 1, sizeof *t);
    for (size_t i = 0; i < n; i++) t[i] = *ws_safetensors_at(d.tensors, i);
    for (int how = 0; how < 4; how++) {
        static const ws_status status[] = {WS_EFORMAT, WS_EFORMAT, WS_ESHAPE, WS_ENONFINITE};
        ws_tensor keep = t[n / 2];
        ws_adapter *a = NULL;
        char name[256];
        snprintf(name, sizeof name, "%s", keep.name);
        float *nan = malloc(keep.bytes);
        size_t count = n;
        memcpy(nan, keep.data, keep.bytes), nan[keep.bytes / sizeof *nan - 1] = NAN;
        if (how == 0) t[n / 2] = t[n - 1], count--;
        if (how == 1)
            t[count++] = (ws_tensor){.name = name, .type = WS_F32, .dims = 1, .dim = {1}, .data = nan, .bytes = 4};
        if (how == 1) strcat(name, ".more");
        if (how == 2) t[n / 2].dims++, t[n / 2].dim[keep.dims] = 1;
        if (how == 3) t[n / 2].data = nan;
        if (how == 0 && n / 2 == n - 1) snprintf(name, sizeof name, "%s", keep.name);
        OK(ws_peft_write(bad, d.config, t, count, &err));
        REFUSED(status[how], name, ws_adapter_load(&a, s->f->m, bad, &err));
        assert_null(a);
        free(nan);
        t[n / 2] = keep;
    }
    free(t);
    ws_peft_close(&d);
}
static void damaged_directories_are_refused_by_key(void **state) {
    (void)state;
    each(damage_of_subject, " keys are named");
}

/* ---------- fresh adapters ---------- */

static ws_adapter *fresh(const ws_model *m, const char *kind, int a, int b) {
    ws_err err = {0};
    ws_adapter *x;
    const int all = !strcmp(kind, "ia3");
    ws_adapter_config c = {kind, 3, 6, all ? -1 : a, all ? -1 : b, NULL, 4, 2};
    OK(ws_adapter_new(&x, m, &c, &err));
    ws_adapter_init(x, 7);
    return x;
}

static void fresh_of_subject(subject *s, double *worst) {
    ws_err err = {0};
    int64_t vocab = ws_model_dims(s->f->m)->vocab;
    int pissa = !strcmp(s->kind, "pissa"), n;
    ws_adapter *a = fresh(s->f->m, s->kind, 1, 3);
    float *base = logits_of(s->f, s->f->m, 0, NULL, 0, &n),
          *with = logits_of(s->f, s->f->m, 0, ws_adapter_patch(a), 1, &n);
    double e = relative_error(with, base, n * vocab);
    LIMIT(s, e, pissa ? 1e-6 : 1e-300, "a logit of the fresh adapter");
    keep_worst(worst, e);
    for (int i = 0; i < ws_adapter_n_sites(a); i++) {
        ws_edit dw;
        OK(ws_adapter_edit(a, i, &dw, &err));
        double square = ws_edit_dot(&dw, &dw, ws_model_site(s->f->m, ws_adapter_site(a, i))->w);
        if (square != 0) fail_msg("%s: dW of the fresh adapter has norm %g", s->kind, sqrt(square));
        ws_edit_release(&dw);
    }
    free(base), free(with);
    ws_adapter_free(a);
}
static void a_fresh_adapter_is_the_base(void **state) {
    (void)state;
    each(fresh_of_subject, " dW = 0");
}

/* PEFT's fresh tensors on this base: torch's stream, DoRA's magnitudes, DeLoRA's norms; a 16-bit base rounds them.  PiSSA's
 * signs are free: B A is compared, at 1e-5 (an SVD in fp32 there). */
static void initial_tensors_are_pefts(void **state) {
    (void)state;
    fixture f;
    part_open(&f, "llama", PEFT_DIR "model");
    base_copy half = copy_base(&f, "half", 0, 1);
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int k = 0; k < ALL_KINDS; k++) {
            const char *kind = all_kinds[k];
            ws_adapter *a = fresh(bf16 ? half.m : f.m, kind, 1, 3);
            int compared = 0, pissa = !strcmp(kind, "pissa");
            double worst = 0;
            for (int i = 0; i < ws_adapter_n_params(a); i++) {
                const ws_param *p = ws_adapter_param(a, i);
                char *name = param_name(&f, p), key[256];
                int64_t n = p->rows * p->cols;
                snprintf(key, sizeof key, "%s.%s.%s", kind, bf16 ? "init16" : "init", name);
                const ws_tensor *t = ws_safetensors_find(f.want, key);
                float *want = t ? ws_tensor_f32(t) : NULL;
                free(name);
                for (int64_t j = 0; bf16 && j < n; j++)
                    if (p->value[j] != ws_bf16_f32(ws_f32_bf16(p->value[j])))
                        fail_msg("%s on bf16: %g of %s is no bf16 number", kind, p->value[j], p->suffix);
                if (!t) continue;
                compared++;
                assert_int_equal(ws_tensor_numel(t), n);
                if (pissa && strstr(p->suffix, "lora_B")) {
                    const ws_param *pa = p - 1;
                    char other[256];
                    snprintf(other, sizeof other, "%.*slora_A.weight", (int)(strlen(key) - 13), key);
                    const float *wa = want_tensor(&f, "%s", other)->data;
                    double size = 0, off = 0;
                    for (int64_t o = 0; o < p->rows; o++)
                        for (int64_t c = 0; c < pa->cols; c++) {
                            double x = 0, y = 0;
                            for (int64_t j = 0; j < p->cols; j++)
                                x += (double)p->value[o * p->cols + j] * pa->value[j * pa->cols + c],
                                    y += (double)want[o * p->cols + j] * wa[j * pa->cols + c];
                            size = fmax(size, fabs(y)), off = fmax(off, fabs(x - y));
                        }
                    keep_worst(&worst, off / size);
                } else if (!pissa && memcmp(want, p->value, (size_t)n * sizeof *want)) {
                    double e = relative_error(p->value, want, n); /* norms: torch adds in fp32, here in double */
                    if (bf16 || !strstr(p->suffix, "m") || !(e < 3e-7)) fail_msg("%s: off by %.3g", key, e);
                    keep_worst(&worst, e);
                }
                free(want);
            }
            printf("  %s%s: %d tensors, %.1e\n", kind, bf16 ? " on bf16" : "", compared, worst);
            assert_true(worst < 1e-5);
            if (!strcmp(kind, "dora") || !strcmp(kind, "delora") || (pissa && !bf16)) assert_true(compared >= 28);
            ws_adapter_free(a);
        }
    copy_close(&half);
    fixture_close(&f);
}

#define T(name) cmocka_unit_test(name)
int main(void) {
    const struct CMUnitTest tests[] = {T(logits_are_pefts),
                                       T(losses_and_gradients_are_pefts),
                                       T(neither_threads_nor_grouping_change_a_bit),
                                       T(directories_come_back_exactly),
                                       T(damaged_directories_are_refused_by_key),
                                       T(a_fresh_adapter_is_the_base),
                                       T(initial_tensors_are_pefts)};
    return cmocka_run_group_tests_name("adapter/rooms", tests, NULL, NULL);
}
