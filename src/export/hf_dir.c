#include "export/hf_dir.h"
#include "io/json.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int ends(const char *s, const char *suffix) {
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

static int holds_weights(const char *name) {
    static const char *const ending[] = {".safetensors", ".bin",     ".pt",   ".pth", ".gguf",      ".onnx",
                                         ".h5",          ".msgpack", ".ckpt", ".npz", ".index.json"};
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        if (ends(name, ending[i])) return 1;
    return 0;
}

static const char *type_name(ws_dtype t) { return t == WS_F32 ? "float32" : t == WS_BF16 ? "bfloat16" : "float16"; }

/* A loader rounds to the type that the config names: a narrower one than was written would undo the export. */
static int set_type(json_t *o, ws_dtype t) {
    static const char *const keys[] = {"dtype", "torch_dtype"};
    int changed = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *is = json_string_value(json_object_get(o, keys[i]));
        if (!is || !strcmp(is, "float32") || !strcmp(is, "float64") || !strcmp(is, type_name(t))) continue;
        json_object_set_new(o, keys[i], json_string(type_name(t)));
        changed = 1;
    }
    return changed;
}

static ws_status copy(const char *from, const char *to, ws_err *err) {
    ws_map m;
    ws_status st = ws_map_open(&m, from, err);
    if (st) return st;
    st = ws_file_write(to, m.p, m.n, err);
    ws_map_close(&m);
    return st;
}

static ws_status copy_config(const char *from, const char *to, ws_dtype type, ws_err *err) {
    json_t *config = NULL;
    ws_status st = ws_json_load(&config, from, err);
    if (st) return st;
    int changed = set_type(config, type) | set_type(json_object_get(config, "text_config"), type);
    st = changed ? ws_json_save(config, to, err) : copy(from, to, err);
    json_decref(config);
    return st;
}

ws_status ws_hf_copy_files(const char *from, const char *to, ws_dtype type, ws_err *err) {
    DIR *d = opendir(from);
    ws_status st = WS_OK;
    if (!d) return ws_fail(err, WS_EIO, "cannot list %s", from);
    for (struct dirent *e; !st && (e = readdir(d));) {
        struct stat s;
        if (e->d_name[0] == '.' || holds_weights(e->d_name) || !strcmp(e->d_name, "README.md")) continue;
        char *a = ws_path_join(from, e->d_name), *b = ws_path_join(to, e->d_name);
        if (!stat(a, &s) && S_ISREG(s.st_mode))
            st = !strcmp(e->d_name, "config.json") ? copy_config(a, b, type, err) : copy(a, b, err);
        free(a), free(b);
    }
    closedir(d);
    return st;
}

/* ---------- from a GGUF ---------- */

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

/* Llama 3's divisor of a rotary frequency (transformers' _compute_llama3_parameters; models.md 4.2). */
static double llama3_divisor(double frequency, double factor, double low, double high, double context) {
    double length = 2 * 3.14159265358979323846 / frequency;
    if (length < context / high) return 1;
    if (length > context / low) return factor;
    double smooth = (context / length - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
}

/* A GGUF keeps the divisors alone.  Llama 3's own settings (1, 4, 8192 and a factor) are tried; NULL: they make others. */
static json_t *llama3(const json_t *config, const json_t *list) {
    const size_t half = json_array_size(list);
    const double factor = json_number_value(json_array_get(list, half - 1)), theta = number(config, "rope_theta");
    for (size_t i = 0; i < half; i++) {
        double f = pow(theta, -(double)i / (double)half), is = json_number_value(json_array_get(list, i));
        if (!(fabs(llama3_divisor(f, factor, 1, 4, 8192) / is - 1) < 1e-5)) return NULL;
    }
    return json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", factor, "low_freq_factor", 1.0,
                     "high_freq_factor", 4.0, "original_max_position_embeddings", 8192);
}

ws_status ws_hf_config_of_gguf(const ws_checkpoint *c, const char *to, ws_dtype type, ws_err *err) {
    json_t *config = json_deep_copy(ws_checkpoint_config(c)), *scaling = json_object_get(config, "rope_scaling");
    const json_t *list = json_object_get(scaling, "factors");
    if (list) {
        json_t *known = json_array_size(list) ? llama3(config, list) : NULL;
        if (!known) {
            json_decref(config);
            return ws_fail(err, WS_EUNSUPPORTED,
                           "%s: its rotary frequencies are divided by numbers (rope_freqs.weight) that no setting of "
                           "Llama 3 makes, so config.json cannot say them; start from the Hugging Face directory",
                           ws_checkpoint_path(c));
        }
        json_object_set_new(config, "rope_scaling", known);
    }
    json_object_set_new(config, "torch_dtype", json_string(type_name(type)));
    char *path = ws_path_join(to, "config.json");
    ws_status st = ws_json_save(config, path, err);
    free(path);
    json_decref(config);
    return st;
}
