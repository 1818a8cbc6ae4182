#include "run/rows.h"
#include "steer/extract.h"
#include "steer/prompt.h"
#include "steer/steer.h"
#include <stdlib.h>
#include <string.h>

const char *ws_row_kind_name(ws_row_kind k) {
    static const char *const name[] = {"adapter", "shuffled", "random", "vector", "random_vector", "prompt"};
    return name[k];
}

enum { MOST = 128 };
typedef struct names {
    const char *name[MOST]; /* the rooms' own, which outlive the options' text */
    int n;
} names;

static int push(names *l, const char *name) {
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->name[i], name)) return 0;
    WS_ASSERT(l->n < MOST);
    l->name[l->n++] = name;
    return 1;
}

/* lora first: samples and pictures are of the first row. */
static void all_adapters(names *l) {
    int n;
    const char *const *all = ws_adapter_kinds(&n);
    for (int lora = 1; lora >= 0; lora--)
        for (int i = 0; i < n; i++)
            if ((strcmp(all[i], WS_ROW_REFERENCE) == 0) == lora) push(l, all[i]);
}
static void all_vectors(names *l) {
    const ws_steer_ops **room;
    int n;
    ws_err none = {0};
    if (ws_extract_methods("all", &room, &n, &none)) return;
    for (int i = 0; i < n; i++) push(l, room[i]->name);
    free(room);
}
static void all_prompts(names *l) {
    for (const char *const *p = ws_prompt_names(); *p; p++) push(l, *p);
}

static const char *find(const names *l, const char *name) {
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->name[i], name)) return l->name[i];
    return NULL;
}

static void tell(ws_str *s, const char *what, const names *l) {
    ws_str_addf(s, "; %s: ", what);
    for (int i = 0; i < l->n; i++) ws_str_addf(s, "%s%s", i ? ", " : "", l->name[i]);
}

typedef struct chosen {
    names adapters, vectors, prompts;
} chosen;

/* Sorts the names of a list into `out`; what is no adapter is refused where only those are meant. */
static ws_status choose(chosen *out, const char *option, const char *text, int adapters_only, ws_err *err) {
    chosen all = {.adapters.n = 0};
    all_adapters(&all.adapters);
    if (!adapters_only) all_vectors(&all.vectors), all_prompts(&all.prompts);
    if (!strcmp(text, "all")) {
        for (int i = 0; i < all.adapters.n; i++) push(&out->adapters, all.adapters.name[i]);
        out->vectors = all.vectors, out->prompts = all.prompts;
        return WS_OK;
    }
    char *copy = ws_xstrdup(text), *save = NULL;
    ws_status st = WS_OK;
    for (char *w = strtok_r(copy, ",", &save); w && !st; w = strtok_r(NULL, ",", &save)) {
        const names *from[] = {&all.adapters, &all.vectors, &all.prompts};
        names *to[] = {&out->adapters, &out->vectors, &out->prompts};
        int known = 0;
        for (int k = 0; k < 3 && !st; k++) {
            const char *name = find(from[k], w);
            known |= name != NULL;
            if (name && !push(to[k], name)) st = ws_fail(err, WS_EUSAGE, "%s: '%s' is named twice", option, w);
        }
        if (known) continue;
        ws_str s = {0};
        ws_str_addf(&s, "%s: there is no '%s'", option, w);
        tell(&s, "adapters", &all.adapters);
        if (!adapters_only) tell(&s, "hidden-state methods", &all.vectors), tell(&s, "prompts", &all.prompts);
        st = ws_fail(err, WS_EUSAGE, "%s", s.p);
        ws_str_free(&s);
    }
    free(copy);
    return st;
}

static ws_row_spec *add(ws_rows *r, char *name, ws_row_kind kind, const ws_adapter_config *a, uint64_t seed) {
    r->row = ws_xrealloc(r->row, (size_t)(r->n + 1) * sizeof *r->row);
    r->row[r->n] = (ws_row_spec){.name = name, .kind = kind, .adapter = *a, .seed = seed, .of = -1};
    return &r->row[r->n++];
}

static void add_adapters(ws_rows *r, const names *l, const ws_rows_options *o) {
    for (int s = 0; s < o->n_seeds; s++)
        for (int i = 0; i < l->n; i++) {
            ws_adapter_config a = *o->base;
            a.kind = l->name[i];
            if (!(ws_adapter_reads(a.kind) & WS_READS_LAYERS)) a.layer_begin = a.layer_end = -1;
            add(r, s ? ws_sprintf("%s-seed%d", a.kind, s) : ws_xstrdup(a.kind), WS_ROW_ADAPTER, &a,
                o->seed + (uint64_t)s);
        }
}

static ws_status add_controls(ws_rows *r, const ws_rows_options *o, ws_err *err) {
    char *copy = ws_xstrdup(o->controls ? o->controls : r->n ? "random,shuffled" : "none"), *save = NULL;
    int like = 0, had[2] = {0};
    ws_status st = WS_OK;
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->row[i].name, WS_ROW_REFERENCE)) like = i;
    for (char *w = strcmp(copy, "none") ? strtok_r(copy, ",", &save) : NULL; w && !st; w = strtok_r(NULL, ",", &save)) {
        int random = !strcmp(w, "random");
        if (!random && strcmp(w, "shuffled"))
            st = ws_fail(err, WS_EUSAGE, "--controls: '%s' is none; there are random and shuffled (or none)", w);
        else if (had[random]++)
            st = ws_fail(err, WS_EUSAGE, "--controls: '%s' is named twice", w);
        else if (!r->n)
            st = ws_fail(err, WS_EUSAGE, "--controls: %s takes after an adapter, and none is asked for", w);
        else {
            ws_adapter_config a = r->row[like].adapter;
            ws_row_spec *row = add(r, ws_xstrdup(w), random ? WS_ROW_RANDOM : WS_ROW_SHUFFLED, &a, r->row[like].seed);
            row->of = random ? like : -1;
        }
    }
    free(copy);
    return st;
}

ws_status ws_rows_make(ws_rows *out, const ws_rows_options *o, ws_err *err) {
    chosen c = {.adapters.n = 0};
    ws_status st = WS_OK;
    *out = (ws_rows){0};
    if (!o->adapters)
        all_adapters(&c.adapters);
    else if (*o->adapters)
        st = choose(&c, "--adapters", o->adapters, 1, err);
    if (!st && o->methods) st = choose(&c, "--methods", o->methods, 0, err);
    if (!st) {
        add_adapters(out, &c.adapters, o);
        st = add_controls(out, o, err);
    }
    for (int i = 0; i < c.vectors.n && !st; i++)
        add(out, ws_xstrdup(c.vectors.name[i]),
            ws_steer_named(c.vectors.name[i])->control ? WS_ROW_RANDOM_VECTOR : WS_ROW_VECTOR, o->base, o->seed);
    for (int i = 0; i < c.prompts.n && !st; i++)
        add(out, ws_xstrdup(c.prompts.name[i]), WS_ROW_PROMPT, o->base, o->seed);
    if (!st && !out->n) st = ws_fail(err, WS_EUSAGE, "neither --adapters nor --methods names anything");
    if (st) ws_rows_free(out);
    return st;
}

void ws_rows_free(ws_rows *r) {
    for (int i = 0; i < r->n; i++) free(r->row[i].name);
    free(r->row);
    *r = (ws_rows){0};
}
