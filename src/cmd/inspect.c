/* src/cmd/inspect.c - ws inspect: what a file or directory is.  The report is one JSON object; the text is printed from it. */
#include "base/interrupt.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "cmd/inspect_edits.h"
#include "cmd/inspect_vector.h"
#include "delta/side.h"
#include "family/family.h"
#include "io/json.h"
#include "io/peft.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(inspect)

enum { K_NORMS = 1, K_TENSORS };
static const struct argp_option options[] = {
    {"norms", K_NORMS, 0, 0, "Frobenius norm of every tensor of a model too (reads all weights)", 0},
    {"tensors", K_TENSORS, 0, 0, "a line per tensor, of a model instead of one for all layers", 0},
    {0}};

typedef struct args {
    const char *path;
    int norms, tensors;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case K_NORMS: a->norms = 1; break;
    case K_TENSORS: a->tensors = 1; break;
    case ARGP_KEY_ARG:
        if (a->path) argp_error(state, "one path at a time; '%s' is a second one", arg);
        a->path = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void set_str(json_t *o, const char *key, const char *v) {
    json_object_set_new(o, key, v ? json_string(v) : json_null());
}
static void set_int(json_t *o, const char *key, int64_t v) { json_object_set_new(o, key, json_integer(v)); }
/* JSON has no NaN: a norm that is none is null. */
static void set_num(json_t *o, const char *key, double v) {
    json_object_set_new(o, key, isfinite(v) ? json_real(v) : json_null());
}

/* ---- tensors ---- */

/* Frobenius norm in double, a row at a time.  -1: not numbers that are multiplied. */
static double norm_of(const ws_tensor *t) {
    const int64_t n = ws_tensor_numel(t), rows = t->dims > 1 ? t->dim[0] : 1;
    double sum = 0;
    if (!ws_dtypes[t->type].is_weight) return -1;
    if (!n) return 0;
    float *row = t->dims > 1 ? ws_xmalloc((size_t)(n / rows) * sizeof *row) : ws_tensor_f32(t);
    for (int64_t r = 0; row && r < rows; r++) {
        if (t->dims > 1) ws_tensor_row_f32(t, r, row);
        for (int64_t i = 0; i < n / rows; i++) sum += (double)row[i] * (double)row[i];
    }
    if (!row) sum = NAN;
    free(row);
    return sqrt(sum);
}

static json_t *describe(const ws_tensor *t, int norm) {
    json_t *o = json_object(), *shape = json_array();
    set_str(o, "name", t->name);
    set_str(o, "type", ws_dtypes[t->type].name);
    for (int i = 0; i < t->dims; i++) json_array_append_new(shape, json_integer(t->dim[i]));
    json_object_set_new(o, "shape", shape);
    set_int(o, "bytes", (int64_t)t->bytes);
    double v = norm ? norm_of(t) : -1;
    if (v != -1) set_num(o, "norm", v);
    return o;
}

/* Adds "tensors", "types", "parameters" and "bytes" for n tensors that `at` gives. */
static ws_status add_tensors(json_t *report, size_t n, const ws_tensor *(*at)(const void *, size_t), const void *from,
                             int norms, ws_err *err) {
    json_t *list = json_array(), *types = json_object();
    int64_t numbers = 0, bytes = 0;
    ws_progress p;
    ws_status st = WS_OK;
    if (norms) ws_progress_start(&p, "norms", "tensors", (int64_t)n);
    for (size_t i = 0; i < n && !(st = ws_interrupt_check(err)); i++) {
        const ws_tensor *t = at(from, i);
        json_t *type = json_object_get(types, ws_dtypes[t->type].name);
        if (!type)
            json_object_set_new(types, ws_dtypes[t->type].name,
                                type = json_pack("{s:i,s:i,s:i}", "tensors", 0, "parameters", 0, "bytes", 0));
        set_int(type, "tensors", json_integer_value(json_object_get(type, "tensors")) + 1);
        set_int(type, "parameters", json_integer_value(json_object_get(type, "parameters")) + ws_tensor_numel(t));
        set_int(type, "bytes", json_integer_value(json_object_get(type, "bytes")) + (int64_t)t->bytes);
        numbers += ws_tensor_numel(t), bytes += (int64_t)t->bytes;
        json_array_append_new(list, describe(t, norms));
        if (norms) ws_progress_update(&p, (int64_t)i + 1, NULL);
    }
    if (norms) ws_progress_end(&p);
    set_int(report, "parameters", numbers);
    set_int(report, "bytes", bytes);
    json_object_set_new(report, "types", types);
    json_object_set_new(report, "tensors", list);
    return st;
}

static const ws_tensor *from_checkpoint(const void *c, size_t i) { return ws_checkpoint_at(c, i); }
static const ws_tensor *from_gguf(const void *g, size_t i) { return ws_gguf_at(g, i); }
static const ws_tensor *from_safetensors(const void *s, size_t i) { return ws_safetensors_at(s, i); }

/* ---- models ---- */

static void add_layers(json_t *report, const ws_arch *a) {
    json_t *full = json_array(), *o = json_object();
    for (int i = 0; i < a->layers; i++)
        if (a->block[i].mixer == WS_MIXER_ATTENTION) json_array_append_new(full, json_integer(i));
    set_int(o, "count", a->layers);
    json_object_set_new(o, "full_attention", full);
    set_int(o, "hidden", a->hidden);
    set_int(o, "heads", a->heads), set_int(o, "kv_heads", a->kv_heads), set_int(o, "head_dim", a->head_dim);
    set_int(o, "ffn", a->ffn);
    if (a->n_delta) {
        const ws_delta_shape *d = &a->delta;
        json_object_set_new(o, "delta_rule",
                            json_pack("{s:i,s:i,s:i,s:i,s:i,s:i}", "count", a->n_delta, "key_heads", d->key_heads,
                                      "value_heads", d->value_heads, "key_dim", d->dk, "value_dim", d->dv,
                                      "convolution", a->conv_taps));
    }
    json_object_set_new(report, "layers", o);
}

static void add_memory(json_t *report, const ws_checkpoint *c) {
    ws_arch a = {0};
    ws_model *model = NULL;
    ws_err err = {0};
    if (ws_arch_open(&a, c, &err) || ws_model_open(&model, c, &err)) {
        set_str(report, "not_loadable", err.msg); /* it can be looked at all the same */
    } else {
        json_t *m = json_object();
        set_int(m, "weights_bytes", json_integer_value(json_object_get(report, "bytes")));
        set_int(m, "cache_bytes_per_token", ws_model_token_bytes(model));
        set_int(m, "state_bytes_per_sequence", ws_model_seq_bytes(model));
        set_int(m, "max_tokens", a.max_pos);
        json_object_set_new(report, "memory", m);
        json_object_set_new(report, "tied_head", json_boolean(a.tied));
        set_str(report, "family", a.family);
        add_layers(report, &a);
    }
    ws_model_free(model);
    ws_arch_release(&a);
}

static void add_stops(json_t *report, const ws_checkpoint *c) {
    ws_tokenizer *t = NULL;
    ws_err err = {0};
    if (ws_tokenizer_open(&t, c, &err)) {
        set_str(report, "tokenizer", err.msg); /* the ids that the configurations name are known all the same */
        const json_t *eos = json_object_get(ws_checkpoint_generation_config(c), "eos_token_id");
        if (!eos || json_is_null(eos)) eos = json_object_get(ws_checkpoint_config(c), "eos_token_id");
        json_t *ids = json_array();
        for (size_t i = 0; i < (json_is_array(eos) ? json_array_size(eos) : json_is_integer(eos)); i++) {
            const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
            json_array_append_new(ids, json_pack("{s:I, s:n}", "id", json_integer_value(id), "text"));
        }
        json_object_set_new(report, "stop_tokens", ids);
        return;
    }
    int n;
    const int32_t *id = ws_tokenizer_stops(t, &n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        ws_str s = {0};
        json_t *o = json_object();
        set_int(o, "id", id[i]);
        set_str(o, "text", ws_tokenizer_decode(t, &id[i], 1, 0, &s, &err) ? NULL : s.p);
        json_array_append_new(list, o);
        ws_str_free(&s);
    }
    json_object_set_new(report, "stop_tokens", list);
    set_int(report, "tokens", ws_tokenizer_size(t));
    ws_tokenizer_free(t);
}

static ws_status checkpoint(json_t *report, const ws_checkpoint *c, const args *a, ws_err *err) {
    const ws_gguf *g = ws_checkpoint_gguf(c);
    set_str(report, "kind", "checkpoint");
    set_str(report, "container", g ? "gguf" : "safetensors");
    set_str(report, "path", ws_checkpoint_path(c));
    set_str(report, "name", ws_checkpoint_name(c));
    json_object_set(report, "family", json_object_get(ws_checkpoint_config(c), "model_type"));
    set_str(report, "main_type", ws_dtypes[ws_checkpoint_main_type(c)].name);
    set_str(report, "hash", ws_checkpoint_hash(c));
    ws_status st = add_tensors(report, ws_checkpoint_count(c), from_checkpoint, c, a->norms, err);
    if (st) return st;
    set_int(report, "ignored_tensors", (int64_t)ws_checkpoint_ignored(c));
    add_memory(report, c);
    add_stops(report, c);
    json_object_set(report, "config", (json_t *)(uintptr_t)ws_checkpoint_config(c));
    if (g) json_object_set_new(report, "metadata", ws_gguf_meta_json(g));
    return WS_OK;
}

/* A GGUF that is no model of ours (an adapter, a control vector, another architecture): what it holds, by its own names. */
static ws_status bare_gguf(json_t *report, const char *path, const char *why, ws_err *err) {
    ws_gguf *g;
    ws_status st = ws_gguf_open(&g, path, err);
    if (st) return st;
    set_str(report, "kind", "gguf");
    set_str(report, "path", path);
    set_str(report, "family", ws_gguf_str(g, "general.architecture", NULL));
    set_str(report, "not_loadable", why);
    st = add_tensors(report, ws_gguf_count(g), from_gguf, g, 0, err);
    json_object_set_new(report, "metadata", ws_gguf_meta_json(g));
    ws_gguf_close(g);
    return st;
}

/* ---- adapters, dW, other tensor files ---- */

static ws_status adapter(json_t *report, const char *path, ws_err *err) {
    ws_peft_dir d;
    ws_status st = ws_peft_open(&d, path, err);
    if (st) return st;
    set_str(report, "kind", "adapter");
    set_str(report, "path", d.path);
    json_object_set(report, "adapter", json_object_get(d.config, "peft_type"));
    json_object_set(report, "base", json_object_get(d.config, "base_model_name_or_path"));
    st = add_tensors(report, ws_safetensors_count(d.tensors), from_safetensors, d.tensors, 1, err);
    if (!st) ws_inspect_adapter(report, d.tensors);
    json_object_set(report, "config", d.config);
    ws_peft_close(&d);
    return st;
}

static ws_status tensor_file(json_t *report, const char *path, ws_err *err) {
    ws_safetensors *s;
    ws_status st = ws_safetensors_open(&s, path, err);
    if (st) return st;
    const json_t *meta = ws_safetensors_meta(s);
    const char *format = json_string_value(json_object_get(meta, "format"));
    int dw = format && !strcmp(format, "ws-dw");
    if (!ws_inspect_vector(report, s)) set_str(report, "kind", dw ? "dw" : "safetensors");
    set_str(report, "path", path);
    st = add_tensors(report, ws_safetensors_count(s), from_safetensors, s, 1, err);
    if (dw && !st) ws_inspect_dw(report, s);
    if (meta) json_object_set(report, "metadata", (json_t *)(uintptr_t)meta);
    ws_safetensors_close(s);
    return st;
}

/* ---- text ---- */

static const char *str(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "-";
}

static void print_size(const char *label, int64_t bytes) {
    char text[32];
    printf("%-12s %s\n", label, ws_format_bytes(text, (double)bytes));
}

/* "model.layers.12.mlp" -> "model.layers.*.mlp" */
static void collapse(const char *name, ws_str *out) {
    for (const char *p = name; *p;) {
        size_t n = strspn(p, "0123456789");
        if (n && (p == name || p[-1] == '.') && (!p[n] || p[n] == '.'))
            ws_str_addc(out, '*');
        else
            ws_str_add(out, p, n = n ? n : 1);
        p += n;
    }
}

static void shape_text(const json_t *shape, ws_str *out) {
    ws_str_addc(out, '[');
    for (size_t i = 0; i < json_array_size(shape); i++)
        ws_str_addf(out, "%s%lld", i ? ", " : "", (long long)json_integer_value(json_array_get(shape, i)));
    ws_str_addc(out, ']');
}

/* Rows of equal name pattern, shape and type become one, counted. */
static void print_tensors(const json_t *list, int each) {
    json_t *rows = json_object(), *t, *count;
    size_t i;
    const char *row;
    json_array_foreach((json_t *)(uintptr_t)list, i, t) {
        ws_str s = {0}, name = {0}, shape = {0};
        const json_t *norm = json_object_get(t, "norm");
        if (each || norm)
            ws_str_adds(&name, str(t, "name"));
        else
            collapse(str(t, "name"), &name);
        shape_text(json_object_get(t, "shape"), &shape);
        ws_str_addf(&s, "%-52s %-16s %-5s", name.p ? name.p : "", shape.p, str(t, "type"));
        if (json_is_number(norm))
            ws_str_addf(&s, "  %.6g", json_number_value(norm));
        else if (norm)
            ws_str_adds(&s, "  NaN or infinite");
        json_object_set_new(rows, s.p, json_integer(json_integer_value(json_object_get(rows, s.p)) + 1));
        ws_str_free(&s), ws_str_free(&name), ws_str_free(&shape);
    }
    int norms = json_object_get(json_array_get(list, 0), "norm") != NULL;
    printf("\n%5s  %-52s %-16s %-5s%s\n", "count", "tensor", "shape", "type", norms ? "  Frobenius norm" : "");
    json_object_foreach(rows, row, count) printf("%5lld  %s\n", (long long)json_integer_value(count), row);
    json_decref(rows);
}

static void print_object(const char *title, const json_t *o) {
    const char *key;
    json_t *v;
    if (!json_object_size(o)) return;
    printf("\n%s\n", title);
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        ws_str s = {0};
        ws_json_dump(v, &s, 1);
        size_t n = s.n;
        while (n > 160 || (n < s.n && (s.p[n] & 0xc0) == 0x80)) n--; /* never inside a character */
        printf("  %-36s %.*s%s\n", key, (int)n, s.p, n < s.n ? " ..." : "");
        ws_str_free(&s);
    }
}

