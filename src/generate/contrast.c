#include "generate/contrast.h"
#include "base/log.h"
#include "base/progress.h"
#include "io/file.h"
#include "kernel/compute.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POS, NEG, SIDES };
/* Streams of random numbers: row r of the grid, side s draws from 2 r + s; held-out rows are far behind. */
static const uint64_t HELDOUT_STREAM = (uint64_t)1 << 40;

typedef struct row {
    const ws_cell *cell;
    char *text[SIDES];
    int tokens[SIDES], cut[SIDES], done;
} row;

typedef struct file { /* pairs.jsonl or heldout.jsonl */
    const char *name;
    char *path;
    ws_lines lines;
    int open;
    row *row;
    int n, there, written; /* rows; in the file at the start; in the file now */
} file;

typedef struct work {
    const ws_tokenizer *t;
    const ws_chat *c;
    const ws_behavior *b;
    ws_think_form form;
    ws_contrast_options o;
    file file[2];
    int other_kernels; /* the rows that are there were made by another kernel set */
    int *of_request;   /* [n_req] row number (files one after another) * 2 + side */
    ws_contrast_result *result;
} work;

static row *row_of(work *w, int k, file **f) {
    *f = &w->file[k >= w->file[0].n];
    return &(*f)->row[k >= w->file[0].n ? k - w->file[0].n : k];
}

static const char *prompt_of(const work *w, const ws_cell *c) {
    return c->heldout ? w->b->heldout[c->topic] : w->b->topic[c->topic];
}
static const char *system_of(const work *w, const ws_cell *c, int side) {
    return side == POS ? w->b->system_pos[c->persona] : w->b->system_neg[c->persona];
}

/* ---------- what is on disk already ---------- */

typedef struct reading {
    const work *w;
    file *f;
} reading;

/* A row that is there must be the one that this command would have written at that place. */
static ws_status verify(void *arg, json_t *value, long line, ws_err *err) {
    reading *r = arg;
    file *f = r->f;
    ws_pair p;
    char *where = ws_json_where(f->path, line);
    ws_status st = ws_pair_parse(&p, value, where, err);
    if (!st) {
        const ws_cell *c = f->there < f->n ? f->row[f->there].cell : NULL;
        if (!c || p.topic != c->topic || p.persona != c->persona || p.sample != c->sample ||
            strcmp(p.prompt, prompt_of(r->w, c)))
            st = ws_fail(err, WS_ESTATE,
                         "%s: not the row that belongs there; the file was changed. --fresh starts over", where);
        f->there++;
        ws_pair_release(&p);
    }
    free(where);
    return st;
}

static ws_status open_file(work *w, file *f, ws_err *err) {
    if (f->n == 0) return WS_OK;
    if (ws_lines_open(&f->lines, f->path, err)) return err->code;
    f->open = 1;
    reading r = {w, f};
    if (ws_jsonl_each(f->path, verify, &r, err)) return err->code;
    f->written = f->there;
    return WS_OK;
}

static ws_status discard(const char *path, ws_err *err) {
    if (unlink(path) && errno != ENOENT) return ws_fail(err, WS_EIO, "cannot remove %s: %s", path, strerror(errno));
    return WS_OK;
}

