/* tests/test_delta_whole.c - dW of whole checkpoints against numpy (tests/fixtures/geometry): squares and the energy that
 * the best factors leave out to 1e-6 of them (both sums in double; what is stored is fp32), logits of a dense dW hung in the
 * base against the other model to 2e-6 of the largest. */
#include "delta/whole.h"
#include "geometry_help.h"

static char *make(const fixture *f, const char *name, int c, int which, ws_dtype type, int shards) {
    char *dir = ws_sprintf("%s/%s", f->tmp, name);
    write_side(PEFT_DIR "model", dir, c, which, type, shards);
    return dir;
}
static ws_status try_side(ws_side *s, const fixture *f, const char *dir, ws_err *err) {
    ws_checkpoint *c;
    if (ws_is_edits(dir)) return ws_side_from_edits(s, f->m, dir, 0, err);
    if (ws_checkpoint_open(&c, dir, err)) return err->code;
    return ws_side_from_checkpoint(s, f->m, c, err);
}
static void open_side(ws_side *s, const fixture *f, const char *dir) {
    ws_err err = {0};
    if (try_side(s, f, dir, &err)) fail_msg("%s", err.msg);
}

static ws_delta *contrast(const fixture *f, const char *pos, const char *neg, ws_whole_options o, ws_whole_report *r) {
    ws_err err = {0};
    ws_side p, n;
    ws_delta *d;
    char *path = ws_sprintf("%s/dw.safetensors", f->tmp);
    json_t *sources = json_pack("{s:s}", "name", "full");
    open_side(&p, f, pos);
    if (neg) open_side(&n, f, neg);
    OK(ws_whole_save(&p, neg ? &n : NULL, &o, sources, path, r, &err));
    ws_side_close(&p);
    if (neg) ws_side_close(&n);
    OK(ws_delta_load(&d, f->m, path, 0, &err));
    json_decref(sources);
    free(path);
    return d;
}

static void near(double got, double want, double limit, const char *what) {
    if (!(fabs(got - want) <= limit * fabs(want))) fail_msg("%s is %.12g, numpy has %.12g", what, got, want);
}

static void the_best_factors_are_kept_and_the_rest_is_told(void **state) {
    fixture *f = *state;
    json_t *oracle = geometry_oracle();
    const json_t *want = json_object_get(oracle, "whole"), *v;
    char *pos = make(f, "pos", 0, ALL_PARAMETERS, WS_F32, 0), *neg = make(f, "neg", 1, ALL_PARAMETERS, WS_F32, 1);
    ws_whole_report r;
    ws_whole_options o = {.rank = (int64_t)number_at(oracle, "rank"), .dtype = WS_F32};
    ws_delta *d = contrast(f, pos, neg, o, &r);
    double pp = number_at(want, "pp"), nn = number_at(want, "nn"), pn = number_at(want, "pn"),
           dd = number_at(want, "dd"), lost = 0, left = 0;
    near(r.info.norm_pos, sqrt(pp), 1e-6, "||theta_pos - base||");
    near(r.info.norm_neg, sqrt(nn), 1e-6, "||theta_neg - base||");
    near(r.info.norm, sqrt(dd), 1e-6, "||dW||");
    near(r.info.norm_w, sqrt(number_at(want, "ww")), 1e-6, "||W||");
    near(r.info.cos_pos_neg_flipped, -pn / sqrt(pp * nn), 1e-5, "cos");
    near(r.info.drift_ratio, sqrt(pp + nn + 2 * pn) / sqrt(dd), 1e-6, "drift ratio");
    assert_int_equal(r.n_kinds, 7);
    for (int i = 0; i < r.n_kinds; i++) {
        const ws_whole_part *p = &r.kind[i];
        near(p->full, number_at(json_object_get(want, "full"), p->kind), 1e-6, p->kind);
        near(p->lost, number_at(json_object_get(want, "lost"), p->kind), 1e-6, p->kind);
        assert_int_equal(p->n, 4);
        assert_int_equal(p->ranks, 4 * o.rank);
        lost += p->lost;
    }
    const char *key;
    assert_int_equal(r.n_left, json_object_size(json_object_get(want, "left")));
    json_object_foreach(json_object_get(want, "left"), key, v) {
        int i = 0;
        while (i < r.n_left && strcmp(r.left[i].kind, key)) i++;
        assert_true(i < r.n_left);
        near(r.left[i].full, json_number_value(v), 1e-6, key);
        left += json_number_value(v);
    }
    near(ws_whole_lost(&r), lost / dd, 1e-6, "energy lost");
    near(ws_whole_left_out(&r), left / (left + dd), 1e-6, "energy left out");
    /* what was kept is as long as what was not lost, and the file says so */
    near(ws_delta_norm(d), sqrt(dd - lost), 1e-6, "||U V||");
    assert_int_equal(ws_delta_n_sites(d), 28);
    assert_string_equal(ws_delta_source(d, "mode"), "dw");
    assert_string_equal(ws_delta_source(d, "rank"), "5");
    near(strtod(ws_delta_source(d, "energy_lost"), NULL), lost / dd, 1e-6, "metadata energy_lost");
    near(strtod(ws_delta_source(d, "energy_left_out"), NULL), left / (left + dd), 1e-6, "metadata energy_left_out");
    assert_non_null(strstr(ws_delta_source(d, "whole"), "input_layernorm.weight"));
    ws_delta_free(d);
    ws_whole_report_free(&r);
    json_decref(oracle);
    free(pos), free(neg);
}

