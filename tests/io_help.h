/* tests/io_help.h - fixtures and temporary folders for the tests of src/io. */
#ifndef TESTS_IO_HELP_H
#define TESTS_IO_HELP_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/err.h"
#include "base/str.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURES "tests/fixtures/io/"
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if ((call) != WS_OK) fail_msg("%s: %s", #call, err.msg);                                                       \
    } while (0)
/* The call fails with `status` and a message that holds `text`. */
#define REFUSED(call, status, text)                                                                                    \
    do {                                                                                                               \
        ws_status got_ = (call);                                                                                       \
        if (got_ != (status) || !strstr(err.msg, text))                                                                \
            fail_msg("%s: status %d, expected %d; message '%s' should hold '%s'", #call, got_, status, err.msg, text); \
    } while (0)

static char scratch[64]; /* this program's own folder */

static inline int scratch_make(void **state) {
    (void)state;
    strcpy(scratch, "/tmp/ws-test-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}
static inline int scratch_drop(void **state) {
    (void)state;
    char *cmd = ws_sprintf("chmod -R u+w '%s' && rm -rf '%s'", scratch, scratch);
    int rc = system(cmd);
    free(cmd);
    return rc;
}
/* A path in the folder; kept until the program ends. */
static inline const char *in_scratch(const char *name) {
    static char *kept[256];
    static int n;
    if (n == 256) abort();
    return kept[n++] = ws_sprintf("%s/%s", scratch, name);
}

/* Bit for bit, through the reader's own widening. */
static inline void assert_same_values(const ws_tensor *got, const ws_tensor *want) {
    assert_int_equal(got->dims, want->dims);
    for (int i = 0; i < want->dims; i++) assert_int_equal(got->dim[i], want->dim[i]);
    float *a = ws_tensor_f32(got), *b = ws_tensor_f32(want);
    for (int64_t i = 0; i < ws_tensor_numel(want); i++)
        if (memcmp(&a[i], &b[i], 4))
            fail_msg("%s element %lld: %.9g, expected %.9g", want->name, (long long)i, (double)a[i], (double)b[i]);
    free(a);
    free(b);
}
#endif