static long long num(const json_t *o, const char *key) {
    return (long long)json_integer_value(json_object_get(o, key));
}

static void print_layers(const json_t *l) {
    const json_t *delta = json_object_get(l, "delta_rule"), *full = json_object_get(l, "full_attention");
    size_t n = json_array_size(full);
    printf("%-12s %lld, hidden size %lld, MLP %lld\n", "layers", num(l, "count"), num(l, "hidden"), num(l, "ffn"));
    if (delta)
        printf("%-12s %lld layers: gated delta rule, %lld key heads of %lld, %lld value heads of %lld, %lld taps\n", "",
               num(delta, "count"), num(delta, "key_heads"), num(delta, "key_dim"), num(delta, "value_heads"),
               num(delta, "value_dim"), num(delta, "convolution"));
    if (!n) return;
    printf("%-12s %zu layers: full attention, %lld heads, %lld of keys and values, of %lld", "", n, num(l, "heads"),
           num(l, "kv_heads"), num(l, "head_dim"));
    for (size_t i = 0; i < n && delta; i++)
        printf("%s%lld", i ? ", " : " (", (long long)json_integer_value(json_array_get(full, i)));
    puts(delta ? ")" : "");
}

static void print_text(const json_t *r, const args *a) {
    static const char *const lines[] = {"kind", "path",      "name", "container",    "family",   "adapter",
                                        "base", "main_type", "hash", "not_loadable", "tokenizer"};
    const char *type;
    json_t *v;
    size_t i;
    for (i = 0; i < sizeof lines / sizeof *lines; i++)
        if (json_is_string(json_object_get(r, lines[i]))) printf("%-12s %s\n", lines[i], str(r, lines[i]));
    ws_inspect_vector_print(r);
    printf("%-12s %lld\n", "parameters", (long long)json_integer_value(json_object_get(r, "parameters")));
    json_object_foreach(json_object_get(r, "types"), type, v)
        printf("  %-10s %lld in %lld tensors\n", type, (long long)json_integer_value(json_object_get(v, "parameters")),
               (long long)json_integer_value(json_object_get(v, "tensors")));
    print_size("weights", json_integer_value(json_object_get(r, "bytes")));
    const json_t *m = json_object_get(r, "memory"), *ignored = json_object_get(r, "ignored_tensors");
    if (m) {
        print_layers(json_object_get(r, "layers"));
        if (num(m, "state_bytes_per_sequence")) print_size("per sequence", num(m, "state_bytes_per_sequence"));
        print_size("per token", json_integer_value(json_object_get(m, "cache_bytes_per_token")));
        printf("%-12s %lld tokens at most\n", "context",
               (long long)json_integer_value(json_object_get(m, "max_tokens")));
        printf("%-12s %s\n", "head",
               json_is_true(json_object_get(r, "tied_head")) ? "tied to the embedding" : "its own matrix");
    }
    if (json_integer_value(ignored))
        printf("%-12s %lld tensors (vision, multi-token prediction, buffers)\n", "ignored",
               (long long)json_integer_value(ignored));
    json_array_foreach(json_object_get(r, "stop_tokens"), i, v)
        printf("%-12s %lld %s\n", i ? "" : "stop ids", (long long)json_integer_value(json_object_get(v, "id")),
               str(v, "text"));
    print_object("configuration", json_object_get(r, "config"));
    print_object("metadata", json_object_get(r, "metadata"));
    if (json_object_get(r, "sites")) ws_inspect_print_sites(r);
    if (!json_object_get(r, "sites") || a->tensors) print_tensors(json_object_get(r, "tensors"), a->tensors);
}