/* Base + dW at strength 1 is the other model, where only its linears differ. */
static void a_dense_difference_is_the_other_model(void **state) {
    fixture *f = *state;
    char *pos = make(f, "pos", 0, LINEARS, WS_F32, 1);
    static const ws_dtype type[] = {WS_F32, WS_BF16, WS_F16};
    for (int i = 0; i < 3; i++) {
        ws_err err = {0};
        ws_whole_report r;
        ws_checkpoint *c;
        ws_model *m;
        ws_delta *d = contrast(f, pos, NULL, (ws_whole_options){.dtype = type[i]}, &r);
        int n;
        OK(ws_checkpoint_open(&c, pos, &err));
        OK(ws_model_open(&m, c, &err));
        float *got = logits_of(f, f->m, 0, ws_delta_patch(d), 1, &n), *want = logits_of(f, m, 0, NULL, 0, &n);
        double size = 0, e = worst_error(got, want, (int64_t)n * 40, &size) / size;
        printf("  %s: largest logit error / largest logit %.2e\n", ws_dtypes[type[i]].name, e);
        assert_true(e < (i ? 5e-3 : 2e-6));
        assert_true(ws_whole_lost(&r) < (i == 0 ? 1e-12 : i == 1 ? 1e-5 : 1e-7));
        assert_true(i == 0 || ws_whole_lost(&r) > 1e-9);
        assert_int_equal(r.n_left, 0);
        assert_string_equal(ws_delta_source(d, "dense"), ws_dtypes[type[i]].name);
        assert_string_equal(ws_delta_source(d, "mode"), "delta");
        free(got), free(want);
        ws_model_free(m), ws_checkpoint_close(c);
        ws_delta_free(d);
        ws_whole_report_free(&r);
    }
    free(pos);
}

