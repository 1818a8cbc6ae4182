#include "run/results.h"
#include "io/file.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOPICS = 100000 };

/* Columns that some table or plot reads. */
static const char c_summary[] =
    "method unit target_p95 alpha_pos alpha_neg status_pos status_neg p95_at_pos p95_at_neg "
    "p95_lo_pos p95_hi_pos p95_lo_neg p95_hi_neg iterations_pos iterations_neg "
    "audit_ratio_pos audit_ratio_neg rel_norm_pos rel_norm_neg n_prompts n_tokens n_audit note";
static const char c_audit[] = "method side alpha p95_audit";
static const char c_history[] = "method side step alpha p95";
static const char c_readout[] = "method alpha arm n_vignettes n_cells n_valid coverage pmass agreement s_other gap";
static const char c_foundations[] = "method alpha arm foundation w logit logit_std n n_total";
static const char c_dlogit[] = "method alpha arm foundation mean std lo hi n n_total net n_flips";
static const char c_si[] = "method foundation intent k weighting n_cho n_rej si_fwd si_rev si_raw pmass_scale si si_lo "
                           "si_hi separation sep_lo sep_hi defined";
static const char c_effect[] = "method alpha arm target sign d_target d_target_lo d_target_hi d_others d_others_lo "
                               "d_others_hi specific specific_lo specific_hi n";
static const char c_thinking[] =
    "method alpha n closed closed_lo closed_hi forced own_prefill tokens tokens_lo tokens_hi "
    "loop loop_lo loop_hi";
static const char c_margin[] = "method alpha arm margin lo hi delta delta_lo delta_hi n_rows n_topics";
static const char c_dose[] = "method alpha dose score score_lo score_hi tokens distinct3 base_ppl cut n n_topics";
static const char c_canaries[] =
    "method alpha arm distinct3 distinct3_lo distinct3_hi loop loop_lo loop_hi json json_lo "
    "json_hi mass mass_lo mass_hi n broken why";
static const char c_log[] = "step epoch loss grad_norm lr tokens eval_loss";

static ws_status sheet_load(ws_sheet *s, const char *dir, const char *file, const char *columns, ws_err *err) {
    s->path = ws_path_join(dir, file);
    if (!ws_file_exists(s->path)) return WS_OK;
    if (ws_csv_load(&s->csv, s->path, err)) return err->code;
    for (int i = 0; i < s->csv.rows * s->csv.cols; i++) /* cells go to terminals, which obey control characters */
        for (char *t = s->csv.cell[i]; *t; t++)
            if ((unsigned char)*t < 0x20 || *t == 0x7f) *t = ' ';
    for (const char *c = columns; *c;) {
        char name[64];
        size_t n = strcspn(c, " ");
        WS_ASSERT(n < sizeof name);
        memcpy(name, c, n), name[n] = 0;
        if (ws_csv_col(&s->csv, name) < 0)
            return ws_fail(err, WS_EFORMAT, "%s: column \"%s\" is missing; was it written by another version of ws?",
                           s->path, name);
        c += n + strspn(c + n, " ");
    }
    return WS_OK;
}

/* The rows of `from` behind those of `to`, which takes them over. */
static ws_status sheet_append(ws_sheet *to, ws_sheet *from, ws_err *err) {
    if (!from->csv.rows) return WS_OK;
    if (!to->csv.rows) {
        ws_sheet t = *to;
        *to = *from, *from = t;
        return WS_OK;
    }
    if (!ws_csv_append(&to->csv, &from->csv))
        return ws_fail(err, WS_EFORMAT, "%s and %s have other columns", to->path, from->path);
    return WS_OK;
}

static void sheet_free(ws_sheet *s) {
    ws_csv_free(&s->csv);
    free(s->path);
}

const char *ws_sheet_text(const ws_sheet *s, int row, const char *col) {
    int c = ws_csv_col(&s->csv, col);
    if (c < 0 || row < 0 || row >= s->csv.rows) BUG("%s: no cell %d, %s", s->path, row, col);
    return s->csv.cell[row * s->csv.cols + c];
}

double ws_sheet_num(const ws_sheet *s, int row, const char *col) {
    const char *text = ws_sheet_text(s, row, col);
    char *end;
    double v = strtod(text, &end);
    return end == text || *end ? (double)NAN : v;
}

int ws_sheet_arm(const ws_sheet *s, const char *method, const char *arm) {
    for (int r = 0; r < s->csv.rows; r++)
        if (!strcmp(ws_sheet_text(s, r, "arm"), arm) && (!method || !strcmp(ws_sheet_text(s, r, "method"), method)))
            return r;
    return -1;
}