/* ---- which kind ---- */

static int has_file(const char *dir, const char *name) {
    char *p = ws_path_join(dir, name);
    int there = ws_file_exists(p);
    free(p);
    return there;
}

static int begins_with_gguf(const char *path) {
    char magic[4] = {0};
    FILE *f = fopen(path, "rbe");
    size_t n = f ? fread(magic, 1, 4, f) : 0;
    if (f) fclose(f);
    return n == 4 && !memcmp(magic, "GGUF", 4);
}

static ws_status look(json_t *report, const args *a, const ws_common *common, ws_err *err) {
    ws_checkpoint *c;
    int there = ws_file_exists(a->path), dir = there && ws_is_dir(a->path);
    if (dir && !has_file(a->path, "config.json")) {
        ws_peft_dir d;
        ws_err none;
        if (!ws_peft_open(&d, a->path, &none)) {
            ws_peft_close(&d);
            return adapter(report, a->path, err);
        }
        if (has_file(a->path, "adapter_config.json")) return adapter(report, a->path, err); /* damaged: says how */
    }
    int gguf = there && !dir && begins_with_gguf(a->path);
    if (there && !dir && !gguf) return tensor_file(report, a->path, err);
    ws_status st = ws_cmd_checkpoint(&c, a->path, common, err);
    if (st == WS_EUNSUPPORTED && gguf) return bare_gguf(report, a->path, err->msg, err);
    if (st) return st;
    st = checkpoint(report, c, a, err);
    ws_checkpoint_close(c);
    return st;
}