/* A checkpoint against an adapter: dW = P - N with N by its factors; at full rank all of it is kept. */
static void a_checkpoint_and_an_adapter_mix(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char *pos = make(f, "pos", 0, LINEARS, WS_F32, 0);
    ws_whole_report r, only_pos;
    ws_adapter *a;
    ws_delta *p = contrast(f, pos, NULL, (ws_whole_options){.rank = 1000}, &only_pos), *n,
             *d = contrast(f, pos, PEFT_DIR "neg", (ws_whole_options){.rank = 1000}, &r);
    OK(ws_adapter_load(&a, f->m, PEFT_DIR "neg", &err));
    OK(ws_delta_from_adapter(&n, f->m, a, &err));
    double pp = ws_delta_dot(p, p), nn = ws_delta_dot(n, n), pn = ws_delta_dot(p, n);
    near(r.info.norm_pos, sqrt(pp), 1e-6, "||theta_pos - base||");
    near(r.info.norm_neg, sqrt(nn), 1e-6, "||theta_neg - base||");
    near(r.info.norm, sqrt(pp + nn - 2 * pn), 1e-6, "||dW||");
    near(ws_delta_norm(d), r.info.norm, 1e-6, "||U V||");
    near(ws_delta_dot(d, n), pn - nn, 1e-5, "<dW, N>");
    assert_true(ws_whole_lost(&r) < 1e-12);
    assert_int_equal(r.info.sites_one_sided, 28 - ws_delta_n_sites(n));
    ws_adapter_free(a);
    ws_delta_free(p), ws_delta_free(n), ws_delta_free(d);
    ws_whole_report_free(&r), ws_whole_report_free(&only_pos);
    free(pos);
}

/* The bisector of two checkpoints: as long as dW, and the same angle to both sides. */
static void the_bisector_has_the_same_angle_to_both(void **state) {
    fixture *f = *state;
    char *pos = make(f, "pos", 0, LINEARS, WS_F32, 0), *neg = make(f, "neg", 1, LINEARS, WS_F32, 0);
    ws_whole_report r[3];
    ws_delta *p = contrast(f, pos, NULL, (ws_whole_options){.dtype = WS_F32}, &r[0]);
    ws_delta *n = contrast(f, neg, NULL, (ws_whole_options){.dtype = WS_F32}, &r[1]);
    ws_delta *b = contrast(f, pos, neg, (ws_whole_options){.dtype = WS_F32, .mode = WS_CONTRAST_BISECTOR}, &r[2]);
    near(ws_delta_norm(b), r[2].info.norm, 1e-6, "||bisector||");
    near(ws_delta_dot(b, p) / ws_delta_norm(p), -ws_delta_dot(b, n) / ws_delta_norm(n), 1e-5, "cosine with POS");
    assert_string_equal(ws_delta_source(b, "mode"), "bisector");
    ws_delta_free(p), ws_delta_free(n), ws_delta_free(b);
    for (int i = 0; i < 3; i++) ws_whole_report_free(&r[i]);
    free(pos), free(neg);
}

static void parts_of_the_model_can_be_picked(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    char *pos = make(f, "pos", 0, LINEARS, WS_F32, 0), *only;
    OK(ws_sites_pick(&only, f->m, 1, 3, "q_proj,mlp.up_proj", &err));
    ws_whole_report r;
    ws_delta *d = contrast(f, pos, NULL, (ws_whole_options){.rank = 2, .only = only}, &r);
    assert_int_equal(ws_delta_n_sites(d), 4);
    for (int i = 0; i < 4; i++) {
        const ws_site *at = ws_model_site(f->m, ws_delta_site(d, i));
        assert_true((at->layer == 1 || at->layer == 2) && (strstr(at->name, "q_proj") || strstr(at->name, "up_proj")));
    }
    ws_delta_free(d);
    ws_whole_report_free(&r);
    free(only);
    REFUSED(WS_EUSAGE, "'qproj'", ws_sites_pick(&only, f->m, 0, 4, "o_proj,qproj", &err));
    REFUSED(WS_EUSAGE, "0:4", ws_sites_pick(&only, f->m, 2, 5, NULL, &err));
    free(pos);
}

