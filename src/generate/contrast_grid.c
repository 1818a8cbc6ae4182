/* src/generate/contrast_grid.c - which rows there are, in which order, and what they depend on. */
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "generate/contrast.h"
#include "kernel/compute.h"
#include <stdlib.h>
#include <string.h>

ws_status ws_contrast_defaults(ws_contrast_options *o, const ws_chat *c, int thinking, ws_err *err) {
    ws_think_form form;
    if (ws_think_form_of(&form, c, thinking, err)) return err->code;
    int thinks = ws_think_expected(form, c, thinking);
    *o = (ws_contrast_options){.topics = 20,
                               .personas = 5,
                               .samples = 10,
                               .heldout = 36,
                               .max_new = thinks ? WS_CONTRAST_THINK : WS_CONTRAST_ANSWER,
                               .min_new = 1,
                               .thinking = thinking,
                               .sampling = ws_sampling_default(thinks)};
    return WS_OK;
}

static void cut(int *n, int most, const char *what, const char *behavior, int say) {
    if (*n <= most) return;
    if (say) ws_note("%s: %d asked for, the behaviour '%s' has %d", what, *n, behavior, most);
    *n = most;
}

ws_contrast_options ws_contrast_clamp(const ws_behavior *b, const ws_contrast_options *o, int say) {
    ws_contrast_options r = *o;
    cut(&r.topics, b->n_topics, "topics", b->name, say);
    cut(&r.personas, b->n_personas, "personas", b->name, say);
    if (b->n_heldout == 0 && r.heldout > 0) {
        if (say) ws_note("the behaviour '%s' has no held-out topics: no heldout.jsonl", b->name);
        r.heldout = 0;
    }
    return r;
}

/* `rows` rows, every topic once before any twice, in an order drawn with the seed, and its personas in turn. */
static void spread(ws_cell *cell, int rows, int topics, const ws_contrast_options *o, const char *stream, int heldout) {
    int64_t *topic = ws_xmalloc((size_t)topics * sizeof *topic + 1);
    ws_counter_permutation(topic, topics, o->seed, stream);
    for (int i = 0; i < rows; i++) {
        int place = i % topics, round = i / topics;
        cell[i] = (ws_cell){(int)topic[place], (place + round) % o->personas, round / o->personas, heldout};
    }
    free(topic);
}

ws_cell *ws_contrast_cells(const ws_behavior *b, const ws_contrast_options *o, int *n) {
    int64_t grid = o->rows ? o->rows : (int64_t)o->topics * o->personas * o->samples;
    int64_t *order = ws_xmalloc((size_t)grid * sizeof *order + 1);
    ws_cell *cell = ws_xmalloc((size_t)(grid + o->heldout) * sizeof *cell + 1);
    if (o->rows)
        spread(cell, o->rows, o->topics, o, "data.grid", 0);
    else
        ws_counter_permutation(order, grid, o->seed, "data.grid");
    for (int64_t i = 0; i < grid && !o->rows; i++) {
        int64_t k = order[i];
        cell[i] = (ws_cell){(int)(k / o->samples / o->personas), (int)(k / o->samples % o->personas),
                            (int)(k % o->samples), 0};
    }
    free(order);
    spread(cell + grid, o->heldout, b->n_heldout, o, "data.heldout", 1);
    *n = (int)(grid + o->heldout);
    return cell;
}

/* What the rows take from the behaviour: counters and titles may change without making rows stale. */
static void prompts_hash(const ws_behavior *b, const ws_contrast_options *o, char hex[65]) {
    ws_hash *h = ws_hash_new();
    for (int i = 0; i < o->topics; i++) ws_hash_adds(h, b->topic[i]);
    ws_hash_adds(h, "personas");
    for (int i = 0; i < o->personas; i++) ws_hash_adds(h, b->system_pos[i]), ws_hash_adds(h, b->system_neg[i]);
    ws_hash_adds(h, "heldout");
    for (int i = 0; o->heldout && i < b->n_heldout; i++) ws_hash_adds(h, b->heldout[i]);
    ws_hash_done(h, hex);
}

static void add_text(json_t *o, const char *key, const char *value) {
    json_object_set_new(o, key, json_stringn_nocheck(value, strlen(value)));
}

json_t *ws_contrast_settings(const ws_model *m, const ws_chat *c, const ws_behavior *b, const ws_contrast_options *o) {
    const ws_checkpoint *k = ws_model_checkpoint(m);
    const char *tmpl = ws_chat_template(c);
    char hex[65];
    json_t *s = json_object();
    add_text(s, "format", "ws-data");
    json_object_set_new(s, "version", json_integer(1));
    add_text(s, "model", ws_checkpoint_name(k));
    add_text(s, "model_hash", ws_checkpoint_hash(k));
    ws_hash_bytes(tmpl, strlen(tmpl), hex);
    add_text(s, "template_hash", hex);
    add_text(s, "behavior", b->name);
    prompts_hash(b, o, hex);
    add_text(s, "prompts_hash", hex);
    json_object_set_new(s, "seed", json_integer((json_int_t)o->seed));
    json_object_set_new(s, "topics", json_integer(o->topics));
    json_object_set_new(s, "personas", json_integer(o->personas));
    json_object_set_new(s, "samples", json_integer(o->samples));
    if (o->rows) json_object_set_new(s, "rows", json_integer(o->rows));
    json_object_set_new(s, "heldout", json_integer(o->heldout));
    json_object_set_new(s, "max_new_tokens", json_integer(o->max_new));
    json_object_set_new(s, "min_new_tokens", json_integer(o->min_new));
    json_object_set_new(s, "temperature", json_real(o->sampling.temperature));
    json_object_set_new(s, "top_k", json_integer(o->sampling.top_k));
    json_object_set_new(s, "top_p", json_real(o->sampling.top_p));
    json_object_set_new(s, "min_p", json_real(o->sampling.min_p));
    add_text(s, "thinking", o->thinking < 0 ? "default" : o->thinking ? "on" : "off");
    add_text(s, "compute", ws_compute_name());
    add_text(s, "kernels", ws_arithmetic()); /* bits are the same on one kernel set only */
    return s;
}

static void show(ws_str *s, const json_t *v) {
    if (!v) {
        ws_str_adds(s, "nothing");
        return;
    }
    ws_str one = {0};
    ws_json_dump(v, &one, 1);
    ws_str_add(s, one.p, one.n > 24 ? 24 : one.n); /* hashes: enough to tell them apart */
    if (one.n > 24) ws_str_adds(s, "...");
    ws_str_free(&one);
}

static int same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b); /* 1 and 1.0 */
    return a && b && json_equal((json_t *)a, (json_t *)b);
}

char *ws_settings_difference(const json_t *there, const json_t *here) {
    ws_str s = {0};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)here, key, v) {
        const json_t *old = json_object_get(there, key);
        if (same(old, v)) continue;
        ws_str_addf(&s, "%s%s: ", s.n ? "; " : "", key);
        show(&s, old);
        ws_str_adds(&s, " there, ");
        show(&s, v);
        ws_str_adds(&s, " here");
    }
    return ws_str_take(&s);
}
