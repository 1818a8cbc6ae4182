/* src/steer/room.h - a room of a hidden-state method (pipeline.md 8): one file says what its state is, how it is drawn from
 * H+ and H-, and what it does to a token's state y at its site.  Files, the patch, layers, likeness are shared.
 *     H+, H- [n, d] -> extract() -> tensors of the site -> make() -> token() or apply(): y -> y'
 * y' of a token depends on that token alone, and every sum runs in one order: so the bits are the same for any batch, thread
 * count and chunk.  Sums are in double. */
#ifndef WS_STEER_ROOM_H
#define WS_STEER_ROOM_H
#include "model/model.h"
#include "steer/steer.h"
#include "steer/vector.h"

enum { WS_MAX_KEYS = 6 };

/* A tensor of the state at one site.  `shape` has a letter a dimension, outermost first: d is the width of the site, any other
 * letter is free and stands for the same size in every key of the site (clusters, modes); "" is a single number. */
typedef struct ws_key {
    const char *name, *shape;
    int optional;
} ws_key;

struct ws_vector_site {
    int site;              /* of the model */
    int64_t d, k;          /* width; size of the free letter, 1 where there is none */
    float *t[WS_MAX_KEYS]; /* in the order of the room's keys; NULL: an optional one that is not there */
    double norm;           /* what strength is measured against: median length of the states; 0: not known */
    void *made;            /* what make() prepared */
};

struct ws_vector {
    ws_patch patch; /* first */
    const ws_steer_ops *ops;
    const ws_model *m;
    ws_vector_cfg cfg;
    int n;                      /* sites, in the order of the model */
    ws_vector_site *site;       /* [n] */
    int *at;                    /* [sites of the model] index into site, -1: none */
    float *shared[WS_MAX_KEYS]; /* tensors that all sites have in common: their t[] points here; NULL: none */
    json_t *meta;               /* string -> string, beside what save() writes itself */
};

/* H+ and H- at one site. */
typedef struct ws_states {
    int site;
    int64_t d;
    const float *pos, *neg; /* [n, d] */
    const float *neutral;   /* [n_neutral, d]; NULL: none */
} ws_states;

struct ws_frame;
typedef struct ws_extraction {
    const ws_model *m;
    int64_t n, n_neutral;
    int n_sites;
    const ws_states *at;     /* [n_sites] in the order of the model: blocks and linears */
    struct ws_frame **frame; /* [n_sites] of linears, made for the first method that asks */
    struct ws_frame *super;  /* of the residual, over all layers */
} ws_extraction;

/* Strength of the rows that add a unit vector; the bracket is in median lengths of the state. */
#define WS_STEER_ADDITIVE                                                                                              \
    .unit = "multiple of a unit vector", .bracket_lo = 1 / 512.0, .bracket_hi = 2, .of_norm = 1,                       \
    .identity_at_zero = 1, .two_sided = 1

struct ws_hidden_ops {
    ws_site_kind site;
    ws_key key[WS_MAX_KEYS + 1]; /* ends with a NULL name */
    int most;                    /* of the free letter; 0: no limit */
    /* Once before the sites, where they have something in common, kept in x or v (NULL: in x alone); NULL: nothing. */
    ws_status (*prepare)(ws_extraction *x, ws_vector *v, ws_err *err);
    /* The state at x->at[i] -> s->t, malloced (NULL: the method is read from files alone); s->site, s->d and s->norm, the median length, are set.  Sites run side by
     * side. */
    ws_status (*extract)(const ws_extraction *x, int i, const ws_vector *v, ws_vector_site *s, ws_err *err);
    /* What the map wants ready, from the tensors; NULL: nothing.  Sites come in order, earlier ones are made. */
    ws_status (*make)(ws_vector *v, ws_vector_site *s, ws_err *err);
    void (*unmake)(ws_vector_site *s);
    /* y [d] of one token, in place, at strength c != 0; or apply() for many at once. */
    void (*token)(const ws_vector *v, const ws_vector_site *s, float *y, double c);
    void (*apply)(const ws_vector *v, const ws_vector_site *s, int64_t n, float *y, const float *c, ws_arena *a);
    void (*report)(const ws_vector *v); /* once after extraction: what a user must be told; NULL: nothing */
    int adds_up;    /* states may be added and scaled: alpha times the sum is the sum of what they do */
    double nominal; /* a strength at which likeness looks; of the median length where the bracket is */
    /* The method whose map this one's is, with a sentence; NULL: none. */
    const char *(*same_as)(const ws_vector_cfg *cfg, const char **why);
};

/* ---- the state as a whole: vector.c ---- */
ws_vector *ws_vector_new(const ws_model *m, const ws_steer_ops *ops, const ws_vector_cfg *cfg);
/* A place for the state at `site`; sites are added in the order of the model. */
ws_vector_site *ws_vector_site_add(ws_vector *v, int site);
/* make() of every site: once all tensors stand. */
ws_status ws_vector_ready(ws_vector *v, ws_err *err);
int64_t ws_key_size(const ws_key *key, const ws_vector_site *s); /* numbers in that tensor */

/* ---- sums and directions: direction.c ---- */
#define WS_UNIT_EPS 1e-8                                  /* unit(x) = x / (|x| + eps), in every cosine too */
double ws_dot(const float *a, const float *b, int64_t n); /* eight chains, added pairwise */
double ws_length(const float *a, int64_t n);
double ws_cosine(const float *a, const float *b, int64_t n);       /* unit(a) . unit(b) */
void ws_add_scaled(float *y, double c, const float *v, int64_t n); /* y = y + c v, rounded once */
void ws_mean_rows(double *out, const float *x, int64_t n, int64_t d);
/* out = unit(x); WS_EFORMAT where x is zero: "POS and NEG have the same mean state ..." */
ws_status ws_unit(float *out, const double *x, int64_t d, const ws_extraction *e, int i, ws_err *err);
/* mean H+ - mean H- [d] */
void ws_mean_diff(double *out, const ws_extraction *e, int i);
/* v [d] = first right singular vector of the rows of x [n, d] minus their mean; x is used up. */
ws_status ws_first_direction(double *v, double *x, int64_t n, int64_t d, ws_err *err);
double *ws_differences(const ws_extraction *e, int i); /* [n, d] H+ - H-; the caller frees */
/* v = unit(mean H+ - mean H-) as the one tensor of a site. */
ws_status ws_extract_mean_diff(const ws_extraction *e, int i, const ws_vector *v, ws_vector_site *s, ws_err *err);
void ws_token_add(const ws_vector *v, const ws_vector_site *s, float *y, double c); /* y + c v, v = t[0] */
const char *ws_extract_where(const ws_extraction *e, int i);                        /* "model.layers.12" */
double ws_median(double *x, int64_t n); /* sorts x; the mean of the middle two for an even n */
#endif
