#include "run/tree.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>

static char failed[512];

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f) {
    (void)st, (void)kind, (void)f;
    if (!remove(path) || errno == ENOENT) return 0;
    snprintf(failed, sizeof failed, "%s: %s", path, strerror(errno));
    return 1;
}

ws_status ws_tree_remove(const char *dir, ws_err *err) {
    failed[0] = 0;
    if (!nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) || errno == ENOENT) return WS_OK;
    return ws_fail(err, WS_EIO, "cannot remove %s", *failed ? failed : dir);
}

static int sweep_one(const char *path, const struct stat *st, int kind, struct FTW *f) {
    const char *t = kind == FTW_F ? strstr(path + f->base, ".tmp.") : NULL;
    (void)st;
    if (!t || !t[5] || strspn(t + 5, "0123456789") != strlen(t + 5)) return 0;
    return remove_one(path, st, kind, f);
}

ws_status ws_tree_sweep(const char *dir, ws_err *err) {
    failed[0] = 0;
    if (!nftw(dir, sweep_one, 16, FTW_PHYS) || errno == ENOENT) return WS_OK;
    return ws_fail(err, WS_EIO, "cannot remove %s", *failed ? failed : dir);
}

static int64_t total;
static int add_one(const char *path, const struct stat *st, int kind, struct FTW *f) {
    (void)path, (void)f;
    if (kind == FTW_F) total += st->st_size;
    return 0;
}

int64_t ws_tree_bytes(const char *dir) {
    total = 0;
    nftw(dir, add_one, 16, FTW_PHYS);
    return total;
}
