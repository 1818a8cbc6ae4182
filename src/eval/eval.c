#include "eval/eval.h"
#include "base/log.h"
#include "calibrate/calibrate.h"
#include "io/file.h"
#include "io/json.h"
#include "kernel/compute.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const ws_eval_ops ws_eval_##name;
#include "eval.list"
#undef X
static const ws_eval_ops *const rooms[] = {
#define X(name) &ws_eval_##name,
#include "eval.list"
#undef X
    NULL};
enum { N_ROOMS = sizeof rooms / sizeof *rooms - 1 };
_Static_assert((int)N_ROOMS <= (int)WS_EVAL_MOST, "more readouts than ws_eval_choose has places for");

const ws_eval_ops *ws_eval_find(const char *name) {
    for (int i = 0; i < N_ROOMS; i++)
        if (!strcmp(rooms[i]->name, name)) return rooms[i];
    return NULL;
}

int ws_eval_asked(const ws_eval_options *o, const char *readout) {
    size_t n = strlen(readout);
    for (const char *s = o->readouts; s && *s; s += strcspn(s, ","), s += *s == ',')
        if (!strncmp(s, readout, n) && (!s[n] || s[n] == ',')) return 1;
    return 0;
}

const char *ws_eval_names(void) {
    static char names[256];
    if (!*names)
        for (int i = 0; i < N_ROOMS; i++) {
            if (i) strncat(names, ", ", sizeof names - strlen(names) - 1);
            strncat(names, rooms[i]->name, sizeof names - strlen(names) - 1);
        }
    return names;
}

const char *ws_arm_name(enum ws_arm a) {
    static const char *const name[] = {"base", "plus", "minus", "other"};
    return name[a];
}

ws_eval_options ws_eval_defaults(void) {
    return (ws_eval_options){.readouts = "vignettes,margin,dose",
                             .floor = 0.5,
                             .k = 2,
                             .bootstrap = 1000,
                             .dose_samples = 4,
                             .canary_prompts = 20,
                             .dose_tokens = WS_DOSE_ANSWER,
                             .thinking = -1,
                             .sampling = ws_sampling_default(0)};
}

ws_status ws_eval_thinking(ws_eval_options *o, const ws_chat *c, int thinking, ws_err *err) {
    ws_think_form form;
    if (ws_think_form_of(&form, c, thinking, err)) return err->code;
    int thinks = ws_think_expected(form, c, thinking);
    o->thinking = thinking, o->sampling = ws_sampling_default(thinks);
    o->dose_tokens = thinks ? WS_DOSE_THINK : WS_DOSE_ANSWER;
    return WS_OK;
}

/* ---- settings: the base, then each method's strengths ---- */

static void add(ws_eval *e, int method, double alpha, const char *system) {
    for (int s = 0; s < e->n_settings; s++)
        if (e->setting[s].method == method && e->setting[s].alpha == alpha) return;
    e->setting = ws_xrealloc(e->setting, (size_t)(e->n_settings + 1) * sizeof *e->setting);
    e->setting[e->n_settings++] = (ws_setting){method, method < 0 ? "base" : e->method[method]->name, alpha,
                                               method < 0 ? WS_ARM_BASE : WS_ARM_OTHER, system};
}

static ws_status settings(ws_eval *e, ws_err *err) {
    const ws_eval_options *o = e->o;
    add(e, -1, 0, NULL);
    for (int m = 0; m < e->n_methods; m++) {
        const ws_method *x = e->method[m];
        for (int k = 0; k < m; k++)
            if (!strcmp(e->method[k]->name, x->name))
                return ws_fail(err, WS_EUSAGE, "two methods have the name \"%s\" (%s and %s)", x->name,
                               e->method[k]->path, x->path);
        if (!strcmp(x->name, "base"))
            return ws_fail(err, WS_EUSAGE, "%s: a method cannot have the name \"base\"", x->path);
        if (!x->ops->two_sided) {
            add(e, m, 1, x->system_prompt[0]);
            if (x->system_prompt[1]) add(e, m, -1, x->system_prompt[1]);
            continue;
        }
        if (o->n_alpha) {
            for (int i = 0; i < o->n_alpha; i++)
                if (o->alpha[i] != 0) add(e, m, o->alpha[i], NULL);
            continue;
        }
        double pos, neg;
        if (!o->calibration)
            return ws_fail(err, WS_EUSAGE,
                           "no strengths: give --alpha=-A,0,A or --calibration DIR (the --out of ws calibrate)");
        if (ws_calibration_alphas(o->calibration, x->name, x->hash, &pos, &neg, err)) return err->code;
        if (!isnan(pos)) add(e, m, pos, NULL);
        if (!isnan(neg)) add(e, m, -neg, NULL);
        for (int i = 0; i < o->n_parts; i++) {
            if (!(o->part[i] > 0 && o->part[i] <= 1))
                return ws_fail(err, WS_EUSAGE, "%g of the calibrated strengths: parts lie above 0 and up to 1",
                               o->part[i]);
            if (!isnan(pos)) add(e, m, o->part[i] * pos, NULL);
            if (!isnan(neg)) add(e, m, -o->part[i] * neg, NULL);
        }
    }
    for (int m = 0; m < e->n_methods; m++) {
        int best[2] = {-1, -1};
        for (int s = 1; s < e->n_settings; s++) {
            const ws_setting *x = &e->setting[s];
            int side = x->alpha < 0;
            if (x->method == m && (best[side] < 0 || fabs(x->alpha) > fabs(e->setting[best[side]].alpha)))
                best[side] = s;
        }
        for (int side = 0; side < 2; side++)
            if (best[side] >= 0) e->setting[best[side]].arm = side ? WS_ARM_MINUS : WS_ARM_PLUS;
    }
    e->patch = ws_xmalloc((size_t)e->n_methods * sizeof *e->patch + 1);
    for (int m = 0; m < e->n_methods; m++) {
        int seen = !e->method[m]->patch;
        for (int p = 0; p < e->n_patches; p++) seen |= e->patch[p] == e->method[m]->patch;
        if (!seen) e->patch[e->n_patches++] = e->method[m]->patch;
    }
    return WS_OK;
}

