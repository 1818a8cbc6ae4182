#include "run/report.h"
#include "io/file.h"
#include "report/html.h"
#include "run/headline.h"
#include "run/plots.h"
#include "run/questions.h"
#include "run/samples.h"
#include "run/tables.h"
#include "run/verdict.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed_of(const ws_results *r) {
    const json_t *s = r->n ? json_object_get(r->m[0].eval, "seed") : NULL;
    return (uint64_t)json_integer_value(s);
}

/* Everything that is shown, gathered once for all forms. */
typedef struct parts {
    ws_tables tables;
    ws_pictures pictures;
    ws_triple triple[WS_TRIPLES];
    int n_triples;
    ws_questions questions;
    ws_str title, intro, verdict, honest, warning, answers, samples; /* samples: how they were chosen */
} parts;

/* Whether a row of the sweep was evaluated: methods stand in the rows' order. */
static int first_row(const ws_results *r) {
    for (int i = 0; i < r->n_rows; i++)
        if (r->row[i].method == 0) return 1;
    return 0;
}

static void gather(const ws_results *r, parts *p) {
    ws_results *one = (ws_results *)r;
    const char *sentence;
    memset(p, 0, sizeof *p);
    p->tables = ws_tables_build(&one, 1);
    p->questions = ws_questions_of(r);
    ws_questions_tables(&p->questions, &p->tables);
    ws_questions_answer(&p->questions, &p->answers);
    p->pictures = ws_pictures_build(r);
    ws_str_addf(&p->title, "Steering %s on %s", ws_results_behavior(r), ws_results_model(r));
    const json_t *options = json_object_get(r->manifest, "options");
    ws_str_addf(&p->intro, "Base model %s (sha256 %.12s...), behaviour %s", ws_results_model(r),
                ws_results_model_hash(r), ws_results_behavior(r));
    if (options) {
        const char *key;
        json_t *v;
        ws_str_adds(&p->intro, ". Options: ");
        int first = 1;
        json_object_foreach((json_t *)options, key, v) {
            if (json_is_null(v) || !strcmp(key, "template")) continue;
            ws_str_addf(&p->intro, "%s%s ", first ? "" : ", ", key);
            if (!strcmp(key, "thinking"))
                ws_str_adds(&p->intro, json_integer_value(v) < 0 ? "as the template has it"
                                       : json_integer_value(v)   ? "on"
                                                                 : "off");
            else if (json_is_string(v))
                ws_str_adds(&p->intro, json_string_value(v));
            else
                ws_json_dump(v, &p->intro, 1);
            first = 0;
        }
    }
    ws_str_adds(&p->intro,
                ". alpha is the strength of the steering, + is towards the POS persona, 0 is the base model bit "
                "for bit.");
    if (!r->n) return;
    ws_str_addf(
        &p->samples,
        "Three held-out prompts, chosen by the seed, at three strengths%s%s; first sample of each, nothing selected "
        "by hand.",
        r->n_rows ? " of the first row, " : "", r->n_rows ? r->m[0].name : "");
    p->n_triples = ws_triples_choose(&r->m[0], seed_of(r), WS_TRIPLES, p->triple);
    if (r->n_rows)
        ws_headline_sweep(r, &p->verdict);
    else
        ws_verdict_line(&r->m[0], &p->verdict);
    if (!r->n_rows || first_row(r)) {
        if (r->n_rows) ws_str_addf(&p->honest, "The first row alone, %s. ", r->m[0].name);
        ws_verdict_honest(r, &r->m[0], &p->honest);
    }
    if (ws_vignette_signal(&r->m[0], &sentence) == 0)
        ws_str_addf(&p->warning,
                    "The vignette readout carries no signal on this model, because %s. Nothing in its tables is marked "
                    "as best.",
                    sentence);
}

static void release(parts *p) {
    ws_tables_free(&p->tables);
    ws_questions_free(&p->questions), ws_str_free(&p->answers);
    ws_pictures_free(&p->pictures);
    ws_str_free(&p->title), ws_str_free(&p->intro), ws_str_free(&p->verdict);
    ws_str_free(&p->honest), ws_str_free(&p->warning), ws_str_free(&p->samples);
}

static ws_status put(const char *dir, const char *name, const char *ext, const ws_str *s, ws_err *err) {
    char *file = ws_sprintf("%s%s", name, ext), *path = ws_path_join(dir, file);
    ws_status st = ws_file_write(path, s->p ? s->p : "", s->n, err);
    free(file);
    free(path);
    return st;
}

static ws_status samples_page(const parts *p, const char *dir, ws_err *err) {
    ws_str s = {0};
    ws_str_addf(&s, "# %s: samples\n\n%s\n\n", p->title.p, p->samples.p);
    ws_triples_markdown(p->triple, p->n_triples, &s);
    ws_status st = put(dir, "samples", ".md", &s, err);
    ws_str_free(&s);
    return st;
}

