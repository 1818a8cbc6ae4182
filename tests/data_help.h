/* tests/data_help.h - a temporary folder, files in it, and errors that must say something. */
#ifndef TESTS_DATA_HELP_H
#define TESTS_DATA_HELP_H
#include "base/err.h"
#include "base/str.h"
#include "io/file.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define assert_close(have, want, tolerance)                                                                            \
    do {                                                                                                               \
        double have_ = (have), want_ = (want);                                                                         \
        if (!(fabs(have_ - want_) <= (tolerance))) fail_msg("%s is %g, not %g", #have, have_, want_);                  \
    } while (0)

static char folder[256];
static inline int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/wsdataXXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}
static inline int remove_folder(void **state) {
    (void)state;
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", folder);
    return system(cmd);
}
/* Path below the folder; four buffers in turn. */
static inline const char *in_folder(const char *name) {
    static char buf[4][512];
    static int k;
    k = (k + 1) % 4;
    snprintf(buf[k], sizeof buf[k], "%s/%s", folder, name);
    return buf[k];
}
static inline const char *file_with(const char *name, const char *text) {
    const char *path = in_folder(name);
    ws_err err = {0};
    if (ws_file_write(path, text, strlen(text), &err)) fail_msg("%s", err.msg);
    return path;
}
static inline void says(const ws_err *err, const char *what) {
    if (!strstr(err->msg, what)) fail_msg("\"%s\" does not say \"%s\"", err->msg, what);
}
#endif
