/* src/cmd/smoke.c - `ws smoke`: every stage on a tiny model of random weights, made on the fly.  It shows that the
 * program works on this machine, from persona to report, not that steering does. */
#include "base/log.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "data/behavior.h"
#include "run/pipeline.h"
#include "run/random_model.h"
#include "run/tree.h"
#include "text/chat.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WS_ROOM(smoke)

enum { K_LIKE = 1, K_ADAPTER };

static const struct argp_option options[] = {
    {"like", K_LIKE, "MODEL", 0, "shape of the model, as in `ws bench make-checkpoint` (tiny: a small Qwen3.5)", 0},
    {"adapter", K_ADAPTER, "KIND", 0, "kind of adapter (lora)", 0},
    {0}};

static const char doc[] =
    "Runs every stage on a tiny model of random weights: data, train, diff, calibrate, eval, table, and a second run "
    "that "
    "must find all of it up to date.\n\n"
    "Examples:\n"
    "  ws smoke\n"
    "  ws smoke --out smoke                     keeps the model and what was made of it\n"
    "  ws smoke --like tiny-qwen3 --json\n\v"
    "Exit status 0 and a last line that says what worked, or 1 and a message that names the stage.";

typedef struct args {
    const char *like, *adapter;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case K_LIKE: a->like = arg; break;
    case K_ADAPTER: a->adapter = arg; break;
    case ARGP_KEY_ARG: argp_error(state, "'%s' is not an option", arg); break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---------- a few of the program's own vignettes ---------- */
enum { EACH = 2, MOST = 16 };
typedef struct few {
    char *foundation[MOST];
    int count[MOST], n;
    ws_str text;
} few;

static ws_status keep_few(void *arg, json_t *v, long line, ws_err *err) {
    few *f = arg;
    const char *name = json_string_value(json_object_get(v, "foundation_coarse"));
    int i = 0;
    (void)line, (void)err;
    if (!name) name = json_string_value(json_object_get(v, "foundation"));
    while (name && i < f->n && strcmp(f->foundation[i], name)) i++;
    if (!name || i == MOST) return WS_OK;
    if (i == f->n) f->foundation[f->n++] = ws_xstrdup(name);
    if (f->count[i]++ >= EACH) return WS_OK;
    ws_json_dump(v, &f->text, 1);
    ws_str_addc(&f->text, '\n');
    return WS_OK;
}

static ws_status copy_few(const char *dir, const char *file, ws_err *err) {
    few f = {0};
    char *name = ws_sprintf("vignettes/%s", file), *from = ws_data_path(name, err), *to = ws_path_join(dir, file);
    ws_status st = from ? ws_jsonl_each(from, keep_few, &f, err) : err->code;
    if (!st) st = ws_file_write(to, f.text.p, f.text.n, err);
    for (int i = 0; i < f.n; i++) free(f.foundation[i]);
    ws_str_free(&f.text);
    free(name), free(from), free(to);
    return st;
}

/* ---------- the run ---------- */
typedef struct smoke {
    char *dir, *model, *vignettes, *out;
    const args *a;
    const ws_common *c;
    char failed[64];
    const char *stage; /* that is at work, for the message when it fails */
    int ran, skipped;
} smoke;

/* Small sizes of everything; the seed decides all. */
static ws_status small_options(ws_run_options *out, const smoke *s, const ws_chat *chat, ws_err *err) {
    ws_run_options o = {
        .out = s->out, .max_len = 256, .calibrate = ws_calibrate_defaults(), .eval = ws_eval_defaults()};
    if (ws_contrast_defaults(&o.data, chat, -1, err)) return err->code;
    o.data.topics = 4, o.data.personas = 2, o.data.samples = 2, o.data.heldout = 4;
    o.data.max_new = 24, o.data.min_new = 8;
    ws_train_defaults(&o.train);
    o.train.adapter.kind = s->a->adapter, o.train.adapter.rank = 4, o.train.adapter.alpha = 8;
    if (ws_likeness_find(s->a->like)->layers <= 4 &&
        ws_adapter_reads(s->a->adapter) & WS_READS_LAYERS) /* the usual slice of so few has no attention layer */
        o.train.adapter.layer_begin = 1, o.train.adapter.layer_end = ws_likeness_find(s->a->like)->layers;
    o.train.batch = 2, o.train.accum = 2, o.train.epochs = 3, o.train.lr = 1e-2, o.train.warmup = 1;
    o.calibrate.target = 0.25, o.calibrate.n = 6, o.calibrate.tokens = 12, o.calibrate.audit = 4,
    o.calibrate.bootstrap = 100;
    o.eval.vignettes = s->vignettes, o.eval.bootstrap = 100, o.eval.floor = 0;
    o.eval.max_think = 12;
    o.eval.dose_topics = 4, o.eval.dose_samples = 1, o.eval.dose_tokens = 12;
    o.eval.sampling = o.data.sampling;
    o.seed = s->c->seed, o.wait = 1;
    *out = o;
    return WS_OK;
}

static ws_status run_twice(smoke *s, ws_session *session, const ws_behavior *b, ws_err *err) {
    ws_run_options o;
    if (small_options(&o, s, session->chat, err)) return err->code;
    const ws_run_input in = {session->model, session->tokenizer, session->chat, b};
    for (int round = 0; round < 2; round++) {
        ws_pipeline *p = NULL;
        ws_stages_result r = {0};
        s->stage = round ? "the second run" : "the run's set-up";
        if (ws_pipeline_new(&p, &in, &o, err)) return err->code;
        ws_status st = ws_pipeline_run(p, &r, err);
        ws_pipeline_free(p);
        if (*r.failed) snprintf(s->failed, sizeof s->failed, "%s", r.failed), s->stage = s->failed;
        if (st) return st;
        if (round && r.ran)
            return ws_fail(err, WS_ESTATE, "%d of %d stages ran again, although nothing had changed", r.ran,
                           r.ran + r.skipped);
        if (!round) s->ran = r.ran;
        s->skipped = r.skipped;
    }
    return WS_OK;
}

static ws_status all(smoke *s, ws_err *err) {
    const ws_likeness *l = ws_likeness_find(s->a->like);
    const ws_random_model_options o = {.seed = s->c->seed};
    ws_common c = *s->c;
    ws_session session = {0};
    ws_behavior *b = NULL;
    if (!l) return ws_fail(err, WS_EUSAGE, "--like %s: no such shape; there are %s", s->a->like, ws_likeness_names());
    s->stage = "make-checkpoint";
    char *config = ws_path_join(s->model, "config.json");
    int there = ws_file_exists(config);
    free(config);
    if (!there && ws_random_model_write(l, s->model, &o, err)) return err->code;
    s->stage = "opening the model";
    c.model = s->model;
    ws_status st = ws_mkdirs(s->vignettes, err);
    if (!st) st = copy_few(s->vignettes, "other_violate.jsonl", err);
    if (!st) st = copy_few(s->vignettes, "self_violate.jsonl", err);
    if (!st) st = ws_behavior_load(&b, "enthusiasm", err);
    if (!st) st = ws_session_open(&session, &c, err);
    if (!st) st = ws_session_chat(&session, &c, err);
    if (!st) st = run_twice(s, &session, b, err);
    ws_session_close(&session);
    ws_behavior_free(b);
    return st;
}

static char *own_folder(ws_err *err) {
    const char *tmp = getenv("TMPDIR");
    char *dir = ws_path_join(tmp && *tmp ? tmp : "/tmp", "ws-smoke-XXXXXX");
    if (mkdtemp(dir)) return dir;
    ws_fail(err, WS_EIO, "cannot make the directory %s: %s; give --out", dir, strerror(errno));
    free(dir);
    return NULL;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {"tiny", "lora"};
    ws_common c;
    static const char *const without[] = {"model", "offline", "template", "steer", "force", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "", doc, &a, &c, err);
    if (st) return st;
    smoke s = {.a = &a, .c = &c, .dir = c.out ? ws_xstrdup(c.out) : own_folder(err)};
    if (!s.dir) return err->code;
    s.model = ws_path_join(s.dir, "model"), s.vignettes = ws_path_join(s.dir, "vignettes"),
    s.out = ws_path_join(s.dir, "out");
    char time[32];
    double t = ws_now();
    st = all(&s, err);
    t = ws_now() - t;
    if (st && st != WS_EUSAGE && s.stage) ws_fail_prefix(err, "stage %s", s.stage);
    if (!c.out) {
        ws_err other;
        if (ws_tree_remove(s.dir, &other)) ws_warn("%s", other.msg);
    }
    if (!st && c.json) {
        json_t *j = json_pack("{s:b, s:s, s:s, s:i, s:i, s:f}", "works", 1, "like", a.like, "adapter", a.adapter,
                              "stages_run", s.ran, "stages_skipped", s.skipped, "seconds", t);
        ws_print_json(j, 1);
    } else if (!st)
        printf(
            "smoke: model, data, train, diff, calibrate, eval and table work on a random %s; run again, all %d stages "
            "were up to date (%s%s%s)\n",
            a.like, s.skipped, ws_format_seconds(time, t), c.out ? "; kept in " : "", c.out ? c.out : "");
    free(s.dir), free(s.model), free(s.vignettes), free(s.out);
    return st;
}

const ws_cmd ws_cmd_smoke = {95, "smoke", "every stage on a tiny random model, in under a minute", run};
