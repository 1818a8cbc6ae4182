#include "io/peft.h"
#include "io/json.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* `dir` itself, or its only sub-directory that holds an adapter (PEFT saves an adapter of another name than "default"
 * there). */
static ws_status locate(char **out, const char *dir, ws_err *err) {
    char *config = ws_path_join(dir, "adapter_config.json");
    int here = ws_file_exists(config), found = 0;
    free(config);
    *out = NULL;
    if (here) {
        *out = ws_xstrdup(dir);
        return WS_OK;
    }
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char *sub = ws_path_join(dir, e->d_name), *f = ws_path_join(sub, "adapter_config.json");
        if (ws_file_exists(f) && !found++) *out = sub, sub = NULL;
        free(sub), free(f);
    }
    if (d) closedir(d);
    if (found == 1) return WS_OK;
    free(*out);
    *out = NULL;
    if (found) return ws_fail(err, WS_EUSAGE, "%s: holds %d adapters in sub-directories; name one of them", dir, found);
    return ws_fail(err, WS_EIO, "%s: %s", dir,
                   d ? "has no adapter_config.json, so it is no adapter directory" : "no such directory");
}

ws_status ws_peft_open(ws_peft_dir *d, const char *dir, ws_err *err) {
    *d = (ws_peft_dir){0};
    char *config = NULL, *weights = NULL, *pickle = NULL;
    const char *type;
    ws_status rc = locate(&d->path, dir, err);
    if (rc) return rc;
    config = ws_path_join(d->path, "adapter_config.json");
    weights = ws_path_join(d->path, "adapter_model.safetensors");
    pickle = ws_path_join(d->path, "adapter_model.bin");
    if ((rc = ws_json_load(&d->config, config, err)) || (rc = ws_json_str(d->config, "peft_type", &type, config, err)))
        goto done;
    if (!ws_file_exists(weights) && ws_file_exists(pickle)) {
        rc = ws_fail(err, WS_EUNSUPPORTED,
                     "%s: is a pickle, which is not read because unpickling runs code; save it as safetensors", pickle);
        goto done;
    }
    rc = ws_safetensors_open(&d->tensors, weights, err);
done:
    free(config), free(weights), free(pickle);
    if (rc) ws_peft_close(d);
    return rc;
}

void ws_peft_close(ws_peft_dir *d) {
    if (!d) return;
    json_decref(d->config);
    ws_safetensors_close(d->tensors);
    free(d->path);
    *d = (ws_peft_dir){0};
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Keys in PEFT's order, but objects inside as they are: the first pattern of rank_pattern that matches counts, so sorting
 * those, as PEFT does, may change what they say. */
static json_t *sorted(const json_t *config) {
    const char **keys = ws_xmalloc((json_object_size(config) + 1) * sizeof *keys), *key;
    json_t *value, *out = json_object();
    size_t n = 0;
    json_object_foreach((json_t *)(uintptr_t)config, key, value) keys[n++] = key;
    qsort(keys, n, sizeof *keys, by_name);
    for (size_t i = 0; i < n; i++) json_object_set(out, keys[i], json_object_get(config, keys[i]));
    free(keys);
    return out;
}

ws_status ws_peft_write(const char *dir, const json_t *config, const ws_tensor *t, size_t n, ws_err *err) {
    char *weights = ws_path_join(dir, "adapter_model.safetensors"), *path = ws_path_join(dir, "adapter_config.json");
    ws_str text = {0};
    ws_status rc = ws_safetensors_write(weights, t, n, NULL, err);
    if (!rc) {
        json_t *ordered = sorted(config);
        ws_json_dump(ordered, &text, 0);
        json_decref(ordered);
        rc = ws_file_write(path, text.p, text.n, err);
    }
    ws_str_free(&text);
    free(weights), free(path);
    return rc;
}