/* Biases are part of dW; one that alone was trained makes a dW without factors. */
static void biases_go_along(void **state) {
    (void)state;
    ws_err err = {0};
    char tmp[] = "/tmp/ws_test_XXXXXX", path[160], cmd[160];
    ws_checkpoint *base, *c;
    ws_model *m;
    ws_side s;
    ws_whole_report r;
    ws_delta *d;
    assert_non_null(mkdtemp(tmp));
    OK(ws_checkpoint_open(&base, "tests/fixtures/models/llama_bias", &err));
    OK(ws_model_open(&m, base, &err));
    snprintf(path, sizeof path, "%s/pos", tmp);
    write_side("tests/fixtures/models/llama_bias", path, 0, NOTHING, WS_F32, 0);
    /* one number of one bias, by hand */
    char *file = ws_sprintf("%s/model.safetensors", path), *at = ws_sprintf("%s/new.safetensors", path);
    ws_safetensors *old;
    OK(ws_safetensors_open(&old, file, &err));
    size_t n = ws_safetensors_count(old);
    ws_tensor *t = calloc(n, sizeof *t);
    float *bias = NULL;
    for (size_t i = 0; i < n; i++) {
        t[i] = *ws_safetensors_at(old, i);
        if (strcmp(t[i].name, "model.layers.1.self_attn.q_proj.bias")) continue;
        bias = ws_tensor_f32(&t[i]);
        bias[3] += 0.5f;
        t[i].data = bias;
    }
    assert_non_null(bias);
    OK(ws_safetensors_write(at, t, n, NULL, &err));
    ws_safetensors_close(old);
    assert_int_equal(rename(at, file), 0);
    OK(ws_checkpoint_open(&c, path, &err));
    OK(ws_side_from_checkpoint(&s, m, c, &err));
    ws_whole_options o = {.rank = 4};
    OK(ws_whole_save(&s, NULL, &o, NULL, at, &r, &err));
    OK(ws_delta_load(&d, m, at, 0, &err));
    assert_int_equal(ws_delta_n_sites(d), 1);
    const ws_edit *e = ws_delta_edit(d, 0);
    assert_true(e->k == 0 && e->db && fabsf(e->db[3] - 0.5f) < 1e-6f && e->db[2] == 0);
    assert_string_equal(r.kind[r.n_kinds - 1].kind, "biases");
    assert_true(ws_whole_lost(&r) == 0 && r.n_left == 0);
    ws_delta_free(d);
    ws_whole_report_free(&r);
    ws_side_close(&s);
    ws_model_free(m);
    ws_checkpoint_close(base);
    free(t), free(bias), free(file), free(at);
    snprintf(cmd, sizeof cmd, "rm -rf %s", tmp);
    assert_int_equal(system(cmd), 0);
}

/* A GGUF and the directory that it was made from differ nowhere, though rows, norms and decays stand otherwise. */
static void a_gguf_is_its_directory(void **state) {
    (void)state;
    ws_err err = {0};
    ws_checkpoint *base, *c;
    ws_model *m;
    ws_side s;
    ws_whole_report r;
    ws_whole_options o = {.rank = 4};
    OK(ws_checkpoint_open(&base, "tests/fixtures/models/qwen35_3x", &err));
    OK(ws_model_open(&m, base, &err));
    OK(ws_checkpoint_open(&c, "tests/fixtures/models/qwen35_3x.gguf", &err));
    OK(ws_side_from_checkpoint(&s, m, c, &err));
    REFUSED(WS_EFORMAT, "have the same weights in every linear layer",
            ws_whole_save(&s, NULL, &o, NULL, "/tmp/ws_none.safetensors", &r, &err));
    ws_whole_report_free(&r);
    ws_side_close(&s);
    ws_model_free(m);
    ws_checkpoint_close(base);
}

static void set_config(const char *dir, const char *key, const char *value) {
    ws_err err = {0};
    char *path = ws_sprintf("%s/config.json", dir);
    json_t *j;
    OK(ws_json_load(&j, path, &err));
    json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    OK(ws_json_save(j, path, &err));
    json_decref(j);
    free(path);
}

/* ---------- parameters without a place ---------- */

