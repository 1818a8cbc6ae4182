/* bench/blas.c - sgemm of somebody else's BLAS at our shapes, the peer of `ws bench gemm`.
 *
 *     blas LIBRARY SECONDS SHAPES [nn]        SHAPES: MxNxK,...; y [M, N] = x [M, K] W [N, K]^T, or with nn x [M, K] W [K, N]
 *
 * The library is opened by its path, so that one program measures OpenBLAS, BLIS and what numpy brings along.  A JSON line a
 * shape: the best rate of about a millisecond or more within SECONDS, as ours is measured.  Threads: OMP_NUM_THREADS and the
 * like, which every library reads when it is opened. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
typedef void (*sgemm32)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
typedef void (*sgemm64)(int, int, int, int64_t, int64_t, int64_t, float, const float *, int64_t, const float *, int64_t,
                        float, float *, int64_t);
static sgemm32 gemm32; /* one of the two: the size of the library's integers */
static sgemm64 gemm64;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void product(float *y, const float *x, const float *w, long M, long N, long K, int nn) {
    const int order = nn ? NO_TRANS : TRANS;
    const long ldw = nn ? N : K;
    if (gemm32)
        gemm32(ROW_MAJOR, NO_TRANS, order, (int)M, (int)N, (int)K, 1, x, (int)K, w, (int)ldw, 0, y, (int)N);
    else
        gemm64(ROW_MAJOR, NO_TRANS, order, M, N, K, 1, x, K, w, ldw, 0, y, N);
}

static float *numbers(long n) {
    float *p = aligned_alloc(64, ((size_t)n * sizeof *p + 63) / 64 * 64);
    if (!p) fprintf(stderr, "blas: no memory for %ld numbers\n", n), exit(1);
    for (long i = 0; i < n; i++) p[i] = (float)(i % 61) * 0.01f;
    return p;
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: blas LIBRARY SECONDS MxNxK,... [nn]\n"), 2;
    void *lib = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!lib) return fprintf(stderr, "blas: %s\n", dlerror()), 1;
    /* object to function pointer as POSIX says that it works */
    *(void **)&gemm64 = dlsym(lib, "scipy_cblas_sgemm64_");
    if (!gemm64) *(void **)&gemm64 = dlsym(lib, "cblas_sgemm64_");
    if (!gemm64) *(void **)&gemm32 = dlsym(lib, "scipy_cblas_sgemm");
    if (!gemm64 && !gemm32) *(void **)&gemm32 = dlsym(lib, "cblas_sgemm");
    if (!gemm64 && !gemm32) return fprintf(stderr, "blas: %s has no cblas_sgemm\n", argv[1]), 1;
    const double seconds = atof(argv[2]);
    const int nn = argc > 4 && !strcmp(argv[4], "nn");
    for (const char *s = argv[3]; *s;) {
        long M, N, K;
        int used = 0;
        if (sscanf(s, "%ldx%ldx%ld%n", &M, &N, &K, &used) != 3 || M < 1 || N < 1 || K < 1)
            return fprintf(stderr, "blas: '%s' does not begin with MxNxK\n", s), 2;
        s += used + (s[used] == ',');
        float *x = numbers(M * K), *w = numbers(N * K), *y = numbers(M * N);
        const double flops = 2.0 * (double)M * (double)N * (double)K;
        double best = 0;
        product(y, x, w, M, N, K, nn); /* threads are started, buffers taken */
        for (double end = now() + seconds; now() < end;) {
            const long times = 1 + (long)(2e8 / flops);
            double t = now();
            for (long i = 0; i < times; i++) product(y, x, w, M, N, K, nn);
            double rate = (double)times / (now() - t);
            if (rate > best) best = rate;
        }
        printf("{\"op\": \"%s\", \"m\": %ld, \"n\": %ld, \"k\": %ld, \"gflops\": %.2f}\n", nn ? "nn" : "nt", M, N, K,
               flops * best * 1e-9);
        fflush(stdout);
        free(x), free(w), free(y);
    }
    return 0;
}
