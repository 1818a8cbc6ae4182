/* Golden numbers: four tiny models with weights from a formula, and the loss, logits and gradient norms that float64 autograd
 * gives for them (shared with us as a table, confirmed by transformers' classes in double).
 *     tensor number n, element i:  shift + scale sin(0.7 i + 1.3 n);  scale 0.5, shift 0; norm weights 0.1 and 1
 * Tolerance of each number: half of the table's last digit, and 8 u times how far it moves for a random relative change of
 * every weight, per rms of that change (measured here).  A sum of K <= 16 terms in lanes, each rounded to 0.42 u rms, errs
 * like changes of its weights by 0.42 u sqrt(5), one chain of the backward pass by sqrt(8.5), what lies between two products by
 * 2, the weights' own rounding by 1: together 0.42 u sqrt(5 + 8.5 + 2 x 4 + 1) = 2 u, of which four standard deviations are
 * allowed.  Gradients of q and k hold P (dP - sum P dP) k, which is rounded where weights cannot change it: two chains of
 * head_dim <= 8 and a difference, 4 x 0.42 u sqrt(10) rms(k) rms(v) of v's gradient, with rms(k) rms(v) = 2 (weights of rms
 * 0.35, 16 inputs of 1) 11 u of it.
 * Gradients of frozen weights are no part of the program; a recording patch sees x and gy of every linear, which gives them:
 * gW = gy' x, gb = sum gy, and for the norm in front g_norm = sum gx n (which is the same for a weight w and for 1 + w).
 * The norms on heads of q and k, and the convolution, decay and norm inside the delta rule, are left out. */
#include "io/file.h"
#include "model/parts.h"
#include "tiny.h"
#include <unistd.h>

enum { V = 16, F = 12, T = 8, MAX_LINEARS = 16 };
static const int32_t ids[T] = {3, 1, 4, 1, 5, 9, 2, 6};

typedef struct golden_model {
    const char *name, *config;
    int hidden, heads, kv, head_dim, bias, qk_norm, untied, delta;
    double loss, first[4], last[V];
    int n;
    double grad[32];
} golden_model;