/* data.json tells what the rows in `dir` depend on; it is there before the first row. */
static ws_status claim(work *w, const json_t *here, ws_err *err) {
    char *path = ws_path_join(w->o.dir, "data.json"), *diff = NULL;
    int rows = ws_file_exists(w->file[0].path) || ws_file_exists(w->file[1].path), kept = 0;
    json_t *there = NULL;
    ws_status st = WS_OK;
    if (w->o.fresh) {
        st = discard(path, err);
        for (int i = 0; i < 2 && !st; i++) st = discard(w->file[i].path, err);
    } else if (ws_file_exists(path)) {
        kept = 1;
        st = ws_json_load(&there, path, err);
        if (!st) { /* bits are the same on one kernel set only: that matters where rows are still missing */
            const char *kernels = json_string_value(json_object_get(there, "kernels"));
            w->other_kernels = !kernels || strcmp(kernels, ws_arithmetic());
            json_object_set(there, "kernels", json_object_get(here, "kernels"));
            if (!json_object_get(there, "compute")) /* as all was computed before it was noted */
                json_object_set_new(there, "compute", json_string("f32"));
            if (!json_object_get(there, "tokenizer_hash")) /* written before it was noted */
                json_object_set(there, "tokenizer_hash", json_object_get(here, "tokenizer_hash"));
            diff = ws_settings_difference(there, here);
        }
        if (!st && *diff)
            st = ws_fail(
                err, WS_ESTATE,
                "%s holds rows of another configuration (%s); --fresh starts over, --out chooses another folder",
                w->o.dir, diff);
    } else if (rows) {
        st = ws_fail(err, WS_ESTATE,
                     "%s has pairs, but no data.json that tells how they were made; --fresh deletes them, --out "
                     "chooses another folder",
                     w->o.dir);
    }
    if (!st && !kept) st = ws_json_save(here, path, err);
    json_decref(there);
    free(diff);
    free(path);
    return st;
}

/* ---------- prompts ---------- */

static ws_status render(const work *w, const ws_cell *c, int side, ws_ids *ids, ws_str *text, ws_err *err) {
    ws_render how = {.generation_prompt = 1, .thinking = w->o.thinking, .date = WS_CHAT_FIXED_DATE};
    ws_str_clear(text);
    if (ws_chat_render_plain(w->c, system_of(w, c, side), prompt_of(w, c), NULL, &how, text, err)) return err->code;
    return ws_tokenizer_encode(w->t, text->p, text->n, 0, ids, err);
}

static void show_prompt(const ws_str *text, int tokens, const char *side) {
    char *q = ws_excerpt(text->p, 2000);
    ws_note("prompt of the first row, %s side, %d tokens: %s", side, tokens, q);
    free(q);
}

/* ---------- answers ---------- */

/* Bytes of the last white-space character of s[0..n) (as Unicode counts it); 0: it is none. */
static size_t space_at_end(const char *s, size_t n) {
    static const char *const wide[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
                                       "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
                                       "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
                                       "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80", NULL};
    if (n && (s[n - 1] == ' ' || (s[n - 1] >= '\t' && s[n - 1] <= '\r') || (s[n - 1] >= 0x1c && s[n - 1] <= 0x1f)))
        return 1;
    for (int i = 0; wide[i]; i++) {
        size_t k = strlen(wide[i]);
        if (n >= k && !memcmp(s + n - k, wide[i], k)) return k;
    }
    return 0;
}

/* The response as it is stored: special tokens but for think tags dropped, white space at the end stripped, NUL (which
 * JSON readers refuse) replaced like other bytes that are no text. */
static ws_status stored_text(const work *w, const ws_gen_result *r, char **out, ws_err *err) {
    ws_str raw = {0}, s = {0};
    ws_status st = ws_think_decode(w->t, r->ids, r->n, &raw, err);
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i])
            ws_str_addc(&s, raw.p[i]);
        else
            ws_str_adds(&s, "\xef\xbf\xbd");
    }
    for (size_t k; (k = space_at_end(s.p, s.n));) s.n -= k;
    ws_str_free(&raw);
    if (st) {
        ws_str_free(&s);
        return st;
    }
    *out = ws_str_take(&s);
    return WS_OK;
}

