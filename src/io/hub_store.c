/* src/io/hub_store.c - where files of a model go in the Hugging Face cache, so that other programs find them:
 *     blobs/<etag>   snapshots/<commit>/<file> -> ../../blobs/<etag>   refs/<revision>   .no_exist/<commit>/<file>
 * and beside the models .locks/models--org--name/<etag>.lock, which huggingface_hub takes with flock too. */
#include "base/interrupt.h"
#include "base/log.h"
#include "io/file.h"
#include "io/hub_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void ws_hub_store_open(ws_hub_store *s, const char *name, const char *commit) {
    char *folder = ws_hub_folder(name);
    s->cache = ws_hub_cache();
    s->repo = ws_path_join(s->cache, folder);
    s->locks = ws_sprintf("%s/.locks/%s", s->cache, folder);
    s->snapshot = ws_sprintf("%s/snapshots/%s", s->repo, commit);
    s->name = name, s->commit = commit;
    free(folder);
}

void ws_hub_store_close(ws_hub_store *s) {
    free(s->cache), free(s->repo), free(s->locks), free(s->snapshot);
    *s = (ws_hub_store){0};
}

char *ws_hub_store_blob(const ws_hub_store *s, const char *etag) { return ws_sprintf("%s/blobs/%s", s->repo, etag); }

static int64_t size_at(const char *path) {
    struct stat st;
    return stat(path, &st) || !S_ISREG(st.st_mode) ? -1 : (int64_t)st.st_size;
}

void ws_hub_store_look(const ws_hub_store *s, ws_hub_file *f) {
    char *at = ws_path_join(s->snapshot, f->name);
    int64_t n = size_at(at);
    const char *name = f->etag ? f->etag : f->digest;
    f->there = n >= 0 && (f->size < 0 || n == f->size);
    if (n >= 0 && !f->there)
        ws_warn("%s has %lld bytes and should have %lld; it is fetched again", at, (long long)n, (long long)f->size);
    f->begun = f->there ? n : 0;
    if (!f->there && name) {
        char *blob = ws_hub_store_blob(s, name), *part = ws_sprintf("%s.incomplete", blob);
        n = size_at(blob);
        if (n < 0 || (f->size >= 0 && n != f->size)) n = size_at(part);
        if (n > 0 && (f->size < 0 || n <= f->size)) f->begun = n;
        free(blob), free(part);
    }
    free(at);
}

/* ---- small files ---- */

static ws_status make_parent(const char *path, ws_err *err) {
    char *dir = ws_xstrndup(path, (size_t)(strrchr(path, '/') - path));
    ws_status rc = ws_mkdirs(dir, err);
    free(dir);
    return rc;
}

/* An empty file, not even synced: it only saves others a question. */
void ws_hub_store_none(const ws_hub_store *s, const char *file) {
    char *path = ws_sprintf("%s/.no_exist/%s/%s", s->repo, s->commit, file);
    ws_err none;
    int fd = make_parent(path, &none) ? -1 : open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd >= 0) close(fd);
    free(path);
}

/* A file that tells backup programs to pass the cache by (the CACHEDIR.TAG convention, which prescribes the first line). */
ws_status ws_hub_store_tag(const ws_hub_store *s, ws_err *err) {
    static const char text[] =
        "Signature: 8a477f597d28d172789f06886806bc55\n"
        "# Models and data sets of the Hugging Face hub; what is lost here can be fetched again.\n";
    char *path = ws_path_join(s->cache, "CACHEDIR.TAG");
    ws_status rc = ws_file_exists(path) ? WS_OK : ws_file_write(path, text, sizeof text - 1, err);
    free(path);
    return rc;
}

ws_status ws_hub_store_ref(const ws_hub_store *s, const char *revision, ws_err *err) {
    if (!strcmp(revision, s->commit)) return WS_OK;
    char *path = ws_sprintf("%s/refs/%s", s->repo, revision);
    ws_str old = {0};
    ws_status rc = WS_OK;
    if (ws_file_read(path, &old, NULL) || strcmp(old.p, s->commit))
        rc = ws_file_write(path, s->commit, strlen(s->commit), err);
    ws_str_free(&old);
    free(path);
    return rc;
}

/* ---- links ---- */

ws_status ws_hub_store_link(const ws_hub_store *s, const char *file, const char *etag, int fresh, ws_err *err) {
    char *at = ws_path_join(s->snapshot, file), *tmp = ws_sprintf("%s.%ld.tmp", at, (long)getpid()),
         *blob = ws_hub_store_blob(s, etag);
    ws_str to = {0};
    ws_status rc = make_parent(at, err);
    ws_str_adds(&to, "../../"); /* relative, so that the cache may be moved */
    for (const char *p = file; *p; p++)
        if (*p == '/') ws_str_adds(&to, "../");
    ws_str_addf(&to, "blobs/%s", etag);
    if (!rc) {
        unlink(tmp);
        int plain = ws_hub_flag("HF_HUB_DISABLE_SYMLINKS") || symlink(to.p, tmp);
        /* without links the file itself lies in the snapshot; a blob that others may name is shared instead of moved */
        int bad = plain ? (fresh ? rename(blob, at) : link(blob, tmp) || rename(tmp, at)) : rename(tmp, at);
        if (bad) rc = ws_fail(err, WS_EIO, "%s: cannot be made: %s", at, strerror(errno));
        if (bad) unlink(tmp);
    }
    ws_str_free(&to);
    free(at), free(tmp), free(blob);
    return rc;
}

/* ---- locks ---- */

ws_status ws_hub_store_lock(const ws_hub_store *s, const ws_hub_file *f, int *fd, ws_err *err) {
    char *path = ws_sprintf("%s/%s.lock", s->locks, f->etag);
    ws_status rc = ws_mkdirs(s->locks, err);
    int said = 0;
    *fd = -1;
    while (!rc) {
        int k = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
        struct stat mine, now;
        if (k < 0) {
            rc = ws_fail(err, WS_EIO, "cannot open the lock %s: %s", path, strerror(errno));
            break;
        }
        if (!flock(k, LOCK_EX | LOCK_NB)) {
            /* whoever held it may have removed the file: then it guards nothing any more */
            if (!fstat(k, &mine) && !stat(path, &now) && mine.st_ino == now.st_ino && mine.st_dev == now.st_dev) {
                *fd = k;
                break;
            }
            close(k);
            continue;
        }
        int why = errno;
        close(k);
        if (why == ENOSYS || why == ENOTSUP || why == ENOLCK) {
            ws_detail("%s: this file system has no locks; what arrives is verified all the same", path);
            break;
        }
        if (why != EWOULDBLOCK && why != EINTR) {
            rc = ws_fail(err, WS_EIO, "locking %s failed: %s", path, strerror(why));
            break;
        }
        if (!said) ws_note("another process is fetching %s; waiting for it", f->name);
        said = 1;
        if (!(rc = ws_interrupt_check(err))) nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    free(path);
    return rc;
}
