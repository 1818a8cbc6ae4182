/* One job beside the main thread: it runs while the caller goes on, its error is heard exactly once, and it is not woken by
 * signals that are meant for the main thread. */
#include "base/background.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <signal.h>

static atomic_int go, ran, blocked;

static ws_status waits(void *arg, ws_err *err) {
    (void)err;
    while (!atomic_load(&go)) {}
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    atomic_store(&blocked, sigismember(&now, SIGINT) && sigismember(&now, SIGTERM));
    atomic_fetch_add(&ran, *(int *)arg);
    return WS_OK;
}

static ws_status fails(void *arg, ws_err *err) {
    (void)arg;
    return ws_fail(err, WS_EIO, "no room");
}

static void the_caller_goes_on(void **state) {
    (void)state;
    ws_background b = {0};
    ws_err err = {0};
    int three = 3;
    atomic_store(&go, 0), atomic_store(&ran, 0);
    ws_background_start(&b, waits, &three);
    assert_int_equal(atomic_load(&ran), 0); /* it cannot end before we say so */
    atomic_store(&go, 1);
    assert_int_equal(ws_background_wait(&b, &err), WS_OK);
    assert_int_equal(atomic_load(&ran), 3);
    assert_int_equal(atomic_load(&blocked), 1);
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_false(sigismember(&now, SIGINT));               /* the caller still hears them */
    assert_int_equal(ws_background_wait(&b, &err), WS_OK); /* nothing to wait for */
}

static void an_error_is_heard_once(void **state) {
    (void)state;
    ws_background b = {0};
    ws_err err = {0};
    ws_background_start(&b, fails, NULL);
    assert_int_equal(ws_background_wait(&b, &err), WS_EIO);
    assert_string_equal(err.msg, "no room");
    assert_int_equal(ws_background_wait(&b, &err), WS_OK);
    int one = 1;
    atomic_store(&go, 1), atomic_store(&ran, 0);
    ws_background_start(&b, waits, &one); /* and it can be used again */
    assert_int_equal(ws_background_wait(&b, NULL), WS_OK);
    assert_int_equal(atomic_load(&ran), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_caller_goes_on), cmocka_unit_test(an_error_is_heard_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
