/* src/kernel/peak.h - what this machine can do, measured now: every speed is told as a share of it. */
#ifndef WS_KERNEL_PEAK_H
#define WS_KERNEL_PEAK_H

typedef struct ws_peaks {
    int threads;
    double fma_one, fma_all;   /* GFLOP/s of fused multiply-adds in registers: one thread, `threads` threads */
    double bf16_one, bf16_all; /* the same of bf16 pairs; 0: the kernel set has no such instruction */
    double read_one, read_all; /* GB/s (1e9) read from memory, by buffers far larger than the caches */
} ws_peaks;

/* With the kernel set in use; about half a second.  `threads` 0: ws_threads(). */
ws_peaks ws_peaks_measure(int threads);
double ws_peak_fma(int threads);      /* GFLOP/s: the best of many runs of about a millisecond */
double ws_peak_bf16(int threads);     /* GFLOP/s of products of bf16 pairs; 0 where the kernel set has none */
double ws_peak_multiply(int threads); /* of the compute type in use: one of the two */
double ws_peak_read(int threads);     /* GB/s; 0 when the memory for it cannot be had */
#endif
