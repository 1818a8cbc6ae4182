/* Exports: whatever form dW leaves in, the model says what PEFT's dense dW makes it say (tools/reference/make_export.py and
 * make_peft.py: both sides merged by PEFT in fp32, contrast and forward in double).
 * Tolerance of logits: 3e-6 of the largest.  Contrast and forward here are fp32 with sums of up to 48 terms in four layers
 * (1e-6 is what the same models reach without an edit), and the edits' own fp32 arithmetic comes on top.
 * Losses are compared with what an SVD of the dense dW in double says: 1e-4 of it, where both are sums over fp32 entries. */
#include "peft_help.h"
#include "export/export.h"
#include "linalg/linalg.h"
#include <sys/stat.h>

typedef struct pair_of {
    const char *name, *base, *pos, *neg, *oracle;
    double alpha;
    const char *forms[6];   /* exact */
    const char *refused[5]; /* without --rank */
} pair_of;
#define X "tests/fixtures/export/"
static const pair_of kinds[] = {
    {"lora",
     PEFT_DIR "model",
     PEFT_DIR "pos",
     PEFT_DIR "neg",
     NULL,
     3,
     {"peft", "gguf-lora", "dora", "merged"},
     {"ia3"}},
    {"dora",
     PEFT_DIR "model",
     X "dora_pos",
     X "dora_neg",
     "dora",
     0.7,
     {"dora", "merged"},
     {"peft", "gguf-lora", "ia3"}},
    {"ia3", PEFT_DIR "model", X "ia3_pos", X "ia3_neg", "ia3", 0.7, {"ia3", "merged"}, {"peft", "gguf-lora", "dora"}},
    {"bias_ia3",
     "tests/fixtures/models/llama_bias",
     X "bias_ia3_pos",
     X "bias_ia3_neg",
     "bias_ia3",
     0.7,
     {"ia3", "merged"},
     {"peft", "gguf-lora", "dora"}},
    {"oft", PEFT_DIR "model", X "oft_pos", X "oft_neg", "oft", 0.7, {"merged"}, {"peft", "gguf-lora", "dora", "ia3"}},
    {"boft",
     PEFT_DIR "model",
     X "boft_pos",
     X "boft_neg",
     "boft",
     0.7,
     {"merged"},
     {"peft", "gguf-lora", "dora", "ia3"}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct subject {
    ws_checkpoint *c;
    ws_model *m;
    ws_delta *d; /* at its strength */
    ws_export x;
    ws_ids row[2];
    ws_safetensors *want;
    const char *prefix; /* of the oracle's tensors */
} subject;

/* 0: this build has no such adapter. */
static int subject_open(subject *s, const pair_of *k, const fixture *f) {
    ws_err err = {0};
    ws_adapter *a[2] = {NULL, NULL};
    ws_delta *dw = NULL;
    ws_delta_info info;
    json_t *rows = NULL;
    int known = 1;
    memset(s, 0, sizeof *s);
    OK(ws_checkpoint_open(&s->c, k->base, &err));
    OK(ws_model_open(&s->m, s->c, &err));
    for (int i = 0; i < 2 && known; i++) {
        ws_status st = ws_adapter_load(&a[i], s->m, i ? k->neg : k->pos, &err);
        known = !(st == WS_EUNSUPPORTED && strstr(err.msg, "this build has no"));
        if (st && known) fail_msg("%s", err.msg);
    }
    if (known) {
        OK(ws_delta_contrast(&dw, s->m, a[0], a[1], WS_CONTRAST_DW, &info, &err));
        OK(ws_delta_mix(&s->d, s->m, 1, &dw, &k->alpha, &err));
        ws_delta_free(dw);
    }
    ws_adapter_free(a[0]), ws_adapter_free(a[1]);
    s->x = (ws_export){.m = s->m, .d = s->d, .report = json_object()};
    OK(ws_safetensors_open(&s->want, k->oracle ? X "oracle.safetensors" : PEFT_DIR "oracle.safetensors", &err));
    s->prefix = k->oracle ? k->oracle : "steered.3";
    if (k->oracle) OK(ws_json_load(&rows, X "oracle.json", &err));
    for (int r = 0; r < 2; r++) {
        const json_t *row = json_array_get(json_object_get(k->oracle ? rows : f->info, "rows"), (size_t)r), *v;
        size_t i;
        if (!k->oracle) row = json_object_get(row, "ids");
        json_array_foreach((json_t *)(uintptr_t)row, i, v) ws_ids_add(&s->row[r], (int32_t)json_integer_value(v));
    }
    json_decref(rows);
    if (!known) printf("skip: %s: this build has no such adapter\n", k->name);
    return known;
}
static void subject_close(subject *s) {
    for (int r = 0; r < 2; r++) ws_ids_free(&s->row[r]);
    json_decref(s->x.report);
    ws_loss_free(&s->x.loss);
    ws_safetensors_close(s->want);
    ws_delta_free(s->d);
    ws_model_free(s->m);
    ws_checkpoint_close(s->c);
}
static void forget(subject *s) { /* for the next form */
    ws_loss_free(&s->x.loss);
    s->x = (ws_export){.m = s->m, .d = s->d, .report = s->x.report};
}

static void check_logits(const subject *s, ws_model *m, const ws_steering *hung, const char *what) {
    const int64_t d = ws_model_dims(m)->hidden, vocab = ws_model_dims(m)->vocab;
    double worst = 0, largest = 0;
    for (int r = 0; r < 2; r++) {
        ws_err err = {0};
        char name[64];
        const float one = 1, *alpha[1] = {&one};
        snprintf(name, sizeof name, "%s.%d", s->prefix, r);
        const ws_tensor *t = ws_safetensors_find(s->want, name);
        assert_non_null(t);
        const ws_row row = {-1, s->row[r].id, s->row[r].n, s->row[r].n};
        const ws_batch b = {1, &row, hung->n, hung->patch, alpha};
        float *h = malloc((size_t)(row.n * d) * sizeof *h), *l = malloc((size_t)(row.n * vocab) * sizeof *l),
              *want = ws_tensor_f32(t);
        assert_int_equal(ws_tensor_numel(t), row.n * vocab);
        OK(ws_forward(m, NULL, &b, h, &err));
        ws_head(m, h, row.n, l);
        for (int64_t i = 0; i < row.n * vocab; i++) {
            double e = fabs((double)l[i] - want[i]);
            worst = e > worst || isnan(e) ? e : worst;
            largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
        }
        free(h), free(l), free(want);
    }
    printf("  %-24s logits off by %.2g of the largest\n", what, worst / largest);
    assert_true(worst < 3e-6 * largest);
}

static void every_exact_form_says_what_peft_says(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        subject s;
        if (subject_open(&s, &kinds[k], f)) {
            ws_err err = {0};
            const float one = 1;
            ws_patch *patch = ws_delta_patch(s.d);
            const ws_steering native = {.n = 1, .patch = &patch, .alpha = (float *)(uintptr_t)&one};
            printf("%s\n", kinds[k].name);
            check_logits(&s, s.m, &native, "hung");
            for (int i = 0; kinds[k].forms[i]; i++) {
                const ws_export_ops *form = ws_export_find(kinds[k].forms[i]);
                char out[160];
                ws_agreement a;
                ws_export_back back = {0};
                snprintf(out, sizeof out, "%s/%s_%s%s", f->tmp, kinds[k].name, form->name, form->dir ? "" : ".gguf");
                forget(&s);
                s.x.has_dtype = form->takes_dtype, s.x.dtype = WS_F32; /* one base is BF16 */
                OK(ws_export_run(form, &s.x, out, s.row, 2, -1, &a, &err));
                assert_int_equal(a.positions, s.row[0].n + s.row[1].n);
                assert_true(a.mean_kl_unedited > 1e-3); /* the edit does something */
                assert_false(s.x.lossy);
                OK(form->reopen(&s.x, out, &back, &err));
                check_logits(&s, back.m ? back.m : s.m, &back.steering, form->name);
                ws_steering_free(&back.steering);
                ws_model_free(back.m), ws_checkpoint_close(back.c);
            }
            for (int i = 0; kinds[k].refused[i]; i++) {
                const ws_export_ops *form = ws_export_find(kinds[k].refused[i]);
                char out[160];
                ws_agreement a;
                snprintf(out, sizeof out, "%s/refused", f->tmp);
                REFUSED(WS_EUNSUPPORTED, "--to merged", ws_export_run(form, &s.x, out, s.row, 2, -1, &a, &err));
                assert_false(ws_file_exists(out));
            }
        }
        subject_close(&s);
    }
}

/* dW of a site, dense in double. */
static double *dense(const subject *s, int i, int64_t *m, int64_t *n) {
    const ws_edit *e = ws_delta_edit(s->d, i);
    float *x = malloc((size_t)(e->d_out * e->d_in) * sizeof *x);
    double *d = malloc((size_t)(e->d_out * e->d_in) * sizeof *d);
    ws_edit_rows(e, ws_model_site(s->m, ws_delta_site(s->d, i))->w, 0, e->d_out, x);
    for (int64_t j = 0; j < e->d_out * e->d_in; j++) d[j] = x[j];
    *m = e->d_out, *n = e->d_in;
    free(x);
    return d;
}

static void a_rank_keeps_what_an_svd_keeps_and_tells_what_is_lost(void **state) {
    enum { RANK = 3 };
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        subject s;
        ws_err err = {0};
        if (subject_open(&s, &kinds[k], f) && strcmp(kinds[k].name, "bias_ia3")) {
            char out[160];
            ws_agreement a;
            double full = 0, lost = 0;
            for (int i = 0; i < ws_delta_n_sites(s.d); i++) {
                int64_t m, n;
                double *d = dense(&s, i, &m, &n);
                int64_t r = m < n ? m : n;
                double *u = malloc((size_t)(m * r) * 8), *v = malloc((size_t)(r * n) * 8), *sv = malloc((size_t)r * 8);
                OK(ws_svd(d, m, n, u, sv, v, &err));
                for (int64_t j = 0; j < r; j++) full += sv[j] * sv[j], lost += j < RANK ? 0 : sv[j] * sv[j];
                free(d), free(u), free(v), free(sv);
            }
            snprintf(out, sizeof out, "%s/%s_rank", f->tmp, kinds[k].name);
            s.x.rank = RANK;
            OK(ws_export_run(ws_export_find("peft"), &s.x, out, s.row, 2, 100, &a, &err));
            double want = sqrt(lost / full), got = ws_loss_all(&s.x.loss);
            printf("%s at rank %d: %.6f of ||dW|| lost, the best is %.6f; KL %.3g\n", kinds[k].name, RANK, got, want,
                   a.mean_kl);
            assert_true(fabs(got - want) < 1e-4 * want);
            assert_true(s.x.lossy && want > 0.01);
            /* the limit of its own refuses what is that far off, and nothing stays */
            snprintf(out, sizeof out, "%s/%s_rank2", f->tmp, kinds[k].name);
            forget(&s);
            s.x.rank = RANK;
            REFUSED(WS_ESTATE, "does not say what the steered model says",
                    ws_export_run(ws_export_find("peft"), &s.x, out, s.row, 2, a.max_kl * 0.99, &a, &err));
            assert_false(ws_file_exists(out));
        }
        subject_close(&s);
    }
}

