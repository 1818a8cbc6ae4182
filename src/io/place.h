/* src/io/place.h - a file or folder that is made beside its place, checked there, and then put in place in one step.
 * Until ws_place_commit nothing is at the place that was not there before; after a failure nothing is left. */
#ifndef WS_IO_PLACE_H
#define WS_IO_PLACE_H
#include "base/err.h"
#include <stdint.h>

typedef struct ws_place {
    char *path; /* where it shall be */
    char *work; /* where it is made: "PATH.tmp.PID", a folder (there already) or the name of a file */
    int dir;
} ws_place;
/* `mark`: a folder that is there is replaced when it is empty or holds a file of this name, and refused otherwise (WS_ESTATE).
 * A plain file is replaced as everywhere.  What killed makers of the same place left is swept away. */
ws_status ws_place_open(ws_place *p, const char *path, int dir, const char *mark, ws_err *err);
ws_status ws_place_commit(ws_place *p, ws_err *err); /* after failure nothing is left */
void ws_place_abandon(ws_place *p);                  /* idempotent */
/* WS_EIO where the file system that `path` will lie on has fewer than `bytes` free; where it cannot be asked, WS_OK. */
ws_status ws_disk_room(const char *path, int64_t bytes, ws_err *err);
#endif
