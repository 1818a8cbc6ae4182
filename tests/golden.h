/* tests/golden.h - printed text against a file in tests/golden/.  WS_GOLDEN_UPDATE=1 rewrites the files, to be read in
 * the diff before they are committed. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void golden(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "tests/golden/%s", name);
    if (getenv("WS_GOLDEN_UPDATE")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs(text, f);
        assert_int_equal(fclose(f), 0);
        return;
    }
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is missing (run from the root of the repository)", path);
    size_t cap = strlen(text) + 65536;
    char *want = malloc(cap);
    assert_non_null(want);
    size_t n = fread(want, 1, cap - 1, f);
    want[n] = 0;
    fclose(f);
    if (strcmp(want, text)) {
        size_t i = 0;
        while (want[i] && want[i] == text[i]) i++;
        printf("---- got ----\n%s\n", text);
        free(want);
        fail_msg("differs from %s at byte %zu", path, i);
    }
    free(want);
}
#endif
