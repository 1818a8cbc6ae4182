/* src/cmd/compare.c - `ws compare`: runs against one another, on the items that they share. */
#include "cmd/cmd.h"
#include "cmd/tables_out.h"
#include "run/compare.h"
#include <stdlib.h>

WS_ROOM(compare)

enum { K_FORMAT = 1, K_TABLE, K_MARK, K_ROWS };

static const struct argp_option options[] = {
    {"format", K_FORMAT, "F", 0, "text, markdown, csv or json (text; --json is the same as json)", 0},
    {"table", K_TABLE, "NAME", 0, "this table alone: compare, differs, not_compared", 0},
    {"rows", K_ROWS, "LIST", 0, "these methods alone (all that two runs share)", 0},
    {"mark", K_MARK, 0, 0, "compare runs of another base model, protocol or KL budget too, and mark their rows", 0},
    {0}};

static const char doc[] =
    "Paired differences between runs, on the same vignettes, held-out pairs and topics, and what differs in how the "
    "runs "
    "were made.\n\n"
    "Examples:\n"
    "  ws compare out/authority out2/authority                      the second run minus the first\n"
    "  ws compare a/authority b/authority c/authority --rows lora   two against the first, one method\n"
    "  ws compare out/authority half/authority --mark               another KL budget, every row marked\n"
    "  ws compare out/authority out2/authority --format csv --table compare\v"
    "Methods of the same name are compared; runs with one method each are compared whatever these are called. "
    "Refused, with the reason: other vignettes, and without --mark another base model, protocol, question, price k or "
    "KL "
    "budget. What the runs do not share (held-out pairs, topics) stands in the table not_compared. "
    "Intervals: 95%, by bootstrap with the draws that the runs' own intervals are made of.";

typedef struct args {
    const char *format, *table;
    ws_compare_runs_options o;
    const char **run;
    int n;
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case K_FORMAT:
        if (!ws_tables_format(arg)) argp_error(state, "--format %s: text, markdown, csv or json", arg);
        a->format = arg;
        break;
    case K_TABLE: a->table = arg; break;
    case K_MARK: a->o.mark = 1; break;
    case K_ROWS: a->o.rows = arg; break;
    case ARGP_KEY_ARG:
        a->run = ws_xrealloc(a->run, (size_t)(a->n + 1) * sizeof *a->run);
        a->run[a->n++] = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {.format = "text"};
    ws_common c;
    ws_results **r = NULL;
    ws_tables all = {0};
    ws_sink sink;
    static const char *const without[] = {"model", "offline", "steer", "force", "template", "seed", "compute", NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(argc, argv, options, parse, "RUN_DIR RUN_DIR...", doc, &a, &c, err);
    if (!st && a.n < 2) st = ws_fail(err, WS_EUSAGE, "which runs? give two folders or more, each out/<behavior>");
    if (st) goto out;
    if (c.json) a.format = "json";
    r = ws_xcalloc((size_t)a.n, sizeof *r);
    for (int i = 0; i < a.n && !st; i++) st = ws_results_load(&r[i], a.run[i], err);
    if (!st) st = ws_compare_runs(r, a.n, &a.o, &all, err);
    if (!st && !(st = ws_sink_open(&sink, c.out, err)))
        st = ws_sink_close(&sink, ws_tables_out(&all, a.table, a.format, err), err);
out:
    ws_tables_free(&all);
    for (int i = 0; r && i < a.n; i++) ws_results_free(r[i]);
    free(r), free(a.run);
    return st;
}

const ws_cmd ws_cmd_compare = {210, "compare", "runs against one another, on the items that they share", run};
