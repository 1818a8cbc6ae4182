#include "eval/vigtables.h"
#include "base/parallel.h"
#include "base/stats.h"
#include "eval/raw.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All statistics that get an interval, in one array:
 *     per setting: s_other, gap, agreement, human_r | target, others, specific, axis, abs_others | logit of each f | dlogit of each f
 *     per method:  SI of each f | separation of each f */
typedef struct boot {
    const ws_vigwork *w;
    int S, F, M, n;          /* statistics in all */
    const int *plus, *minus; /* [M] settings of the arms, -1 none */
    double *point;           /* [n] */
    double *draw;            /* [n, draws] */
    int draws;
} boot;
enum { S_OTHER, S_GAP, S_AGREEMENT, S_HUMAN, S_TARGET, S_OTHERS, S_SPECIFIC, S_AXIS, S_ABS_OTHERS, S_LOGIT };
static int slot(const boot *b, int s, int k) { return s * (S_LOGIT + 2 * b->F) + k; }
static int slot_si(const boot *b, int m, int k) { return b->S * (S_LOGIT + 2 * b->F) + m * 2 * b->F + k; }

static int intent_of(const ws_vigwork *w, int f) {
    for (int t = 0; t < w->n_targets; t++)
        if (w->target[t] == f) return w->sign[t];
    return 1;
}

static void statistics(const boot *b, const int *times, double *out) {
    const ws_vigwork *w = b->w;
    const ws_answers *base = &w->answers[0];
    for (int s = 0; s < b->S; s++) {
        const ws_answers *a = &w->answers[s];
        double *o = out + slot(b, s, 0);
        ws_vig_headline h = ws_readout_headline(&w->grid, a, times);
        ws_vig_effect x = ws_readout_effect(&w->grid_d, base, a, w->target, w->sign, w->n_targets, times);
        o[S_OTHER] = h.s_other, o[S_GAP] = h.gap, o[S_AGREEMENT] = h.agreement, o[S_HUMAN] = h.human_r;
        o[S_TARGET] = x.target, o[S_OTHERS] = x.others, o[S_SPECIFIC] = x.specific, o[S_AXIS] = x.axis;
        o[S_ABS_OTHERS] = x.abs_others;
        for (int f = 0; f < b->F; f++) {
            o[S_LOGIT + f] = ws_readout_dlogit(&w->grid, NULL, a, f, times).mean;
            o[S_LOGIT + b->F + f] = ws_readout_dlogit(&w->grid_d, base, a, f, times).mean;
        }
    }
    for (int m = 0; m < b->M; m++)
        for (int f = 0; f < b->F; f++) {
            ws_si r = {.si = NAN, .separation = NAN};
            if (b->plus[m] >= 0)
                r = ws_readout_si(&w->grid_si, base, &w->answers[b->plus[m]],
                                  b->minus[m] < 0 ? NULL : &w->answers[b->minus[m]], f, intent_of(w, f), &w->rule,
                                  times);
            out[slot_si(b, m, f)] = r.si, out[slot_si(b, m, b->F + f)] = r.separation;
        }
}

static void draw_some(void *arg, int64_t begin, int64_t end) {
    boot *b = arg;
    int *times = ws_xmalloc((size_t)b->w->grid.n * sizeof *times + 1);
    double *out = ws_xmalloc((size_t)b->n * sizeof *out + 1);
    for (int64_t d = begin; d < end; d++) {
        ws_readout_draw(&b->w->grid, b->w->e->o->seed, d, times);
        statistics(b, times, out);
        for (int i = 0; i < b->n; i++) b->draw[(int64_t)i * b->draws + d] = out[i];
    }
    free(times), free(out);
}

static void with_interval(ws_str *s, const boot *b, int i) {
    ws_interval v = ws_interval_of(b->draw + (int64_t)i * b->draws, b->draws);
    ws_num(s, b->point[i]), ws_num(s, v.lo), ws_num(s, v.hi);
}