/* Everything that differs is told: what dW holds and what it leaves out are all squares there are, on every family, with
 * heads of their own, biases, convolutions and decays, from directories and GGUFs. */
static void nothing_that_differs_is_passed_over(void **state) {
    (void)state;
    static const struct {
        const char *base, *from;
        const char *left[3]; /* some that must be there */
    } of[] = {
        {"qwen3_untied", "qwen3_untied", {"lm_head.weight", "self_attn.q_norm.weight", "model.norm.weight"}},
        {"llama_bias", "llama_bias", {"model.embed_tokens.weight", "model.norm.weight", "input_layernorm.weight"}},
        {"qwen35_1x", "qwen35_1x", {"linear_attn.conv1d.weight", "linear_attn.A_log", "linear_attn.dt_bias"}},
        {"qwen35_3x.gguf", "qwen35_3x", {"linear_attn.conv1d.weight", "linear_attn.A_log", "linear_attn.norm.weight"}}};
    for (size_t x = 0; x < sizeof of / sizeof *of; x++) {
        ws_err err = {0};
        char tmp[] = "/tmp/ws_test_XXXXXX";
        ws_checkpoint *base, *c;
        ws_model *m;
        ws_side s;
        ws_whole_report r;
        ws_whole_options o = {.rank = 3};
        assert_non_null(mkdtemp(tmp));
        char *from = ws_sprintf("tests/fixtures/models/%s", of[x].from),
             *at = ws_sprintf("tests/fixtures/models/%s", of[x].base), *dir = ws_sprintf("%s/side", tmp),
             *out = ws_sprintf("%s/dw.safetensors", tmp), *cmd = ws_sprintf("rm -rf %s", tmp);
        write_side(from, dir, 0, ALL_PARAMETERS, WS_F32, 1);
        OK(ws_checkpoint_open(&base, at, &err));
        OK(ws_model_open(&m, base, &err));
        OK(ws_checkpoint_open(&c, dir, &err));
        double want = 0, got = 0;
        for (size_t i = 0; i < ws_checkpoint_count(base); i++) {
            const ws_tensor *t = ws_checkpoint_at(base, i);
            float *a = ws_tensor_f32(t), *b = ws_tensor_f32(ws_checkpoint_find(c, t->name));
            for (int64_t k = 0; k < ws_tensor_numel(t); k++) want += ((double)b[k] - a[k]) * ((double)b[k] - a[k]);
            free(a), free(b);
        }
        OK(ws_side_from_checkpoint(&s, m, c, &err));
        OK(ws_whole_save(&s, NULL, &o, NULL, out, &r, &err));
        for (int i = 0; i < r.n_kinds; i++) got += r.kind[i].full;
        for (int i = 0; i < r.n_left; i++) got += r.left[i].full;
        if (!(fabs(got - want) < 1e-9 * want)) fail_msg("%s: %.12g of %.12g", of[x].base, got, want);
        for (int k = 0; k < 3; k++) {
            int i = 0;
            while (i < r.n_left && strcmp(r.left[i].kind, of[x].left[k])) i++;
            if (i == r.n_left) fail_msg("%s: %s is not told", of[x].base, of[x].left[k]);
        }
        ws_whole_report_free(&r);
        ws_side_close(&s);
        ws_model_free(m);
        ws_checkpoint_close(base);
        assert_int_equal(system(cmd), 0);
        free(from), free(at), free(dir), free(out), free(cmd);
    }
}