static json_t *describe(const ws_eval *e) {
    json_t *methods = json_array(), *list = json_array();
    for (int m = 0; m < e->n_methods; m++) {
        const ws_method *x = e->method[m];
        json_t *plus = json_null(), *minus = json_null();
        for (int s = 1; s < e->n_settings; s++) {
            if (e->setting[s].method != m) continue;
            if (e->setting[s].arm == WS_ARM_PLUS) plus = json_real(e->setting[s].alpha);
            if (e->setting[s].arm == WS_ARM_MINUS) minus = json_real(e->setting[s].alpha);
        }
        json_array_append_new(methods, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", x->name, "kind",
                                                 x->ops->name, "file", x->path ? x->path : "", "hash", x->hash,
                                                 "alpha_plus", plus, "alpha_minus", minus));
    }
    for (int s = 0; s < e->n_settings; s++)
        json_array_append_new(list, json_pack("{s:s, s:f, s:s}", "method", e->setting[s].name, "alpha",
                                              e->setting[s].alpha, "arm", ws_arm_name(e->setting[s].arm)));
    const ws_checkpoint *c = ws_model_checkpoint(e->model);
    json_t *j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:i, s:s?, s:o, s:o}", "format", "ws-eval", "version", 1,
                          "model", ws_checkpoint_name(c), "model_hash", ws_checkpoint_hash(c), "kernels", ws_arithmetic(),
                          "seed", (json_int_t)e->o->seed, "bootstrap", e->o->bootstrap, "behavior",
                          e->behavior ? e->behavior->name : NULL, "methods", methods, "settings", list);
    WS_ASSERT(j);
    json_object_set_new(j, "weights", json_string(ws_dtypes[ws_checkpoint_main_type(c)].name));
    json_object_set_new(j, "protocol", json_string(e->o->protocol ? e->o->protocol->name : "ours"));
    return j;
}

ws_status ws_eval_choose(const char *names, const ws_eval_ops **out, int *n, ws_err *err) {
    char *copy = ws_xstrdup(names), *save = NULL;
    *n = 0;
    ws_status st = WS_OK;
    for (char *w = strtok_r(copy, ",", &save); w && !st; w = strtok_r(NULL, ",", &save)) {
        const ws_eval_ops *r = ws_eval_find(w);
        int twice = 0;
        for (int i = 0; i < *n; i++) twice |= out[i] == r;
        if (!r)
            st = ws_fail(err, WS_EUSAGE, "--readout %s: there is no such readout; there are %s", w, ws_eval_names());
        else if (!twice)
            out[(*n)++] = r;
    }
    free(copy);
    if (!st && !*n) st = ws_fail(err, WS_EUSAGE, "--readout names none; there are %s", ws_eval_names());
    return st;
}

ws_status ws_eval_run(ws_model *m, const ws_tokenizer *t, const ws_chat *chat, const ws_behavior *behavior,
                      ws_method *const *method, int n_methods, const ws_eval_options *o, ws_str *report, json_t **json,
                      ws_err *err) {
    ws_str text = {0};
    ws_state *state = NULL;
    ws_eval e = {.model = m,
                 .tok = t,
                 .chat = chat,
                 .behavior = behavior,
                 .method = method,
                 .n_methods = n_methods,
                 .o = o,
                 .state = &state,
                 .report = &text};
    const ws_eval_ops *room[WS_EVAL_MOST];
    int n_rooms, lock = -1;
    if (!o->out) return ws_fail(err, WS_EUSAGE, "evaluation needs a folder for its results: --out DIR");
    if (o->bootstrap < 1 || o->k < 0 || o->floor < 0 || o->floor > 1)
        return ws_fail(err, WS_EUSAGE, "--bootstrap must be at least 1, --k at least 0, --floor between 0 and 1");
    ws_status st = ws_eval_choose(o->readouts, room, &n_rooms, err);
    if (!st) st = settings(&e, err);
    for (int i = 0; i < n_rooms && !st; i++) st = room[i]->check(&e, err);
    if (!st) st = ws_mkdirs(o->out, err);
    if (!st) st = ws_lock(&lock, o->out, 1, err);
    if (!st) {
        ws_dir_sweep(o->out);
        e.json = describe(&e);
    }
    for (int i = 0; i < n_rooms && !st; i++) {
        st = room[i]->run(&e, err);
        ws_state_free(state), state = NULL;
        if (st) ws_fail_prefix(err, "readout %s", room[i]->name);
    }
    if (!st) {
        char *path = ws_path_join(o->out, "eval.json");
        st = ws_json_save(e.json, path, err);
        free(path);
    }
    if (!st && report) ws_str_add(report, text.p ? text.p : "", text.n);
    if (!st && json) *json = json_incref(e.json);
    if (lock >= 0) ws_unlock(lock);
    json_decref(e.json);
    ws_str_free(&text);
    free(e.setting), free(e.patch);
    return st;
}
