#include "ops/rope.h"
#include "base/parallel.h"
#include "base/profile.h"
#include "kernel/kernel.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In fp32 and in this order of operations, so that the frequencies carry the same bits as transformers': at position
 * 10^4 one ulp of inv_freq is 10^-3 radians. */
static float power(double theta, int j, int dim) {
    float e = (float)(2 * j) / (float)dim;
    return (float)pow((double)(float)theta, (double)e);
}

static void llama3(ws_rope *r, const ws_rope_params *p) {
    float lo_wave = (float)(p->original_max / p->low_freq), hi_wave = (float)(p->original_max / p->high_freq);
    for (int j = 0; j < r->dim / 2; j++) {
        float inv = r->inv_freq[j], wave = (float)(2 * M_PI) / inv;
        if (wave > lo_wave) {
            r->inv_freq[j] = inv / (float)p->factor;
        } else if (wave >= hi_wave) {
            float s = ((float)p->original_max / wave - (float)p->low_freq) / (float)(p->high_freq - p->low_freq);
            r->inv_freq[j] = (1 - s) * inv / (float)p->factor + s * inv;
        }
    }
}

static double yarn_scale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

static void yarn(ws_rope *r, const ws_rope_params *p) {
    double dim = r->dim, ln = 2 * log(p->theta);
    double low = dim * log(p->original_max / (p->beta_fast * 2 * M_PI)) / ln;
    double high = dim * log(p->original_max / (p->beta_slow * 2 * M_PI)) / ln;
    if (!p->no_truncate) low = floor(low), high = ceil(high);
    low = low > 0 ? low : 0, high = high < dim - 1 ? high : dim - 1;
    if (low == high) high += 0.001;
    for (int j = 0; j < r->dim / 2; j++) {
        float pf = power(p->theta, j, r->dim), ext = 1.0f / pf, in = 1.0f / ((float)p->factor * pf);
        float ramp = ((float)j - (float)low) / (float)(high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        float keep = 1 - ramp;
        r->inv_freq[j] = in * (1 - keep) + ext * keep;
    }
    double a = p->attention_factor;
    if (a == 0) {
        a = p->mscale != 0 && p->mscale_all_dim != 0
                ? yarn_scale(p->factor, p->mscale) / yarn_scale(p->factor, p->mscale_all_dim)
                : yarn_scale(p->factor, 1);
    }
    r->attention_factor = (float)a;
}

ws_status ws_rope_init(ws_rope *r, const ws_rope_params *p, ws_err *err) {
    memset(r, 0, sizeof *r);
    if (p->dim < 2 || p->dim % 2)
        return ws_fail(err, WS_EFORMAT, "config: RoPE over %d dims; an even number >= 2 is needed", p->dim);
    if (!(p->theta > 0)) return ws_fail(err, WS_EFORMAT, "config: rope_theta %g is not positive", p->theta);
    if (p->kind != WS_ROPE_DEFAULT && p->kind != WS_ROPE_FACTORS && !(p->factor > 0))
        return ws_fail(err, WS_EFORMAT, "config: RoPE factor %g is not positive", p->factor);
    if (p->kind == WS_ROPE_LLAMA3 && !(p->low_freq > 0 && p->high_freq > p->low_freq && p->original_max > 0))
        return ws_fail(err, WS_EFORMAT,
                       "config: llama3 RoPE needs 0 < low_freq_factor < high_freq_factor, got %g and %g", p->low_freq,
                       p->high_freq);
    if (p->kind == WS_ROPE_YARN && !(p->theta > 1 && p->original_max > 0 && p->beta_fast > 0 && p->beta_slow > 0))
        return ws_fail(err, WS_EFORMAT,
                       "config: yarn RoPE needs theta > 1, positive betas and original_max_position_embeddings");
    r->dim = p->dim, r->attention_factor = 1;
    r->inv_freq = ws_xmalloc((size_t)p->dim / 2 * sizeof(float));
    for (int j = 0; j < p->dim / 2; j++) {
        r->inv_freq[j] = 1.0f / power(p->theta, j, p->dim);
        if (p->kind == WS_ROPE_LINEAR) r->inv_freq[j] /= (float)p->factor;
        if (p->kind == WS_ROPE_FACTORS) r->inv_freq[j] /= (float)p->factors[j];
    }
    if (p->kind == WS_ROPE_LLAMA3) llama3(r, p);
    if (p->kind == WS_ROPE_YARN) yarn(r, p);
    for (int j = 0; j < p->dim / 2; j++)
        if (!isfinite(r->inv_freq[j]) || r->inv_freq[j] < 0) {
            ws_rope_release(r);
            return ws_fail(err, WS_EFORMAT, "config: RoPE frequency %d is not a finite number >= 0", j);
        }
    return WS_OK;
}

void ws_rope_release(ws_rope *r) {
    free(r->inv_freq);
    free(r->cos);
    free(r->sin);
    memset(r, 0, sizeof *r);
}

void ws_rope_reserve(ws_rope *r, int n_pos) {
    if (n_pos <= r->n_pos) return;
    int n = r->n_pos ? r->n_pos : 1024;
    while (n < n_pos) n = n > INT32_MAX / 2 ? n_pos : 2 * n;
    size_t half = (size_t)r->dim / 2;
    r->cos = ws_xrealloc(r->cos, (size_t)n * half * sizeof(float));
    r->sin = ws_xrealloc(r->sin, (size_t)n * half * sizeof(float));
    for (int t = r->n_pos; t < n; t++)
        for (size_t j = 0; j < half; j++) {
            double angle = (double)((float)t * r->inv_freq[j]); /* the angle is rounded to fp32, as in transformers */
            r->cos[(size_t)t * half + j] = (float)cos(angle) * r->attention_factor;
            r->sin[(size_t)t * half + j] = (float)sin(angle) * r->attention_factor;
        }
    r->n_pos = n;
}

typedef struct rotate {
    const ws_rope *r;
    float *x;
    int64_t ld;
    int heads, head_dim;
    const int32_t *pos;
    float sign;
} rotate;

static void rotate_tokens(void *arg, int64_t begin, int64_t end) {
    const rotate *a = arg;
    int half = a->r->dim / 2;
    for (int64_t t = begin; t < end; t++) {
        WS_ASSERT(a->pos[t] >= 0 && a->pos[t] < a->r->n_pos);
        const float *c = a->r->cos + (int64_t)a->pos[t] * half, *s = a->r->sin + (int64_t)a->pos[t] * half;
        for (int h = 0; h < a->heads; h++) ws_k.rope(a->x + t * a->ld + (int64_t)h * a->head_dim, c, s, half, a->sign);
    }
}

void ws_rope_forward(const ws_rope *r, float *x, int64_t ld, int64_t n, int heads, int head_dim, const int32_t *pos) {
    rotate a = {r, x, ld, heads, head_dim, pos, 1};
    ws_profile_enter("rope");
    ws_parallel_for(n, 64, rotate_tokens, &a);
    ws_profile_leave(0, 0);
}

void ws_rope_backward(const ws_rope *r, float *gx, int64_t ld, int64_t n, int heads, int head_dim, const int32_t *pos) {
    rotate a = {r, gx, ld, heads, head_dim, pos, -1};
    ws_profile_enter("rope");
    ws_parallel_for(n, 64, rotate_tokens, &a);
    ws_profile_leave(0, 0);
}
