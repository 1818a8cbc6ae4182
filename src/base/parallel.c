#include "base/parallel.h"
#include "base/err.h"
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wanted;

/* cgroup v2 "max 100000" or "200000 100000"; v1 keeps quota and period in two files. */
static int cgroup_cores(void) {
    long long quota = -1, period = 100000;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2) quota = -1;
        fclose(f);
    } else if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r"))) {
        if (fscanf(f, "%lld", &quota) != 1) quota = -1;
        fclose(f);
        if ((f = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r"))) {
            if (fscanf(f, "%lld", &period) != 1) period = 100000;
            fclose(f);
        }
    }
    if (quota <= 0 || period <= 0) return 1 << 20;
    return (int)((quota + period - 1) / period);
}

int ws_cores(void) {
    static int known;
    if (!known) {
        cpu_set_t set;
        int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set), q = cgroup_cores();
        n = n < q ? n : q;
        known = n < 1 ? 1 : n;
    }
    return known;
}

void ws_threads_set(int n) { wanted = n; }
int ws_threads(void) { return omp_in_parallel() ? 1 : wanted > 0 ? wanted : ws_cores(); }
int ws_thread_id(void) { return omp_get_thread_num(); }

void ws_parallel_for(int64_t n, int64_t chunk, void (*fn)(void *, int64_t, int64_t), void *arg) {
    WS_ASSERT(chunk > 0);
    int64_t chunks = (n + chunk - 1) / chunk;
    int threads = ws_threads();
    if (chunks <= 1 || threads <= 1) {
        for (int64_t c = 0; c < chunks; c++) fn(arg, c * chunk, (c + 1) * chunk < n ? (c + 1) * chunk : n);
        return;
    }
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t c = 0; c < chunks; c++) fn(arg, c * chunk, (c + 1) * chunk < n ? (c + 1) * chunk : n);
}