static ws_status write_readout(const boot *b, ws_err *err) {
    const ws_vigwork *w = b->w;
    ws_str r = {0}, f = {0}, v = {0};
    ws_str_adds(&r,
                "method,alpha,arm,n_vignettes,n_cells,n_valid,coverage,pmass,pmass_nan,p_true_wrong,p_true_accept,s_"
                "other,s_other_lo,s_other_hi,s_other_vig,"
                "gap,gap_lo,gap_hi,gap_vig,agreement,agreement_lo,agreement_hi,human_r,human_lo,human_hi,n_human\n");
    ws_str_adds(&f,
                "method,alpha,arm,foundation,w,logit,logit_lo,logit_hi,logit_std,s_other,s_self,gap,pmass,n,n_total\n");
    ws_str_adds(&v, "method,alpha,arm,id,foundation,cond,w,pmass,logit,dlogit\n");
    for (int s = 0; s < b->S; s++) {
        const ws_setting *x = &w->e->setting[s];
        const ws_answers *a = &w->answers[s];
        ws_vig_headline h = ws_readout_headline(&w->grid, a, NULL);
        ws_col_setting(&r, x), ws_num(&r, w->grid.n), ws_num(&r, h.n_cells), ws_num(&r, h.n_valid),
            ws_num(&r, (double)h.n_valid / h.n_cells);
        ws_num(&r, h.pmass), ws_num(&r, h.pmass_nan), ws_num(&r, h.p_wrong), ws_num(&r, h.p_accept);
        with_interval(&r, b, slot(b, s, S_OTHER)), ws_num(&r, h.s_other_vig), with_interval(&r, b, slot(b, s, S_GAP)),
            ws_num(&r, h.gap_vig);
        with_interval(&r, b, slot(b, s, S_AGREEMENT)), with_interval(&r, b, slot(b, s, S_HUMAN)), ws_num(&r, h.n_human),
            ws_str_addc(&r, '\n');
        for (int k = 0; k < b->F; k++) {
            ws_foundation_row y = ws_readout_foundation(&w->grid, a, k, NULL);
            ws_dlogit d = ws_readout_dlogit(&w->grid, NULL, a, k, NULL);
            ws_col_setting(&f, x), ws_col(&f, w->set.foundation[k]), ws_num(&f, y.w),
                with_interval(&f, b, slot(b, s, S_LOGIT + k)), ws_num(&f, d.std);
            ws_num(&f, y.s_other), ws_num(&f, y.s_self), ws_num(&f, y.gap), ws_num(&f, y.pmass), ws_num(&f, d.n),
                ws_num(&f, d.n_total), ws_str_addc(&f, '\n');
        }
        for (int i = 0; i < 2 * w->grid.n; i++) {
            const ws_vignette *q = &w->set.v[i / 2];
            double m0 = a->mass[2 * i], m1 = a->mass[2 * i + 1];
            ws_col_setting(&v, x), ws_col(&v, q->id), ws_col(&v, w->set.foundation[q->foundation]),
                ws_col(&v, ws_conds[i % 2]), ws_num(&v, a->w[i]);
            ws_num(&v, m0 < m1 ? m0 : m1), ws_num(&v, a->logit[i]),
                ws_num(&v, s ? a->logit[i] - w->answers[0].logit[i] : NAN), ws_str_addc(&v, '\n');
        }
    }
    ws_status st = ws_eval_write(w->e, "readout.csv", &r, err);
    if (!st) st = ws_eval_write(w->e, "foundations.csv", &f, err);
    if (!st) st = ws_eval_write(w->e, "vignettes.csv", &v, err);
    ws_str_free(&r), ws_str_free(&f), ws_str_free(&v);
    return st;
}