static const golden_model models[] = {
    {"qwen3_5",
     "{\"model_type\": \"qwen3_5_text\", \"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
     "\"num_key_value_heads\": 1, \"head_dim\": 8, \"intermediate_size\": 12, \"vocab_size\": 16, "
     "\"layer_types\": [\"linear_attention\", \"full_attention\"], "
     "\"linear_num_key_heads\": 1, \"linear_num_value_heads\": 2, \"linear_key_head_dim\": 4, "
     "\"linear_value_head_dim\": 4, \"linear_conv_kernel_dim\": 4, \"rope_parameters\": {\"rope_type\": \"default\", "
     "\"rope_theta\": 10000.0, \"partial_rotary_factor\": 0.5, \"mrope_section\": [1, 1, 0]}, "
     "\"rms_norm_eps\": 1e-06, \"tie_word_embeddings\": true, \"max_position_embeddings\": 512}",
     8,
     2,
     1,
     8,
     0,
     1,
     0,
     1,
     3.236753562,
     {1.130492, 1.061052, 0.515340, -0.261692},
     {0.132459, 0.609148, 0.812409, 0.651006, 0.197387, -0.344833, -0.732268, -0.791011, -0.494695, 0.023675, 0.531417,
      0.800624, 0.710455, 0.301386, -0.242965, -0.678258},
     27,
     {1.175488, 0.319442, 0.290429, 0.427808, 0.072615, 0.078770, 1.006575, 0.068327, 0.031235,
      0.278559, 0.463353, 0.091330, 0.247423, 0.207944, 0.769642, 0.208768, 0.122132, 0.052127,
      0.258784, 0.363591, 0.028446, 0.028573, 0.049347, 0.062401, 0.093863, 0.069533, 0.699381}},
    {"qwen3",
     "{\"model_type\": \"qwen3\", \"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
     "\"num_key_value_heads\": 2, "
     "\"head_dim\": 4, \"intermediate_size\": 12, \"vocab_size\": 16, \"rope_theta\": 1000000.0, \"rms_norm_eps\": "
     "1e-06, "
     "\"tie_word_embeddings\": true, \"max_position_embeddings\": 512, \"hidden_act\": \"silu\"}",
     8,
     4,
     2,
     4,
     0,
     1,
     0,
     0,
     3.188538103,
     {-0.202167, 0.302077, 0.670728, 0.738310},
     {-0.697998, -0.871126, -0.653233, -0.142124, 0.432780, 0.813422, 0.828945, 0.472381, -0.096220, -0.621631,
      -0.868011, -0.724769, -0.256201, 0.327367, 0.763991, 0.857684},
     24,
     {1.212411, 0.233842, 0.128599, 0.138759, 0.376464, 2.273216, 0.164444, 0.206906,
      0.098173, 0.145950, 0.163670, 0.450514, 0.558968, 0.216032, 0.436035, 0.387890,
      0.202006, 0.031281, 0.033641, 0.014444, 0.040235, 0.048041, 0.043510, 0.765575}},
    {"qwen2",
     "{\"model_type\": \"qwen2\", \"hidden_size\": 8, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "
     "\"num_key_value_heads\": 2, "
     "\"intermediate_size\": 12, \"vocab_size\": 16, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": "
     "1000000.0}, "
     "\"rms_norm_eps\": 1e-06, \"tie_word_embeddings\": true, \"max_position_embeddings\": 512, "
     "\"use_sliding_window\": false, \"sliding_window\": 4096}",
     8,
     4,
     2,
     2,
     1,
     0,
     0,
     0,
     3.186258076,
     {1.108042, 0.875547, 0.250047, -0.487691},
     {0.118736, 0.496183, 0.650909, 0.513463, 0.145539, -0.287712, -0.591819, -0.630277, -0.385823, 0.031814, 0.435171,
      0.643193, 0.562507, 0.229329, -0.206788, -0.550084},
     26,
     {1.661909, 0.352611, 0.704108, 0.270670, 0.934214, 0.310513, 0.565250, 0.109003, 0.782935,
      0.511612, 0.433221, 0.291313, 0.902731, 0.084190, 0.137996, 0.036091, 0.142449, 0.048049,
      0.214306, 0.080430, 0.057849, 0.101223, 0.113143, 0.081739, 0.107445, 0.672554}},
    {"llama",
     "{\"model_type\": \"llama\", \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, "
     "\"num_key_value_heads\": 1, "
     "\"intermediate_size\": 12, \"vocab_size\": 16, \"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": "
     "\"llama3\", \"factor\": 32.0, "
     "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, "
     "\"rms_norm_eps\": 1e-05, "
     "\"tie_word_embeddings\": false, \"max_position_embeddings\": 512}",
     16,
     2,
     1,
     8,
     0,
     0,
     1,
     0,
     3.447756803,
     {0.863962, 0.034532, -0.849942, -0.379616},
     {-0.657044, -0.420776, 0.486205, 0.618180, -0.235218, -0.713680, -0.054543, 0.691535, 0.335313, -0.555395,
      -0.560809, 0.327701, 0.693859, -0.045988, -0.712530, -0.243307},
     21,
     {1.313721, 0.438740, 0.001493, 0.001360, 4.916521, 9.140035, 0.042194, 1.057829, 0.657931, 1.567379, 0.326317,
      0.245209, 0.069717, 4.913204, 2.470931, 0.453257, 1.667659, 1.810091, 2.099067, 0.520697, 1.382754}}};

static uint32_t seed = 1;
static double noise(void) { /* variance 1 */
    return seed = seed * 1664525u + 1013904223u, 1.7320508 * ((seed >> 8) / 8388608.0 - 1);
}

