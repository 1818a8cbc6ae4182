#include "family/family.h"
#include <stdlib.h>
#include <string.h>

#define X(name) extern const ws_family ws_family_##name;
#include "family.list"
#undef X
static const ws_family *const families[] = {
#define X(name) &ws_family_##name,
#include "family.list"
#undef X
};
enum { N_FAMILIES = sizeof families / sizeof *families };

const char *const *ws_family_names(int *n) {
    static const char *names[N_FAMILIES];
    for (int i = 0; i < N_FAMILIES; i++) names[i] = families[i]->name;
    *n = N_FAMILIES;
    return names;
}

static const ws_family *find(const char *model_type) {
    for (int i = 0; i < N_FAMILIES; i++)
        for (const char *const *t = families[i]->model_types; *t; t++)
            if (!strcmp(*t, model_type)) return families[i];
    return NULL;
}

/* A wrapper's text_config without a type of its own: "qwen3_5" around it means "qwen3_5_text", as in transformers. */
static const ws_family *find_wrapped(const ws_binder *b, ws_err *err) {
    const char *outer = json_string_value(json_object_get(b->top, "model_type"));
    char *type = ws_sprintf("%s_text", outer ? outer : "");
    const ws_family *f = outer ? find(type) : NULL;
    free(type);
    if (!f)
        ws_fail(
            err, WS_EFORMAT,
            "%s: text_config in config.json has no model_type, and '%s' around it does not tell which decoder it is; "
            "add the decoder's model_type to text_config",
            b->where, outer ? outer : "nothing");
    return f;
}

static int by_address(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (const ws_tensor *const *)a, y = (uintptr_t) * (const ws_tensor *const *)b;
    return (x > y) - (x < y);
}

/* Names that the family did not ask for: a model with a part that we would silently leave out. */
static ws_status check_unknown(ws_binder *b, ws_err *err) {
    ws_str list = {0};
    int unknown = 0;
    qsort(b->used, b->n_used, sizeof *b->used, by_address);
    for (size_t i = 0; i < ws_checkpoint_count(b->c); i++) {
        const ws_tensor *t = ws_checkpoint_at(b->c, i);
        if (bsearch(&t, b->used, b->n_used, sizeof *b->used, by_address)) continue;
        if (unknown++ < 6) ws_str_addf(&list, "%s%s", list.n ? ", " : "", t->name);
    }
    if (unknown > 6) ws_str_addf(&list, " and %d more", unknown - 6);
    if (unknown)
        ws_fail(err, WS_EFORMAT, "%s: %d tensor%s that this family does not have: %s", b->where, unknown,
                unknown > 1 ? "s" : "", list.p);
    ws_str_free(&list);
    return unknown ? err->code : WS_OK;
}

ws_status ws_arch_open(ws_arch *a, const ws_checkpoint *c, ws_err *err) {
    ws_binder b = {
        .c = c, .config = ws_checkpoint_config(c), .top = ws_checkpoint_config_top(c), .where = ws_checkpoint_path(c)};
    ws_status st = WS_OK;
    memset(a, 0, sizeof *a);
    const char *type = json_string_value(json_object_get(b.config, "model_type"));
    const ws_family *f = type ? find(type) : NULL;
    if (!type && !(f = find_wrapped(&b, err))) return err->code;
    if (!f) {
        ws_str known = {0};
        for (int i = 0; i < N_FAMILIES; i++) ws_str_addf(&known, "%s%s", i ? ", " : "", families[i]->name);
        st = ws_fail(err, WS_EUNSUPPORTED, "%s: model_type '%s' is none of the families that this build computes: %s",
                     b.where, type, known.p);
        ws_str_free(&known);
        return st;
    }
    a->family = f->name;
    if ((st = f->bind(a, &b, err))) goto out;
    if (b.n_missing) {
        st = ws_fail(err, WS_EFORMAT, "%s: %d tensor%s missing: %s", b.where, b.n_missing,
                     b.n_missing > 1 ? "s are" : " is", b.missing.p);
        goto out;
    }
    if (b.n_wrong) {
        st = ws_fail(err, WS_ESHAPE, "%s: %s", b.where, b.wrong.p);
        goto out;
    }
    if ((st = check_unknown(&b, err))) goto out;
    a->params = b.params;
out:
    if (st) ws_arch_release(a);
    free(b.used);
    ws_str_free(&b.missing);
    ws_str_free(&b.wrong);
    return st;
}

static void release_linear(ws_linear *l) {
    free(l->name);
    free(l->bias);
}

void ws_arch_release(ws_arch *a) {
    for (int i = 0; a->block && i < a->layers; i++) {
        ws_block *k = &a->block[i];
        free(k->norm1);
        free(k->norm2);
        free(k->attn.q_norm);
        free(k->attn.k_norm);
        free(k->delta.conv);
        free(k->delta.neg_a);
        free(k->delta.dt_bias);
        free(k->delta.norm);
        ws_linear *const all[] = {&k->attn.q,    &k->attn.k,  &k->attn.v,    &k->attn.o,   &k->delta.a, &k->delta.b,
                                  &k->delta.qkv, &k->delta.z, &k->delta.out, &k->mlp.gate, &k->mlp.up,  &k->mlp.down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) release_linear(all[j]);
    }
    free(a->block);
    free(a->norm);
    ws_rope_release(&a->rope);
    memset(a, 0, sizeof *a);
}
