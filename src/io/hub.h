/* src/io/hub.h - models that the Hugging Face client has downloaded (conventions.md 3.1, 3.2).  Reads the cache, never
 * the network.
 *     <cache>/models--org--name/refs/main -> commit
 *     <cache>/models--org--name/snapshots/<commit>/config.json ... */
#ifndef WS_IO_HUB_H
#define WS_IO_HUB_H
#include "base/err.h"
/* HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; caller
 * frees. */
char *ws_hub_cache(void);
/* 1 when the text could be "name" or "org/name", with "@revision" or without. */
int ws_hub_is_id(const char *text);
/* The snapshot's directory; caller frees.  WS_EIO says which command downloads it. */
ws_status ws_hub_find(char **dir, const char *id, ws_err *err);
/* "org/name" of a path inside a cache (".../models--org--name/snapshots/..."), or NULL; caller frees. */
char *ws_hub_id_of(const char *path);
#endif