/* ---------- merged checkpoints ---------- */

static int same_bytes(const ws_tensor *a, const ws_tensor *b) {
    return a->type == b->type && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

/* A composite checkpoint in shards, with vision and multi-token prediction: LoRA at every decoder linear. */
static void a_merged_checkpoint_keeps_names_shards_and_foreign_tensors(void **state) {
    fixture *f = *state;
    static const ws_dtype types[] = {WS_DTYPE_COUNT, WS_F32, WS_BF16};
    for (int k = 0; k < 3; k++) {
        ws_err err = {0};
        char out[160];
        ws_checkpoint *c, *c2;
        ws_model *m;
        ws_adapter *a;
        ws_delta *one, *d;
        ws_agreement agreement;
        int32_t id[12] = {3, 9, 1, 22, 7, 5, 30, 2, 8, 11, 4, 6};
        const ws_ids prompt = {id, 12, 12};
        const double alpha = 0.5;
        OK(ws_checkpoint_open(&c, "tests/fixtures/models/qwen35", &err));
        OK(ws_model_open(&m, c, &err));
        OK(ws_adapter_load(&a, m, "tests/fixtures/gguf_lora/qwen35", &err));
        OK(ws_delta_from_adapter(&one, m, a, &err));
        OK(ws_delta_mix(&d, m, 1, &one, &alpha, &err));
        ws_export x = {.m = m, .d = d, .has_dtype = k > 0, .dtype = types[k], .report = json_object()};
        snprintf(out, sizeof out, "%s/merged%d", f->tmp, k);
        OK(ws_export_run(ws_export_find("merged"), &x, out, &prompt, 1, k == 2 ? 1 : -1, &agreement, &err));
        OK(ws_checkpoint_open(&c2, out, &err));
        assert_int_equal(ws_checkpoint_shards(c2), ws_checkpoint_shards(c));
        assert_int_equal(ws_checkpoint_shards(c), 2);
        assert_true(ws_checkpoint_ignored(c) > 0);
        assert_int_equal(ws_checkpoint_ignored(c2), ws_checkpoint_ignored(c));
        int touched = 0, same = 0;
        for (size_t i = 0; i < 2; i++) {
            const char *name, *name2;
            const ws_safetensors *s = ws_checkpoint_shard(c, i, &name), *s2 = ws_checkpoint_shard(c2, i, &name2);
            assert_string_equal(name, name2);
            assert_int_equal(ws_safetensors_count(s), ws_safetensors_count(s2));
            assert_true(json_equal(ws_safetensors_meta(s), ws_safetensors_meta(s2)));
            for (size_t j = 0; j < ws_safetensors_count(s); j++) {
                const ws_tensor *t = ws_safetensors_at(s, j), *t2 = ws_safetensors_find(s2, t->name);
                assert_non_null(t2);
                if (same_bytes(t, t2))
                    same++;
                else
                    touched++, assert_int_equal(t2->type, k ? types[k] : t->type);
            }
        }
        printf("%d tensors touched, %d the same; KL %.2g; %.4f of dW lost\n", touched, same, agreement.max_kl,
               ws_loss_all(&x.loss));
        assert_int_equal(touched, ws_delta_n_sites(d));
        /* the loss told is the loss measured on the file */
        double full = 0, lost = 0;
        for (int i = 0; i < ws_delta_n_sites(d); i++) {
            const ws_site *at = ws_model_site(m, ws_delta_site(d, i));
            char name[128];
            snprintf(name, sizeof name, "%s.weight", at->name);
            float *w = ws_tensor_f32(ws_checkpoint_find(c, name)), *w2 = ws_tensor_f32(ws_checkpoint_find(c2, name)),
                  *dw = malloc((size_t)(at->d_in * at->d_out) * sizeof *dw);
            ws_edit_rows(ws_delta_edit(d, i), at->w, 0, at->d_out, dw);
            for (int64_t j = 0; j < at->d_in * at->d_out; j++) {
                double miss = (double)w2[j] - w[j] - dw[j];
                full += (double)dw[j] * dw[j], lost += miss * miss;
                float sum = w[j] + dw[j];
                if (k == 2 && w2[j] != ws_bf16_f32(ws_f32_bf16(sum))) fail_msg("%s: rounded otherwise", name);
            }
            free(w), free(w2), free(dw);
        }
        assert_true(fabs(sqrt(lost / full) - ws_loss_all(&x.loss)) < 1e-6);
        json_decref(x.report);
        ws_loss_free(&x.loss);
        ws_delta_free(one), ws_delta_free(d);
        ws_adapter_free(a);
        ws_model_free(m);
        ws_checkpoint_close(c), ws_checkpoint_close(c2);
    }
}

static void dense_dw_is_merged_minus_base(void **state) {
    fixture *f = *state;
    for (int k = 0; k < KINDS; k++) {
        subject s;
        ws_err err = {0};
        if (subject_open(&s, &kinds[k], f)) {
            char out[160];
            ws_agreement a;
            ws_safetensors *t = NULL;
            ws_checkpoint *merged = NULL;
            double full = 0, lost = 0;
            snprintf(out, sizeof out, "%s/dense_%s.safetensors", f->tmp, kinds[k].name);
            OK(ws_export_run(ws_export_find("dense"), &s.x, out, NULL, 0, -1, &a, &err));
            OK(ws_safetensors_open(&t, out, &err));
            snprintf(out, sizeof out, "%s/for_dense_%s", f->tmp, kinds[k].name);
            forget(&s);
            s.x.has_dtype = 1, s.x.dtype = WS_F32;
            OK(ws_export_run(ws_export_find("merged"), &s.x, out, s.row, 2, -1, &a, &err));
            OK(ws_checkpoint_open(&merged, out, &err));
            for (size_t i = 0; i < ws_safetensors_count(t); i++) {
                const ws_tensor *x = ws_safetensors_at(t, i);
                float *d = ws_tensor_f32(x), *w2 = ws_tensor_f32(ws_checkpoint_find(merged, x->name)),
                      *w = ws_tensor_f32(ws_checkpoint_find(s.c, x->name));
                for (int64_t j = 0; j < ws_tensor_numel(x); j++) {
                    double miss = (double)w2[j] - w[j] - d[j];
                    full += (double)w2[j] * w2[j], lost += miss * miss;
                }
                free(d), free(w), free(w2);
            }
            assert_true(full > 0 && lost < 0x1p-48 * full); /* each sum is rounded once, to 2^-24 of it */
            ws_safetensors_close(t);
            ws_checkpoint_close(merged);
        }
        subject_close(&s);
    }
}

static void places_are_replaced_whole_or_left_alone(void **state) {
    fixture *f = *state;
    subject s;
    ws_err err = {0};
    ws_agreement a;
    char out[160], path[256];
    const ws_export_ops *peft = ws_export_find("peft");
    assert_true(subject_open(&s, &kinds[0], f));
    snprintf(out, sizeof out, "%s/place", f->tmp);
    snprintf(path, sizeof path, "%s/place.tmp.999999999", f->tmp); /* no process has that number */
    assert_int_equal(mkdir(path, 0777), 0);
    OK(ws_export_run(peft, &s.x, out, s.row, 2, -1, &a, &err));
    assert_false(ws_file_exists(path));
    snprintf(path, sizeof path, "%s/adapter_config.json", out);
    assert_int_equal(remove(path), 0);
    forget(&s);
    OK(ws_export_run(peft, &s.x, out, s.row, 2, -1, &a, &err)); /* our own: replaced */
    assert_true(ws_file_exists(path));
    snprintf(path, sizeof path, "%s/ws_export.json", out);
    assert_int_equal(remove(path), 0);
    forget(&s);
    REFUSED(WS_ESTATE, "holds other files already", ws_export_run(peft, &s.x, out, s.row, 2, -1, &a, &err));
    REFUSED(WS_EIO, "is a directory", ws_export_run(ws_export_find("gguf-lora"), &s.x, out, s.row, 2, -1, &a, &err));
    snprintf(path, sizeof path, "%s/adapter_config.json", out);
    REFUSED(WS_EIO, "is a file", ws_export_run(peft, &s.x, path, s.row, 2, -1, &a, &err));
    assert_true(ws_file_exists(path));
    subject_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_exact_form_says_what_peft_says),
        cmocka_unit_test(a_rank_keeps_what_an_svd_keeps_and_tells_what_is_lost),
        cmocka_unit_test(a_merged_checkpoint_keeps_names_shards_and_foreign_tensors),
        cmocka_unit_test(dense_dw_is_merged_minus_base),
        cmocka_unit_test(places_are_replaced_whole_or_left_alone),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
