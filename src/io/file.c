#include "io/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

ws_status ws_map_open(ws_map *m, const char *path, ws_err *err) {
    *m = (ws_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ws_fail(err, WS_EIO, "%s: %s", path, strerror(errno));
    struct stat st;
    ws_status rc = WS_OK;
    if (fstat(fd, &st))
        rc = ws_fail(err, WS_EIO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = ws_fail(err, WS_EIO, "%s: not a regular file", path);
    else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = ws_fail(err, WS_EIO, "%s: mapping failed: %s", path, strerror(errno));
        else {
            m->p = p, m->n = (size_t)st.st_size;
            /* What is read from the disk from now on comes in huge pages, where the file system has them: weights are walked
             * end to end, and with small pages every fourth kilobyte waits for the TLB. */
            madvise(p, m->n, MADV_HUGEPAGE);
        }
    }
    close(fd);
    return rc;
}

void ws_map_close(ws_map *m) {
    if (m->p) munmap((void *)(uintptr_t)m->p, m->n);
    *m = (ws_map){0};
}

void ws_map_forget(const void *p, size_t n) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
                    to = ((uintptr_t)p + n) / page * page;
    if (to > from) madvise((void *)from, to - from, MADV_DONTNEED); /* private and read-only: nothing is lost */
}

ws_status ws_file_read(const char *path, ws_str *out, ws_err *err) {
    FILE *f = fopen(path, "rbe");
    if (!f) return ws_fail(err, WS_EIO, "%s: %s", path, strerror(errno));
    char buf[1 << 14];
    errno = 0;
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) ws_str_add(out, buf, n);
    int bad = ferror(f), why = errno;
    fclose(f);
    ws_str_add(out, "", 0); /* an empty file is "", not NULL */
    return bad ? ws_fail(err, WS_EIO, "%s: reading failed: %s", path, strerror(why)) : WS_OK;
}

int ws_file_exists(const char *path) { return access(path, F_OK) == 0; }

int ws_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- paths ---- */

ws_status ws_mkdirs(const char *dir, ws_err *err) {
    if (!*dir) return WS_OK;
    char *p = ws_xstrdup(dir);
    ws_status rc = WS_OK;
    for (char *s = p;;) {
        s += strspn(s, "/");
        s += strcspn(s, "/");
        char keep = *s;
        *s = 0;
        int why = *p && mkdir(p, 0777) ? errno : 0;
        if (why && why != EEXIST && !ws_is_dir(p)) {
            rc = ws_fail(err, WS_EIO, "cannot make the directory %s: %s", p, strerror(why));
            break;
        }
        if (!keep) break;
        *s = keep;
    }
    if (!rc && !ws_is_dir(p)) rc = ws_fail(err, WS_EIO, "%s: is a file, and a directory is needed there", p);
    free(p);
    return rc;
}

char *ws_path_join(const char *a, const char *b) {
    if (!*a || *b == '/') return ws_xstrdup(b);
    size_t n = strlen(a);
    return ws_sprintf("%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
}

/* Folder of `path` in fresh memory: "." for a bare name. */
static char *parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ws_xstrdup(".");
    return slash == path ? ws_xstrdup("/") : ws_xstrndup(path, (size_t)(slash - path));
}

static void sync_folder(const char *path) {
    char *dir = parent(path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd); /* some file systems cannot sync a directory; the file itself is safe by then */
        close(fd);
    }
    free(dir);
}

/* ---- whole files ---- */

ws_status ws_out_open(ws_out *o, const char *path, ws_err *err) {
    *o = (ws_out){0};
    struct stat st;
    int there = stat(path, &st) == 0;
    if (!*path) return ws_fail(err, WS_EUSAGE, "the name of the file to write is empty");
    if (there && S_ISDIR(st.st_mode))
        return ws_fail(err, WS_EIO, "%s: is a directory, and a file is to be written there", path);
    if (there && !S_ISREG(st.st_mode)) { /* a device or pipe is written to, never replaced */
        o->path = ws_xstrdup(path);
    } else {
        char *real = there ? realpath(path, NULL) : NULL; /* a link stays a link: its target is replaced */
        o->path = real ? real : ws_xstrdup(path);
        char *dir = parent(o->path);
        ws_status rc = ws_mkdirs(dir, err);
        free(dir);
        if (rc) {
            ws_out_abandon(o);
            return rc;
        }
        o->tmp = ws_sprintf("%s.tmp.%ld", o->path, (long)getpid());
    }
    if (o->tmp) { /* a leftover of the same name goes; a link that somebody planted there is not followed */
        unlink(o->tmp);
        int fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        o->f = fd < 0 ? NULL : fdopen(fd, "wb");
        if (fd >= 0 && !o->f) close(fd), unlink(o->tmp);
    } else
        o->f = fopen(o->path, "wbe");
    if (o->f) return WS_OK;
    ws_fail(err, WS_EIO, "cannot write %s: %s", path, strerror(errno));
    free(o->tmp), free(o->path);
    *o = (ws_out){0};
    return WS_EIO;
}

ws_status ws_out_try(const char *path, ws_err *err) {
    struct stat st;
    ws_out o;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return WS_OK; /* a reader may wait there */
    if (ws_out_open(&o, path, err)) return err->code;
    ws_out_abandon(&o);
    return WS_OK;
}

ws_status ws_out_commit(ws_out *o, ws_err *err) {
    if (!o->f) BUG("ws_out_commit without an open file");
    errno = 0;
    int bad = ferror(o->f);
    if (fflush(o->f)) bad = 1;
    if (!bad && fsync(fileno(o->f)) && errno != EINVAL && errno != EROFS) bad = 1; /* pipes cannot be synced */
    int why = errno;
    if (fclose(o->f) && !bad) bad = 1, why = errno;
    o->f = NULL;
    if (!bad && o->tmp && rename(o->tmp, o->path)) bad = 1, why = errno;
    if (bad) {
        /* stdio forgets the cause of an early failure; a full disk is by far the commonest */
        ws_fail(err, WS_EIO, "%s: writing failed: %s; %s", o->path, why ? strerror(why) : "disk full?",
                o->tmp ? "the old file, if any, is as it was" : "the output is incomplete");
        ws_out_abandon(o);
        return WS_EIO;
    }
    if (o->tmp) sync_folder(o->path);
    free(o->tmp), free(o->path);
    *o = (ws_out){0};
    return WS_OK;
}

void ws_out_abandon(ws_out *o) {
    if (!o) return;
    if (o->f) fclose(o->f);
    if (o->tmp) unlink(o->tmp);
    free(o->tmp), free(o->path);
    *o = (ws_out){0};
}

ws_status ws_file_write(const char *path, const void *bytes, size_t n, ws_err *err) {
    ws_out o;
    if (ws_out_open(&o, path, err)) return err ? err->code : WS_EIO;
    if (n) fwrite(bytes, 1, n, o.f); /* commit reports */
    return ws_out_commit(&o, err);
}
