#include "base/parallel.h"
#include "base/err.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        /* it fails where the machine may have more cores than the set has bits */
        int n = sched_getaffinity(0, sizeof set, &set) ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
        int q = cgroup_cores();
        n = n < q ? n : q;
        known = n < 1 ? 1 : n;
    }
    return known;
}

void ws_threads_set(int n) { wanted = n; }

/* ---------- the pool ----------
 * Workers sleep between loops; after a loop they look for the next one for a few microseconds first, because the model's
 * loops follow each other closely.  That is all they ever spin: OpenMP's threads spin for milliseconds at every barrier,
 * which costs several times the work itself as soon as another program wants a core. */
enum { SPINS = 1000, MAX_WORKERS = 4095 };
static _Thread_local int my_id, inside;
static struct pool {
    pthread_mutex_t lock; /* of the two conditions and of growing */
    pthread_cond_t job, done;
    pthread_mutex_t user; /* one loop at a time; a second caller runs its loop alone */
    int workers;
    atomic_uint loops;       /* loops so far: a worker's sign that there is a new one */
    atomic_int open, active; /* the loop below may be entered; workers inside it */
    atomic_int waiting;      /* the caller sleeps until active is 0 */
    int threads;
    int64_t n, chunk, chunks;
    _Atomic int64_t next;
    void (*fn)(void *, int64_t, int64_t);
    void *arg;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .job = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER,
          .user = PTHREAD_MUTEX_INITIALIZER};

int ws_threads(void) { return inside ? 1 : wanted > 0 ? wanted : ws_cores(); }
int ws_parallel_inside(void) { return inside; }
int ws_thread_id(void) { return my_id; }

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void chunks(void) {
    for (;;) {
        int64_t c = atomic_fetch_add(&pool.next, 1);
        if (c >= pool.chunks) return;
        int64_t end = (c + 1) * pool.chunk;
        pool.fn(pool.arg, c * pool.chunk, end < pool.n ? end : pool.n);
    }
}

static void *worker(void *arg) {
    unsigned seen = 0;
    my_id = (int)(intptr_t)arg, inside = 1;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load(&pool.loops) == seen; i++) relax();
        if (atomic_load(&pool.loops) == seen) {
            pthread_mutex_lock(&pool.lock);
            while (atomic_load(&pool.loops) == seen) pthread_cond_wait(&pool.job, &pool.lock);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = atomic_load(&pool.loops);
        /* Counted before `open` is read, so the caller, who closes before it reads the count, either waits for this worker
         * or this worker finds the loop closed. */
        atomic_fetch_add(&pool.active, 1);
        if (atomic_load(&pool.open) && my_id < pool.threads) chunks();
        if (atomic_fetch_sub(&pool.active, 1) == 1 && atomic_load(&pool.waiting)) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.lock);
        }
    }
    return NULL;
}

/* As many workers as the system gives; a loop does without those that are missing. */
static void grow(int workers) {
    while (pool.workers < workers && pool.workers < MAX_WORKERS) {
        pthread_t t;
        if (pthread_create(&t, NULL, worker, (void *)(intptr_t)(pool.workers + 1))) return;
        pthread_detach(t);
        pool.workers++;
    }
}

void ws_parallel_for(int64_t n, int64_t chunk, void (*fn)(void *, int64_t, int64_t), void *arg) {
    WS_ASSERT(chunk > 0);
    int64_t count = (n + chunk - 1) / chunk;
    int threads = ws_threads();
    if (count <= 1 || threads <= 1 || pthread_mutex_trylock(&pool.user)) {
        for (int64_t c = 0; c < count; c++) fn(arg, c * chunk, (c + 1) * chunk < n ? (c + 1) * chunk : n);
        return;
    }
    grow(threads - 1);
    pool.threads = threads, pool.n = n, pool.chunk = chunk, pool.chunks = count, pool.fn = fn, pool.arg = arg;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.open, 1);
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.loops, 1);
    pthread_cond_broadcast(&pool.job);
    pthread_mutex_unlock(&pool.lock);
    inside = 1;
    chunks();
    inside = 0;
    atomic_store(&pool.open, 0);
    for (int i = 0; i < SPINS && atomic_load(&pool.active); i++) relax();
    if (atomic_load(&pool.active)) {
        pthread_mutex_lock(&pool.lock);
        atomic_store(&pool.waiting, 1);
        while (atomic_load(&pool.active)) pthread_cond_wait(&pool.done, &pool.lock);
        atomic_store(&pool.waiting, 0);
        pthread_mutex_unlock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.user);
}
