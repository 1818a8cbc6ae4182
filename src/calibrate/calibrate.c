#include "calibrate/calibrate.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "calibrate/files.h"
#include "calibrate/probes.h"
#include "calibrate/prompts.h"
#include "data/behavior.h"
#include "io/json.h"
#include "kernel/compute.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PROMPT = 512, FORMAT = 1 };

ws_calibrate_options ws_calibrate_defaults(void) {
    return (ws_calibrate_options){.target = 1,
                                  .n = 50,
                                  .tokens = 50,
                                  .audit = 100,
                                  .steps = WS_ROOT_MAX_STEPS,
                                  .thinking = -1,
                                  .bootstrap = 1000};
}

/* One set of prompts (calibration or audit) with its runner. */
typedef struct set {
    const char *name;
    int n;
    const int *pick; /* pool numbers */
    ws_ids *ids;     /* [n] without system prompt */
    ws_ids *sys_ids; /* [n] with the method's, or NULL */
    ws_kl_prompt *prompt;
    ws_kl *kl;
    char ids_hash[65];
} set;

typedef struct work {
    ws_model *m;
    const ws_tokenizer *tok;
    const ws_chat *chat;
    const ws_calibrate_options *o;
    ws_pool pool;
    ws_probes probes;
    ws_cal_files files;
    set sets[2];
    int inside; /* prompts that end in an open think block */
} work;

static ws_status encode(work *w, const char *system, int pool_index, ws_ids *out, ws_err *err) {
    const ws_pool_prompt *p = &w->pool.prompt[pool_index];
    int inside;
    ws_status st = ws_calibration_ids(w->chat, w->tok, system, p->text,
                                      w->o->messages ? WS_CALIBRATE_AS_IS : w->o->thinking, out, &inside, err);
    if (!st && out->n > MAX_PROMPT)
        st =
            ws_fail(err, WS_EUSAGE,
                    "the rendered prompt has %d tokens, at most %d are used for calibration; shorten it or take it out",
                    out->n, MAX_PROMPT);
    if (st) {
        char *where = ws_json_where(w->pool.path, p->line);
        ws_fail_prefix(err, "%s", where);
        free(where);
        return st;
    }
    w->inside += inside;
    return WS_OK;
}

static void set_close(set *s) {
    ws_kl_free(s->kl);
    for (int i = 0; i < s->n; i++) {
        if (s->ids) ws_ids_free(&s->ids[i]);
        if (s->sys_ids) ws_ids_free(&s->sys_ids[i]);
    }
    free(s->ids), free(s->sys_ids), free(s->prompt);
    s->ids = s->sys_ids = NULL, s->prompt = NULL, s->kl = NULL;
}

/* The two sets of a finished call, with what the base has read. */
struct ws_cal_keep {
    const ws_model *m;
    int tokens;
    int64_t budget;
    set sets[2];
};

void ws_cal_keep_free(ws_cal_keep *k) {
    if (!k) return;
    for (int i = 0; i < 2; i++) set_close(&k->sets[i]);
    free(k);
}

/* Takes the runner of an earlier call whose prompts are the same tokens, with the arrays that it reads. */
static void take_kept(set *s, const work *w) {
    ws_cal_keep *k = w->o->kept ? *w->o->kept : NULL;
    for (int i = 0; k && i < 2; i++) {
        set *o = &k->sets[i];
        if (!o->kl || k->m != w->m || k->tokens != w->o->tokens || k->budget != w->o->budget || o->n != s->n ||
            s->sys_ids || strcmp(o->ids_hash, s->ids_hash))
            continue;
        const char *name = s->name;
        const int *pick = s->pick;
        set_close(s);
        *s = *o;
        s->name = name, s->pick = pick;
        memset(o, 0, sizeof *o);
        return;
    }
}

/* What was read stays for the next call. */
static void keep(work *w) {
    if (!w->o->kept || w->sets[0].sys_ids || w->sets[1].sys_ids) return;
    ws_cal_keep *k = ws_xcalloc(1, sizeof *k);
    k->m = w->m, k->tokens = w->o->tokens, k->budget = w->o->budget;
    for (int i = 0; i < 2; i++) {
        k->sets[i] = w->sets[i];
        k->sets[i].name = NULL, k->sets[i].pick = NULL; /* this call's own */
        memset(&w->sets[i], 0, sizeof w->sets[i]);
    }
    ws_cal_keep_free(*w->o->kept);
    *w->o->kept = k;
}

