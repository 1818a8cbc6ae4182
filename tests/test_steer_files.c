/* tests/test_steer_files.c - files of vectors: what is saved comes back bit for bit, steering-lite's own are read, sums are made
 * where they mean something, and what does not fit is refused in one sentence. */
#include "io/gguf_write.h"
#include "steer/control_vector.h"
#include "steer_help.h"

static char *saved(const fixture *f, const ws_vector *v, const char *name) {
    ws_err err = {0};
    char *path = ws_path_join(f->tmp, name);
    OK(ws_vector_save(v, path, &err));
    return path;
}

static void saved_vectors_come_back(void **state) {
    fixture *f = *state;
    const ws_steer_ops *list[32];
    int n = n_hidden(list, 32);
    ws_state_set s;
    random_states(f, &s, 12, 1);
    for (int m = 0; m < 2 * n; m++) {
        ws_err err = {0};
        ws_vector_cfg cfg = ws_vector_defaults();
        cfg.rank = m < n ? 0 : 5, cfg.tau = 0.01, cfg.sigma = m < n ? 0 : 3;
        ws_vector *v = vector_of_method(f, list[m % n]->name, &s, &cfg);
        ws_vector_set_meta(v, "name", "mine");
        char *path = saved(f, v, "v.safetensors");
        ws_method *x;
        OK(ws_method_load(&x, f->m, path, 0, &err));
        ws_vector *w = x->impl;
        assert_ptr_equal(x->ops, list[m % n]);
        assert_string_equal(x->name, "mine");
        assert_ptr_equal(x->patch, ws_vector_patch(w));
        assert_int_equal(v->n, w->n);
        assert_true(w->cfg.tau == cfg.tau && w->cfg.sigma == cfg.sigma && w->cfg.rank == cfg.rank);
        double norm = list[m % n]->of_norm ? ws_vector_norm(v) : 1;
        assert_true(fabs(x->bracket_lo / (list[m % n]->bracket_lo * norm) - 1) < 1e-12);
        assert_true(fabs(x->bracket_hi / (list[m % n]->bracket_hi * norm) - 1) < 1e-12);
        assert_true(list[m % n]->of_norm ? fabs(ws_method_relative(x) * norm - 1) < 1e-12
                                         : isnan(ws_method_relative(x)));
        for (int i = 0; i < v->n; i++) {
            int64_t d = v->site[i].d;
            float *a = malloc((size_t)(2 * d) * sizeof *a), c[2] = {strength_of(v), -strength_of(v)};
            float *b = malloc((size_t)(2 * d) * sizeof *b);
            for (int64_t k = 0; k < 2 * d; k++) a[k] = b[k] = s.at[0].pos[k] * 3;
            ws_vector_apply(v, v->site[i].site, 2, a, c), ws_vector_apply(w, v->site[i].site, 2, b, c);
            if (memcmp(a, b, (size_t)(2 * d) * sizeof *a)) fail_msg("%s changes on disk", list[m % n]->name);
            free(a), free(b);
        }
        ws_method_free(x);
        ws_vector_free(v);
        free(path);
    }
    ws_states_free(&s);
}

/* At full rank the layers of super_sspace share U, and it stands in the file once. */
static void shared_tensors_stand_once(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_state_set s;
    ws_safetensors *t;
    random_states(f, &s, 12, 2);
    ws_vector *v = vector_of_method(f, "super_sspace", &s, NULL);
    char *path = saved(f, v, "v.safetensors");
    OK(ws_safetensors_open(&t, path, &err));
    assert_non_null(ws_safetensors_find(t, "shared.U_r"));
    assert_non_null(ws_safetensors_find(t, "shared.sqrtS"));
    assert_non_null(ws_safetensors_find(t, "layer1.dS_hat"));
    assert_non_null(ws_safetensors_find(t, "layer2.dS_hat"));
    assert_int_equal(ws_safetensors_count(t), 4);
    ws_safetensors_close(t);
    ws_vector_free(v);
    free(path);
    ws_states_free(&s);
}

