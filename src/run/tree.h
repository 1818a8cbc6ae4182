/* src/run/tree.h - folders of a run. */
#ifndef WS_RUN_TREE_H
#define WS_RUN_TREE_H
#include "base/err.h"
#include <stdint.h>
/* Removes a folder and all below it; symbolic links are removed, not followed.  A missing one is fine. */
ws_status ws_tree_remove(const char *dir, ws_err *err);
/* Removes what killed writers left: files NAME.tmp.<pid> below `dir` (io/file.h).  Only under the run's lock. */
ws_status ws_tree_sweep(const char *dir, ws_err *err);
int64_t ws_tree_bytes(const char *dir); /* of regular files; 0 when it is missing */
#endif