/* Prompts of a set as ids; with `system` the steered side sees another prompt than the base. */
static ws_status set_open(set *s, work *w, const char *system, ws_err *err) {
    set_close(s);
    s->ids = ws_xcalloc((size_t)s->n + 1, sizeof *s->ids);
    s->prompt = ws_xcalloc((size_t)s->n + 1, sizeof *s->prompt);
    if (system) s->sys_ids = ws_xcalloc((size_t)s->n + 1, sizeof *s->sys_ids);
    ws_hash *h = ws_hash_new();
    ws_status st = WS_OK;
    for (int i = 0; i < s->n && !st; i++) {
        st = encode(w, NULL, s->pick[i], &s->ids[i], err);
        if (!st && system) st = encode(w, system, s->pick[i], &s->sys_ids[i], err);
        const ws_ids *b = &s->ids[i], *x = system ? &s->sys_ids[i] : b;
        s->prompt[i] = (ws_kl_prompt){b->id, x->id, b->n, x->n};
        if (st) break;
        ws_hash_add(h, &b->n, sizeof b->n), ws_hash_add(h, b->id, (size_t)b->n * sizeof *b->id);
        ws_hash_add(h, &x->n, sizeof x->n), ws_hash_add(h, x->id, (size_t)x->n * sizeof *x->id);
    }
    ws_hash_done(h, s->ids_hash);
    if (!st) take_kept(s, w);
    return st;
}

static ws_status set_runner(set *s, work *w, ws_err *err) {
    if (s->kl) return WS_OK;
    return ws_kl_new(&s->kl, w->m, s->prompt, s->n, w->o->tokens, ws_tokenizer_eos(w->tok), w->o->budget, err);
}

static void probe_key(const work *w, const set *s, const ws_method *m, char hex[65]) {
    int format = FORMAT;
    int32_t eos = ws_tokenizer_eos(w->tok);
    ws_hash *h = ws_hash_new();
    ws_hash_adds(h, "ws-probe"), ws_hash_add(h, &format, sizeof format);
    ws_hash_adds(h, ws_checkpoint_hash(ws_model_checkpoint(w->m))), ws_hash_adds(h, m->ops->name),
        ws_hash_adds(h, m->hash);
    ws_hash_adds(h, ws_arithmetic()), ws_hash_adds(h, s->ids_hash);
    ws_hash_add(h, &w->o->tokens, sizeof w->o->tokens), ws_hash_add(h, &eos, sizeof eos);
    ws_hash_done(h, hex);
}

/* The results of up to two strengths (signed) on a set: recorded ones are taken, the others run in one batch.  title
 * NULL: a look at what has been reported before. */
static ws_status probe(work *w, set *s, const ws_method *m, const double *alpha, int n, const char *title,
                       ws_kl_result *out, ws_err *err) {
    char key[65];
    ws_kl_arm arm[2];
    ws_kl_result fresh[2] = {{0}};
    int which[2], n_new = 0, got[2] = {0};
    double seconds[2] = {0};
    int in_batch[2] = {0};
    ws_status st = WS_OK;
    probe_key(w, s, m, key);
    for (int i = 0; i < n; i++) {
        got[i] = ws_probes_find(&w->probes, key, alpha[i], &out[i], &seconds[i], &in_batch[i]);
        if (!got[i]) which[n_new] = i, arm[n_new++] = (ws_kl_arm){m->patch, alpha[i]};
    }
    if (n_new) {
        double t = ws_now();
        st = set_runner(s, w, err);
        if (!st) st = ws_kl_run(s->kl, arm, n_new, title, fresh, err);
        t = ws_now() - t;
        for (int i = 0; i < n_new && !st; i++) {
            out[which[i]] = fresh[i], got[which[i]] = 1;
            seconds[which[i]] = t, in_batch[which[i]] = n_new;
            st = ws_probes_add(&w->probes, key, m->name, s->name, alpha[which[i]], &fresh[i], t, n_new, err);
        }
    }
    for (int i = 0; i < n && st; i++)
        if (got[i]) ws_kl_result_free(&out[i]);
    if (st) return st;
    for (int i = 0; i < n && title; i++) {
        ws_kl_stats k = ws_kl_summary(&out[i]);
        ws_cal_timing(&w->files, m->name, s->name, alpha[i], seconds[i], in_batch[i]);
        ws_note("%s %s: alpha %+.4f  p95 %.4f  mean %.4f  max %.3f%s", s->name, m->name, alpha[i], k.p95, k.mean, k.max,
                n_new ? "" : "  (recorded)");
    }
    return WS_OK;
}

