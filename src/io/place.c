#include "io/place.h"
#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A file, or a folder of files.  We make no folders inside; what lies deeper is not ours and stays. */
static void drop(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *f = ws_path_join(path, e->d_name);
        unlink(f);
        free(f);
    }
    if (d) closedir(d);
    if (d)
        rmdir(path);
    else
        unlink(path);
}

static char *folder_of(const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash) return ws_xstrdup(".");
    return slash == path ? ws_xstrdup("/") : ws_xstrndup(path, (size_t)(slash - path));
}

/* NAME.tmp.PID and NAME.old.PID of processes that live no more. */
static void sweep(const char *path) {
    const char *name;
    char *folder = folder_of(path, &name);
    DIR *d = opendir(folder);
    size_t n = strlen(name);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, name, n) || (strncmp(e->d_name + n, ".tmp.", 5) && strncmp(e->d_name + n, ".old.", 5)))
            continue;
        char *end;
        long pid = strtol(e->d_name + n + 5, &end, 10);
        if (end == e->d_name + n + 5 || *end || pid < 1 || pid == getpid()) continue;
        if (!kill((pid_t)pid, 0) || errno != ESRCH) continue;
        char *left = ws_path_join(folder, e->d_name);
        drop(left);
        free(left);
    }
    if (d) closedir(d);
    free(folder);
}

static int empty(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (d) closedir(d);
    return d && !n;
}

ws_status ws_place_open(ws_place *p, const char *path, int dir, const char *mark, ws_err *err) {
    struct stat st;
    const char *name;
    *p = (ws_place){.dir = dir};
    if (!*path) return ws_fail(err, WS_EUSAGE, "the name of what to write is empty");
    p->path = ws_xstrdup(path);
    for (size_t n = strlen(p->path); n > 1 && p->path[n - 1] == '/'; n--) p->path[n - 1] = 0;
    if (!stat(p->path, &st)) {
        char *marked = ws_path_join(p->path, mark ? mark : "");
        int ours = mark && ws_file_exists(marked);
        free(marked);
        ws_status rc = WS_OK;
        if (dir && !S_ISDIR(st.st_mode))
            rc = ws_fail(err, WS_EIO, "%s: is a file, and a directory is to be written there", path);
        else if (!dir && S_ISDIR(st.st_mode))
            rc = ws_fail(err, WS_EIO, "%s: is a directory, and a file is to be written there", path);
        else if (!dir && !S_ISREG(st.st_mode))
            rc = ws_fail(err, WS_EIO, "%s: is no plain file; what is written is read back, so it needs one", path);
        else if (dir && !ours && !empty(p->path))
            rc = ws_fail(err, WS_ESTATE,
                         "%s: holds other files already (no %s that would tell that it was written here); give another "
                         "place or remove it",
                         path, mark ? mark : "mark");
        if (rc) {
            ws_place_abandon(p);
            return rc;
        }
    }
    char *folder = folder_of(p->path, &name);
    ws_status rc = ws_mkdirs(folder, err);
    free(folder);
    if (!rc) {
        sweep(p->path);
        p->work = ws_sprintf("%s.tmp.%ld", p->path, (long)getpid());
        drop(p->work);
        if (dir && mkdir(p->work, 0777)) rc = ws_fail(err, WS_EIO, "cannot make %s: %s", p->work, strerror(errno));
    }
    if (rc) ws_place_abandon(p);
    return rc;
}

static void sync_dir(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd); /* some file systems cannot; the files themselves are safe by then */
    close(fd);
}

ws_status ws_place_commit(ws_place *p, ws_err *err) {
    const char *name;
    char *old = NULL, *folder = folder_of(p->path, &name);
    ws_status rc = WS_OK;
    if (p->dir) {
        sync_dir(p->work);
        /* a folder is replaced by moving the old one aside first */
        if (ws_file_exists(p->path)) {
            old = ws_sprintf("%s.old.%ld", p->path, (long)getpid());
            if (rename(p->path, old)) rc = ws_fail(err, WS_EIO, "cannot replace %s: %s", p->path, strerror(errno));
        }
    }
    if (!rc && rename(p->work, p->path)) {
        rc = ws_fail(err, WS_EIO, "cannot move %s to its place: %s", p->path, strerror(errno));
        if (old && rename(old, p->path)) ws_fail_prefix(err, "what was there is now %s", old);
    }
    if (!rc) {
        sync_dir(folder);
        if (old) drop(old);
        free(p->work), p->work = NULL;
    }
    free(old), free(folder);
    ws_place_abandon(p);
    return rc;
}

void ws_place_abandon(ws_place *p) {
    if (p->work) drop(p->work);
    free(p->work), free(p->path);
    *p = (ws_place){0};
}

ws_status ws_disk_room(const char *path, int64_t bytes, ws_err *err) {
    const char *name;
    struct statvfs v;
    char *folder = folder_of(path, &name);
    int asked = !statvfs(folder, &v);
    free(folder);
    if (!asked || (double)v.f_bavail * (double)v.f_frsize >= (double)bytes) return WS_OK;
    return ws_fail(err, WS_EIO, "%s needs %.1f MiB, the file system has %.1f MiB free", path, (double)bytes / 0x1p20,
                   (double)v.f_bavail * (double)v.f_frsize / 0x1p20);
}
