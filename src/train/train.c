/* src/train/train.c - the loop. */
#include "train/train.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "train/saver.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ws_train_defaults(ws_train_options *o) {
    *o = (ws_train_options){
        .adapter = {.kind = "lora", .rank = 32, .alpha = 64, .layer_begin = -1, .layer_end = -1, .targets = NULL},
        .batch = 4,
        .accum = 4,
        .epochs = 1,
        .lr = 2e-4,
        .warmup = 5,
        .weight_decay = 0.01,
        .clip = 1,
        .holdout = 0.1,
        .shuffled = 1,
        .eval_every = 10,
        .save_every = 10,
        .save_seconds = 30};
}

/* What one share of rows is run through: passes of up to `pack` tokens, each row's nll, and what is told of them. */
typedef struct passes {
    ws_model *m;
    ws_train_row *row;
    int n;
    int64_t pack;
    ws_patch *const *patch;
    int n_patches, trainable;
    double *nll; /* [n] */
    void (*done)(void *arg, int from, int to);
    void *arg;
} passes;

static ws_status run(const passes *p, ws_err *err) {
    ws_share *share = ws_share_new(p->m, p->row, p->n);
    ws_status st = p->n ? ws_share_open(p->m, share, p->patch, p->n_patches, p->trainable, err) : WS_OK;
    int64_t tokens;
    for (int r = 0, k; r < p->n && !st; r += k) {
        ws_train_out out;
        k = ws_share_part(share, r, p->n - r, p->pack, &tokens);
        if (p->trainable >= 0 && (st = ws_interrupt_check(err))) break; /* not while values and log are a step apart */
        st = ws_train_pass(p->m, p->row + r, k, p->patch, p->n_patches, p->trainable, &out, p->nll + r, err);
        if (!st && p->done) p->done(p->arg, r, r + k);
    }
    if (p->n && !st) st = ws_share_close(p->m, share, err);
    ws_share_drop(p->m, share);
    ws_share_free(share);
    return st;
}

ws_status ws_train_evaluate(ws_model *m, const ws_examples *data, const int64_t *rows, int64_t n, int batch,
                            ws_patch *const *patch, int n_patches, double *loss, ws_err *err) {
    passes p = {.m = m, .pack = ws_train_pack(0), .patch = patch, .n_patches = n_patches, .trainable = -1};
    double sum = 0, count = 0;
    p.row = ws_xcalloc((size_t)n, sizeof *p.row);
    p.nll = ws_xcalloc((size_t)n, sizeof *p.nll);
    p.n = ws_train_rows(p.row, data, rows, n, 1);
    ws_status st = run(&p, err);
    const double *nll = p.nll;
    for (int64_t i = 0; i < n && !st; i += batch) {
        double all = 0;
        int64_t size = n - i < batch ? n - i : batch, tokens = 0;
        for (int64_t j = i; j < i + size; j++) {
            const ws_example *x = &data->row[rows[j]];
            if (x->first < x->n) all += *nll++, tokens += x->n - x->first;
        }
        if (!tokens) continue; /* torch's loss is NaN there, and the Trainer leaves it out */
        sum += all / (double)tokens * (double)size, count += (double)size;
    }
    *loss = count > 0 ? sum / count : (double)NAN;
    free(p.row), free(p.nll);
    return st;
}

typedef struct loop {
    ws_model *m;
    const ws_examples *data;
    const ws_train_options *o;
    ws_adapter *a;
    ws_adamw opt;
    ws_schedule s;
    ws_train_run run;
    ws_saver saver;
    ws_progress bar;
    ws_lines log;
    int64_t tokens; /* trained on in this call */
    int64_t pack;   /* tokens that run at once */
    double started, saved;
    double eval_loss;
} loop;

typedef struct told {
    loop *l;
    const ws_train_row *row;
    int64_t k, tokens;
} told;
static void tell(void *arg, int from, int to) {
    told *t = arg;
    loop *l = t->l;
    char extra[96];
    for (int r = from; r < to; r++) t->tokens += t->row[r].n;
    if (t->k > 0)
        snprintf(extra, sizeof extra, "step %lld/%lld, loss=%.4f", (long long)t->k + 1, (long long)l->s.total,
                 l->run.log[(t->k - 1) * WS_LOG_COLUMNS + 2]);
    else
        snprintf(extra, sizeof extra, "step 1/%lld", (long long)l->s.total);
    ws_progress_update(&l->bar, l->tokens + t->tokens, extra);
}