/* A fine-tune with a larger vocabulary, and one whose head was untied: read, and the rows that both have are compared. */
static void another_vocabulary_is_told(void **state) {
    fixture *f = *state;
    for (int untied = 0; untied < 2; untied++) {
        ws_err err = {0};
        ws_side s;
        ws_whole_report r;
        ws_whole_options o = {.rank = 2};
        char *dir = make(f, "wide", 0, LINEARS, WS_F32, 0), *file = ws_sprintf("%s/model.safetensors", dir),
             *at = ws_sprintf("%s/new", dir), *out = ws_sprintf("%s/dw.safetensors", f->tmp);
        ws_safetensors *old;
        OK(ws_safetensors_open(&old, file, &err));
        size_t n = ws_safetensors_count(old);
        ws_tensor *t = calloc(n + 1, sizeof *t);
        float *rows = calloc(48 * 32, sizeof *rows);
        for (size_t i = 0; i < n; i++) {
            t[i] = *ws_safetensors_at(old, i);
            if (strcmp(t[i].name, "model.embed_tokens.weight")) continue;
            float *v = ws_tensor_f32(&t[i]);
            memcpy(rows, v, 40 * 32 * sizeof *rows);
            free(v);
            rows[5] += 1; /* one number differs, and eight rows are new */
            if (!untied) t[i].dim[0] = 48, t[i].data = rows, t[i].bytes = 48 * 32 * 4;
        }
        if (untied) {
            t[n++] = (ws_tensor){.name = (char *)(uintptr_t) "lm_head.weight",
                                 .type = WS_F32,
                                 .dims = 2,
                                 .dim = {40, 32},
                                 .data = rows,
                                 .bytes = 40 * 32 * 4};
            set_config(dir, "tie_word_embeddings", "false");
        } else
            set_config(dir, "vocab_size", "48");
        OK(ws_safetensors_write(at, t, n, NULL, &err));
        ws_safetensors_close(old);
        assert_int_equal(rename(at, file), 0);
        open_side(&s, f, dir);
        OK(ws_whole_save(&s, NULL, &o, NULL, out, &r, &err));
        assert_int_equal(r.n_left, 1);
        assert_string_equal(r.left[0].kind, untied ? "lm_head.weight" : "model.embed_tokens.weight");
        near(r.left[0].full, 1, 1e-6, "the one number");
        ws_whole_report_free(&r);
        ws_side_close(&s);
        free(t), free(rows), free(dir), free(file), free(at), free(out);
    }
}

/* ---------- refusals ---------- */

static void refuse_side(const fixture *f, const char *dir, ws_status status, const char *part) {
    ws_err err = {0};
    ws_side s;
    REFUSED(status, part, try_side(&s, f, dir, &err));
    if (!strstr(err.msg, dir)) fail_msg("message lacks the file: %s", err.msg);
    assert_null(s.m);
}

/* Rewrites the one file of `dir` without tensor `drop`, or with a NaN in it. */
static void damage(const char *dir, const char *name, int nan_in) {
    ws_err err = {0};
    char *file = ws_sprintf("%s/model.safetensors", dir), *at = ws_sprintf("%s/new", dir);
    ws_safetensors *old;
    OK(ws_safetensors_open(&old, file, &err));
    size_t n = ws_safetensors_count(old), k = 0;
    ws_tensor *t = calloc(n, sizeof *t);
    float *bad = NULL;
    for (size_t i = 0; i < n; i++) {
        t[k] = *ws_safetensors_at(old, i);
        if (!strcmp(t[k].name, name)) {
            if (!nan_in) continue;
            t[k].data = bad = ws_tensor_f32(&t[k]);
            bad[7] = NAN;
        }
        k++;
    }
    OK(ws_safetensors_write(at, t, k, NULL, &err));
    ws_safetensors_close(old);
    assert_int_equal(rename(at, file), 0);
    free(t), free(bad), free(file), free(at);
}