/* Names and shapes in the order of the table. */
typedef struct entry {
    char name[64];
    int64_t rows, cols; /* cols 0: a vector */
    int norm;           /* 1: around 1; 2: zero-centred, around 0 */
} entry;
static int entries(const golden_model *g, entry *e) {
    int norm = g->delta ? 2 : 1;
    int n = 0, h = g->hidden, q = g->heads * g->head_dim, kv = g->kv * g->head_dim;
#define ADD(r, c, is_norm, ...)                                                                                        \
    (e[n].rows = (r), e[n].cols = (c), e[n].norm = (is_norm), snprintf(e[n].name, sizeof e[n].name, __VA_ARGS__), n++)
    ADD(V, h, 0, "model.embed_tokens.weight");
    for (int l = 0; l < 2; l++) {
        ADD(h, 0, norm, "model.layers.%d.input_layernorm.weight", l);
        if (g->delta && !l) { /* one key head, two value heads of 4 */
            static const char *const in[] = {"qkv", "z", "b", "a"};
            for (int j = 0; j < 4; j++)
                ADD(j == 0 ? 16 : j == 1 ? 8 : 2, h, 0, "model.layers.%d.linear_attn.in_proj_%s.weight", l, in[j]);
            ADD(16, 4, 0, "model.layers.%d.linear_attn.conv1d.weight", l);
            ADD(2, 0, 0, "model.layers.%d.linear_attn.A_log", l);
            ADD(2, 0, 0, "model.layers.%d.linear_attn.dt_bias", l);
            ADD(4, 0, 1, "model.layers.%d.linear_attn.norm.weight", l);
            ADD(h, 8, 0, "model.layers.%d.linear_attn.out_proj.weight", l);
        }
        int attention = !g->delta || l;
        for (int j = 0; j < 3 && attention; j++) {
            ADD(j ? kv : g->delta ? 2 * q : q, h, 0, "model.layers.%d.self_attn.%c_proj.weight", l, "qkv"[j]);
            if (g->bias) ADD(j ? kv : q, 0, 0, "model.layers.%d.self_attn.%c_proj.bias", l, "qkv"[j]);
        }
        if (attention) ADD(h, q, 0, "model.layers.%d.self_attn.o_proj.weight", l);
        for (int j = 0; j < 2 && g->qk_norm && attention; j++)
            ADD(g->head_dim, 0, norm, "model.layers.%d.self_attn.%c_norm.weight", l, "qk"[j]);
        ADD(h, 0, norm, "model.layers.%d.post_attention_layernorm.weight", l);
        ADD(F, h, 0, "model.layers.%d.mlp.gate_proj.weight", l);
        ADD(F, h, 0, "model.layers.%d.mlp.up_proj.weight", l);
        ADD(h, F, 0, "model.layers.%d.mlp.down_proj.weight", l);
    }
    ADD(h, 0, norm, "model.norm.weight");
    if (g->untied) ADD(V, h, 0, "lm_head.weight");
    return n;
}