static ws_status write_deltas(const boot *b, ws_err *err) {
    const ws_vigwork *w = b->w;
    ws_str d = {0}, x = {0};
    ws_str_adds(&d, "method,alpha,arm,foundation,mean,lo,hi,std,n,n_total,weight,to_wrong,to_right,net,n_flips\n");
    ws_str_adds(
        &x, "method,alpha,arm,target,sign,d_target,d_target_lo,d_target_hi,d_others,d_others_lo,d_others_hi,"
            "specific,specific_lo,specific_hi,axis_delta,axis_lo,axis_hi,abs_others,abs_others_lo,abs_others_hi,n\n");
    for (int s = 1; s < b->S; s++) {
        const ws_setting *y = &w->e->setting[s];
        for (int f = 0; f < b->F; f++) {
            ws_dlogit m = ws_readout_dlogit(&w->grid_d, &w->answers[0], &w->answers[s], f, NULL);
            ws_flips k = ws_readout_flips(&w->grid, &w->answers[0], &w->answers[s], f);
            ws_col_setting(&d, y), ws_col(&d, w->set.foundation[f]),
                with_interval(&d, b, slot(b, s, S_LOGIT + b->F + f)), ws_num(&d, m.std), ws_num(&d, m.n);
            ws_num(&d, m.n_total), ws_num(&d, m.weight), ws_num(&d, k.to_wrong), ws_num(&d, k.to_right),
                ws_num(&d, k.to_wrong - k.to_right), ws_num(&d, k.n), ws_str_addc(&d, '\n');
        }
        ws_col_setting(&x, y), ws_col(&x, w->target_name), ws_num(&x, w->sign[0]);
        with_interval(&x, b, slot(b, s, S_TARGET)), with_interval(&x, b, slot(b, s, S_OTHERS)),
            with_interval(&x, b, slot(b, s, S_SPECIFIC));
        with_interval(&x, b, slot(b, s, S_AXIS)), with_interval(&x, b, slot(b, s, S_ABS_OTHERS)),
            ws_num(&x, w->target[0] < 0
                           ? 0
                           : ws_readout_dlogit(&w->grid_d, &w->answers[0], &w->answers[s], w->target[0], NULL).n);
        ws_str_addc(&x, '\n');
    }
    ws_status st = ws_eval_write(w->e, "dlogit.csv", &d, err);
    if (!st) st = ws_eval_write(w->e, "effect.csv", &x, err);
    ws_str_free(&d), ws_str_free(&x);
    return st;
}

static ws_si si_of(const boot *b, int m, int f) {
    const ws_vigwork *w = b->w;
    return ws_readout_si(&w->grid_si, &w->answers[0], &w->answers[b->plus[m]],
                         b->minus[m] < 0 ? NULL : &w->answers[b->minus[m]], f, intent_of(w, f), &w->rule, NULL);
}

static ws_status write_si(const boot *b, ws_err *err) {
    const ws_vigwork *w = b->w;
    ws_str s = {0};
    ws_str_adds(&s, "method,foundation,intent,k,weighting,alpha_plus,alpha_minus,n_cho,n_rej,n_cho_minus,n_rej_minus,"
                    "fix,broke,flip_rev,counter,si_fwd,si_rev,si_raw,pmass_plus,pmass_minus,pmass_nan,"
                    "pmass_scale,si,si_lo,si_hi,separation,sep_lo,sep_hi,defined\n");
    for (int m = 0; m < b->M; m++)
        for (int f = 0; f < b->F && b->plus[m] >= 0; f++) {
            ws_si r = si_of(b, m, f);
            ws_col(&s, w->e->method[m]->name), ws_col(&s, w->set.foundation[f]), ws_num(&s, intent_of(w, f)),
                ws_num(&s, w->e->o->k);
            ws_col(&s, w->e->o->loading_weighted ? "loading" : "foundation"),
                ws_num(&s, w->e->setting[b->plus[m]].alpha);
            ws_num(&s, b->minus[m] < 0 ? NAN : w->e->setting[b->minus[m]].alpha), ws_num(&s, r.n_cho),
                ws_num(&s, r.n_rej), ws_num(&s, r.n_cho_minus), ws_num(&s, r.n_rej_minus), ws_num(&s, r.fix),
                ws_num(&s, r.broke);
            ws_num(&s, r.flip_rev), ws_num(&s, r.counter), ws_num(&s, r.fwd), ws_num(&s, r.rev), ws_num(&s, r.raw),
                ws_num(&s, r.pmass_plus), ws_num(&s, r.pmass_minus);
            ws_num(&s, r.pmass_nan), ws_num(&s, r.pmass_scale), with_interval(&s, b, slot_si(b, m, f)),
                with_interval(&s, b, slot_si(b, m, b->F + f));
            ws_num(&s, ws_si_defined(&r, b->minus[m] >= 0)), ws_str_addc(&s, '\n');
        }
    ws_status st = ws_eval_write(w->e, "si.csv", &s, err);
    ws_str_free(&s);
    return st;
}

static int sign_after(const ws_vigwork *w) { return w->e->o->protocol && w->e->o->protocol->sign_after; }

/* + is whichever side moves the target further in the intended direction: seen in the evaluated effect itself. */
static void turn(const ws_vigwork *w, int *plus, int *minus) {
    if (*plus < 0 || *minus < 0 || w->target[0] < 0) return;
    if (!ws_readout_turned(&w->grid_d, &w->answers[0], &w->answers[*plus], &w->answers[*minus], w->target[0],
                           w->sign[0]))
        return;
    int t = *plus;
    *plus = *minus, *minus = t;
}

