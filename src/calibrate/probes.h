/* src/calibrate/probes.h - finished probes on disk: DIR/probes.jsonl, a line each, reused when the key is the same. */
#ifndef WS_CALIBRATE_PROBES_H
#define WS_CALIBRATE_PROBES_H
#include "calibrate/kl.h"
#include "io/file.h"
#include <jansson.h>

typedef struct ws_probes {
    ws_lines file;
    json_t *seen; /* array of the lines' objects */
} ws_probes;
ws_status ws_probes_open(ws_probes *p, const char *path, ws_err *err);
ws_status ws_probes_close(ws_probes *p, ws_err *err);
/* The record of (key, alpha) as a result (ids NULL) that the caller frees; 0: none. */
int ws_probes_find(const ws_probes *p, const char *key, double alpha, ws_kl_result *out, double *seconds, int *batch);
ws_status ws_probes_add(ws_probes *p, const char *key, const char *method, const char *set, double alpha,
                        const ws_kl_result *r, double seconds, int batch, ws_err *err);
#endif
