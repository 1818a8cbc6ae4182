#include "calibrate/files.h"
#include "base/log.h"
#include "io/csv.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const side_name[2] = {"pos", "neg"};

static void field(ws_str *s, const char *text) {
    if (s->n && s->p[s->n - 1] != '\n') ws_str_addc(s, ',');
    ws_csv_field(s, text);
}
static void num(ws_str *s, double v) {
    if (s->n && s->p[s->n - 1] != '\n') ws_str_addc(s, ',');
    ws_csv_num(s, v);
}
static void stats(ws_str *s, const ws_kl_stats *k) {
    num(s, k->mean), num(s, k->p50), num(s, k->p99), num(s, k->max), num(s, (double)k->n);
}

void ws_cal_files_start(ws_cal_files *f) {
    memset(f, 0, sizeof *f);
    ws_str_adds(&f->root, "method,side,step,phase,alpha,p95,mean,p50,p99,max,n\n");
    ws_str_adds(&f->timing, "method,side,set,alpha,seconds,batch\n");
    ws_str_adds(&f->prompts, "split,index,category,tokens,text\n");
}
void ws_cal_files_free(ws_cal_files *f) { ws_str_free(&f->root), ws_str_free(&f->timing), ws_str_free(&f->prompts); }

void ws_cal_root(ws_cal_files *f, const char *method, int side, const ws_root *root, double alpha,
                 const ws_kl_stats *k) {
    ws_str *s = &f->root;
    field(s, method), field(s, side_name[side]), num(s, root->n + 1), field(s, ws_root_phase_name(root->phase));
    num(s, alpha), num(s, k->p95), stats(s, k);
    ws_str_addc(s, '\n');
}

void ws_cal_timing(ws_cal_files *f, const char *method, const char *set, double alpha, double seconds, int batch) {
    ws_str *s = &f->timing;
    field(s, method), field(s, side_name[alpha < 0]), field(s, set), num(s, alpha), num(s, seconds), num(s, batch);
    ws_str_addc(s, '\n');
}

void ws_cal_prompt(ws_cal_files *f, const char *split, int index, const char *category, int tokens, const char *text) {
    ws_str *s = &f->prompts;
    field(s, split), num(s, index), field(s, category), num(s, tokens), field(s, text);
    ws_str_addc(s, '\n');
}

static void summary_head(ws_str *s) {
    static const char *const per_side[] = {"status_",     "p95_at_",    "p95_lo_",    "p95_hi_",      "mean_",
                                           "p50_",        "p99_",       "max_",       "n_",           "ratio_",
                                           "iterations_", "converged_", "audit_p95_", "audit_ratio_", "rel_norm_"};
    ws_str_adds(s, "method,kind,unit,target_p95,alpha_pos,alpha_neg");
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof per_side / sizeof *per_side; k++)
            ws_str_addf(s, ",%s%s", per_side[k], side_name[i]);
    ws_str_adds(s, ",n_prompts,n_tokens,n_audit,seed,file,hash,note,scored\n");
}

static void summary_row(ws_str *s, const ws_calibration_row *r, const ws_calibrate_options *o, int n_audit,
                        int inside) {
    field(s, r->method), field(s, r->kind), field(s, r->unit), num(s, o->target);
    num(s, r->side[0].alpha), num(s, r->n_sides > 1 ? r->side[1].alpha : NAN);
    for (int i = 0; i < 2; i++) {
        const ws_calibration_side *x = &r->side[i];
        field(s, i < r->n_sides ? x->status : "none"), num(s, x->at.p95), num(s, x->p95_lo), num(s, x->p95_hi);
        stats(s, &x->at);
        num(s, x->at.p95 / o->target), num(s, x->searched ? x->root.n : 0), num(s, !strcmp(x->status, "ok"));
        num(s, x->audit.p95), num(s, x->audit.p95 / x->at.p95), num(s, x->rel_norm);
    }
    num(s, o->n), num(s, o->tokens), num(s, n_audit), num(s, (double)o->seed), field(s, r->file), field(s, r->hash),
        field(s, r->note ? r->note : ""), field(s, inside ? "reasoning" : "answer");
    ws_str_addc(s, '\n');
}

static ws_status put(const char *dir, const char *name, const ws_str *s, ws_err *err) {
    char *path = ws_path_join(dir, name);
    ws_status st = ws_file_write(path, s->p, s->n, err);
    free(path);
    return st;
}