/* Both signs' root finders advance together, one batch a round; mirrored, there is one. */
static ws_status search(work *w, const ws_method *m, ws_calibration_side *side, ws_err *err) {
    double lo = w->o->lo, hi = w->o->hi;
    if (lo == 0 && hi == 0) lo = m->bracket_lo, hi = m->bracket_hi;
    const int sides = w->o->mirrored ? 1 : 2;
    for (int i = 0; i < sides; i++) {
        if (ws_root_start(&side[i].root, w->o->target, lo, hi, err)) return err->code;
        side[i].root.max_steps = w->o->steps, side[i].root.first_fits = w->o->first_fits;
    }
    for (int round = 1;; round++) {
        double alpha[2], c;
        int of[2], n = 0;
        for (int i = 0; i < sides; i++)
            if (ws_root_wants(&side[i].root, &c)) of[n] = i, alpha[n++] = i ? -c : c;
        if (!n) return WS_OK;
        char title[48];
        snprintf(title, sizeof title, "calibrate, round %d of about 7", round);
        ws_kl_result r[2] = {{0}};
        ws_status st = probe(w, &w->sets[0], m, alpha, n, title, r, err);
        for (int i = 0; i < n && !st; i++) {
            ws_calibration_side *s = &side[of[i]];
            ws_kl_stats k = ws_kl_summary(&r[i]);
            ws_cal_root(&w->files, m->name, of[i], &s->root, alpha[i], &k);
            st = ws_root_give(&s->root, k.p95, err);
            if (!st && s->root.best == s->root.n - 1) s->at = k;
        }
        for (int i = 0; i < n; i++) ws_kl_result_free(&r[i]);
        if (st) return st;
    }
}

/* Statistic, interval and audit at the strengths that were found (for a prompt method: at strength 1). */
static ws_status settle(work *w, const ws_method *m, ws_calibration_row *row, ws_err *err) {
    for (int k = 0; k < 2; k++) {
        set *s = &w->sets[k];
        if (!s->n) continue;
        double alpha[2];
        for (int i = 0; i < row->n_sides; i++) alpha[i] = i ? -row->side[i].alpha : row->side[i].alpha;
        ws_kl_result r[2] = {{0}};
        const char *title = k                                       ? "calibrate, audit"
                            : !row->side[0].searched                ? "calibrate, at 1"
                            : !row->side[row->n_sides - 1].searched ? "calibrate, at the same strength below 0"
                                                                    : NULL;
        if (probe(w, s, m, alpha, row->n_sides, title, r, err)) return err->code;
        for (int i = 0; i < row->n_sides; i++) {
            ws_calibration_side *x = &row->side[i];
            *(k ? &x->audit : &x->at) = ws_kl_summary(&r[i]);
            ws_kl_p95_interval(&r[i], w->o->bootstrap, w->o->seed, k ? &x->audit_lo : &x->p95_lo,
                               k ? &x->audit_hi : &x->p95_hi);
            ws_kl_result_free(&r[i]);
        }
    }
    return WS_OK;
}

/* The largest fall of the statistic from a weaker probe to a stronger one, by more than the search's tolerance; 0: none. */
static int falls(const ws_root *r, int *from, int *to) {
    double most = 0.05;
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->n; k++)
            if (r->probe[i].c < r->probe[k].c && r->probe[i].v - r->probe[k].v > most)
                most = r->probe[i].v - r->probe[k].v, *from = i, *to = k;
    return most > 0.05;
}

