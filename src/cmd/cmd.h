/* src/cmd/cmd.h - the command line: `ws VERB [OPTIONS]`.
 * A room folder: every src/cmd/<verb>.c that carries WS_ROOM(<verb>) defines `const ws_cmd ws_cmd_<verb>`; `order`
 * places it in `ws help` along the data's path (data 10, train 20, diff 30, extract 40, calibrate 50, eval 60, table
 * 70, sweep 80, run 90, looking inside 100.., chat and the rest 200..).
 * Long options, the same names everywhere; argp parses; stdout = data, stderr = progress and log. */
#ifndef WS_CMD_CMD_H
#define WS_CMD_CMD_H
#include "io/file.h"
#include "io/json.h"
#include <argp.h>
#include <stdint.h>

#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_cmd {
    int order;
    const char *name;
    const char *summary;                                  /* one line: "model + behaviour -> pairs.jsonl" */
    ws_status (*run)(int argc, char **argv, ws_err *err); /* argv[0] is "ws VERB" */
} ws_cmd;

/* Options that every verb has, but for those in `without`.  Defaults come from ws_common_init.
 * The common parser applies --threads, --quiet, -v, --compute as it meets them. */
typedef struct ws_common {
    const char *model;         /* --model; NULL: not given */
    const char *template_file; /* --template */
    const char **steer;        /* --steer FILE[:ALPHA], repeatable */
    int n_steer;
    int force;       /* --force: a dW of another base */
    int threads;     /* --threads */
    uint64_t seed;   /* --seed */
    const char *out; /* --out */
    int json;        /* --json */
    int profile;     /* --profile */
    int offline;     /* --offline, or HF_HUB_OFFLINE: a model is looked for, never fetched */
    /* Names of common options that mean nothing to this verb, ending with NULL: neither shown nor taken. */
    const char *const *without;
} ws_common;
void ws_common_init(ws_common *c);

/* Runs argp with our manners: examples first in --help, exit 2 on usage errors. `common` is passed to the common child
 * as its input; `input` to the verb's own parser.  `doc` begins with the examples. */
ws_status ws_cmd_parse(int argc, char **argv, const struct argp_option *options, argp_parser_t parser,
                       const char *args_doc, const char *doc, void *input, ws_common *common, ws_err *err);

/* The same with further option groups: `child` ends with {0}, child i gets child_input[i]. */
ws_status ws_cmd_parse_with(int argc, char **argv, const struct argp_option *options, argp_parser_t parser,
                            const char *args_doc, const char *doc, void *input, const struct argp_child *child,
                            void *const *child_input, ws_common *common, ws_err *err);

/* Strict numbers for option values: the whole text must be one number in range, else a usage error that names the
 * option. */
ws_status ws_opt_int(const char *option, const char *text, long long lo, long long hi, long long *out, ws_err *err);
ws_status ws_opt_num(const char *option, const char *text, double lo, double hi, double *out, ws_err *err);
/* "-7,0,13" -> numbers; caller frees *out. */
ws_status ws_opt_nums(const char *option, const char *text, double **out, int *n, ws_err *err);
/* "on" is 1, "off" 0 */
ws_status ws_opt_on_off(const char *option, const char *text, int *out, ws_err *err);
/* "A:B" */
ws_status ws_opt_range(const char *option, const char *text, double *a, double *b, ws_err *err);

/* "1 2 3", separated by blanks or commas -> ids appended to *out. */
ws_status ws_opt_ids(const char *option, const char *text, ws_ids *out, ws_err *err);
/* The name under which the running verb knows the option `key` of `parser`'s table ("--target-kl"), for errors. */
const char *ws_opt_name(const struct argp_state *state, argp_parser_t parser, int key);

/* WS_EUSAGE, with the nearest name, when a long option of argv is in no table of `a`. */
ws_status ws_options_known(const struct argp *a, int argc, char **argv, ws_err *err);
size_t ws_edit_distance(const char *a, const char *b);

/* Between ws_sink_open and ws_sink_close what is printed to stdout goes to the file `out` (NULL: stdout as it is), which
 * appears whole or, when the status handed to ws_sink_close is an error, not at all. */
typedef struct ws_sink {
    ws_out file;
    int saved; /* descriptor of the true stdout */
} ws_sink;
ws_status ws_sink_open(ws_sink *s, const char *out, ws_err *err);
ws_status ws_sink_close(ws_sink *s, ws_status st, ws_err *err);
/* Prints v with a line break, and gives it up. */
void ws_print_json(json_t *v, int one_line);
/* The bytes as they are; with `json` {"text": "..."} and a line break. */
void ws_print_text(const ws_str *text, int json);

struct ws_checkpoint;
/* The checkpoint that `where` names.  A hub id that is not whole in the cache is fetched first, which is said (`ws pull`),
 * or refused when --offline forbids it. */
ws_status ws_cmd_checkpoint(struct ws_checkpoint **out, const char *where, const ws_common *c, ws_err *err);

/* Opens --model with everything that most verbs need; frees with ws_session_close.  WS_EUSAGE: --model is missing. */
typedef struct ws_session {
    struct ws_checkpoint *checkpoint;
    struct ws_tokenizer *tokenizer;
    struct ws_model *model;
    struct ws_chat *chat; /* NULL until ws_session_chat */
} ws_session;
ws_status ws_session_open(ws_session *s, const ws_common *c, ws_err *err);
ws_status ws_session_open_text(ws_session *s, const ws_common *c, ws_err *err);    /* checkpoint and tokenizer only */
ws_status ws_session_open_weights(ws_session *s, const ws_common *c, ws_err *err); /* checkpoint and model only */
/* The model of a session opened for its text, once the work is known that decides on the arithmetic (ws_compute_for). */
ws_status ws_session_weights(ws_session *s, ws_err *err);
/* The chat template; opens the tokenizer where it is not open yet. */
ws_status ws_session_chat(ws_session *s, const ws_common *c, ws_err *err);
void ws_session_close(ws_session *s);
#endif
