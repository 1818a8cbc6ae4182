/* src/io/hub.h - models by their hub id: the Hugging Face cache (conventions.md 3.1, 3.2), and `ws pull`, which fills it.
 *     <cache>/models--org--name/refs/main -> commit
 *     <cache>/models--org--name/snapshots/<commit>/config.json -> ../../blobs/<etag>
 * An id is "org/name", "org/name@revision", and for one GGUF file of a repository "org/name:file.gguf" or
 * "org/name@revision:file.gguf".  Looking never touches the network; only ws_hub_pull does. */
#ifndef WS_IO_HUB_H
#define WS_IO_HUB_H
#include "base/err.h"
#include <stdint.h>

typedef struct ws_hub_id {
    char *name;     /* "org/name" */
    char *revision; /* branch, tag or commit; NULL: "main" */
    char *file;     /* "x.gguf"; NULL: the whole model */
} ws_hub_id;
int ws_hub_id_parse(ws_hub_id *id, const char *text); /* 0: the text is none, and nothing is to be freed */
void ws_hub_id_free(ws_hub_id *id);
int ws_hub_is_id(const char *text);

/* HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; caller
 * frees. */
char *ws_hub_cache(void);
char *ws_hub_token_path(void); /* HF_TOKEN_PATH, HF_HOME/token; caller frees */
/* Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the network. */
int ws_hub_offline(void);
int ws_hub_flag(const char *variable); /* an environment variable is 1, ON, YES or TRUE, in any case */

/* The snapshot's directory (or the file that the id names); caller frees.  WS_EIO says which command fetches it. */
ws_status ws_hub_find(char **path, const char *id, ws_err *err);
/* 1 when the snapshot has everything that a model needs: configuration, all weights, a tokenizer (or the knowledge that
 * there is none). */
int ws_hub_whole(const char *id);
/* "org/name" of a path inside a cache (".../models--org--name/snapshots/..."), or NULL; caller frees. */
char *ws_hub_id_of(const char *path);

/* ---- fetching (hub_pull.c) ---- */

typedef struct ws_pull_options {
    const char *id;
    const char *revision;       /* over the id's own; NULL: none */
    const char *endpoint;       /* NULL: HF_ENDPOINT, else the public hub */
    const char *const *include; /* file name patterns instead of the usual choice; n of them */
    int n_include;
    int offline; /* only look */
} ws_pull_options;

typedef struct ws_pull_result {
    char *name, *revision, *commit;
    char *path;               /* the snapshot's directory, or the GGUF file */
    int files, files_fetched; /* of the choice; by this call */
    int64_t bytes, bytes_fetched;
} ws_pull_result;

/* Brings a model into the cache: revision resolved once, every file verified, what was begun is gone on with.  Says what it
 * will fetch before it does.  WS_EINTERRUPTED, WS_EIO: what has arrived stays, the same call goes on. */
ws_status ws_hub_pull(ws_pull_result *out, const ws_pull_options *o, ws_err *err);
void ws_pull_result_free(ws_pull_result *r);
#endif
