/* src/base/rng.c - torch's, numpy's, Python's and the counter stream.
 * MT19937: Matsumoto and Nishimura 1998 (init_genrand; Python seeds with init_by_array).  PCG64 (XSL-RR 128/64): O'Neill 2014, seeded through numpy's
 * SeedSequence.  Counter: the finaliser of SplitMix64 (Steele, Lea and Flood 2014) over one word after the other. */
#include "base/rng.h"
#include "base/err.h"
#include <math.h>

/* ---------- MT19937 ---------- */

void ws_mt_seed(ws_mt *r, uint32_t seed) {
    r->s[0] = seed;
    for (uint32_t i = 1; i < 624; i++) r->s[i] = 1812433253u * (r->s[i - 1] ^ (r->s[i - 1] >> 30)) + i;
    r->i = 624;
}

static void mt_turn(ws_mt *r) {
    for (int i = 0; i < 624; i++) {
        uint32_t y = (r->s[i] & 0x80000000u) | (r->s[(i + 1) % 624] & 0x7fffffffu);
        r->s[i] = r->s[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->i = 0;
}

uint32_t ws_mt_u32(ws_mt *r) {
    if (r->i >= 624) mt_turn(r);
    uint32_t y = r->s[r->i++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

void ws_mt_skip(ws_mt *r, uint64_t words) {
    while (words) {
        if (r->i >= 624) mt_turn(r);
        uint64_t left = (uint64_t)(624 - r->i), n = words < left ? words : left;
        r->i += (int)n;
        words -= n;
    }
}

void ws_mt_kaiming(ws_mt *r, float *out, int64_t n, int64_t fan_in) {
    WS_ASSERT(fan_in > 0);
    const float b = (float)(1.0 / sqrt((double)fan_in));
    for (int64_t i = 0; i < n; i++) out[i] = fmaf((float)(ws_mt_u32(r) & 0xffffffu) * 0x1p-24f, 2 * b, -b);
}

void ws_mt_randperm(ws_mt *r, int64_t *out, int64_t n) {
    WS_ASSERT(n >= 0 && n < (int64_t)(0xffffffffu / 20)); /* above, torch draws 64-bit words */
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = 0; i + 1 < n; i++) {
        int64_t j = i + (int64_t)(ws_mt_u32(r) % (uint32_t)(n - i)), t = out[i];
        out[i] = out[j], out[j] = t;
    }
}

void ws_torch_randperm(int64_t *out, int64_t n, uint64_t seed) {
    ws_mt r;
    ws_mt_seed(&r, (uint32_t)seed);
    ws_mt_randperm(&r, out, n);
}

/* ---------- Python's module random ---------- */

static void mt_seed_words(ws_mt *r, const uint32_t *key, uint32_t n) { /* init_by_array; n <= 624 */
    uint32_t *s = r->s, i = 1, j = 0;
    ws_mt_seed(r, 19650218u);
    for (uint32_t k = 0; k < 624; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        if (++i == 624) s[0] = s[623], i = 1;
        if (++j == n) j = 0;
    }
    for (uint32_t k = 0; k < 623; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == 624) s[0] = s[623], i = 1;
    }
    s[0] = 0x80000000u;
}

void ws_python_shuffle(int64_t *out, int64_t n, uint64_t seed) {
    WS_ASSERT(n >= 0 && n <= (int64_t)UINT32_MAX);
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    ws_mt r;
    mt_seed_words(&r, key, key[1] ? 2 : 1);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int bits = 0; /* of i + 1: what lies above is drawn again */
        while ((i + 1) >> bits) bits++;
        int64_t j;
        do j = (int64_t)(ws_mt_u32(&r) >> (32 - bits));
        while (j > i);
        int64_t t = out[i];
        out[i] = out[j], out[j] = t;
    }
}

/* ---------- numpy: SeedSequence + PCG64 ---------- */

__extension__ typedef unsigned __int128 u128;

typedef struct pcg {
    u128 state, inc;
    uint32_t high; /* second half of the last output */
    int has_high;
} pcg;

static void pcg_step(pcg *p) {
    const u128 mul = ((u128)2549297995355413924u << 64) | 4865540595714422341u;
    p->state = p->state * mul + p->inc;
}

static uint32_t hashmix(uint32_t v, uint32_t *h) {
    v ^= *h;
    *h *= 0x931e8875u;
    v *= *h;
    return v ^ (v >> 16);
}

static void pcg_seed(pcg *p, uint64_t seed) {
    const uint32_t entropy[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    uint32_t pool[4], w[8], h = 0x43b0d7e5u, g = 0x8b51f9ddu;
    for (int i = 0; i < 4; i++) pool[i] = hashmix(entropy[i], &h);
    for (int src = 0; src < 4; src++)
        for (int dst = 0; dst < 4; dst++) {
            if (src == dst) continue;
            uint32_t x = 0xca01f9ddu * pool[dst] - 0x4973f715u * hashmix(pool[src], &h);
            pool[dst] = x ^ (x >> 16);
        }
    for (int i = 0; i < 8; i++) {
        uint32_t d = pool[i % 4] ^ g;
        g *= 0x58f38dedu;
        d *= g;
        w[i] = d ^ (d >> 16);
    }
    uint64_t q[4];
    for (int i = 0; i < 4; i++) q[i] = (uint64_t)w[2 * i + 1] << 32 | w[2 * i];
    p->inc = (((u128)q[2] << 64 | q[3]) << 1) | 1;
    p->state = 0, p->has_high = 0, p->high = 0;
    pcg_step(p);
    p->state += (u128)q[0] << 64 | q[1];
    pcg_step(p);
}

static uint32_t pcg_u32(pcg *p) {
    if (p->has_high) {
        p->has_high = 0;
        return p->high;
    }
    pcg_step(p);
    uint64_t x = (uint64_t)(p->state >> 64) ^ (uint64_t)p->state;
    unsigned rot = (unsigned)(p->state >> 122);
    x = x >> rot | x << ((64 - rot) & 63);
    p->has_high = 1, p->high = (uint32_t)(x >> 32);
    return (uint32_t)x;
}

void ws_numpy_permutation(int64_t *out, int64_t n, uint64_t seed) {
    WS_ASSERT(n >= 0 && n <= (int64_t)UINT32_MAX);
    pcg p;
    pcg_seed(&p, seed);
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t mask = (uint32_t)i, j;
        for (int s = 1; s < 32; s *= 2) mask |= mask >> s;
        do j = pcg_u32(&p) & mask;
        while (j > (uint32_t)i);
        int64_t t = out[i];
        out[i] = out[j], out[j] = t;
    }
}

/* ---------- counter ---------- */

static uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* h = mix(seed); h = mix(h ^ FNV-1a(stream)); h = mix(h ^ row); h = mix(h ^ step).  Each round is a bijection of the
 * word that enters, so two rows (or steps) of one stream never share a state. */
uint64_t ws_counter_u64(uint64_t seed, const char *stream, uint64_t row, uint64_t step) {
    uint64_t name = 0xcbf29ce484222325u;
    for (const char *p = stream; *p; p++) name = (name ^ (uint8_t)*p) * 0x100000001b3u;
    return mix(mix(mix(mix(seed) ^ name) ^ row) ^ step);
}

double ws_counter_uniform(uint64_t seed, const char *stream, uint64_t row, uint64_t step) {
    return (double)(ws_counter_u64(seed, stream, row, step) >> 11) * 0x1p-53;
}

void ws_counter_permutation(int64_t *out, int64_t n, uint64_t seed, const char *stream) {
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        /* the high word of bits * (i + 1) is uniform on 0..i up to a bias of i / 2^64 */
        int64_t j = (int64_t)(((u128)ws_counter_u64(seed, stream, (uint64_t)i, 0) * (u128)(i + 1)) >> 64), t = out[i];
        out[i] = out[j], out[j] = t;
    }
}

void ws_counter_bell(float *out, int64_t n, uint64_t key, uint64_t first) {
    const float scale = (float)(1 / 37837.22546); /* four uniforms on 0..65535: variance 4 (65536^2 - 1) / 12 */
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = mix(key + (first + (uint64_t)i) * 0x9e3779b97f4a7c15u);
        int sum = (int)(z & 0xffff) + (int)(z >> 16 & 0xffff) + (int)(z >> 32 & 0xffff) + (int)(z >> 48);
        out[i] = (float)(sum - 131070) * scale;
    }
}
