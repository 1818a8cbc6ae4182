/* src/run/stage.h - a run as a list of stages; each is skipped when it is up to date.
 * Up to date: the hash of its name, format version, options and inputs' contents is the recorded one, and its outputs
 * are there with the recorded contents.  Time stamps mean nothing.
 *     not begun -> begun (fingerprint noted) -> done (outputs hashed)
 * A stage that was begun with the same fingerprint goes on where it stopped; what was begun with another one is cleared
 * first.  An output that somebody changed afterwards is kept as RUN/changed/<name>, said aloud, and made anew. */
#ifndef WS_RUN_STAGE_H
#define WS_RUN_STAGE_H
#include "run/manifest.h"

typedef struct ws_stage {
    const char *name; /* "train pos": its key in the manifest */
    char *does;       /* one line with sizes, for --plan; owned */
    int format;       /* version of what it writes */
    json_t *options;  /* all it depends on besides files; owned */
    int group; /* 0: the run stands and falls with it; else one of several rows: when a stage of it fails, what is left of
                  its group is left out, and the others go on */
    int needs;        /* another group without which this one cannot be; 0: none */
    char **input;     /* files, hashed by content; owned */
    int *input_group; /* [n_inputs] left out when this group fails; 0: never */
    int n_inputs;
    char **output; /* files that stand when it is done; run() may add some; owned */
    int n_outputs;
    char **scratch; /* further files and folders of this stage alone, cleared before it begins anew; owned */
    int n_scratch;
    double seconds;       /* estimate */
    int one_bar;          /* a single bar shows all of it: its pace tells better than the estimate */
    int same_kernels;     /* what was begun with another kernel set is made anew, not gone on with */
    int64_t memory, disk; /* estimates, bytes */
    ws_status (*run)(void *arg, ws_err *err);
    void *arg;
} ws_stage;

void ws_stage_input(ws_stage *s, const char *path);
void ws_stage_input_of(ws_stage *s, const char *path, int group); /* stands for a row that may fail */
void ws_stage_output(ws_stage *s, const char *path);
void ws_stage_scratch(ws_stage *s, const char *path);
void ws_stages_free(ws_stage *s, int n);

typedef struct ws_stages_result {
    int ran, skipped;
    double seconds;
    char failed[64]; /* name of the stage that an error came from; "": none */
    int n_failures;  /* groups that were given up; the first of them, and what it said */
    char gave_up[64];
    ws_err why;
} ws_stages_result;
/* Runs what is not up to date, in order.  The manifest is saved before and after each stage.  A stage of a group that fails
 * is recorded with "error", and the call ends with WS_OK; an interrupt stops everything. */
ws_status ws_stages_run(ws_stage *s, int n, ws_manifest *m, ws_stages_result *r, ws_err *err);
/* 1 when stage s is up to date; `why` (may be NULL) gets a phrase when it is not.  Inputs must exist or it is not. */
int ws_stage_current(const ws_stage *s, const ws_manifest *m, ws_str *why);
/* Removes the stage's outputs and scratch, whatever the manifest says of them (--fresh). */
ws_status ws_stage_clear(const ws_stage *s, ws_err *err);
#endif