static void what_does_not_fit_is_refused_by_name(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    refuse_side(f, "tests/fixtures/models/qwen3", WS_ESHAPE, "is a qwen3 model, the base tests/fixtures/peft/model is");
    refuse_side(f, "tests/fixtures/models/llama", WS_ESHAPE, "num_hidden_layers is 2, the base");
    char *dir = make(f, "bad", 0, LINEARS, WS_F32, 0);
    damage(dir, "model.layers.2.mlp.up_proj.weight", 0);
    refuse_side(f, dir, WS_EFORMAT, "model.layers.2.mlp.up_proj.weight");
    free(dir);
    dir = make(f, "bad", 0, LINEARS, WS_F32, 0);
    set_config(dir, "intermediate_size", "64");
    refuse_side(f, dir, WS_ESHAPE, "model.layers.0.mlp.gate_proj.weight is [48, 32], the config asks for [64, 32]");
    set_config(dir, "intermediate_size", "48");
    set_config(dir, "head_dim", "8");
    set_config(dir, "num_attention_heads", "4"), set_config(dir, "num_key_value_heads", "2");
    refuse_side(f, dir, WS_ESHAPE, "num_attention_heads is 4, the base");
    free(dir);
    dir = make(f, "bad", 0, LINEARS, WS_F32, 0);
    damage(dir, "model.layers.1.self_attn.o_proj.weight", 1);
    ws_side s;
    ws_whole_report r;
    ws_whole_options o = {.rank = 2};
    char *out = ws_sprintf("%s/none.safetensors", f->tmp);
    open_side(&s, f, dir);
    REFUSED(WS_ENONFINITE, "model.layers.1.self_attn.o_proj holds NaN",
            ws_whole_save(&s, NULL, &o, NULL, out, &r, &err));
    assert_non_null(strstr(err.msg, dir));
    assert_false(ws_file_exists(out));
    ws_whole_report_free(&r);
    ws_side_close(&s);
    free(dir);
    dir = make(f, "bad", 0, NOTHING, WS_F32, 0);
    open_side(&s, f, dir);
    REFUSED(WS_EFORMAT, "the same weights", ws_whole_save(&s, NULL, &o, NULL, out, &r, &err));
    ws_whole_report_free(&r);
    ws_side_close(&s);
    free(dir), free(out);
}

/* 16-bit checkpoints: the difference of the stored numbers, exactly. */
static void differences_of_rounded_weights_are_exact(void **state) {
    fixture *f = *state;
    char *pos = make(f, "pos", 0, LINEARS, WS_BF16, 0), *neg = make(f, "neg", 1, LINEARS, WS_BF16, 0);
    ws_err err = {0};
    ws_whole_report r;
    ws_delta *d = contrast(f, pos, neg, (ws_whole_options){.dtype = WS_F32}, &r);
    ws_checkpoint *c[2];
    OK(ws_checkpoint_open(&c[0], pos, &err));
    OK(ws_checkpoint_open(&c[1], neg, &err));
    for (int i = 0; i < ws_delta_n_sites(d); i++) {
        const ws_edit *e = ws_delta_edit(d, i);
        char *name = ws_sprintf("%s.weight", ws_model_site(f->m, ws_delta_site(d, i))->name);
        float *p = ws_tensor_f32(ws_checkpoint_find(c[0], name)), *n = ws_tensor_f32(ws_checkpoint_find(c[1], name));
        for (int64_t k = 0; k < e->d_out * e->d_in; k++) p[k] -= n[k];
        assert_memory_equal(e->dense.data, p, (size_t)(e->d_out * e->d_in) * sizeof *p);
        free(p), free(n), free(name);
    }
    ws_checkpoint_close(c[0]), ws_checkpoint_close(c[1]);
    ws_delta_free(d);
    ws_whole_report_free(&r);
    free(pos), free(neg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_best_factors_are_kept_and_the_rest_is_told, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_dense_difference_is_the_other_model, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_and_an_adapter_mix, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(the_bisector_has_the_same_angle_to_both, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(parts_of_the_model_can_be_picked, fixture_setup, fixture_teardown),
        cmocka_unit_test(biases_go_along),
        cmocka_unit_test(a_gguf_is_its_directory),
        cmocka_unit_test(nothing_that_differs_is_passed_over),
        cmocka_unit_test_setup_teardown(another_vocabulary_is_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_refused_by_name, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(differences_of_rounded_weights_are_exact, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("delta/whole", tests, NULL, NULL);
}
