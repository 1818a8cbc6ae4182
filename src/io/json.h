/* src/io/json.h - jansson, with the checks that untrusted files need and errors that name file, line and key. */
#ifndef WS_IO_JSON_H
#define WS_IO_JSON_H
#include "base/err.h"
#include "base/str.h"
#include <jansson.h>

/* Load a whole document.  Duplicate keys are refused; nesting deeper than 128 is refused; BOM tolerated. */
ws_status ws_json_load(json_t **out, const char *path, ws_err *err);
ws_status ws_json_parse(json_t **out, const char *text, size_t n, const char *name_for_errors, ws_err *err);
/* JSON lines (CRLF, BOM and empty lines tolerated) or one JSON array: calls fn for every value; `line` is 1-based, and for
 * entry N of an array -N: ws_json_where tells either as text. */
ws_status ws_jsonl_each(const char *path, ws_status (*fn)(void *arg, json_t *value, long line, ws_err *err), void *arg,
                        ws_err *err);
/* "path:7" for line 7, "path, entry 7" for entry 7 of an array (line -7); caller frees. */
char *ws_json_where(const char *path, long line);
/* Keys in insertion order; compact = one line.  Numbers: %.17g shortest that reads back. */
void ws_json_dump(const json_t *v, ws_str *out, int compact);
void ws_json_dump_sorted(const json_t *v, ws_str *out, int compact); /* keys sorted, as Python's sort_keys */
void ws_num_text(char out[32], double v); /* the shortest of %.15g .. %.17g that reads back */
ws_status ws_json_save(const json_t *v, const char *path, ws_err *err); /* indented, atomically, newline at the end */

/* Typed getters: `where` (file or file:line) goes into the error.  _or: default when the key is missing or null. */
ws_status ws_json_str(const json_t *o, const char *key, const char **out, const char *where, ws_err *err);
/* 1.0 counts as 1. */
ws_status ws_json_int(const json_t *o, const char *key, int64_t *out, const char *where, ws_err *err);
ws_status ws_json_num(const json_t *o, const char *key, double *out, const char *where, ws_err *err);
ws_status ws_json_int_or(const json_t *o, const char *key, int64_t dflt, int64_t *out, const char *where, ws_err *err);
ws_status ws_json_num_or(const json_t *o, const char *key, double dflt, double *out, const char *where, ws_err *err);
ws_status ws_json_bool_or(const json_t *o, const char *key, int dflt, int *out, const char *where, ws_err *err);
#endif
