#include "cmd/things.h"
#include "delta/side.h"
#include "io/file.h"
#include "io/hub.h"
#include <ctype.h>
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int has_file(const char *dir, const char *name) {
    char *p = ws_path_join(dir, name);
    int there = ws_file_exists(p);
    free(p);
    return there;
}

/* An adapter or a checkpoint lies in the directory itself. */
static int holds_one(const char *dir) { return has_file(dir, "adapter_config.json") || has_file(dir, "config.json"); }

/* "run/checkpoint-500" -> 500, but "ia3" has none. */
static double step_of(const char *path) {
    size_t n = strlen(path), end;
    while (n && path[n - 1] == '/') n--;
    for (end = n; n && isdigit((unsigned char)path[n - 1]);) n--;
    return n < end && end - n < 16 && (!n || strchr("-_/", path[n - 1])) ? strtod(path + n, NULL) : NAN;
}

static void add(ws_things *l, const char *name, const char *pos, const char *neg) {
    l->t = ws_xrealloc(l->t, (size_t)(l->n + 1) * sizeof *l->t);
    l->t[l->n++] =
        (ws_thing){ws_xstrdup(name), {ws_xstrdup(pos), neg ? ws_xstrdup(neg) : NULL}, neg != NULL, step_of(pos)};
}

/* Numbers in names count as numbers. */
static int natural(const char *a, const char *b) {
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            while (*a == '0') a++;
            while (*b == '0') b++;
            size_t i = strspn(a, "0123456789"), j = strspn(b, "0123456789");
            int c = i != j ? (i > j) - (i < j) : strncmp(a, b, i);
            if (c) return c;
            a += i, b += j;
        } else if (*a != *b)
            return (unsigned char)*a - (unsigned char)*b;
        else
            a++, b++;
    }
    return (*a != 0) - (*b != 0);
}
static int by_name(const void *a, const void *b) { return natural(*(char *const *)a, *(char *const *)b); }

static ws_status add_folder(ws_things *l, const char *dir, ws_err *err) {
    DIR *d = opendir(dir);
    char **name = NULL;
    int n = 0, before = l->n;
    const int itself = holds_one(dir);
    if (!d) return ws_fail(err, WS_EIO, "cannot list %s", dir);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char *path = ws_path_join(dir, e->d_name);
        /* beside an adapter of its own a folder's numbered sub-folders are what its training left on the way */
        if (ws_is_dir(path) && holds_one(path) && (!itself || !isnan(step_of(path)))) {
            name = ws_xrealloc(name, (size_t)(n + 1) * sizeof *name);
            name[n++] = ws_xstrdup(e->d_name);
        }
        free(path);
    }
    closedir(d);
    if (n) qsort(name, (size_t)n, sizeof *name, by_name);
    for (int i = 0; i < n; i++) {
        char *path = ws_path_join(dir, name[i]);
        add(l, path, path, NULL);
        free(path), free(name[i]);
    }
    free(name);
    if (itself) add(l, dir, dir, NULL);
    if (l->n == before)
        return ws_fail(err, WS_EIO, "%s: holds neither adapters nor checkpoints, and none in its folders", dir);
    return WS_OK;
}

ws_status ws_things_add(ws_things *l, const char *text, ws_err *err) {
    const char *comma = strchr(text, ',');
    if (!ws_file_exists(text) && comma) {
        char *pos = ws_xstrndup(text, (size_t)(comma - text));
        if (!*pos || !comma[1] || strchr(comma + 1, ',')) {
            ws_fail(err, WS_EUSAGE, "%s: a pair is POS,NEG", text);
            free(pos);
            return WS_EUSAGE;
        }
        add(l, text, pos, comma + 1);
        free(pos);
        return WS_OK;
    }
    if (!ws_file_exists(text) && !ws_hub_is_id(text))
        return ws_fail(err, WS_EIO, "%s: no such file or directory", text);
    if (ws_file_exists(text) && ws_is_dir(text)) {
        ws_checkpoint *c;
        ws_err none;
        if (holds_one(text) || ws_is_edits(text)) return add_folder(l, text, err);
        if (!ws_checkpoint_open(&c, text, &none)) /* a folder of one GGUF */
            ws_checkpoint_close(c);
        else
            return add_folder(l, text, err);
    }
    add(l, text, text, NULL);
    return WS_OK;
}

void ws_things_free(ws_things *l) {
    for (int i = 0; i < l->n; i++) free(l->t[i].name), free(l->t[i].path[0]), free(l->t[i].path[1]);
    free(l->t);
    *l = (ws_things){0};
}