/* Gradients of step k; *loss is the token mean over the whole step (num_items mode, adapters.md 4.3). */
static ws_status gradients(loop *l, int64_t k, double *loss, int64_t *tokens, ws_err *err) {
    const int64_t *rows;
    int64_t n = ws_schedule_rows(&l->s, k, &rows), items = 0;
    ws_patch *patch = ws_adapter_patch(l->a);
    *loss = 0, *tokens = 0;
    for (int64_t i = 0; i < n; i++) items += l->data->row[rows[i]].n - l->data->row[rows[i]].first;
    if (!items)
        return ws_fail(err, WS_EFORMAT,
                       "step %lld: none of its %lld rows has a token of the answer left; raise --max-len (%d)",
                       (long long)k + 1, (long long)n, l->data->max_len);
    passes p = {.m = l->m, .pack = l->pack, .patch = &patch, .n_patches = 1, .done = tell};
    p.row = ws_xcalloc((size_t)n, sizeof *p.row);
    p.nll = ws_xcalloc((size_t)n, sizeof *p.nll);
    p.n = ws_train_rows(p.row, l->data, rows, n, (float)(1.0 / (double)items));
    told t = {l, p.row, k, 0};
    p.arg = &t;
    ws_adapter_zero_grad(l->a);
    ws_status st = run(&p, err);
    for (int r = 0; r < p.n; r++) *loss += (double)p.row[r].weight * p.nll[r];
    *tokens = t.tokens;
    free(p.row), free(p.nll);
    if (st == WS_ENONFINITE) return ws_fail_prefix(err, "training step %lld", (long long)k + 1);
    if (!st && !isfinite(*loss))
        st = ws_fail(err, WS_ENONFINITE, "training step %lld: the loss is not finite", (long long)k + 1);
    if (!st) ws_adapter_finish_grad(l->a);
    return st;
}

static ws_status one_step(loop *l, int64_t k, ws_err *err) {
    double loss, norm, lr = ws_schedule_lr(&l->s, k), eval = (double)NAN;
    int64_t tokens;
    if (gradients(l, k, &loss, &tokens, err)) return err->code;
    if (ws_saver_wait(&l->saver, err)) return err->code; /* saver.h: before this step counts */
    if (ws_adamw_step(&l->opt, l->a, l->m, k, lr, &norm, err))
        return ws_fail_prefix(err, "training step %lld", (long long)k + 1);
    l->tokens += tokens;
    ws_status st = WS_OK;
    if (l->s.n_test && (k + 1 == l->s.total || (l->o->eval_every > 0 && (k + 1) % l->o->eval_every == 0))) {
        ws_patch *patch = ws_adapter_patch(l->a);
        st = ws_train_evaluate(l->m, l->data, l->s.test, l->s.n_test, l->s.batch, &patch, 1, &eval, err);
        if (!st) l->eval_loss = eval;
    }
    if (st) return st;
    double epoch = (double)(k + 1) / (double)l->s.per_epoch;
    const double row[WS_LOG_COLUMNS] = {(double)(k + 1), epoch, loss, norm, lr, (double)tokens, eval};
    ws_str line = {0};
    ws_run_log(&l->run, row);
    ws_run_log_line(row, &line);
    st = ws_lines_add(&l->log, line.p, line.n, err);
    ws_str_free(&line);
    return st;
}

/* The values belong to `run.step` steps except between the optimiser and the log row of one step; an interrupt is only
 * looked for outside that stretch, so what is saved is always a whole number of steps. */
static ws_status all_steps(loop *l, ws_err *err) {
    ws_status st = WS_OK;
    int64_t on_disk = l->run.step;
    for (int64_t k = l->run.step; k < l->s.total && !st; k++) {
        st = one_step(l, k, err);
        int stop = st == WS_EINTERRUPTED || (!st && ws_interrupted());
        int due = !st && ((l->o->save_every > 0 && (k + 1) % l->o->save_every == 0) ||
                          ws_now() - l->saved >= l->o->save_seconds);
        if (l->run.step == l->s.total || l->run.step == on_disk || !(stop || due)) continue;
        ws_err other;
        ws_status saved = ws_saver_start(&l->saver, &l->run, l->a, &l->opt, st ? &other : err);
        if (!saved && stop) saved = ws_saver_wait(&l->saver, st ? &other : err); /* the program ends now */
        if (saved && st) ws_warn("the checkpoint could not be written: %s", other.msg);
        if (!st) st = saved ? saved : ws_interrupt_check(err);
        on_disk = l->run.step, l->saved = ws_now();
    }
    if (!st) return ws_saver_wait(&l->saver, err);
    ws_err late;
    if (ws_saver_wait(&l->saver, &late)) ws_warn("the last checkpoint could not be written: %s", late.msg);
    return st;
}