static char *note_of(const ws_method *m, const ws_calibration_row *row) {
    ws_str s = {0};
    for (int i = 0; i < row->n_sides; i++) {
        const ws_calibration_side *x = &row->side[i];
        const char *side = i ? "alpha < 0" : "alpha > 0";
        int from = 0, to = 0;
        if (!x->searched) continue;
        if (!strcmp(x->status, "below_range") && !m->ops->identity_at_zero)
            ws_str_addf(&s,
                        "%s%s: the map towards strength 0 is not the identity and costs %.3g nats by itself, so there "
                        "is no strength within the budget.",
                        s.n ? " " : "", side, x->root.probe[x->root.best].v);
        else if (!strcmp(x->status, "above_range") && m->ops->ends && x->alpha >= m->bracket_hi * 0.999)
            ws_str_addf(&s, "%s%s: at %g, where this strength ends, the method does not cost the budget.",
                        s.n ? " " : "", side, m->bracket_hi);
        else if (strcmp(x->status, "ok"))
            ws_str_addf(&s, "%s%s: %s", s.n ? " " : "", side,
                        !strcmp(x->status, "below_range")
                            ? "even the weakest strength tried is over the target; widen --bracket downwards."
                        : !strcmp(x->status, "above_range")
                            ? "even the strongest strength tried stays under the target; widen --bracket upwards."
                            : "no strength within 0.05 nats of the target was found; the closest is given.");
        if (falls(&x->root, &from, &to))
            ws_str_addf(&s,
                        "%s%s: KL does not grow with the strength (p95 %.3g at %.3g, %.3g at %.3g), so other strengths "
                        "may meet the target too.",
                        s.n ? " " : "", side, x->root.probe[from].v, x->root.probe[from].c, x->root.probe[to].v,
                        x->root.probe[to].c);
        if (m->ops->far > 0 && x->alpha > m->ops->far)
            ws_str_addf(&s, "%salpha %+.2f %s.", s.n ? " " : "", i ? -x->alpha : x->alpha, m->ops->far_note);
    }
    return ws_str_take(&s);
}

static ws_status one_method(work *w, const ws_method *m, ws_calibration_row *row, ws_err *err) {
    *row = (ws_calibration_row){.method = ws_xstrdup(m->name),
                                .kind = ws_xstrdup(m->ops->name),
                                .unit = ws_xstrdup(m->ops->unit),
                                .file = ws_xstrdup(m->path ? m->path : ""),
                                .n_sides = 2};
    memcpy(row->hash, m->hash, sizeof row->hash);
    double rel = ws_method_relative(m);
    for (int i = 0; i < 2; i++) {
        ws_calibration_side *x = &row->side[i];
        *x = (ws_calibration_side){.searched = m->ops->two_sided,
                                   .alpha = 1,
                                   .p95_lo = NAN,
                                   .p95_hi = NAN,
                                   .audit_lo = NAN,
                                   .audit_hi = NAN,
                                   .audit = {NAN, NAN, NAN, NAN, NAN, 0},
                                   .at = {NAN, NAN, NAN, NAN, NAN, 0},
                                   .rel_norm = NAN};
        snprintf(x->status, sizeof x->status, "reference");
    }
    if (m->ops->two_sided) {
        for (int k = 0; k < 2; k++)
            if (!w->sets[k].prompt && set_open(&w->sets[k], w, NULL, err)) return err->code;
        if (search(w, m, row->side, err)) return err->code;
        for (int i = 0; i < 2; i++) {
            ws_calibration_side *x = &row->side[i];
            if (i && w->o->mirrored) {
                x->searched = 0, x->alpha = row->side[0].alpha, x->rel_norm = row->side[0].rel_norm;
                snprintf(x->status, sizeof x->status, WS_CALIBRATE_MIRRORED);
                continue;
            }
            x->alpha = x->root.probe[x->root.best].c, x->rel_norm = rel * x->alpha;
            snprintf(x->status, sizeof x->status, "%s", ws_root_status_name(x->root.status));
        }
        if (settle(w, m, row, err)) return err->code;
    } else { /* a change of the prompt: measured at strength 1, each side with its own text */
        row->n_sides = m->system_prompt[1] ? 2 : 1;
        for (int i = 0; i < row->n_sides; i++) {
            ws_method side = *m;
            ws_calibration_row part = {.n_sides = 1, .side = {row->side[i]}};
            for (int k = 0; k < 2; k++)
                if (set_open(&w->sets[k], w, m->system_prompt[i], err)) return err->code;
            if (settle(w, &side, &part, err)) return err->code;
            row->side[i] = part.side[0];
        }
        for (int k = 0; k < 2; k++) set_close(&w->sets[k]);
    }
    row->note = note_of(m, row);
    return WS_OK;
}