static char *written(const fixture *f, const char *name, ws_tensor *t, size_t n, const char *cfg, const char *format) {
    ws_err err = {0};
    json_t *meta = json_object();
    if (cfg) json_object_set_new(meta, "cfg", json_string(cfg));
    if (format) json_object_set_new(meta, "format", json_string(format));
    for (size_t i = 0; i < n; i++) t[i].bytes = (size_t)ws_tensor_numel(&t[i]) * sizeof(float);
    char *path = ws_path_join(f->tmp, name);
    OK(ws_safetensors_write(path, t, n, meta, &err));
    json_decref(meta);
    return path;
}

static void steering_lite_files_are_read(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *x;
    float v[32], u[32 * 4], root[4] = {1, 2, 3, 4}, ds[4] = {0.5f, 0.5f, 0.5f, 0.5f}, other[4 * 32] = {0}, y[32] = {0},
                            c = 2;
    for (int i = 0; i < 32; i++) v[i] = i == 3;
    for (int i = 0; i < 128; i++) u[i] = i % 4 == i / 4;
    ws_tensor plain = {.name = "layer2.v", .type = WS_F32, .dims = 1, .dim = {32}, .data = v};
    char *path = written(f, "lite.safetensors", &plain, 1,
                         "{\"method\": \"mean_diff\", \"layers\": [2], \"coeff\": 1.0, \"dtype\": \"bfloat16\"}", NULL);
    OK(ws_method_load(&x, f->m, path, 0, &err));
    assert_string_equal(x->ops->name, "mean_diff");
    assert_string_equal(x->name, "lite"); /* no name in it: the file's */
    int site = ws_model_find_site(f->m, "model.layers.2");
    ws_vector_apply(x->impl, site, 1, y, &c);
    assert_true(y[3] == 2 && y[2] == 0);
    assert_true(x->bracket_lo > 0 && x->bracket_hi > x->bracket_lo && isnan(ws_method_relative(x)));
    ws_method_free(x);
    free(path);
    /* S-space, with the right singular vectors that no map needs */
    ws_tensor frame[] = {
        {.name = "sub::layers.1.mlp.down_proj::U_r", .type = WS_F32, .dims = 2, .dim = {32, 4}, .data = u},
        {.name = "sub::layers.1.mlp.down_proj::sqrtS", .type = WS_F32, .dims = 1, .dim = {4}, .data = root},
        {.name = "sub::layers.1.mlp.down_proj::dS_hat", .type = WS_F32, .dims = 1, .dim = {4}, .data = ds},
        {.name = "sub::layers.1.mlp.down_proj::Vh_r", .type = WS_F32, .dims = 2, .dim = {4, 32}, .data = other}};
    path = written(f, "s.safetensors", frame, 4, "{\"method\": \"sspace_ablate\"}", "pt");
    OK(ws_method_load(&x, f->m, path, 0, &err));
    memset(y, 0, sizeof y);
    ws_vector_apply(x->impl, ws_model_find_site(f->m, "model.layers.1.mlp.down_proj"), 1, y, &c);
    for (int i = 0; i < 4; i++) assert_true(fabsf(y[i] - 2 * 0.5f * root[i]) < 1e-6f);
    ws_method_free(x);
    free(path);
}

