/* src/base/rng.h - four kinds of random numbers.
 * torch: MT19937 as torch's CPU generator; numpy: default_rng's PCG64; Python: MT19937 as its module random seeds and reads
 * it; counter: a pure function of (seed, stream, row, step), so that a sample does not depend on batch size, threads or
 * resume point. */
#ifndef WS_BASE_RNG_H
#define WS_BASE_RNG_H
#include <stdint.h>

typedef struct ws_mt {
    uint32_t s[624];
    int i;
} ws_mt;
void ws_mt_seed(ws_mt *r, uint32_t seed); /* init_genrand */
uint32_t ws_mt_u32(ws_mt *r);
void ws_mt_skip(ws_mt *r, uint64_t words);
/* n values of torch's kaiming_uniform_(a=sqrt(5)) on [*, fan_in]: fmaf((draw & 0xffffff) / 2^24, 2b, -b), b =
 * 1/sqrt(fan_in).  adapters.md 1.5 */
void ws_mt_kaiming(ws_mt *r, float *out, int64_t n, int64_t fan_in);
/* torch.randperm(n) (n < 2^32/20) from a generator that goes on; with one seeded with `seed`.  adapters.md 4.2 */
void ws_mt_randperm(ws_mt *r, int64_t *out, int64_t n);
void ws_torch_randperm(int64_t *out, int64_t n, uint64_t seed);
/* numpy.random.default_rng(seed).permutation(n).  adapters.md 4.2 */
void ws_numpy_permutation(int64_t *out, int64_t n, uint64_t seed);
/* What Python's random.Random(seed).shuffle makes of 0..n-1 (n < 2^32). */
void ws_python_shuffle(int64_t *out, int64_t n, uint64_t seed);

/* Counter stream: 64 random bits from (seed, name of the stream, row, step). */
uint64_t ws_counter_u64(uint64_t seed, const char *stream, uint64_t row, uint64_t step);
double ws_counter_uniform(uint64_t seed, const char *stream, uint64_t row, uint64_t step); /* [0, 1), 53 bits */
/* Fisher-Yates with the counter stream: a permutation of 0..n-1. */
void ws_counter_permutation(int64_t *out, int64_t n, uint64_t seed, const char *stream);
/* Values first .. first+n-1 of the sequence `key`: bell-shaped (four uniforms added up), mean 0, variance 1, within
 * +-3.47.  Integer sums and one multiplication, so the same bits on every machine.  For random weights by the billion. */
void ws_counter_bell(float *out, int64_t n, uint64_t key, uint64_t first);
#endif
