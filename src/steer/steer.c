/* src/steer/steer.c - the corridor: which room opens a file, and `--steer FILE[:ALPHA]`. */
#include "steer/steer.h"
#include "base/hash.h"
#include "io/json.h"
#include "io/peft.h"
#include "steer/control_vector.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const ws_steer_ops ws_steer_##name;
#include "steer.list"
#undef X
static const ws_steer_ops *const rooms[] = {
#define X(name) &ws_steer_##name,
#include "steer.list"
#undef X
    NULL};

const ws_steer_ops *ws_steer_find(const char *format) {
    for (int i = 0; rooms[i]; i++)
        if (rooms[i]->format && !strcmp(rooms[i]->format, format)) return rooms[i];
    return NULL;
}

const ws_steer_ops *ws_steer_named(const char *name) {
    for (int i = 0; rooms[i]; i++)
        if (rooms[i]->hidden && !strcmp(rooms[i]->name, name)) return rooms[i];
    return NULL;
}
const ws_steer_ops *const *ws_steer_rooms(void) { return rooms; }

static int there(const char *path) { return *path && ws_file_exists(path); }

/* A file that begins like a JSON object; safetensors begin with the length of their header, of which the eighth byte is 0. */
static int is_json(const char *path) {
    char head[8] = {0};
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f) fclose(f);
    return n && head[0] == '{' && (n < 8 || head[7]);
}

static ws_status json_kind(const char *path, const ws_steer_ops **ops, ws_err *err) {
    json_t *j = NULL;
    ws_status st = ws_json_load(&j, path, err);
    const char *format = json_string_value(json_object_get(j, "format"));
    *ops = format ? ws_steer_find(format) : NULL;
    if (!st && !*ops)
        st = ws_fail(err, WS_EFORMAT, "%s: no steering file: its format is %s", path, format ? format : "missing");
    json_decref(j);
    return st;
}

/* The metadata "format" of a safetensors file; a PEFT directory and a LoRA GGUF count as ws-dw (theta - base).  *vector: a hidden-state
 * method's file (a GGUF control vector, too), which names its room itself; steering-lite's have a `cfg` and no format of ours. */
static ws_status kind_of(const char *path, const ws_steer_ops **ops, int *vector, ws_err *err) {
    *vector = ws_is_control_vector(path);
    if (*vector) return WS_OK;
    if (ws_is_dir(path) || ws_is_gguf(path)) {
        *ops = ws_steer_find("ws-dw");
        return WS_OK;
    }
    if (is_json(path)) return json_kind(path, ops, err);
    ws_safetensors *s = NULL;
    if (ws_safetensors_open(&s, path, err)) return err->code;
    const char *format = json_string_value(json_object_get(ws_safetensors_meta(s), "format"));
    *ops = format ? ws_steer_find(format) : NULL;
    *vector = (format && !strcmp(format, "ws-vector")) ||
              (!*ops && json_is_string(json_object_get(ws_safetensors_meta(s), "cfg")));
    if (!*ops && !*vector) {
        ws_fail(err, WS_EFORMAT, "%s: no steering file: its metadata format is %s%s", path, format ? format : "missing",
                format && !strcmp(format, "pt") ? " (a PEFT adapter is given by its directory)" : "");
    }
    ws_safetensors_close(s);
    return *ops || *vector ? WS_OK : err->code;
}

static ws_status load_vector(ws_method *x, const ws_model *m, const char *path, int force, ws_err *err) {
    ws_vector *v = NULL;
    if (ws_vector_load(&v, m, path, force, err)) return err->code;
    x->impl = v, x->ops = ws_vector_method(v), x->patch = ws_vector_patch(v);
    const char *name = ws_vector_meta(v, "name");
    if (name && *name) x->name = ws_xstrdup(name);
    return WS_OK;
}

/* Strengths between which a calibration looks.  Where they count lengths of a state that the file does not tell, the bracket is
 * wide. */
static void set_bracket(ws_method *x) {
    const ws_steer_ops *o = x->ops;
    double norm = o->of_norm && x->impl ? ws_vector_norm(x->impl) : 1;
    x->bracket_lo = o->bracket_lo * norm, x->bracket_hi = o->bracket_hi * norm;
    if (norm > 0) return;
    x->bracket_lo = 1 / 1024.0, x->bracket_hi = 4096;
}

ws_vector *ws_method_vector(const ws_method *m) { return m->ops->hidden ? m->impl : NULL; }