/* ---------- texts ---------- */
static ws_status take_sample(void *arg, json_t *v, long line, ws_err *err) {
    ws_method_results *m = arg;
    char *where = ws_sprintf("%s/samples.jsonl:%ld", m->dir, labs(line));
    const char *prompt, *text;
    int64_t topic, sample;
    ws_answer s = {0};
    ws_status st = WS_OK;
    if (json_object_get(v, "format")) goto out; /* the header line */
    if (ws_json_str(v, "prompt", &prompt, where, err) || ws_json_str(v, "text", &text, where, err) ||
        ws_json_int(v, "topic", &topic, where, err) || ws_json_int(v, "sample", &sample, where, err) ||
        ws_json_num(v, "alpha", &s.alpha, where, err) || ws_json_num(v, "dose", &s.dose, where, err) ||
        ws_json_num_or(v, "score", NAN, &s.score, where, err)) {
        st = err->code;
        goto out;
    }
    if (topic < 0 || topic > MOST_TOPICS || sample < 0 || sample > INT32_MAX) {
        st = ws_fail(err, WS_EFORMAT, "%s: topic %lld, sample %lld: no numbers that ws eval writes", where,
                     (long long)topic, (long long)sample);
        goto out;
    }
    s.topic = (int)topic, s.sample = (int)sample;
    const char *answer = json_string_value(json_object_get(v, "answer"));
    s.prompt = ws_xstrdup(prompt);
    s.text = json_is_false(json_object_get(v, "closed")) ? ws_sprintf("(still thinking when it was cut) %s", text)
                                                         : ws_xstrdup(answer ? answer : text);
    m->sample = ws_xrealloc(m->sample, (size_t)(m->n_samples + 1) * sizeof *m->sample);
    m->sample[m->n_samples++] = s;
out:
    free(where);
    return st;
}

static ws_status load_method(ws_method_results *m, const char *run, const char *name, ws_err *err) {
    char *path = NULL;
    m->name = ws_xstrdup(name);
    m->dir = ws_path_join(run, name);
    path = ws_path_join(m->dir, "eval.json");
    if (ws_json_load(&m->eval, path, err)) goto out;
    if (sheet_load(&m->readout, m->dir, "readout.csv", c_readout, err) ||
        sheet_load(&m->foundations, m->dir, "foundations.csv", c_foundations, err) ||
        sheet_load(&m->dlogit, m->dir, "dlogit.csv", c_dlogit, err) ||
        sheet_load(&m->si, m->dir, "si.csv", c_si, err) ||
        sheet_load(&m->effect, m->dir, "effect.csv", c_effect, err) ||
        sheet_load(&m->thinking, m->dir, "thinking.csv", c_thinking, err) ||
        sheet_load(&m->margin, m->dir, "margin.csv", c_margin, err) ||
        sheet_load(&m->dose, m->dir, "dose.csv", c_dose, err) ||
        sheet_load(&m->canaries, m->dir, "canaries.csv", c_canaries, err) ||
        sheet_load(&m->log[0], m->dir, "pos/log.csv", c_log, err) ||
        sheet_load(&m->log[1], m->dir, "neg/log.csv", c_log, err))
        goto out;
    free(path);
    path = ws_path_join(m->dir, "samples.jsonl");
    if (ws_file_exists(path)) ws_jsonl_each(path, take_sample, m, err);
out:
    free(path);
    return err->code;
}