static ws_status write_row(work *w, file *f, row *r, ws_err *err) {
    const ws_cell *c = r->cell;
    ws_pair p = {.prompt = (char *)prompt_of(w, c),
                 .pos = r->text[POS],
                 .neg = r->text[NEG],
                 .sys_pos = (char *)system_of(w, c, POS),
                 .sys_neg = (char *)system_of(w, c, NEG),
                 .topic = c->topic,
                 .persona = c->persona,
                 .sample = c->sample,
                 .cut_pos = r->cut[POS],
                 .cut_neg = r->cut[NEG],
                 .tokens_pos = r->tokens[POS],
                 .tokens_neg = r->tokens[NEG],
                 .behavior = w->b->name};
    if (w->form >= WS_THINK_FREE) ws_pair_think(&p, w->form);
    json_t *o = ws_pair_json(&p);
    ws_str line = {0};
    ws_json_dump(o, &line, 1);
    ws_status st = ws_lines_add(&f->lines, line.p, line.n, err);
    ws_str_free(&line);
    json_decref(o);
    for (int s = 0; s < SIDES; s++) {
        free(p.reasoning[s]), free(p.answer[s]); /* the rest of p is borrowed */
        free(r->text[s]), r->text[s] = NULL;
    }
    if (st) return st;
    f->written++;
    w->result->new_rows++;
    return WS_OK;
}

static ws_status done(void *arg, int index, const ws_gen_result *g, ws_err *err) {
    work *w = arg;
    int k = w->of_request[index] / SIDES, side = w->of_request[index] % SIDES;
    file *f;
    row *r = row_of(w, k, &f);
    if (stored_text(w, g, &r->text[side], err)) return err->code;
    if (!*r->text[side]) {
        char *q = ws_excerpt(prompt_of(w, r->cell), 200), *p = ws_excerpt(system_of(w, r->cell, side), 200);
        ws_fail(err, WS_EFORMAT,
                "row %d of %s: an empty %s answer (%d tokens, none of which is text) to %s with the system prompt %s; "
                "the rows before "
                "it are kept. Try another --seed, or a larger --min-new-tokens, with --fresh",
                (int)(r - f->row) + 1, f->name, side == POS ? "POS" : "NEG", g->n, q, p);
        free(q);
        free(p);
        return err->code;
    }
    r->tokens[side] = g->n;
    r->cut[side] = g->finish == WS_FINISH_LENGTH;
    r->done++;
    w->result->new_tokens += g->n;
    while (f->written < f->n && f->row[f->written].done == SIDES)
        if (write_row(w, f, &f->row[f->written], err)) return err->code;
    return WS_OK;
}

/* ---------- the stage ---------- */

static ws_status generate(work *w, ws_model *m, ws_err *err) {
    int rows = w->file[0].n + w->file[1].n, n = 0;
    ws_gen_request *req = ws_xcalloc((size_t)rows * SIDES + 1, sizeof *req);
    ws_ids *ids = ws_xcalloc((size_t)rows * SIDES + 1, sizeof *ids);
    w->of_request = ws_xcalloc((size_t)rows * SIDES + 1, sizeof *w->of_request);
    ws_str text = {0};
    ws_status st = WS_OK;
    for (int k = 0; k < rows * SIDES && !st; k++) {
        file *f;
        row *r = row_of(w, k / SIDES, &f);
        int number = (int)(r - f->row), side = k % SIDES;
        if (number < f->there) continue;
        st = render(w, r->cell, side, &ids[n], &text, err);
        if (!st && n < SIDES) show_prompt(&text, ids[n].n, side == POS ? "POS" : "NEG");
        uint64_t stream = (uint64_t)number * SIDES + (uint64_t)side + (r->cell->heldout ? HELDOUT_STREAM : 0);
        req[n] = (ws_gen_request){.prompt = ids[n].id,
                                  .n_prompt = ids[n].n,
                                  .max_new = w->o.max_new,
                                  .min_new = w->o.min_new,
                                  .stream_row = stream};
        w->of_request[n++] = k;
    }
    if (!st) {
        ws_gen_options o = {.sampling = w->o.sampling,
                            .seed = w->o.seed,
                            .stream = "data",
                            .max_rows = w->o.max_rows,
                            .vocab_limit = ws_tokenizer_size(w->t),
                            .progress = "data"};
        o.stops = ws_tokenizer_stops(w->t, &o.n_stops);
        st = ws_generate(m, req, n, &o, done, NULL, w, err);
    }
    for (int i = 0; i < rows * SIDES; i++) ws_ids_free(&ids[i]);
    ws_str_free(&text);
    free(ids);
    free(req);
    return st;
}