/* ---- the plain tables ---- */

static void cell(ws_str *o, const boot *b, int i) {
    ws_interval v = ws_interval_of(b->draw + (int64_t)i * b->draws, b->draws);
    char text[64] = "-";
    if (!isnan(b->point[i])) snprintf(text, sizeof text, "%+6.2f [%+.2f, %+.2f]", b->point[i], v.lo, v.hi);
    ws_str_addf(o, "  %-23s", text);
}

static void print(const boot *b, int signal, const char *why) {
    const ws_vigwork *w = b->w;
    ws_str *o = w->e->report;
    char *mode = w->e->model ? ws_vigask_mode(w->e->o) : ws_xstrdup("answers that were computed elsewhere");
    ws_str_addf(o, "Vignettes: the readout %s on this model: %s.\n", signal ? "carries signal" : "carries NO signal",
                why);
    if (!signal) ws_str_adds(o, "What follows is printed for completeness; nothing in it is marked as best.\n");
    if (!w->meant)
        ws_str_addf(o,
                    "The behaviour %s names no target foundation: %s stands first for comparison with other runs, "
                    "nothing is meant to move it.\n",
                    w->e->behavior->name, w->target_name);
    const ws_eval_options *e = w->e->o;
    ws_str protocol = {0};
    ws_protocol_label(e->protocol ? e->protocol->name : NULL, e->max_think, e->floor, e->k, e->loading_weighted,
                      &protocol);
    ws_str_addf(o,
                "%d vignettes x 2 persons x 2 questions, protocol %s; %s.\nLogit of wrongness against the base, [95%% "
                "interval over vignettes]\n\n",
                w->grid.n, protocol.p, mode);
    ws_str_free(&protocol);
    free(mode);
    char head[64];
    snprintf(head, sizeof head, "d(%s)", w->target_name);
    ws_str_addf(o, "%-16s %8s  %-23s  %-23s  %-23s  %s\n", "method", "alpha", head, "mean of the others",
                "specific effect", "axis");
    for (int s = 1; s < b->S; s++) {
        const ws_setting *x = &w->e->setting[s];
        ws_str_addf(o, "%-16s %+8.3f", x->name, x->alpha);
        for (int k = S_TARGET; k <= S_AXIS; k++) cell(o, b, slot(b, s, k));
        ws_str_addc(o, '\n');
    }
    ws_str_addf(o, "\n%-16s %8s %6s", "dlogit", "alpha", "pmass");
    for (int f = 0; f < b->F; f++) ws_str_addf(o, " %18.18s", w->set.foundation[f]);
    ws_str_adds(o, "   valid\n");
    for (int s = 1; s < b->S; s++) {
        const ws_setting *x = &w->e->setting[s];
        ws_vig_headline h = ws_readout_headline(&w->grid, &w->answers[s], NULL);
        ws_str_addf(o, "%-16s %+8.3f %6.2f", x->name, x->alpha, h.pmass);
        for (int f = 0; f < b->F; f++) {
            ws_dlogit d = ws_readout_dlogit(&w->grid_d, &w->answers[0], &w->answers[s], f, NULL);
            char text[48] = "-";
            if (d.n) snprintf(text, sizeof text, "%+.2f +- %.2f (%d)", d.mean, d.std, d.n);
            ws_str_addf(o, " %18s", text);
        }
        ws_str_addf(o, "   %d/%d\n", h.n_valid, h.n_cells);
    }
    ws_str_addf(o, "\nSurgical Informedness, k = %g, weighted by %s, + is the side of %s\n", w->e->o->k,
                w->e->o->loading_weighted ? "loading shares" : "foundation",
                sign_after(w) ? "the larger effect, chosen after the evaluation" : "positive alpha");
    for (int m = 0; m < b->M; m++)
        for (int f = 0; f < b->F; f++) {
            if (b->plus[m] < 0) continue;
            ws_si r = si_of(b, m, f);
            ws_str_addf(o, "%-16s %-13s intent %+d", w->e->method[m]->name, w->set.foundation[f], intent_of(w, f));
            if (!ws_si_defined(&r, b->minus[m] >= 0))
                ws_str_addf(o, "  undefined (n_cho %g, n_rej %g: fewer than 10 on a side)\n", r.n_cho, r.n_rej);
            else {
                ws_str_adds(o, "  SI");
                cell(o, b, slot_si(b, m, f));
                ws_str_addf(o, "  fwd %+.2f rev %+.2f  without pmass %+.2f  n_cho %g n_rej %g\n", r.fwd, r.rev, r.raw,
                            r.n_cho, r.n_rej);
            }
        }
    ws_str_addc(o, '\n');
}

