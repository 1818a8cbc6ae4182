/* src/steer/steer.h - a method: what calibrate, eval and chat take.
 * Patches and/or a change of the prompt, the unit of its strength, a bracket for calibration, and whether strength 0 is the
 * identity.  This file is the corridor; every room exports `const ws_steer_ops ws_steer_<name>` and has a WS_ROOM line. */
#ifndef WS_STEER_STEER_H
#define WS_STEER_STEER_H
#include "delta/delta.h"

#define WS_ROOM(name) /* the Makefile looks for this word */

typedef struct ws_method ws_method;
typedef struct ws_hidden_ops ws_hidden_ops; /* steer/room.h */
typedef struct ws_steer_ops {
    const char *name;              /* "dw" */
    const char *title;             /* one line for help and tables */
    const char *format;            /* metadata "format" of the files it loads: "ws-dw"; NULL: a vector (ws-vector) */
    const char *unit;              /* what strength counts */
    double bracket_lo, bracket_hi; /* for calibration, in that unit */
    int of_norm;                   /* 1: the bracket counts median lengths of the states at the sites */
    int ends;                      /* 1: strengths end at the bracket's upper end: a whole turn, a whole share */
    int identity_at_zero; /* 0: the map towards strength 0 is not the identity (strength 0 itself never runs it) */
    int two_sided;        /* 0: strength 1 only (prompt rows) */
    int control;          /* 1: points where nothing was learned; what it does, any push of its size does */
    double far;           /* a strength beyond is told as far_note says; 0: none is */
    const char *far_note;
    const ws_hidden_ops *hidden; /* of hidden-state methods; they load and free through it */
    ws_status (*load)(ws_method *m, const ws_model *model, const char *path, int force, ws_err *err);
    void (*free)(ws_method *m);
    /* Size of the change at strength 1 against what is changed: ||dW|| / ||W||; NULL: there is none. */
    double (*relative_norm)(const ws_method *m);
} ws_steer_ops;
struct ws_method {
    const ws_steer_ops *ops;
    char *name; /* row name in tables: file's metadata or its name */
    char *path;
    void *impl;                    /* the room's own */
    ws_patch *patch;               /* or NULL */
    const char *system_prompt[2];  /* [0] + side, [1] - side; NULL: none (prompt methods) */
    char hash[65];                 /* content of the file */
    double bracket_lo, bracket_hi; /* for this file; 0, 0 until loaded */
};
/* The change at strength 1 against what is changed: ||dW|| / ||W||, or for strengths that are lengths 1 / the median length of
 * the state; NaN where there is no such thing. */
double ws_method_relative(const ws_method *m);
/* Opens FILE by the kind in its metadata.  Also takes a PEFT adapter directory and a LoRA GGUF (as theta -
 * base), and a GGUF control vector. */
ws_status ws_method_load(ws_method **out, const ws_model *m, const char *path, int force, ws_err *err);
void ws_method_free(ws_method *m);
/* The contrast behind a method that moves weights (room dw); NULL: it is of another kind. */
ws_delta *ws_method_delta(const ws_method *m);
struct ws_vector *ws_method_vector(const ws_method *m); /* the vector of a hidden-state method; NULL: of another kind */
const ws_steer_ops *ws_steer_find(const char *format);  /* the room of a metadata format; NULL: none */
const ws_steer_ops *ws_steer_named(const char *name);   /* the room of a hidden-state method; NULL: none */
const ws_steer_ops *const *ws_steer_rooms(void);        /* every room by name, ends with NULL */

/* Parsed `--steer FILE[:ALPHA]` options, hung together: one entry per method. */
typedef struct ws_steering {
    int n;
    ws_method **method;
    float *alpha;
    ws_patch **patch; /* [n] for ws_batch.patch */
} ws_steering;
/* spec: "FILE" or "FILE:ALPHA" (default alpha 1). */
ws_status ws_steering_add(ws_steering *s, const ws_model *m, const char *spec, int force, ws_err *err);
/* The file alone, without a strength behind it. */
ws_status ws_steering_hang(ws_steering *s, const ws_model *m, const char *path, double alpha, int force, ws_err *err);
void ws_steering_free(ws_steering *s);
#endif
