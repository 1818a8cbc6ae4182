/* src/eval/vigtables.h - tables of the vignettes readout, from every setting's answers. */
#ifndef WS_EVAL_VIGTABLES_H
#define WS_EVAL_VIGTABLES_H
#include "eval/eval.h"
#include "eval/readout.h"
#include "eval/vigask.h"

typedef struct ws_vigwork {
    ws_eval *e;
    ws_vigset set;
    ws_grid grid;    /* foundation weights */
    ws_grid grid_d;  /* for dlogit and what is made of it: loading shares where the protocol has it so */
    ws_grid grid_si; /* for SI and separation: loading shares with o->loading_weighted */
    ws_si_rule rule;
    ws_vigask ask;
    ws_answers *answers;                /* [n_settings] of what was asked */
    int n_targets, *target, *sign;      /* the behaviour's, or Authority -1; the protocol may add Care to the axis */
    const char *target_name;            /* of the first target */
    int meant;                          /* 0: the behaviour names no target, Authority stands there for comparison */
    char set_hash[65], frames_hash[65]; /* of the two files of vignettes, of the questions */
} ws_vigwork;
/* Writes readout, foundations, vignettes, dlogit, si and effect.csv, and adds to e->report and e->json. */
ws_status ws_vigtables(ws_vigwork *w, ws_err *err);
/* The same from w->e, w->set and w->answers alone: fills in the rest (vigwork.c). */
ws_status ws_vigwork_tables(ws_vigwork *w, ws_err *err);
/* Mode B: thinking.csv, what became of the thoughts at every strength, and the same as text.  Mode A: no such file. */
ws_status ws_vigthoughts(const ws_vigwork *w, ws_err *err);
#endif