static ws_status markdown_page(const parts *p, const char *dir, ws_err *err) {
    ws_str s = {0};
    ws_str_addf(&s, "# %s\n\n", p->title.p);
    if (p->honest.n) ws_str_addf(&s, "%s\n\n", p->honest.p);
    if (p->verdict.n) ws_str_addf(&s, "> %s\n\n", p->verdict.p);
    for (const char *l = p->answers.p; l && *l; l += strcspn(l, "\n"), l += *l == '\n')
        ws_str_addf(&s, "%.*s\n\n", (int)strcspn(l, "\n"), l);
    ws_str_addf(&s, "%s\n", p->intro.p);
    if (p->n_triples) {
        ws_str_addf(&s, "\n## Samples\n\n%s\n\n", p->samples.p);
        ws_triples_markdown(p->triple, p->n_triples, &s);
    }
    ws_str_adds(&s, "\n## Plots\n");
    for (int i = 0; i < p->pictures.n; i++)
        ws_str_addf(&s, "\n![%s](%s.png)\n", p->pictures.p[i].alt, p->pictures.p[i].name);
    ws_str_adds(&s, "\n## Tables\n");
    if (p->warning.n) ws_str_addf(&s, "\n> %s\n", p->warning.p);
    for (int i = 0; i < p->tables.n; i++) {
        ws_str_addc(&s, '\n');
        ws_table_markdown(p->tables.t[i], &s);
    }
    ws_status st = put(dir, "report", ".md", &s, err);
    ws_str_free(&s);
    return st;
}

static ws_status pictures(const parts *p, const char *dir, ws_str *html, ws_err *err) {
    ws_str png = {0}, svg = {0};
    for (int i = 0; i < p->pictures.n; i++) {
        const ws_picture *q = &p->pictures.p[i];
        ws_str_clear(&png), ws_str_clear(&svg);
        if (ws_plot_png(&q->plot, &png, err) || ws_plot_svg(&q->plot, &svg, err) ||
            put(dir, q->name, ".png", &png, err) || put(dir, q->name, ".svg", &svg, err))
            break;
        ws_html_svg(html, svg.p, svg.n, i + 1, q->alt);
    }
    ws_str_free(&png), ws_str_free(&svg);
    return err->code;
}

static ws_status html_page(const parts *p, const char *dir, ws_err *err) {
    ws_str s = {0};
    ws_html_open(&s, p->title.p);
    if (p->honest.n) ws_html_paragraph(&s, p->honest.p);
    if (p->verdict.n) ws_html_note(&s, p->verdict.p);
    for (const char *l = p->answers.p; l && *l; l += strcspn(l, "\n"), l += *l == '\n') {
        char *line = ws_xstrndup(l, strcspn(l, "\n"));
        ws_html_paragraph(&s, line);
        free(line);
    }
    ws_html_paragraph(&s, p->intro.p);
    if (p->n_triples) {
        ws_html_heading(&s, 2, "Samples");
        ws_html_paragraph(&s, p->samples.p);
        ws_triples_html(p->triple, p->n_triples, &s);
    }
    ws_html_heading(&s, 2, "Plots");
    if (!pictures(p, dir, &s, err)) {
        ws_html_heading(&s, 2, "Tables");
        if (p->warning.n) ws_html_note(&s, p->warning.p);
        for (int i = 0; i < p->tables.n; i++) ws_table_html(p->tables.t[i], &s);
        ws_html_close(&s);
        put(dir, "report", ".html", &s, err);
    }
    ws_str_free(&s);
    return err->code;
}

ws_status ws_report_write(const ws_results *r, const char *dir, ws_err *err) {
    parts p;
    ws_str s = {0};
    err->code = WS_OK;
    gather(r, &p);
    for (int i = 0; i < p.tables.n && !err->code; i++) {
        ws_str_clear(&s);
        ws_table_csv(p.tables.t[i], &s);
        if (put(dir, ws_table_name(p.tables.t[i]), ".csv", &s, err)) break;
        ws_str_clear(&s);
        json_t *j = ws_table_json(p.tables.t[i]);
        ws_json_dump(j, &s, 0);
        ws_str_addc(&s, '\n');
        json_decref(j);
        put(dir, ws_table_name(p.tables.t[i]), ".json", &s, err);
    }
    if (!err->code && p.n_triples) samples_page(&p, dir, err);
    if (!err->code) html_page(&p, dir, err);
    if (!err->code) markdown_page(&p, dir, err);
    ws_str_free(&s);
    release(&p);
    return err->code;
}

void ws_report_files(const ws_results *r, const char *dir, void (*add)(void *arg, const char *path), void *arg) {
    parts p;
    gather(r, &p);
    for (int i = 0; i < p.tables.n + p.pictures.n; i++) {
        const char *name = i < p.tables.n ? ws_table_name(p.tables.t[i]) : p.pictures.p[i - p.tables.n].name;
        for (int k = 0; k < 2; k++) {
            char *path = ws_sprintf("%s/%s.%s", dir, name, i < p.tables.n ? k ? "json" : "csv" : k ? "svg" : "png");
            add(arg, path);
            free(path);
        }
    }
    static const char *const page[] = {"report.md", "report.html", "samples.md"};
    for (int i = 0; i < (p.n_triples ? 3 : 2); i++) {
        char *path = ws_path_join(dir, page[i]);
        add(arg, path);
        free(path);
    }
    release(&p);
}

void ws_report_print(const ws_results *r, int width, int bold, ws_str *out) {
    parts p;
    gather(r, &p);
    if (p.n_triples) {
        ws_str_addf(out, "%s\n\n", p.samples.p);
        ws_triples_print(p.triple, p.n_triples, width, out);
        ws_str_addc(out, '\n');
    }
    if (p.warning.n) ws_str_addf(out, "%s\n\n", p.warning.p);
    if (p.answers.n) ws_str_addf(out, "%s\n", p.answers.p);
    for (int i = 0; i < p.tables.n; i++) {
        if (i) ws_str_addc(out, '\n');
        ws_table_print(p.tables.t[i], out, bold);
    }
    release(&p);
}