double ws_method_relative(const ws_method *m) {
    if (m->ops->relative_norm) return m->ops->relative_norm(m);
    double norm = m->ops->of_norm && m->impl ? ws_vector_norm(m->impl) : 0;
    return norm > 0 ? 1 / norm : NAN;
}

ws_status ws_method_load(ws_method **out, const ws_model *m, const char *path, int force, ws_err *err) {
    const ws_steer_ops *ops = NULL;
    int vector = 0;
    *out = NULL;
    if (!there(path)) {
        const char *colon = strrchr(path, ':');
        char *file = ws_xstrndup(path, colon ? (size_t)(colon - path) : 0);
        int strength = there(file);
        free(file);
        if (strength) return ws_fail(err, WS_EUSAGE, "%s: no strength can be given here; leave out '%s'", path, colon);
        return ws_fail(err, WS_EIO, "%s: no such steering file or adapter directory", path);
    }
    if (kind_of(path, &ops, &vector, err)) return err->code;
    if (!ops && !vector) return ws_fail(err, WS_EUNSUPPORTED, "%s: this build hangs no adapter directories", path);
    ws_method *x = ws_xcalloc(1, sizeof *x);
    x->ops = ops, x->path = ws_xstrdup(path);
    ws_status st = ws_is_dir(path) ? ws_adapter_dir_hash(path, x->hash, err) : ws_hash_file(path, x->hash, err);
    if (!st) st = vector ? load_vector(x, m, path, force, err) : ops->load(x, m, path, force, err);
    if (st) {
        ws_method_free(x);
        return st;
    }
    if (!x->name) { /* the file's own name without its ending */
        const char *base = strrchr(path, '/'), *dot;
        base = base && base[1] ? base + 1 : path;
        dot = strrchr(base, '.');
        x->name = ws_xstrndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
    }
    set_bracket(x);
    *out = x;
    return WS_OK;
}

void ws_method_free(ws_method *m) {
    if (!m) return;
    if (m->ops && m->ops->hidden) ws_vector_free(m->impl);
    if (m->ops && m->ops->free) m->ops->free(m);
    free(m->name), free(m->path);
    free(m);
}

ws_status ws_steering_hang(ws_steering *s, const ws_model *m, const char *path, double alpha, int force, ws_err *err) {
    ws_method *x = NULL;
    if (ws_method_load(&x, m, path, force, err)) return err->code;
    if (!x->patch) {
        ws_fail(err, WS_EUNSUPPORTED, "%s: a %s method changes the prompt and has nothing to hang in the model", path,
                x->ops->name);
        ws_method_free(x);
        return err->code;
    }
    size_t n = (size_t)s->n + 1;
    s->method = ws_xrealloc(s->method, n * sizeof *s->method);
    s->alpha = ws_xrealloc(s->alpha, n * sizeof *s->alpha);
    s->patch = ws_xrealloc(s->patch, n * sizeof *s->patch);
    s->method[s->n] = x, s->alpha[s->n] = (float)alpha, s->patch[s->n] = x->patch;
    s->n++;
    return WS_OK;
}

ws_status ws_steering_add(ws_steering *s, const ws_model *m, const char *spec, int force, ws_err *err) {
    const char *colon = strrchr(spec, ':');
    char *path = ws_xstrdup(spec), *end;
    double alpha = 1;
    /* A file name may hold colons: what stands there as a whole is taken as it is. */
    if (!there(spec) && colon && colon > spec) {
        double v = strtod(colon + 1, &end);
        path[colon - spec] = 0;
        if (end > colon + 1 && !*end && fabs(v) <= FLT_MAX) /* NaN is not */
            alpha = v;
        else {
            int known = there(path);
            free(path);
            if (known) return ws_fail(err, WS_EUSAGE, "--steer %s: '%s' is no finite number", spec, colon + 1);
            return ws_fail(err, WS_EIO, "--steer %s: no such file or adapter directory", spec);
        }
    }
    ws_status st = ws_steering_hang(s, m, path, alpha, force, err);
    free(path);
    return st ? ws_fail_prefix(err, "--steer %s", spec) : WS_OK;
}

void ws_steering_free(ws_steering *s) {
    for (int i = 0; i < s->n; i++) ws_method_free(s->method[i]);
    free(s->method), free(s->alpha), free(s->patch);
    memset(s, 0, sizeof *s);
}
