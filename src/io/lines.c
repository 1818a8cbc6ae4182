/* src/io/lines.c - files that grow by whole lines, and the lock of a run directory (file.h). */
#include "base/interrupt.h"
#include "base/log.h"
#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Bytes up to and with the last newline; -1 on a read error. */
static off_t whole_lines(int fd, off_t size) {
    char buf[1 << 12];
    for (off_t end = size; end > 0;) {
        off_t n = end < (off_t)sizeof buf ? end : (off_t)sizeof buf;
        if (pread(fd, buf, (size_t)n, end - n) != n) return -1;
        for (off_t i = n; i > 0; i--)
            if (buf[i - 1] == '\n') return end - n + i;
        end -= n;
    }
    return 0;
}

ws_status ws_lines_open(ws_lines *l, const char *path, ws_err *err) {
    *l = (ws_lines){.fd = -1};
    const char *slash = strrchr(path, '/');
    if (slash && slash > path) {
        char *dir = ws_xstrndup(path, (size_t)(slash - path));
        ws_status rc = ws_mkdirs(dir, err);
        free(dir);
        if (rc) return rc;
    }
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return ws_fail(err, WS_EIO, "cannot append to %s: %s", path, strerror(errno));
    struct stat st;
    off_t keep = -1;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode)) keep = whole_lines(fd, st.st_size);
    if (keep < 0 || (keep < st.st_size && ftruncate(fd, keep))) {
        ws_fail(err, WS_EIO, "%s: cannot find and cut a half-written last line: %s", path, strerror(errno));
        close(fd);
        return WS_EIO;
    }
    if (keep < st.st_size)
        ws_note("%s: the last line was half written (%lld bytes) and is cut off", path, (long long)(st.st_size - keep));
    l->fd = fd;
    l->path = ws_xstrdup(path);
    return WS_OK;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

ws_status ws_lines_add(ws_lines *l, const char *line, size_t n, ws_err *err) {
    if (memchr(line, '\n', n)) BUG("%s: a line with a newline inside", l->path);
    off_t before = lseek(l->fd, 0, SEEK_END);
    char *buf = ws_xmalloc(n + 1);
    memcpy(buf, line, n);
    buf[n] = '\n';
    size_t done = 0;
    while (done <= n) {
        ssize_t k = write(l->fd, buf + done, n + 1 - done);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) break;
        done += (size_t)k;
    }
    int why = errno;
    free(buf);
    if (done <= n) {
        int cut = before >= 0 && ftruncate(l->fd, before) == 0;
        return ws_fail(err, WS_EIO, "%s: appending failed: %s; the lines before it are %s", l->path, strerror(why),
                       cut ? "safe" : "safe, a half-written one is cut off at the next start");
    }
    /* a killed process loses nothing once write() returned; fsync is for a power cut, and once a second is enough */
    if (seconds() - l->synced >= 1) {
        if (fdatasync(l->fd)) return ws_fail(err, WS_EIO, "%s: syncing failed: %s", l->path, strerror(errno));
        l->synced = seconds();
    }
    return WS_OK;
}

ws_status ws_lines_close(ws_lines *l, ws_err *err) {
    ws_status rc = WS_OK;
    if (l->fd >= 0 && l->path) {
        int bad = fdatasync(l->fd), why = errno;
        if (close(l->fd) && !bad) bad = 1, why = errno;
        if (bad) rc = ws_fail(err, WS_EIO, "%s: closing failed: %s", l->path, strerror(why));
    }
    free(l->path);
    *l = (ws_lines){.fd = -1};
    return rc;
}

/* Open-file-description locks: they belong to this descriptor, not to the process, so two runs inside one embedding
 * program exclude each other too.  The kernel drops them when the process dies, however it dies. */
ws_status ws_lock(int *fd, const char *dir, int wait, ws_err *err) {
    *fd = -1;
    if (ws_mkdirs(dir, err)) return err ? err->code : WS_EIO;
    char *path = ws_path_join(dir, ".lock");
    int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666), said = 0;
    ws_status rc = WS_OK;
    if (f < 0) rc = ws_fail(err, WS_EIO, "cannot write in %s: %s", dir, strerror(errno));
    while (!rc) {
        struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (!fcntl(f, F_OFD_SETLK, &fl)) break;
        if (errno != EAGAIN && errno != EACCES) {
            rc = ws_fail(err, WS_EIO, "%s: locking failed: %s", path, strerror(errno));
            break;
        }
        char who[24] = "";
        ssize_t n = pread(f, who, sizeof who - 1, 0);
        who[n > 0 ? strspn(who, "0123456789") : 0] = 0;
        if (!wait) {
            rc = ws_fail(err, WS_ESTATE, "%s is in use by process %s; wait for it, or choose another --out", dir,
                         *who ? who : "?");
            break;
        }
        if (!said) ws_note("%s is in use by process %s; waiting for it", dir, *who ? who : "?");
        said = 1;
        rc = ws_interrupt_check(err);
        if (!rc) nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    if (!rc) {
        char pid[24];
        int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        if (ftruncate(f, 0) || pwrite(f, pid, (size_t)n, 0) != n)
            rc = ws_fail(err, WS_EIO, "%s: writing failed: %s", path, strerror(errno));
    }
    free(path);
    if (rc && f >= 0) close(f);
    if (!rc) *fd = f;
    return rc;
}

void ws_unlock(int fd) {
    if (fd >= 0) close(fd);
}

void ws_dir_sweep(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *t = strstr(e->d_name, ".tmp.");
        if (!t || !t[5] || strspn(t + 5, "0123456789") != strlen(t + 5)) continue;
        char *path = ws_path_join(dir, e->d_name);
        unlink(path); /* one that cannot be removed harms nobody */
        free(path);
    }
    if (d) closedir(d);
}
