/* src/cmd/logits.c - ws logits: every logit of given token ids, steered or not, as safetensors. */
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "cmd/hang.h"
#include <stdio.h>
#include <stdlib.h>
WS_ROOM(logits)

typedef struct opts {
    const char *ids, *file;
    ws_hang hang;
} opts;
enum { K_IDS = 1, K_FILE };
static const struct argp_option options[] = {{"ids", K_IDS, "IDS", 0, "token ids separated by spaces or commas", 1},
                                             {"ids-file", K_FILE, "F", 0, "a .json array of arrays of ids", 1},
                                             WS_HANG_OPTIONS,
                                             {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    opts *o = state->input;
    switch (key) {
    case K_IDS: o->ids = arg; return 0;
    case K_FILE: o->file = arg; return 0;
    case ARGP_KEY_ARG: argp_error(state, "'%s': give the ids with --ids", arg); return 0;
    case ARGP_KEY_END:
        if (!o->ids == !o->file) argp_error(state, "give --ids or --ids-file, one of them");
        break;
    default: break;
    }
    return ws_hang_parse(&o->hang, key, arg, state);
}

static ws_status ids_from_file(ws_ids **out, size_t *n, const char *path, ws_err *err) {
    json_t *list;
    if (ws_json_load(&list, path, err)) return err->code;
    ws_status st = WS_OK;
    if (!json_is_array(list) || !json_array_size(list))
        st = ws_fail(err, WS_EFORMAT, "%s: expected an array of arrays of token ids", path);
    *n = json_array_size(list);
    *out = ws_xcalloc(*n, sizeof **out);
    for (size_t i = 0; i < *n && !st; i++) {
        const json_t *row = json_array_get(list, i), *v;
        size_t j;
        if (!json_is_array(row) || !json_array_size(row))
            st = ws_fail(err, WS_EFORMAT, "%s: entry %zu is no array with at least one id", path, i);
        json_array_foreach((json_t *)(uintptr_t)row, j, v) {
            json_int_t id = json_integer_value(v);
            if (!st && (!json_is_integer(v) || id < 0 || id > INT32_MAX))
                st = ws_fail(err, WS_EFORMAT, "%s: entry %zu: element %zu is no token id", path, i, j);
            if (!st) ws_ids_add(&(*out)[i], (int32_t)id);
        }
    }
    json_decref(list);
    return st;
}

/* `where`: what the rows are called in errors. */
static ws_status compute(ws_model *m, const ws_hang *h, const ws_ids *ids, size_t n, const char *where, const char *out,
                         ws_err *err) {
    int64_t vocab = ws_model_dims(m)->vocab, d = ws_model_dims(m)->hidden;
    ws_tensor *t = ws_xcalloc(n, sizeof *t);
    ws_progress bar;
    ws_status st = WS_OK;
    ws_progress_start(&bar, "logits", "rows", (int64_t)n);
    for (size_t i = 0; i < n && !st; i++) {
        float *hidden = ws_try_alloc((size_t)ids[i].n, (size_t)d * sizeof *hidden);
        float *logits = ws_try_alloc((size_t)ids[i].n, (size_t)vocab * sizeof *logits);
        t[i] = (ws_tensor){
            .name = ws_sprintf("logits.%zu", i), .type = WS_F32, .dims = 2, .dim = {ids[i].n, vocab}, .data = logits};
        t[i].bytes = (size_t)ids[i].n * (size_t)vocab * sizeof *logits;
        const ws_row row = {-1, ids[i].id, ids[i].n, ids[i].n};
        const ws_batch b = {1, &row, h->steering.n, h->steering.patch, (const float *const *)h->row_alpha};
        if (!hidden || !logits)
            st = ws_fail(err, WS_ENOMEM,
                         "no memory for the logits of row %zu (%d tokens x %lld); give fewer or shorter rows", i,
                         ids[i].n, (long long)vocab);
        else if ((st = ws_forward(m, NULL, &b, hidden, err)))
            ws_fail_prefix(err, "%s %zu", where, i);
        else
            ws_head(m, hidden, ids[i].n, logits);
        free(hidden);
        ws_progress_update(&bar, (int64_t)i + 1, NULL);
        if (!st) st = ws_interrupt_check(err);
    }
    ws_progress_end(&bar);
    if (!st) st = ws_safetensors_write(out, t, n, NULL, err);
    for (size_t i = 0; i < n; i++) {
        free(t[i].name);
        free((void *)(uintptr_t)t[i].data);
    }
    free(t);
    return st;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    opts o = {0};
    ws_common c;
    ws_session s = {0};
    ws_ids one = {0}, *ids = NULL;
    size_t n = 1;
    static const char *const without[] = {"template", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st =
        ws_cmd_parse(argc, argv, options, parse, "--model M (--ids IDS | --ids-file F.json) --out F.safetensors",
                     "Write the logits of every position: tensors logits.0, logits.1, ... [tokens, vocabulary].\n\n"
                     "  ws logits --model M.gguf --ids '504 2365 282 4649 314' --out l.safetensors\n"
                     "  ws logits --model M --ids-file rows.json --dw dw.safetensors --alpha 2.5 --out l.safetensors\n"
                     "  ws logits --model M --ids-file rows.json --adapter out/pos --out l.safetensors",
                     &o, &c, err);
    if (st) return st;
    if (!c.out) return ws_fail(err, WS_EUSAGE, "--out F.safetensors is missing");
    if (o.ids) {
        st = ws_opt_ids("--ids", o.ids, &one, err);
        if (!st && !one.n) st = ws_fail(err, WS_EUSAGE, "--ids: no id is given");
    } else
        st = ids_from_file(&ids, &n, o.file, err);
    /* no text is involved, so a model without a tokenizer will do */
    if (st || (st = ws_session_open_weights(&s, &c, err)) || (st = ws_hang_open(&o.hang, s.model, &c, 1, err)) ||
        (st = ws_out_try(c.out, err)))
        goto out;
    char *where = o.ids ? ws_xstrdup("--ids: row") : ws_sprintf("%s: entry", o.file);
    st = compute(s.model, &o.hang, ids ? ids : &one, n, where, c.out, err);
    free(where);
    if (st) goto out;
    int64_t vocab = ws_model_dims(s.model)->vocab;
    if (c.json)
        ws_print_json(json_pack("{s:s, s:I, s:I}", "out", c.out, "rows", (json_int_t)n, "vocab", (json_int_t)vocab), 1);
    else
        ws_note("wrote %s: %zu row%s, vocabulary %lld", c.out, n, n == 1 ? "" : "s", (long long)vocab);
out:
    for (size_t i = 0; ids && i < n; i++) ws_ids_free(&ids[i]);
    free(ids);
    ws_ids_free(&one);
    ws_hang_close(&o.hang);
    ws_session_close(&s);
    return st;
}

const ws_cmd ws_cmd_logits = {104, "logits", "token ids -> every logit, steered or not, as safetensors", run};
