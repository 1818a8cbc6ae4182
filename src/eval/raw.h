/* src/eval/raw.h - raw results of a readout on disk as they finish: a header line with the key of everything they depend
 * on, then lines in a fixed order.  A killed evaluation reads its lines back and goes on with the next. */
#ifndef WS_EVAL_RAW_H
#define WS_EVAL_RAW_H
#include "eval/eval.h"
#include "io/file.h"
#include "base/hash.h"

typedef struct ws_raw {
    ws_lines file;
    int n; /* lines that were there */
    /* what an evaluation of the base alone has, see ws_eval_options.base */
    int n_base;
    json_t **base;
    ws_status (*line)(void *arg, int i, const json_t *v, ws_err *err);
    void *arg;
} ws_raw;
/* `line` is called for each result of an earlier session, numbered from 0, at most `most` of them.  A file that was made
 * with another model, method, text or option is WS_ESTATE unless o->fresh. */
ws_status ws_raw_open(ws_raw *r, const ws_eval *e, const char *name, const char *format, const char *key, int most,
                      ws_status (*line)(void *arg, int i, const json_t *v, ws_err *err), void *arg, ws_err *err);
ws_status ws_raw_add(ws_raw *r, json_t *v, ws_err *err); /* takes the reference */
/* Result i of a file whose results come in groups of `settings`, the base's first: 1 when it is one of the base's and
 * stands in the base's own evaluation. */
int ws_raw_has_base(const ws_raw *r, int i, int settings);
/* Takes that result over, through `line`, and writes it to its place in the file, which is now. */
ws_status ws_raw_take_base(ws_raw *r, int i, int settings, ws_err *err);
ws_status ws_raw_close(ws_raw *r, ws_err *err);
/* Appends what a model said: NUL, which JSON readers refuse, is replaced like other bytes that are no text. */
void ws_raw_text(ws_str *out, const ws_str *said);
/* A hash begun with what every readout depends on: format, model, kernels, template, settings. */
ws_hash *ws_raw_key(const ws_eval *e, const char *format);

/* CSV text: a field or number with the comma it needs before it; NaN is "nan". */
void ws_col(ws_str *s, const char *text);
void ws_num(ws_str *s, double v);
void ws_col_setting(ws_str *s, const ws_setting *x); /* method, alpha, arm */
/* DIR/name, whole or not at all; nothing without a folder (ws readout). */
ws_status ws_eval_write(const ws_eval *e, const char *name, const ws_str *text, ws_err *err);
#endif