/* Calibration of the run, or of one row of a sweep: behind what there is already. */
static ws_status load_calibration(ws_results *r, const char *dir, ws_err *err) {
    const struct {
        const char *file, *columns;
        ws_sheet *to;
    } part[] = {{"kl_calibration/summary.csv", c_summary, &r->summary},
                {"kl_calibration/audit.csv", c_audit, &r->audit},
                {"kl_calibration/root_history.csv", c_history, &r->history}};
    ws_status st = WS_OK;
    for (int i = 0; i < 3 && !st; i++) {
        ws_sheet s = {0};
        st = sheet_load(&s, dir, part[i].file, part[i].columns, err);
        if (!st) st = sheet_append(part[i].to, &s, err);
        sheet_free(&s);
    }
    return st;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names of the folders below `dir` that hold an eval.json, sorted. */
static ws_status method_folders(const char *dir, char ***names, int *n, ws_err *err) {
    DIR *d = opendir(dir);
    struct dirent *e;
    if (!d) return ws_fail(err, WS_EIO, "%s: %s", dir, strerror(errno));
    while ((e = readdir(d))) {
        if (e->d_name[0] == '.') continue;
        char *path = ws_sprintf("%s/%s/eval.json", dir, e->d_name);
        if (ws_file_exists(path)) {
            *names = ws_xrealloc(*names, (size_t)(*n + 1) * sizeof **names);
            (*names)[(*n)++] = ws_xstrdup(e->d_name);
        }
        free(path);
    }
    closedir(d);
    if (*n) qsort(*names, (size_t)*n, sizeof **names, by_name);
    return WS_OK;
}

static ws_status load_data_report(ws_results *r, ws_err *err) {
    const char *slash = strrchr(r->dir, '/');
    char *path = ws_sprintf("%.*s/data/%s/%s/report.json", slash ? (int)(slash - r->dir) : 1, slash ? r->dir : ".",
                            ws_results_model(r), ws_results_behavior(r));
    if (ws_file_exists(path)) ws_json_load(&r->data, path, err);
    free(path);
    return err->code;
}

/* The method that the run trained comes first: samples, plots and the verdict are its own, whatever else was evaluated
 * in the same folder. */
static void main_first(ws_results *r) {
    const char *adapter = json_string_value(json_object_get(json_object_get(r->manifest, "options"), "adapter"));
    for (int i = 1; i < r->n && adapter; i++) {
        if (strcmp(r->m[i].name, adapter)) continue;
        ws_method_results main = r->m[i];
        memmove(r->m + 1, r->m, (size_t)i * sizeof *r->m);
        r->m[0] = main;
        return;
    }
}

ws_status ws_results_load(ws_results **out, const char *dir, ws_err *err) {
    ws_results *r = ws_xcalloc(1, sizeof *r);
    char **names = NULL, *path = NULL;
    int n = 0;
    *out = NULL;
    err->code = WS_OK;
    r->dir = ws_xstrdup(dir);
    for (size_t k = strlen(r->dir); k > 1 && r->dir[k - 1] == '/'; k--) r->dir[k - 1] = 0;
    const char *slash = strrchr(r->dir, '/');
    r->name = ws_xstrdup(slash ? slash + 1 : r->dir);
    if (!ws_is_dir(r->dir)) {
        ws_fail(err, WS_EIO, "%s: no such folder; give the folder of a run, out/<behavior>", dir);
        goto fail;
    }
    path = ws_path_join(r->dir, "manifest.json");
    if (ws_file_exists(path) && ws_json_load(&r->manifest, path, err)) goto fail;
    if (load_calibration(r, r->dir, err) || method_folders(r->dir, &names, &n, err)) goto fail;
    r->m = ws_xcalloc((size_t)n + 1, sizeof *r->m);
    for (int i = 0; i < n; i++)
        if (r->n++, load_method(&r->m[i], r->dir, names[i], err) || load_calibration(r, r->m[i].dir, err)) goto fail;
    main_first(r);
    if (ws_results_rows(r, err)) goto fail;
    if (load_data_report(r, err)) goto fail;
    if (!r->n && !r->summary.csv.rows) {
        ws_fail(err, WS_EFORMAT,
                "%s: holds neither a calibration nor an evaluation; is it out/<behavior> of a `ws run`?", dir);
        goto fail;
    }
    *out = r;
    r = NULL;
fail:
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    free(path);
    ws_results_free(r);
    return err->code;
}

void ws_results_free(ws_results *r) {
    if (!r) return;
    for (int i = 0; i < r->n; i++) {
        ws_method_results *m = &r->m[i];
        ws_sheet *s[] = {&m->readout, &m->foundations, &m->dlogit,   &m->si,     &m->effect, &m->thinking,
                         &m->margin,  &m->dose,        &m->canaries, &m->log[0], &m->log[1]};
        for (size_t k = 0; k < sizeof s / sizeof *s; k++) sheet_free(s[k]);
        for (int k = 0; k < m->n_samples; k++) free(m->sample[k].prompt), free(m->sample[k].text);
        free(m->sample);
        json_decref(m->eval);
        free(m->name);
        free(m->dir);
    }
    ws_results_rows_free(r);
    sheet_free(&r->summary);
    sheet_free(&r->audit);
    sheet_free(&r->history);
    ws_str_free(&r->notes);
    json_decref(r->manifest);
    json_decref(r->data);
    free(r->m);
    free(r->dir);
    free(r->name);
    free(r);
}

/* From the manifest; where single verbs were used and there is none, from the first evaluation. */
static const char *told(const ws_results *r, const char *what, const char *key, const char *in_eval) {
    const char *s = json_string_value(json_object_get(json_object_get(r->manifest, what), key));
    if (!s && r->n) s = json_string_value(json_object_get(r->m[0].eval, in_eval));
    return s ? s : "?";
}
const char *ws_results_model(const ws_results *r) { return told(r, "model", "name", "model"); }
const char *ws_results_model_hash(const ws_results *r) { return told(r, "model", "hash", "model_hash"); }
const char *ws_results_weights(const ws_results *r) { return told(r, "model", "weights", "weights"); }
const char *ws_results_protocol(const ws_results *r) {
    const char *s = told(r, "options", "protocol", "protocol");
    return strcmp(s, "?") ? s : "ours";
}
double ws_results_budget(const ws_results *r, const char *method) {
    for (int i = 0; i < r->summary.csv.rows; i++)
        if (!method || !strcmp(ws_sheet_text(&r->summary, i, "method"), method))
            return ws_sheet_num(&r->summary, i, "target_p95");
    return NAN;
}
const char *ws_results_behavior(const ws_results *r) {
    const char *s = told(r, "behavior", "name", "behavior");
    return strcmp(s, "?") ? s : r->name;
}