ws_status ws_contrast_check(const ws_contrast_options *o, ws_err *err) {
    if (o->topics < 1 || o->personas < 1 || o->samples < 1)
        return ws_fail(err, WS_EUSAGE, "topics, personas and samples must all be at least 1");
    if ((double)o->topics * o->personas * o->samples + o->heldout > 1e8)
        return ws_fail(err, WS_EUSAGE, "more than 1e8 rows");
    if (o->heldout < 0) return ws_fail(err, WS_EUSAGE, "heldout must not be negative");
    if (o->max_new < 1) return ws_fail(err, WS_EUSAGE, "max-new-tokens must be at least 1");
    if (o->min_new < 0 || o->min_new > o->max_new)
        return ws_fail(err, WS_EUSAGE, "min-new-tokens must be between 0 and max-new-tokens (%d)", o->max_new);
    return ws_sampling_check(&o->sampling, err);
}

ws_status ws_contrast_run(ws_model *m, const ws_tokenizer *t, const ws_chat *c, const ws_behavior *b,
                          const ws_contrast_options *options, ws_contrast_result *result, ws_err *err) {
    ws_contrast_result unused;
    work w = {.t = t, .c = c, .b = b, .result = result ? result : &unused};
    *w.result = (ws_contrast_result){0};
    if (ws_contrast_check(options, err)) return err->code;
    if (ws_think_form_of(&w.form, c, options->thinking, err)) return err->code;
    w.o = ws_contrast_clamp(b, options, 1);
    double started = ws_now();
    int n, lock = -1;
    ws_cell *cell = ws_contrast_cells(b, &w.o, &n);
    json_t *settings = ws_contrast_settings(m, c, b, &w.o);
    char tokenizer[65];
    ws_tokenizer_hash(t, tokenizer);
    json_object_set_new(settings, "tokenizer_hash", json_string(tokenizer));
    w.file[0] = (file){.name = "pairs.jsonl", .n = n - w.o.heldout};
    w.file[1] = (file){.name = "heldout.jsonl", .n = w.o.heldout};
    for (int i = 0, k = 0; i < 2; i++) {
        file *f = &w.file[i];
        f->path = ws_path_join(w.o.dir, f->name);
        f->row = ws_xcalloc((size_t)f->n + 1, sizeof *f->row);
        for (int r = 0; r < f->n; r++) f->row[r].cell = &cell[k++];
    }
    ws_status st = ws_lock(&lock, w.o.dir, 0, err);
    if (!st) st = claim(&w, settings, err);
    for (int i = 0; i < 2 && !st; i++) st = open_file(&w, &w.file[i], err);
    int there = w.file[0].there + w.file[1].there;
    if (!st && there == n)
        ws_note("%s: all %d rows are there", w.o.dir, n);
    else if (!st && there)
        ws_note("%s: %d of %d rows are there; going on", w.o.dir, there, n);
    if (!st && there > 0 && there < n && w.other_kernels)
        st = ws_fail(
            err, WS_ESTATE,
            "%s: its rows were begun with other kernels than '%s', so the rest would not be the same bits; run it "
            "with WS_KERNELS as in data.json, or start over with --fresh",
            w.o.dir, ws_arithmetic());
    if (!st && there < n && w.form != WS_THINK_NONE) ws_note("thinking: %s", ws_think_say(w.form));
    if (!st && there < n) st = generate(&w, m, err);
    for (int i = 0; i < 2; i++) {
        file *f = &w.file[i];
        ws_err late = {0};
        if (f->open && ws_lines_close(&f->lines, &late) && !st) {
            *err = late;
            st = late.code;
        }
        for (int r = 0; r < f->n; r++)
            for (int s = 0; s < SIDES; s++) free(f->row[r].text[s]);
        free(f->row);
        free(f->path);
    }
    w.result->rows = w.file[0].written;
    w.result->heldout = w.file[1].written;
    w.result->form = w.form;
    w.result->seconds = ws_now() - started;
    if (lock >= 0) ws_unlock(lock);
    json_decref(settings);
    free(w.of_request);
    free(cell);
    return st;
}