/* How rows run that do not fit into memory beside each other. */
static const char *in_parts(const ws_train_cost *c, char out[160]) {
    int n = 0;
    *out = 0;
    if (!c->memory.part) return out;
    if (c->parts < c->rows)
        n = snprintf(out, 160, "; up to %lld tokens run in parts of %.3g sequences on the average",
                     (long long)c->largest, (double)c->rows / (double)c->parts);
    else
        n = snprintf(out, 160, "; up to %lld tokens run in parts of 1 sequence", (long long)c->largest);
    if (c->memory.recompute)
        snprintf(out + n, 160 - (size_t)n, ", blocks of those above %lld tokens recomputed", (long long)c->memory.part);
    return out;
}

static void announce(const loop *l, const ws_train_cost *c) {
    char act[32], state[32], time[32], parts[160];
    const ws_examples *d = l->data;
    ws_note(
        "train %s: %lld rows (%lld held out), %lld steps of up to %d x %d rows, %lld tokens, %lld of them in the loss",
        d->side == WS_POS ? "pos" : "neg", (long long)(l->s.n_train + l->s.n_test), (long long)l->s.n_test,
        (long long)(l->s.total - l->run.step), l->s.accum, l->s.batch, (long long)c->tokens, (long long)c->supervised);
    if (c->run < c->tokens)
        ws_note("  %lld tokens are computed: beginnings that rows of a step share run once", (long long)c->run);
    if (d->n_cut) ws_note("  %d answers were cut by length: no end-of-turn token in their loss", d->n_cut);
    if (d->n_truncated) ws_note("  %d rows are longer than %d tokens and are cut there", d->n_truncated, d->max_len);
    if (d->n_think)
        ws_note("  %d responses have a think block: %d never closed it, %d close it or answer only behind token %d",
                d->n_think, d->n_unclosed, d->n_unspoken, d->max_len);
    if (d->n_unclosed)
        ws_warn(
            "%d think blocks were never closed: the chat template takes such reasoning for the answer, and so it is "
            "learned; ws data --max-new-tokens gives room to close them",
            d->n_unclosed);
    if (d->n_dropped)
        ws_warn("the chat template leaves the reasoning of %d responses out: only their answers are learned",
                d->n_dropped);
    if (d->n_empty)
        ws_warn("%d rows have no token of the answer within %d tokens and teach nothing", d->n_empty, d->max_len);
    ws_note("  %s on %d modules, %.2f million numbers (%s with optimiser); activations of %lld tokens %s%s%s",
            ws_adapter_kind(l->a), ws_adapter_n_sites(l->a), (double)ws_adapter_size(l->a) * 1e-6,
            ws_format_bytes(state, (double)c->state), (long long)c->part_tokens,
            ws_format_bytes(act, (double)(c->memory.activations + c->memory.scratch)),
            c->memory.recompute ? "" : ", kept", in_parts(c, parts));
    ws_str modules = {0};
    ws_adapter_describe(l->a, &modules);
    for (char *line = modules.p, *end; line && *line; line = end) {
        end = line + strcspn(line, "\n");
        ws_note("    %.*s", (int)(end - line), line);
        end += *end == '\n';
    }
    ws_str_free(&modules);
    if (c->seconds >= 2) ws_note("  about %s", ws_format_seconds(time, c->seconds));
}