ws_status ws_cal_files_write(ws_cal_files *f, const ws_calibration *c, const ws_calibrate_options *o, int n_audit,
                             ws_err *err) {
    ws_str sum = {0}, audit = {0}, refs = {0};
    summary_head(&sum);
    ws_str_adds(&audit,
                "method,side,alpha,p95_calibration,p95_audit,p95_lo,p95_hi,ratio,mean,p50,p99,max,n,n_prompts\n");
    ws_str_adds(&refs, "method,side,p95,p95_lo,p95_hi,mean,p50,p99,max,n,n_prompts\n");
    for (int i = 0; i < c->n; i++) {
        const ws_calibration_row *r = &c->row[i];
        summary_row(&sum, r, o, n_audit, c->inside);
        for (int k = 0; k < r->n_sides; k++) {
            const ws_calibration_side *x = &r->side[k];
            if (!r->side[0].searched) {
                field(&refs, r->method), field(&refs, side_name[k]), num(&refs, x->at.p95), num(&refs, x->p95_lo),
                    num(&refs, x->p95_hi);
                stats(&refs, &x->at), num(&refs, o->n), ws_str_addc(&refs, '\n');
            }
            if (!n_audit) continue;
            field(&audit, r->method), field(&audit, side_name[k]), num(&audit, k ? -x->alpha : x->alpha),
                num(&audit, x->at.p95);
            num(&audit, x->audit.p95), num(&audit, x->audit_lo), num(&audit, x->audit_hi),
                num(&audit, x->audit.p95 / x->at.p95);
            stats(&audit, &x->audit), num(&audit, n_audit), ws_str_addc(&audit, '\n');
        }
    }
    ws_status st = put(o->out, "prompts.csv", &f->prompts, err);
    if (!st) st = put(o->out, "timing.csv", &f->timing, err);
    if (!st) st = put(o->out, "root_history.csv", &f->root, err);
    if (!st) st = put(o->out, "prompt_refs.csv", &refs, err);
    if (!st) st = put(o->out, "audit.csv", &audit, err);
    if (!st) st = put(o->out, "summary.csv", &sum, err);
    ws_str_free(&sum), ws_str_free(&audit), ws_str_free(&refs);
    return st;
}

int ws_calibration_stands(const char *status) {
    static const char *const good[] = {"ok", "reference", "none", WS_CALIBRATE_MIRRORED};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!strcmp(status, good[i])) return 1;
    return 0;
}

ws_status ws_calibration_alphas(const char *dir, const char *method, const char *hash, double *alpha_pos,
                                double *alpha_neg, ws_err *err) {
    char *path = ws_path_join(dir, "summary.csv");
    ws_csv csv = {0};
    ws_status st = ws_csv_load(&csv, path, err);
    if (st) {
        free(path);
        return st;
    }
    static const char *const need[] = {"method", "alpha_pos", "alpha_neg"};
    int col[3], row = -1;
    for (int i = 0; i < 3 && !st; i++)
        if ((col[i] = ws_csv_col(&csv, need[i])) < 0)
            st = ws_fail(err, WS_EFORMAT, "%s: there is no column \"%s\"", path, need[i]);
    for (int r = 0; r < csv.rows && !st; r++)
        if (!strcmp(csv.cell[r * csv.cols + col[0]], method)) row = r;
    if (!st && row < 0)
        st = ws_fail(err, WS_EUSAGE, "%s has no row for \"%s\": calibrate it first (ws calibrate), or give --alpha",
                     path, method);
    int hash_col = ws_csv_col(&csv, "hash"), file_col = ws_csv_col(&csv, "file");
    if (!st && hash_col >= 0 && *hash && strcmp(csv.cell[row * csv.cols + hash_col], hash))
        st = ws_fail(
            err, WS_ESTATE,
            "%s: the strengths of \"%s\" were found for another file (%s, sha256 %.12s...), this one is %.12s...; "
            "calibrate it, or give --alpha",
            path, method, file_col < 0 ? "?" : csv.cell[row * csv.cols + file_col], csv.cell[row * csv.cols + hash_col],
            hash);
    for (int i = 0; i < 2 && !st; i++) {
        int c = ws_csv_col(&csv, i ? "status_neg" : "status_pos");
        const char *status = c < 0 ? "ok" : csv.cell[row * csv.cols + c];
        if (!ws_calibration_stands(status))
            ws_warn("%s: the search for %s of \"%s\" ended %s: that strength does not stand for the KL budget", path,
                    need[i + 1], method, status);
    }
    double *to[2] = {alpha_pos, alpha_neg};
    for (int i = 0; i < 2 && !st; i++) {
        const char *text = csv.cell[row * csv.cols + col[i + 1]];
        char *end;
        *to[i] = strtod(text, &end);
        if (end == text || *end || (isfinite(*to[i]) && *to[i] <= 0) || isinf(*to[i]))
            st = ws_fail(err, WS_EFORMAT, "%s: %s of \"%s\" is \"%s\", not a positive number", path, need[i + 1],
                         method, text);
    }
    ws_csv_free(&csv);
    free(path);
    return st;
}