ws_status ws_calibrate(ws_model *m, const ws_tokenizer *t, const ws_chat *chat, ws_method *const *method, int n_methods,
                       const ws_calibrate_options *o, ws_calibration *out, ws_err *err) {
    work w = {.m = m, .tok = t, .chat = chat, .o = o, .sets = {{.name = "calibration"}, {.name = "audit"}}};
    int lock = -1, *pick = NULL, *rest = NULL;
    char *prompts = NULL, *record = NULL;
    *out = (ws_calibration){0};
    ws_think_form form;
    if (o->thinking >= 0 && ws_think_form_of(&form, chat, o->thinking, err)) return err->code;
    if (!o->out) return ws_fail(err, WS_EUSAGE, "calibration needs a folder for its results: --out DIR");
    if (n_methods < 1) return ws_fail(err, WS_EUSAGE, "nothing to calibrate: give --steer FILE");
    for (int i = 0; i < n_methods; i++)
        for (int k = 0; k < i; k++)
            if (!strcmp(method[i]->name, method[k]->name))
                return ws_fail(err, WS_EUSAGE, "two methods have the name \"%s\" (%s and %s)", method[i]->name,
                               method[k]->path, method[i]->path);
    if (o->n < 1 || o->tokens < 1 || o->audit < 0)
        return ws_fail(err, WS_EUSAGE, "--n and --tokens must be at least 1, --audit at least 0");
    if (o->target < 0.2)
        ws_warn("the search stops within 0.05 nats of the target, which is coarse for a target of %g", o->target);
    if (ws_mkdirs(o->out, err) || ws_lock(&lock, o->out, 1, err)) return err->code;
    ws_status st = WS_OK;
    ws_dir_sweep(o->out);
    prompts = o->prompts ? ws_xstrdup(o->prompts) : ws_data_path(ws_pool_own(o->messages), err);
    if (!prompts) {
        st = err->code;
        goto done;
    }
    if ((st = ws_pool_open(&w.pool, prompts, o->messages, o->seed, err))) goto done;
    pick = ws_xmalloc((size_t)w.pool.n * sizeof *pick), rest = ws_xmalloc((size_t)w.pool.n * sizeof *rest);
    if ((st = ws_pool_choose(&w.pool, o->n, o->seed, pick, rest, err))) goto done;
    int n_rest = w.pool.n - o->n < o->audit ? w.pool.n - o->n : o->audit;
    if (n_rest < o->audit && !o->messages)
        ws_warn("%s leaves %d prompts for the audit, not %d", prompts, n_rest, o->audit);
    w.sets[0].n = o->n, w.sets[0].pick = pick, w.sets[1].n = n_rest, w.sets[1].pick = rest;
    record = ws_path_join(o->out, "probes.jsonl");
    if (o->fresh && ws_file_exists(record) && remove(record))
        st = ws_fail(err, WS_EIO, "%s: cannot be removed", record);
    if (!st) st = ws_probes_open(&w.probes, record, err);
    if (st) goto done;
    ws_cal_files_start(&w.files);
    if ((st = set_open(&w.sets[0], &w, NULL, err)) || (st = set_open(&w.sets[1], &w, NULL, err))) goto done;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < w.sets[k].n; i++) {
            const ws_pool_prompt *p = &w.pool.prompt[w.sets[k].pick[i]];
            ws_cal_prompt(&w.files, w.sets[k].name, i, p->category, w.sets[k].ids[i].n, p->text);
        }
    out->inside = w.inside > 0;
    ws_note(
        "calibrate: steered is every token, prompts included; scored are the first %d tokens of each greedy answer%s, "
        "up to %s",
        o->tokens, w.inside ? ", from inside its open think block" : "",
        ws_tokenizer_eos(t) < 0 ? "that length" : ws_tokenizer_eos_text(t));
    out->row = ws_xcalloc((size_t)n_methods, sizeof *out->row);
    for (int i = 0; i < n_methods && !st; i++) {
        out->n = i + 1;
        st = one_method(&w, method[i], &out->row[i], err);
        if (st) ws_fail_prefix(err, "calibrating %s", method[i]->name);
    }
    if (!st) st = ws_cal_files_write(&w.files, out, o, n_rest, err);
    if (!st) keep(&w);
done:
    for (int k = 0; k < 2; k++) set_close(&w.sets[k]);
    if (st)
        ws_probes_close(&w.probes, NULL);
    else
        st = ws_probes_close(&w.probes, err);
    ws_cal_files_free(&w.files);
    ws_pool_free(&w.pool);
    free(pick), free(rest), free(prompts), free(record);
    if (st) ws_calibration_free(out);
    ws_unlock(lock);
    return st;
}

void ws_calibration_free(ws_calibration *c) {
    if (!c) return;
    for (int i = 0; i < c->n; i++) {
        ws_calibration_row *r = &c->row[i];
        free(r->method), free(r->kind), free(r->unit), free(r->file), free(r->note);
    }
    free(c->row);
    *c = (ws_calibration){0};
}
