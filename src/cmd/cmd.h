/* src/cmd/cmd.h - the command line: `ws VERB [OPTIONS]`.
 * A room folder: every src/cmd/<verb>.c that carries WS_ROOM(<verb>) defines `const ws_cmd ws_cmd_<verb>`; `order`
 * places it in `ws help` along the data's path (data 10, train 20, diff 30, extract 40, calibrate 50, eval 60, table
 * 70, sweep 80, run 90, looking inside 100.., chat and the rest 200..). Long options, the same names everywhere; argp
 * parses; stdout = data, stderr = progress and log. */
#ifndef WS_CMD_CMD_H
#define WS_CMD_CMD_H
#include "base/err.h"
#include <argp.h>
#include <stdint.h>

#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_cmd {
    int order;
    const char *name;
    const char *summary;                                  /* one line: "model + behaviour -> pairs.jsonl" */
    ws_status (*run)(int argc, char **argv, ws_err *err); /* argv[0] is "ws VERB" */
} ws_cmd;

/* Options that every verb has; a child parser (ws_common_argp) fills it.  Defaults come from ws_common_init.
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
} ws_common;
void ws_common_init(ws_common *c);
extern const struct argp ws_common_argp; /* use as {&ws_common_argp, 0, "Common options:", 9} with input = ws_common* */

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
/* "A:B" */
ws_status ws_opt_range(const char *option, const char *text, double *a, double *b, ws_err *err);

/* Opens --model with everything that most verbs need; frees with ws_session_close.  WS_EUSAGE when --model is missing.
 */
typedef struct ws_session {
    struct ws_checkpoint *checkpoint;
    struct ws_tokenizer *tokenizer;
    struct ws_model *model;
    struct ws_chat *chat; /* NULL until ws_session_chat */
} ws_session;
ws_status ws_session_open(ws_session *s, const ws_common *c, ws_err *err);
ws_status ws_session_open_text(ws_session *s, const ws_common *c, ws_err *err); /* checkpoint and tokenizer only */
ws_status ws_session_chat(ws_session *s, const ws_common *c, ws_err *err);
void ws_session_close(ws_session *s);
#endif