static void what_does_not_fit_is_refused(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *x;
    float v[64] = {1}, nan[32] = {NAN}, none[4] = {0};
    const struct {
        const char *name, *cfg;
        int64_t dim;
        const float *data;
        ws_status status;
        const char *says;
    } bad[] = {
        {"layer2.v", "{\"method\": \"mean_dif\"}", 32, v, WS_EUNSUPPORTED, "'mean_dif' is no method of this build"},
        {"layer2.v", "{\"layers\": [2]}", 32, v, WS_EFORMAT, "method"},
        {"layer2.v", "{method}", 32, v, WS_EFORMAT, "cfg"},
        {"layer2.v", "[1]", 32, v, WS_EFORMAT, "is no JSON object"},
        {"layer2.v", "{\"method\": \"cosine_gated\", \"tau\": \"big\"}", 32, v, WS_EFORMAT, "tau"},
        {"layer2.v", "{\"method\": \"mean_diff\"}", 31, v, WS_ESHAPE, "d = 32"},
        {"layer2.v", "{\"method\": \"mean_diff\"}", 32, nan, WS_ENONFINITE, "NaN"},
        {"layer9.v", "{\"method\": \"mean_diff\"}", 32, v, WS_EUNSUPPORTED, "layer9.v is no part"},
        {"layer2.w", "{\"method\": \"mean_diff\"}", 32, v, WS_EUNSUPPORTED, "layer2.w is no part"},
        {"layer-1.v", "{\"method\": \"mean_diff\"}", 32, v, WS_EUNSUPPORTED, "is no part"},
        {"sub::layers.1.mlp.down_proj::v", "{\"method\": \"mean_diff\"}", 32, v, WS_EUNSUPPORTED, "is no part"},
        {"sub::layers.1.mlp.none::U_r", "{\"method\": \"sspace\"}", 32, v, WS_EUNSUPPORTED, "is no part"},
        {"layer2.b1", "{\"method\": \"angular_steering\"}", 32, v, WS_EFORMAT, "b2 of model.layers.2 is missing"},
        {"shared.v", "{\"method\": \"mean_diff\"}", 32, v, WS_EFORMAT, "holds no vector"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[64];
        strcpy(name, bad[i].name);
        ws_tensor t = {.name = name, .type = WS_F32, .dims = 1, .dim = {bad[i].dim}, .data = bad[i].data};
        char *path = written(f, "bad.safetensors", &t, 1, bad[i].cfg, NULL);
        REFUSED(bad[i].status, bad[i].says, ws_method_load(&x, f->m, path, 0, &err));
        assert_non_null(strstr(err.msg, "bad.safetensors"));
        free(path);
    }
    ws_tensor zero[] = {
        {.name = "sub::layers.1.mlp.down_proj::U_r", .type = WS_F32, .dims = 2, .dim = {32, 2}, .data = v},
        {.name = "sub::layers.1.mlp.down_proj::sqrtS", .type = WS_F32, .dims = 1, .dim = {2}, .data = none},
        {.name = "sub::layers.1.mlp.down_proj::dS_hat", .type = WS_F32, .dims = 1, .dim = {2}, .data = v}};
    char *path = written(f, "bad.safetensors", zero, 3, "{\"method\": \"sspace\"}", NULL);
    REFUSED(WS_EFORMAT, "above zero", ws_method_load(&x, f->m, path, 0, &err));
    free(path);
    zero[2].dim[0] = 3; /* modes that do not agree */
    path = written(f, "bad.safetensors", zero, 3, "{\"method\": \"sspace\"}", NULL);
    REFUSED(WS_ESHAPE, "alike in all tensors", ws_method_load(&x, f->m, path, 0, &err));
    free(path);
    zero[2].dim[0] = 2;
    path = written(f, "bad.safetensors", zero, 3, "{\"method\": \"sspace\"}", "ws-vector");
    REFUSED(WS_EUNSUPPORTED, "version ?", ws_method_load(&x, f->m, path, 0, &err));
    free(path);
}

static void another_base_is_refused_unless_forced(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_checkpoint *c;
    ws_model *m;
    ws_state_set s, t;
    ws_method *x;
    random_states(f, &s, 12, 3);
    ws_vector *v = vector_of_method(f, "mean_diff", &s, NULL);
    char *path = saved(f, v, "v.safetensors"), *states = ws_path_join(f->tmp, "h.safetensors");
    OK(ws_states_save(&s, f->m, states, &err));
    OK(ws_checkpoint_open(&c, "tests/fixtures/tinychat", &err));
    OK(ws_model_open(&m, c, &err));
    REFUSED(WS_ESTATE, "--force", ws_method_load(&x, m, path, 0, &err));
    REFUSED(WS_ESTATE, "--force", ws_states_load(&t, m, states, 0, &err));
    ws_model_free(m), ws_checkpoint_close(c);
    OK(ws_states_load(&t, f->m, states, 0, &err));
    assert_int_equal(t.n, s.n);
    for (int i = 0; i < s.n_sites; i++) {
        assert_memory_equal(t.at[i].pos, s.at[i].pos, (size_t)(s.n * s.at[i].d) * sizeof(float));
        assert_memory_equal(t.at[i].neg, s.at[i].neg, (size_t)(s.n * s.at[i].d) * sizeof(float));
    }
    ws_states_free(&t);
    REFUSED(WS_EFORMAT, "not a file of states", ws_states_load(&t, f->m, path, 0, &err));
    ws_vector_free(v);
    free(path), free(states);
    ws_states_free(&s);
}

static void sums_are_made_where_they_mean_something(void **state) {
    fixture *f = *state;
    const ws_steer_ops *list[32];
    int n = n_hidden(list, 32), adding = 0;
    ws_err err = {0};
    ws_state_set s, t;
    random_states(f, &s, 12, 4), random_states(f, &t, 12, 5);
    for (int m = 0; m < n; m++) {
        const ws_vector *v[2] = {vector_of_method(f, list[m]->name, &s, NULL),
                                 vector_of_method(f, list[m]->name, &t, NULL)};
        ws_vector *sum = NULL;
        const double weight[2] = {0.5, -2};
        if (!list[m]->hidden->adds_up)
            REFUSED(WS_EUNSUPPORTED, "cannot be added or scaled", ws_vector_add(&sum, v, weight, 2, &err));
        else {
            OK(ws_vector_add(&sum, v, weight, 2, &err));
            adding++;
            for (int i = 0; i < sum->n; i++) {
                float a[32], b[32], c = 3, half = 1.5f, minus = -6;
                memcpy(a, s.at[0].pos, sizeof a), memcpy(b, a, sizeof b);
                ws_vector_apply(sum, sum->site[i].site, 1, a, &c);
                ws_vector_apply(v[0], sum->site[i].site, 1, b, &half),
                    ws_vector_apply(v[1], sum->site[i].site, 1, b, &minus);
                for (int k = 0; k < 32; k++) assert_true(fabsf(a[k] - b[k]) < 1e-5f);
            }
        }
        ws_vector_free(sum);
        ws_vector_free((ws_vector *)(uintptr_t)v[0]), ws_vector_free((ws_vector *)(uintptr_t)v[1]);
    }
    assert_int_equal(adding, 5); /* mean_diff, mean_centred, pca, repeng, random_direction */
    const ws_vector *mixed[2] = {vector_of_method(f, "mean_diff", &s, NULL), vector_of_method(f, "pca", &s, NULL)};
    ws_vector *sum;
    const double one[2] = {1, 1};
    REFUSED(WS_EUNSUPPORTED, "hang them beside each other", ws_vector_add(&sum, mixed, one, 2, &err));
    ws_vector_free((ws_vector *)(uintptr_t)mixed[0]), ws_vector_free((ws_vector *)(uintptr_t)mixed[1]);
    ws_states_free(&s), ws_states_free(&t);
}

/* Exported at a strength and hung again at 1, a control vector does the same to a state. */
static void control_vectors_go_out_and_come_back(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *x;
    const ws_steer_ops *list[32];
    int n = n_hidden(list, 32), out = 0;
    ws_state_set s;
    random_states(f, &s, 12, 6);
    char *path = ws_path_join(f->tmp, "cv.gguf");
    for (int m = 0; m < n; m++) {
        ws_vector *v = vector_of_method(f, list[m]->name, &s, NULL);
        if (!list[m]->hidden->adds_up) {
            REFUSED(WS_EUNSUPPORTED, "does something else", ws_control_vector_save(v, 2, path, &err));
            ws_vector_free(v);
            continue;
        }
        out++;
        OK(ws_control_vector_save(v, -2.5, path, &err));
        OK(ws_method_load(&x, f->m, path, 0, &err));
        assert_string_equal(x->ops->name, "control_vector");
        assert_true(fabs(x->bracket_hi - v->ops->bracket_hi * ws_vector_norm(v) / 2.5) < 1e-5 * x->bracket_hi);
        for (int i = 0; i < v->n; i++) {
            float a[32], b[32], c = -2.5f, one = 1;
            memcpy(a, s.at[0].pos, sizeof a), memcpy(b, a, sizeof b);
            ws_vector_apply(v, v->site[i].site, 1, a, &c), ws_vector_apply(x->impl, v->site[i].site, 1, b, &one);
            for (int k = 0; k < 32; k++) assert_true(fabsf(a[k] - b[k]) < 1e-6f);
        }
        ws_method_free(x);
        ws_vector_free(v);
    }
    assert_int_equal(out, 5);
    free(path);
    ws_states_free(&s);
}

static void what_is_no_control_vector_is_refused(void **state) {
    fixture *f = *state;
    ws_err err = {0};
    ws_method *x;
    float v[64] = {1}, nan[32] = {NAN};
    const struct {
        const char *name, *hint;
        int64_t dim;
        const float *data;
        ws_status status;
        const char *says;
    } bad[] = {{"direction.0", "llama", 32, v, WS_EUNSUPPORTED, "layers 1 to 3"},
               {"direction.4", "llama", 32, v, WS_EUNSUPPORTED, "layers 1 to 3"},
               {"direction.x", "llama", 32, v, WS_EUNSUPPORTED, "no direction.N"},
               {"direction.", "llama", 32, v, WS_EUNSUPPORTED, "no direction.N"},
               {"direction.2", "llama", 31, v, WS_ESHAPE, "F32 [32]"},
               {"direction.2", "llama", 32, nan, WS_ENONFINITE, "NaN"},
               {"direction.2", "qwen3", 32, v, WS_ESTATE, "architecture qwen3"}};
    char *path = ws_path_join(f->tmp, "cv.gguf");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[32];
        strcpy(name, bad[i].name);
        const ws_gguf_pair meta[] = {{"general.architecture", WS_GGUF_TEXT, "controlvector", 0},
                                     {"controlvector.model_hint", WS_GGUF_TEXT, bad[i].hint, 0},
                                     {"controlvector.layer_count", WS_GGUF_I32, NULL, 1}};
        const ws_tensor t = {.name = name, .type = WS_F32, .dims = 1, .dim = {bad[i].dim}, .data = bad[i].data};
        OK(ws_gguf_write(path, meta, 3, &t, 1, &err));
        REFUSED(bad[i].status, bad[i].says, ws_method_load(&x, f->m, path, 0, &err));
    }
    ws_method *forced;
    char name[] = "direction.2";
    const ws_gguf_pair meta[] = {{"general.architecture", WS_GGUF_TEXT, "controlvector", 0},
                                 {"controlvector.model_hint", WS_GGUF_TEXT, "qwen3", 0}};
    const ws_tensor t = {.name = name, .type = WS_F32, .dims = 1, .dim = {32}, .data = v};
    OK(ws_gguf_write(path, meta, 2, &t, 1, &err));
    OK(ws_method_load(&forced, f->m, path, 1, &err));
    assert_true(isnan(ws_method_relative(forced)) && forced->bracket_hi > forced->bracket_lo);
    ws_method_free(forced);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {T(saved_vectors_come_back),
                                       T(shared_tensors_stand_once),
                                       T(steering_lite_files_are_read),
                                       T(what_does_not_fit_is_refused),
                                       T(another_base_is_refused_unless_forced),
                                       T(sums_are_made_where_they_mean_something),
                                       T(control_vectors_go_out_and_come_back),
                                       T(what_is_no_control_vector_is_refused)};
    return cmocka_run_group_tests_name("steer/files", tests, NULL, NULL);
}
