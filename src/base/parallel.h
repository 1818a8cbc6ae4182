/* src/base/parallel.h - threads.  Work is cut into chunks whose boundaries depend on n and `chunk` alone, never on the
 * number of threads, so results are the same for any thread count. */
#ifndef WS_BASE_PARALLEL_H
#define WS_BASE_PARALLEL_H
#include <stdint.h>
int ws_cores(void);           /* cores that this process may use: affinity mask and cgroup quota */
void ws_threads_set(int n);   /* 0: ws_cores() */
int ws_threads(void);         /* threads that the next ws_parallel uses; 1 inside a parallel region */
int ws_parallel_inside(void); /* 1 in a loop's body */
int ws_thread_id(void);       /* 0 .. ws_threads()-1 inside a parallel region */
/* fn(arg, begin, end) for consecutive chunks of [0, n); chunks run in any order on any thread.  Serial when nested,
 * when there is one chunk, or one thread. */
void ws_parallel_for(int64_t n, int64_t chunk, void (*fn)(void *arg, int64_t begin, int64_t end), void *arg);
#endif
