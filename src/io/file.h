/* src/io/file.h - reading by mmap, writing by "temporary file, fsync, rename", locks. */
#ifndef WS_IO_FILE_H
#define WS_IO_FILE_H
#include "base/err.h"
#include "base/str.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct ws_map {
    const uint8_t *p; /* read-only; NULL for an empty file */
    size_t n;
} ws_map;
ws_status ws_map_open(ws_map *m, const char *path, ws_err *err);
void ws_map_close(ws_map *m);
/* Gives the memory of mapped pages back that lie wholly within [p, p + n); they are read again when they are needed. */
void ws_map_forget(const void *p, size_t n);

ws_status ws_file_read(const char *path, ws_str *out, ws_err *err); /* whole file, appended */
int ws_file_exists(const char *path);
int ws_is_dir(const char *path);
ws_status ws_mkdirs(const char *dir, ws_err *err); /* like mkdir -p */
char *ws_path_join(const char *a, const char *b);  /* caller frees */

/* A file that appears whole or not at all: writes go to `path`.tmp.<pid>; commit = flush, fsync, rename, fsync of the
 * directory.  Every write error (disk full) is kept and reported by commit, after which the temporary file is gone. */
typedef struct ws_out {
    FILE *f;
    char *path, *tmp;
} ws_out;
ws_status ws_out_open(ws_out *o, const char *path, ws_err *err); /* makes missing folders */
ws_status ws_out_commit(ws_out *o, ws_err *err);                 /* also closes; after failure nothing is left */
/* Whether a file could be written there, without touching what is there: asked before long work. */
ws_status ws_out_try(const char *path, ws_err *err);
void ws_out_abandon(ws_out *o);                                                      /* NULL-safe, idempotent */
ws_status ws_file_write(const char *path, const void *bytes, size_t n, ws_err *err); /* open, write, commit */

/* Append-only line file (pairs.jsonl): each ws_lines_add is one write, synced at most once a second and on close.
 * Opening cuts a half-written last line off first, so a killed writer goes on where it stopped; a line that could not be
 * written (disk full) is taken back. */
typedef struct ws_lines {
    int fd;
    char *path;
    double synced; /* monotonic time of the last fdatasync */
} ws_lines;
ws_status ws_lines_open(ws_lines *l, const char *path, ws_err *err);
ws_status ws_lines_add(ws_lines *l, const char *line, size_t n, ws_err *err); /* newline added */
ws_status ws_lines_close(ws_lines *l, ws_err *err);

/* An exclusive lock on `dir`/.lock, held until unlock or process end (fcntl; the file stays).  WS_ESTATE names the pid that holds it;
 * wait != 0: says so once and waits. */
ws_status ws_lock(int *fd, const char *dir, int wait, ws_err *err);
void ws_unlock(int fd);
/* Removes the temporary files NAME.tmp.<pid> that killed writers left directly in `dir`.  Only under its lock. */
void ws_dir_sweep(const char *dir);
#endif
