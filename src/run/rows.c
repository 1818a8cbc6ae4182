#include "run/rows.h"
#include <stdlib.h>
#include <string.h>

const char *ws_row_kind_name(ws_row_kind k) {
    static const char *const name[] = {"adapter", "shuffled", "random"};
    return name[k];
}

static ws_row_spec *add(ws_rows *r, char *name, ws_row_kind kind, const ws_adapter_config *a, uint64_t seed) {
    r->row = ws_xrealloc(r->row, (size_t)(r->n + 1) * sizeof *r->row);
    r->row[r->n] = (ws_row_spec){.name = name, .kind = kind, .adapter = *a, .seed = seed, .of = -1};
    return &r->row[r->n++];
}

/* The room's own name, which outlives the option's text. */
static const char *room(const char *name) {
    int n;
    const char *const *all = ws_adapter_kinds(&n);
    for (int i = 0; i < n; i++)
        if (!strcmp(all[i], name)) return all[i];
    return NULL;
}

static ws_status unknown(const char *name, ws_err *err) {
    ws_str s = {0};
    int n;
    const char *const *all = ws_adapter_kinds(&n);
    for (int i = 0; i < n; i++) ws_str_addf(&s, "%s%s", i ? ", " : "", all[i]);
    ws_fail(err, WS_EUSAGE, "--adapters: no adapter is called '%s'; there are: %s", name, s.p);
    ws_str_free(&s);
    return err->code;
}

static ws_status add_adapters(ws_rows *r, const char *names, int n_seeds, uint64_t seed, const ws_adapter_config *base,
                              ws_err *err) {
    int n, count = 0;
    const char *const *all = ws_adapter_kinds(&n), *picked[64];
    char *copy = names ? ws_xstrdup(names) : NULL, *save = NULL;
    ws_status st = WS_OK;
    WS_ASSERT(n <= 64);
    if (!names && room("lora")) picked[count++] = room("lora"); /* samples and pictures are of the first row */
    for (int i = 0; !names && i < n; i++)
        if (strcmp(all[i], "lora")) picked[count++] = all[i];
    for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; w && !st; w = strtok_r(NULL, ",", &save)) {
        const char *kind = room(w);
        if (!kind) st = unknown(w, err);
        for (int i = 0; i < count && !st; i++)
            if (picked[i] == kind) st = ws_fail(err, WS_EUSAGE, "--adapters: '%s' is named twice", w);
        if (!st) picked[count++] = kind;
    }
    free(copy);
    if (!st && !count) st = ws_fail(err, WS_EUSAGE, "--adapters names none");
    for (int s = 0; s < n_seeds && !st; s++)
        for (int i = 0; i < count; i++) {
            ws_adapter_config a = *base;
            a.kind = picked[i];
            if (!(ws_adapter_reads(a.kind) & WS_READS_LAYERS)) a.layer_begin = a.layer_end = -1;
            add(r, s ? ws_sprintf("%s-seed%d", a.kind, s) : ws_xstrdup(a.kind), WS_ROW_ADAPTER, &a, seed + (uint64_t)s);
        }
    return st;
}

ws_status ws_rows_make(ws_rows *out, const char *adapters, const char *controls, int n_seeds, uint64_t seed,
                       const ws_adapter_config *base, ws_err *err) {
    *out = (ws_rows){0};
    ws_status st = add_adapters(out, adapters, n_seeds, seed, base, err);
    char *copy = ws_xstrdup(controls ? controls : "random,shuffled"), *save = NULL;
    int like = 0, had[2] = {0};
    for (int i = 0; i < out->n && !st; i++)
        if (!strcmp(out->row[i].name, "lora")) like = i;
    for (char *w = strtok_r(copy, ",", &save); w && !st && strcmp(copy, "none"); w = strtok_r(NULL, ",", &save)) {
        int random = !strcmp(w, "random");
        if (!random && strcmp(w, "shuffled"))
            st = ws_fail(err, WS_EUSAGE, "--controls: '%s' is none; there are random and shuffled (or none)", w);
        else if (had[random]++)
            st = ws_fail(err, WS_EUSAGE, "--controls: '%s' is named twice", w);
        else {
            ws_adapter_config a = out->row[like].adapter;
            ws_row_spec *row =
                add(out, ws_xstrdup(w), random ? WS_ROW_RANDOM : WS_ROW_SHUFFLED, &a, out->row[like].seed);
            row->of = random ? like : -1;
        }
    }
    free(copy);
    if (st) ws_rows_free(out);
    return st;
}

void ws_rows_free(ws_rows *r) {
    for (int i = 0; i < r->n; i++) free(r->row[i].name);
    free(r->row);
    *r = (ws_rows){0};
}