static ws_status prepare(loop *l, ws_run_state state, ws_err *err) {
    const ws_train_options *o = l->o;
    if (o->init) {
        if (ws_adapter_check_base(l->m, o->init, o->force, err) || ws_adapter_load(&l->a, l->m, o->init, err))
            return err->code;
    } else {
        if (ws_adapter_new(&l->a, l->m, &o->adapter, err)) return err->code;
        ws_adapter_init(l->a, o->seed);
    }
    if (ws_adamw_new(&l->opt, ws_adapter_size(l->a), o->weight_decay, o->clip, err)) return err->code;
    if (state == WS_RUN_RESUMES && ws_run_restore(&l->run, l->a, &l->opt, err)) return err->code;
    if (l->run.step > l->s.total)
        return ws_fail(err, WS_EFORMAT, "%s: the checkpoint has %lld steps, the run only %lld", o->out,
                       (long long)l->run.step, (long long)l->s.total);
    for (int64_t i = 0; i < l->run.step; i++) {
        double e = l->run.log[i * WS_LOG_COLUMNS + WS_LOG_COLUMNS - 1];
        if (!isnan(e)) l->eval_loss = e;
    }
    if (ws_run_note(&l->run, l->a, NULL, err) || ws_run_write_log(&l->run, err)) return err->code;
    char *path = ws_path_join(o->out, "log.csv");
    ws_status st = ws_lines_open(&l->log, path, err);
    free(path);
    return st;
}

static ws_status finish(loop *l, ws_train_result *r, ws_err *err) {
    r->steps = l->run.step;
    for (int64_t i = 0; i < l->run.step; i++) {
        r->loss += l->run.log[i * WS_LOG_COLUMNS + 2] / (double)l->run.step;
        r->tokens += (int64_t)l->run.log[i * WS_LOG_COLUMNS + 5];
    }
    r->eval_loss = l->eval_loss;
    if (ws_adapter_save(l->a, l->o->out, err) || ws_run_note(&l->run, l->a, r, err)) return err->code;
    ws_run_drop_checkpoint(&l->run);
    return WS_OK;
}

ws_status ws_train(ws_model *m, const ws_examples *data, const ws_train_options *o, ws_train_result *r, ws_err *err) {
    loop l = {.m = m, .data = data, .o = o, .eval_loss = (double)NAN, .log = {.fd = -1}};
    ws_run_state state;
    char init_hash[65] = "";
    int lock = -1;
    memset(r, 0, sizeof *r);
    r->eval_loss = (double)NAN;
    ws_status st = ws_schedule_new(&l.s, data->n, o->holdout, o->shuffled, o->batch, o->accum, o->epochs, o->max_steps,
                                   o->lr, o->warmup, o->seed, err);
    if (!st && o->init) st = ws_adapter_dir_hash(o->init, init_hash, err);
    if (!st) st = ws_mkdirs(o->out, err);
    if (!st) st = ws_lock(&lock, o->out, 1, err);
    if (st) goto cleanup;
    if ((st = ws_run_open(&l.run, o->out, ws_train_config(m, data, o, o->init ? init_hash : NULL), o->fresh, &state, r,
                          err)))
        goto cleanup;
    if (state == WS_RUN_DONE) {
        ws_note("train %s: %s is up to date", data->side == WS_POS ? "pos" : "neg", o->out);
        goto cleanup;
    }
    if ((st = prepare(&l, state, err))) goto cleanup;
    r->resumed = l.run.step;
    if (r->resumed)
        ws_note("train %s: goes on after step %lld", data->side == WS_POS ? "pos" : "neg", (long long)r->resumed);

    ws_train_cost cost = ws_train_cost_of(m, l.a, data, &l.s, l.run.step, o->eval_every, o->memory);
    announce(&l, &cost);
    ws_model_set_part(m, cost.memory.part);
    l.pack = cost.pack;
    ws_progress_start(&l.bar, data->side == WS_POS ? "train pos" : "train neg", "tokens", cost.tokens);
    l.started = l.saved = ws_now();
    st = all_steps(&l, err);
    r->seconds = ws_now() - l.started, r->seconds_tokens = l.tokens;
    ws_progress_end(&l.bar);
    if (!st) st = finish(&l, r, err);
cleanup:
    if (l.log.fd >= 0) {
        ws_err other;
        if (ws_lines_close(&l.log, st ? &other : err) && !st) st = err->code;
    }
    ws_saver_release(&l.saver);
    ws_adapter_free(l.a);
    ws_adamw_release(&l.opt);
    ws_schedule_release(&l.s);
    ws_run_release(&l.run);
    if (lock >= 0) ws_unlock(lock);
    return st;
}