static ws_status on_base(json_t *report, const char *path, const ws_common *common, ws_err *err) {
    ws_session s;
    ws_status st = ws_session_open_weights(&s, common, err);
    if (st) return st;
    set_str(report, "base", ws_checkpoint_name(s.checkpoint));
    st = ws_inspect_on_base(report, s.model, path, common->force, err);
    ws_session_close(&s);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {0};
    ws_common c;
    ws_sink sink;
    static const char *const without[] = {"steer", "template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st =
        ws_cmd_parse(argc, argv, options, parse, "PATH",
                     "Say what a model, GGUF, adapter directory, dW, vector or safetensors file is.\n\n"
                     "  ws inspect SmolLM2-135M-Instruct.Q4_1.gguf\n"
                     "  ws inspect out/enthusiasm/lora/dw.safetensors\n"
                     "  ws inspect out/authority/vectors/mean_diff.safetensors\n"
                     "  ws inspect out/enthusiasm/lora/pos --json\n"
                     "  ws inspect out/enthusiasm/oft/dw.safetensors --model M        how far it moves M, by layer\n\n"
                     "A model's tensors are spoken of in Hugging Face names and shapes, from a GGUF too.",
                     &a, &c, err);
    if (st) return st;
    const char *base = a.path ? c.model : NULL;
    if (base && !ws_is_edits(a.path))
        return ws_fail(err, WS_EUSAGE, "%s is no adapter and no dW, so --model says nothing of it; give one of them",
                       a.path);
    if (!a.path) a.path = c.model;
    if (!a.path)
        return ws_fail(err, WS_EUSAGE, "give a path: a model, a .gguf, an adapter directory, a dW or safetensors file");
    json_t *report = json_object();
    st = look(report, &a, &c, err);
    if (!st && base) st = on_base(report, a.path, &c, err);
    if (!st && !(st = ws_sink_open(&sink, c.out, err))) {
        if (c.json)
            ws_print_json(json_incref(report), 0);
        else
            print_text(report, &a);
        st = ws_sink_close(&sink, st, err);
    }
    json_decref(report);
    return st;
}

const ws_cmd ws_cmd_inspect = {100, "inspect", "a model, adapter, dW or tensor file -> what it is", run};