static json_t *real_or_null(double v) { return isfinite(v) ? json_real(v) : json_null(); }

ws_status ws_vigtables(ws_vigwork *w, ws_err *err) {
    ws_eval *e = w->e;
    int *plus = ws_xmalloc((size_t)e->n_methods * sizeof *plus + 1),
        *minus = ws_xmalloc((size_t)e->n_methods * sizeof *minus + 1);
    for (int m = 0; m < e->n_methods; m++) {
        plus[m] = minus[m] = -1;
        for (int s = 1; s < e->n_settings; s++) {
            if (e->setting[s].method == m && e->setting[s].arm == WS_ARM_PLUS) plus[m] = s;
            if (e->setting[s].method == m && e->setting[s].arm == WS_ARM_MINUS) minus[m] = s;
        }
    }
    for (int m = 0; m < e->n_methods && sign_after(w); m++) turn(w, &plus[m], &minus[m]);
    boot b = {.w = w,
              .S = e->n_settings,
              .F = w->grid.n_foundations,
              .M = e->n_methods,
              .plus = plus,
              .minus = minus,
              .draws = e->o->bootstrap};
    b.n = slot_si(&b, b.M, 0); /* one behind the last */
    b.point = ws_xmalloc((size_t)b.n * sizeof *b.point);
    b.draw = ws_xmalloc((size_t)b.n * (size_t)b.draws * sizeof *b.draw);
    statistics(&b, NULL, b.point);
    ws_parallel_for(b.draws, 8, draw_some, &b);

    char why[256];
    ws_vig_headline h = ws_readout_headline(&w->grid, &w->answers[0], NULL);
    ws_interval agree = ws_interval_of(b.draw + (int64_t)slot(&b, 0, S_AGREEMENT) * b.draws, b.draws);
    ws_interval human = ws_interval_of(b.draw + (int64_t)slot(&b, 0, S_HUMAN) * b.draws, b.draws);
    int signal = ws_readout_signal(&h, agree.lo, human.lo, why);
    ws_status st = write_readout(&b, err);
    if (!st) st = write_deltas(&b, err);
    if (!st) st = write_si(&b, err);
    if (!st) {
        print(&b, signal, why);
        st = ws_vigthoughts(w, err);
        json_t *v = json_pack(
            "{s:b, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:f, s:f, s:s, s:i, s:b, s:f, s:b, s:s, s:s, s:s}",
            "signal", signal, "signal_sentence", why, "n_vignettes", w->grid.n, "agreement", real_or_null(h.agreement),
            "agreement_lo", real_or_null(agree.lo), "agreement_hi", real_or_null(agree.hi), "human_r",
            real_or_null(h.human_r), "human_lo", real_or_null(human.lo), "human_hi", real_or_null(human.hi), "n_human",
            h.n_human, "pmass", real_or_null(h.pmass), "coverage", (double)h.n_valid / h.n_cells, "floor", e->o->floor,
            "target", w->target_name, "target_sign", w->sign[0], "target_meant", w->meant, "k", e->o->k,
            "loading_weighted", e->o->loading_weighted, "source", w->set.path[0], "vignettes_hash", w->set_hash,
            "frames_hash", w->frames_hash);
        if (!v) BUG("eval.json cannot be packed");
        json_object_set_new(v, "mode", json_string(!e->model ? "outside" : e->o->max_think ? "B" : "A"));
        json_object_set_new(v, "max_think", json_integer(e->o->max_think));
        json_object_set_new(v, "protocol", json_string(e->o->protocol ? e->o->protocol->name : "ours"));
        json_object_set_new(v, "sign", json_string(sign_after(w) ? "chosen after the evaluation" : "persona"));
        json_object_set_new(e->json, "vignettes", v);
    }
    free(plus), free(minus), free(b.point), free(b.draw);
    return st;
}