/* Matrices are changed by a relative `shake` (rms) at random. */
static void write_model(const golden_model *g, const entry *e, int n, double shake, const char *dir) {
    ws_err err = {0};
    ws_tensor t[32];
    char path[256];
    for (int k = 0; k < n; k++) {
        int64_t size = e[k].rows * (e[k].cols ? e[k].cols : 1);
        float *v = malloc((size_t)size * sizeof *v);
        for (int64_t i = 0; i < size; i++)
            v[i] = (float)(((e[k].norm == 1) + (e[k].norm ? 0.1 : 0.5) * sin(0.7 * (double)i + 1.3 * k)) *
                           (1 + (e[k].cols ? shake * noise() : 0)));
        t[k] = (ws_tensor){.name = (char *)(uintptr_t)e[k].name,
                           .type = WS_F32,
                           .dims = e[k].cols ? 2 : 1,
                           .dim = {e[k].rows, e[k].cols},
                           .data = v,
                           .bytes = (size_t)size * sizeof *v};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(ws_safetensors_write(path, t, (size_t)n, NULL, &err));
    snprintf(path, sizeof path, "%s/config.json", dir);
    OK(ws_file_write(path, g->config, strlen(g->config), &err));
    for (int k = 0; k < n; k++) free((void *)(uintptr_t)t[k].data);
}

/* Sees x, gy and gx of every linear. */
typedef struct recorder {
    ws_patch patch;
    const ws_model *m;
    double *gw[MAX_LINEARS], *gb[MAX_LINEARS], *gnorm[MAX_LINEARS]; /* by site */
    const float *norm[MAX_LINEARS]; /* weight of the norm in front of the site, or NULL */
} recorder;
static int at_linears(const ws_patch *p, int site) { return site < ((const recorder *)p)->m->n_linears; }
static void nothing(ws_patch *p, const ws_patch_call *c) { (void)p, (void)c; }
static void record(ws_patch *p, const ws_patch_grad *g) {
    recorder *r = (recorder *)p;
    int64_t di = g->at->d_in, dout = g->at->d_out;
    double *w = r->gw[g->site] = calloc((size_t)(di * dout), sizeof *w),
           *b = r->gb[g->site] = calloc((size_t)dout, sizeof *b);
    double *norm = r->gnorm[g->site] = calloc((size_t)di, sizeof *norm);
    for (int64_t t = 0; t < g->n; t++) {
        for (int64_t o = 0; o < dout; o++) {
            b[o] += g->gy[t * dout + o];
            for (int64_t i = 0; i < di; i++) w[o * di + i] += (double)g->gy[t * dout + o] * g->x[t * di + i];
        }
        for (int64_t i = 0; r->norm[g->site] && i < di; i++)
            norm[i] += (double)g->gx[t * di + i] * g->x[t * di + i] / r->norm[g->site][i];
    }
}
static const ws_patch_ops recording = {
    .name = "recorder", .hangs_at = at_linears, .linear = nothing, .linear_grad = record};

static double norm_of(const double *v, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += v[i] * v[i];
    return sqrt(s);
}
static double norm_sum(double *const *v, int n, int64_t size) {
    double s = 0;
    for (int64_t i = 0; i < size; i++) {
        double x = 0;
        for (int k = 0; k < n; k++) x += v[k][i];
        s += x * x;
    }
    return sqrt(s);
}
/* Gradients of embedding, head and final norm need the logits' gradient. */
static void ends(const golden_model *g, ws_model *m, const float *hidden, const float *logits, const float *embed_grad,
                 double *embed, double *head, double *norm) {
    int h = g->hidden;
    double e[V * 16] = {0}, w[V * 16] = {0}, gn[16] = {0};
    float *head_w = malloc((size_t)V * 16 * sizeof *head_w);
    ws_weight_rows_f32(&m->arch.head, 0, V, head_w);
    for (int t = 0; t < T - 1; t++) {
        double p[V], sum = 0;
        for (int v = 0; v < V; v++) sum += p[v] = exp(logits[t * V + v]);
        for (int v = 0; v < V; v++) {
            double d = (p[v] / sum - (v == ids[t + 1])) / (T - 1);
            for (int i = 0; i < h; i++) {
                w[v * h + i] += d * hidden[t * h + i];
                gn[i] += d * head_w[v * h + i] * hidden[t * h + i] / m->arch.norm[i];
            }
        }
    }
    for (int t = 0; t < T; t++)
        for (int i = 0; i < h; i++) e[ids[t] * h + i] += embed_grad[t * h + i];
    for (int i = 0; i < V * h && !g->untied; i++) e[i] += w[i];
    *embed = norm_of(e, V * h), *head = norm_of(w, V * h), *norm = norm_of(gn, h);
    free(head_w);
}

/* What the table has, in its order: 4 logits, V logits, the loss, the gradients' norms (-1: left out). */
enum { LAST = 4, LOSS = LAST + V, GRAD = LOSS + 1, MOST = GRAD + 32 };
static void quantities(const golden_model *g, const entry *e, int n, double shake, double *got) {
    char dir[] = "/tmp/ws-golden-XXXXXX", path[300];
    ws_err err = {0};
    assert_non_null(mkdtemp(dir));
    write_model(g, e, n, shake, dir);
    ws_checkpoint *c;
    ws_model *m;
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&c, dir, &err));
    OK(ws_model_open(&m, c, &err));
    float *h = tiny_forward(m, NULL, &(ws_row){-1, ids, T, T}, 1, 0, NULL, NULL), logits[T * V], grad[T * 16];
    ws_head(m, h, T, logits);
    for (int i = 0; i < LAST; i++) got[i] = logits[i];
    for (int i = 0; i < V; i++) got[LAST + i] = logits[7 * V + i];

    recorder r = {.patch = {&recording}, .m = m};
    assert_true(m->n_linears <= MAX_LINEARS);
    for (int s = 0; s < m->n_linears; s++) {
        const ws_block *b = &m->arch.block[ws_model_site(m, s)->layer];
        ws_stage_of stage = ws_site_stage(m, s);
        r.norm[s] = stage == WS_AT_INPUT ? b->norm1 : stage == WS_AT_GATE_UP ? b->norm2 : NULL;
    }
    ws_patch *patch = &r.patch;
    ws_train_out out;
    ws_model_probe(m, grad);
    OK(ws_train_pass(m, &(ws_train_row){ids, T, 1, 1.0f / (T - 1)}, 1, &patch, 1, 0, &out, NULL, &err));
    got[LOSS] = out.loss;
    double embed, head, final_norm;
    ends(g, m, h, logits, grad, &embed, &head, &final_norm);
    for (int k = 0; k < n; k++) {
        double *norm = &got[GRAD + k];
        int layer = 0;
        *norm = -1;
        if (!strcmp(e[k].name, "model.embed_tokens.weight"))
            *norm = embed;
        else if (!strcmp(e[k].name, "lm_head.weight"))
            *norm = head;
        else if (!strcmp(e[k].name, "model.norm.weight"))
            *norm = final_norm;
        else if (sscanf(e[k].name, "model.layers.%d.", &layer) == 1) {
            double *before[WS_LINEARS];
            int in_front = 0; /* linears behind this norm */
            ws_stage_of stage = strstr(e[k].name, "input_layernorm")            ? WS_AT_INPUT
                                : strstr(e[k].name, "post_attention_layernorm") ? WS_AT_GATE_UP
                                                                                : WS_AT_DOWN;
            for (int s = m->first_site[layer]; s < m->first_site[layer + 1]; s++)
                if (ws_site_stage(m, s) == stage && stage != WS_AT_DOWN) before[in_front++] = r.gnorm[s];
            if (in_front) *norm = norm_sum(before, in_front, g->hidden);
            for (int s = m->first_site[layer]; s < m->first_site[layer + 1]; s++) {
                size_t len = strlen(ws_model_site(m, s)->name);
                if (strncmp(e[k].name, ws_model_site(m, s)->name, len) || e[k].name[len] != '.') continue;
                *norm = e[k].cols ? norm_of(r.gw[s], e[k].rows * e[k].cols) : norm_of(r.gb[s], e[k].rows);
            }
        }
    }
    for (int s = 0; s < m->n_linears; s++) free(r.gw[s]), free(r.gb[s]), free(r.gnorm[s]);
    free(h);
    ws_model_free(m);
    ws_checkpoint_close(c);
    snprintf(path, sizeof path, "%s/model.safetensors", dir), unlink(path);
    snprintf(path, sizeof path, "%s/config.json", dir), unlink(path);
    rmdir(dir);
}

