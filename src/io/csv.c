#include "io/csv.h"
#include "io/json.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *p, *end, *path;
    long line; /* of p */
} reader;

/* One record's fields, appended to `out`; 1: a record, 0: end of file, -1: malformed. */
static int record(reader *r, char ***out, size_t *n, size_t *cap, ws_err *err) {
    ws_str field = {0};
    if (r->p >= r->end) return 0;
    for (;;) {
        ws_str_clear(&field);
        ws_str_add(&field, "", 0);
        int quoted = r->p < r->end && *r->p == '"';
        long opened = r->line;
        if (quoted) {
            for (r->p++;; r->p++) {
                if (r->p >= r->end) {
                    ws_fail(err, WS_EFORMAT, "%s:%ld: a quoted field is never closed", r->path, opened);
                    ws_str_free(&field);
                    return -1;
                }
                if (*r->p == '"') {
                    if (r->p + 1 >= r->end || r->p[1] != '"') break;
                    r->p++;
                }
                if (*r->p == '\n') r->line++;
                ws_str_addc(&field, *r->p);
            }
            r->p++;
        } else
            while (r->p < r->end && *r->p != ',' && *r->p != '\n' &&
                   !(*r->p == '\r' && (r->p + 1 == r->end || r->p[1] == '\n')))
                ws_str_addc(&field, *r->p++);
        if (r->p + 1 == r->end && *r->p == '\r')
            r->p++;
        else if (r->p + 1 < r->end && *r->p == '\r' && r->p[1] == '\n')
            r->p++;
        if (*n == *cap) *out = ws_xrealloc(*out, (*cap = *cap * 2 + 64) * sizeof **out);
        (*out)[(*n)++] = ws_str_take(&field);
        if (r->p >= r->end) return 1;
        char c = *r->p;
        if (c != ',' && c != '\n') {
            ws_fail(err, WS_EFORMAT, "%s:%ld: text after a closing quote", r->path, r->line);
            return -1;
        }
        r->p++;
        if (c == '\n') {
            r->line++;
            return 1;
        }
    }
}

ws_status ws_csv_load(ws_csv *c, const char *path, ws_err *err) {
    ws_str text = {0};
    *c = (ws_csv){0};
    ws_status st = ws_file_read(path, &text, err);
    if (!st) st = ws_csv_parse(c, text.p, text.n, path, err);
    ws_str_free(&text);
    return st;
}

ws_status ws_csv_parse(ws_csv *c, const char *text, size_t size, const char *path, ws_err *err) {
    *c = (ws_csv){0};
    char **v = NULL;
    size_t n = 0, cap = 0, before;
    ws_status rc = WS_OK;
    reader r = {text, text + size, path, 1};
    if (size >= 3 && !memcmp(r.p, "\xef\xbb\xbf", 3)) r.p += 3;
    int got = record(&r, &v, &n, &cap, err);
    if (got < 0) {
        rc = WS_EFORMAT;
        goto done;
    }
    if (!got || n > 100000) {
        rc = ws_fail(err, WS_EFORMAT, "%s:1: a header line is needed", path);
        goto done;
    }
    c->cols = (int)n;
    for (;;) {
        long line = r.line;
        before = n;
        got = record(&r, &v, &n, &cap, err);
        if (got < 0) {
            rc = WS_EFORMAT;
            goto done;
        }
        if (!got) break;
        if (n - before == 1 && c->cols > 1 && !*v[before]) { /* an empty line */
            free(v[--n]);
            continue;
        }
        if (n - before != (size_t)c->cols) {
            rc = ws_fail(err, WS_EFORMAT, "%s:%ld: has %zu fields, the header has %d", path, line, n - before, c->cols);
            goto done;
        }
        if (!(c->rows & (c->rows - 1))) c->line = ws_xrealloc(c->line, ((size_t)c->rows * 2 + 1) * sizeof *c->line);
        c->line[c->rows++] = line;
    }
    c->head = v;
    c->cell = v + c->cols;
done:
    if (rc) {
        for (size_t i = 0; i < n; i++) free(v[i]);
        free(v);
        free(c->line);
        *c = (ws_csv){0};
    }
    return rc;
}

void ws_csv_free(ws_csv *c) {
    if (!c) return;
    for (size_t i = 0; i < (size_t)c->cols * (size_t)(c->rows + 1) && c->head; i++)
        free(c->head[i]); /* cell lies behind head */
    free(c->head);
    free(c->line);
    *c = (ws_csv){0};
}

int ws_csv_append(ws_csv *to, ws_csv *from) {
    if (to->cols != from->cols) return 0;
    for (int c = 0; c < to->cols; c++)
        if (strcmp(to->head[c], from->head[c])) return 0;
    size_t cols = (size_t)to->cols, n = cols * (size_t)(to->rows + 1), more = cols * (size_t)from->rows;
    to->head = ws_xrealloc(to->head, (n + more) * sizeof *to->head);
    to->cell = to->head + cols; /* cell lies behind head */
    memcpy(to->head + n, from->cell, more * sizeof *to->head);
    to->line = ws_xrealloc(to->line, ((size_t)to->rows + (size_t)from->rows + 1) * sizeof *to->line);
    if (from->rows) memcpy(to->line + to->rows, from->line, (size_t)from->rows * sizeof *to->line);
    to->rows += from->rows, from->rows = 0;
    ws_csv_free(from);
    return 1;
}

int ws_csv_col(const ws_csv *c, const char *name) {
    for (int i = 0; i < c->cols; i++)
        if (!strcmp(c->head[i], name)) return i;
    return -1;
}

void ws_csv_field(ws_str *out, const char *text) {
    size_t n = strlen(text);
    int edge = n && (text[0] == ' ' || text[n - 1] == ' ');
    if (!edge && !strpbrk(text, ",\"\r\n")) {
        ws_str_adds(out, text);
        return;
    }
    ws_str_addc(out, '"');
    for (; *text; text++) {
        if (*text == '"') ws_str_addc(out, '"');
        ws_str_addc(out, *text);
    }
    ws_str_addc(out, '"');
}

void ws_csv_num(ws_str *out, double v) {
    char text[32];
    if (isnan(v))
        ws_str_adds(out, "nan");
    else if (isinf(v))
        ws_str_adds(out, v > 0 ? "inf" : "-inf");
    else {
        ws_num_text(text, v);
        ws_str_adds(out, text);
    }
}
