/* src/run/manifest.h - what a run directory holds and how it came about: <out>/<behavior>/manifest.json.
 * A run belongs to one model, one behaviour and one set of options; a stage is recorded with the hashes of its options,
 * of its inputs' contents and of its outputs.  Written whole (temporary file, fsync, rename) after every change, so
 * that a killed run leaves the last true state.  docs/formats.md, section "manifest.json", has every key. */
#ifndef WS_RUN_MANIFEST_H
#define WS_RUN_MANIFEST_H
#include "io/json.h"

typedef struct ws_manifest ws_manifest;
/* Reads `dir`/manifest.json; a missing file is an empty manifest.  WS_EFORMAT when it is not one of ours, or names files
 * that do not lie below the folder of the run: they would be removed when their stage runs again. */
ws_status ws_manifest_open(ws_manifest **out, const char *dir, ws_err *err);
ws_manifest *ws_manifest_new(const char *dir); /* an empty one, whatever lies there (--fresh) */
void ws_manifest_free(ws_manifest *m);         /* does not save */
ws_status ws_manifest_save(const ws_manifest *m, ws_err *err);
const json_t *ws_manifest_root(const ws_manifest *m);
const char *ws_manifest_dir(const ws_manifest *m);

/* Claims the directory for a run.  `identity`: {"model": {.., "hash"}, "tokenizer": {..}, "behavior": {..}, "options": {..}}.
 * Another model, behaviour or option than the one recorded is WS_ESTATE, naming both; an empty manifest takes it over. */
ws_status ws_manifest_claim(ws_manifest *m, const json_t *identity, ws_err *err);
/* Facts that may change between sessions of one run: program, kernels, threads ...; overwritten each time. */
void ws_manifest_note(ws_manifest *m, const char *key, json_t *value); /* takes the reference */

/* The record of one stage, or NULL. */
const json_t *ws_manifest_stage(const ws_manifest *m, const char *name);
void ws_manifest_set_stage(ws_manifest *m, const char *name, json_t *record); /* takes the reference; NULL removes */

/* SHA-256 of the running program's file: tells builds apart without a version control system.  "" where unreadable. */
void ws_code_hash(char hex[65]);
#endif