static void check(const golden_model *g) {
    const double shake = 0x1p-12, u = 0x1p-24;
    enum { DRAWS = 16 };
    entry e[32];
    double got[MOST], want[MOST], moved[MOST] = {0}, worst = 0;
    int n = entries(g, e), compared = 0;
    assert_int_equal(n, g->n);
    memcpy(want, g->first, sizeof g->first);
    memcpy(want + LAST, g->last, sizeof g->last);
    want[LOSS] = g->loss;
    memcpy(want + GRAD, g->grad, (size_t)n * sizeof *g->grad);
    quantities(g, e, n, 0, got);
    for (int d = 0; d < DRAWS; d++) {
        double other[MOST];
        quantities(g, e, n, shake, other);
        for (int k = 0; k < GRAD + n; k++) moved[k] += (other[k] - got[k]) * (other[k] - got[k]) / DRAWS;
    }
    for (int k = 0; k < GRAD + n; k++) {
        const char *what = k < LAST ? "logits[0]" : k < LOSS ? "logits[7]" : k < GRAD ? "loss" : e[k - GRAD].name;
        if (got[k] < 0 && k >= GRAD) {
            /* the norms on heads and the parameters inside the delta rule, and nothing else, are left out */
            assert_true(strstr(what, "q_norm") || strstr(what, "k_norm") || strstr(what, "conv1d") ||
                        strstr(what, "A_log") || strstr(what, "dt_bias") || strstr(what, "linear_attn.norm"));
            continue;
        }
        double exempt = k == LOSS ? 5e-10 : 5e-7;
        if (strstr(what, "self_attn.q_proj") || strstr(what, "self_attn.k_proj")) {
            int v = k; /* v's weight comes after those of q and k */
            while (!strstr(e[v - GRAD].name, "v_proj.weight")) v++;
            exempt += 11 * u * want[v];
        }
        const double per_u = sqrt(moved[k]) / shake * u, off = fabs(got[k] - want[k]) - exempt;
        if (!(off < 8 * per_u))
            fail_msg("%s: %.9g, golden %.9g, %.2g allowed", what, got[k], want[k], exempt + 8 * per_u);
        worst = fmax(worst, off / per_u);
        compared += k >= GRAD;
    }
    printf("  %s: loss %.9f, %d of %d gradients; at most %.1f u off\n", g->name, got[LOSS], compared, n, worst);
}

static void test_golden(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) check(&models[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
