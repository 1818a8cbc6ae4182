/* ws_parallel_for: every chunk exactly once, at the boundaries that n and chunk give, for any number of threads; nested loops and
 * loops of several callers at once. */
#include "base/parallel.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MOST = 3000 };
typedef struct count {
    atomic_int hit[MOST];
    int64_t chunk, n;
    atomic_int wrong;
} count;

static void mark(void *arg, int64_t begin, int64_t end) {
    count *c = arg;
    int64_t want = begin + c->chunk < c->n ? begin + c->chunk : c->n;
    if (begin % c->chunk || end != want || ws_threads() < 1) atomic_fetch_add(&c->wrong, 1);
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&c->hit[i], 1);
}
static void check(count *c, int64_t n, int64_t chunk) {
    memset(c, 0, sizeof *c);
    c->n = n, c->chunk = chunk;
    ws_parallel_for(n, chunk, mark, c);
    for (int64_t i = 0; i < MOST; i++)
        if (atomic_load(&c->hit[i]) != (i < n)) atomic_fetch_add(&c->wrong, 1);
}

static void test_every_chunk_once(void **state) {
    (void)state;
    count *c = malloc(sizeof *c);
    static const int64_t n[] = {0, 1, 2, 63, 64, 65, 999, 3000}, chunk[] = {1, 7, 64, 4000};
    for (int threads = 1; threads <= 9; threads += 2) /* more, then fewer again: workers stay */
        for (size_t i = 0; i < 8; i++)
            for (size_t j = 0; j < 4; j++) {
                ws_threads_set(threads % 2 ? threads : 2);
                check(c, n[i], chunk[j]);
                assert_int_equal(atomic_load(&c->wrong), 0);
            }
    ws_threads_set(3);
    for (int i = 0; i < 3000; i++) { /* one loop right after the other */
        check(c, 40, 1);
        assert_int_equal(atomic_load(&c->wrong), 0);
    }
    ws_threads_set(0);
    free(c);
}

/* A loop inside a loop runs where it stands, with the thread's own number. */
typedef struct outer {
    count *inner;
    atomic_int wrong;
} outer;
static void nest(void *arg, int64_t begin, int64_t end) {
    outer *o = arg;
    for (int64_t i = begin; i < end; i++) {
        int id = ws_thread_id();
        check(&o->inner[i], 100, 9);
        if (ws_threads() != 1 || ws_thread_id() != id || id < 0 || id > 3) atomic_fetch_add(&o->wrong, 1);
    }
}
static void test_nested(void **state) {
    (void)state;
    outer o = {.inner = malloc(20 * sizeof(count))};
    ws_threads_set(4);
    ws_parallel_for(20, 1, nest, &o);
    assert_int_equal(atomic_load(&o.wrong), 0);
    for (int i = 0; i < 20; i++) assert_int_equal(atomic_load(&o.inner[i].wrong), 0);
    assert_int_equal(ws_threads(), 4);
    assert_int_equal(ws_thread_id(), 0);
    ws_threads_set(0);
    free(o.inner);
}

static void *caller(void *arg) {
    count *c = malloc(sizeof *c);
    for (int i = 0; i < 500; i++) {
        check(c, 300, 10);
        atomic_fetch_add((atomic_int *)arg, atomic_load(&c->wrong));
    }
    free(c);
    return NULL;
}
static void test_several_callers(void **state) {
    (void)state;
    pthread_t t[3];
    atomic_int wrong = 0;
    ws_threads_set(2);
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&t[i], NULL, caller, &wrong), 0);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    ws_threads_set(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_chunk_once), cmocka_unit_test(test_nested),
                                       cmocka_unit_test(test_several_callers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
