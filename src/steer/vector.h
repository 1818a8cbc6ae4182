/* src/steer/vector.h - vectors of hidden-state methods: a state at every chosen site, hung as one patch.
 *     H+, H- -> [vector] -> calibrate, eval, chat        files: docs/formats.md, Vectors */
#ifndef WS_STEER_VECTOR_H
#define WS_STEER_VECTOR_H
#include "model/model.h"
#include <jansson.h>

typedef struct ws_vector ws_vector;
typedef struct ws_vector_site ws_vector_site;
struct ws_steer_ops;

/* What is chosen about a method, not computed; written into the file. */
typedef struct ws_vector_cfg {
    int clusters;    /* k of topk_clusters and chars (4) */
    int rank;        /* modes kept in S-space; 0: all */
    double tau;      /* threshold of cosine_gated (0) */
    double sigma;    /* width of chars; 0: the median of the distances */
    int chars_clamp; /* the reference's clamped Sinkhorn instead of the one in the log domain */
    int pca_vote;    /* the reference's sign of pca instead of the one along mean D */
    int neutral;     /* mean_centred was centred by a neutral corpus */
    uint64_t seed;   /* of k-means and of random_direction */
} ws_vector_cfg;
ws_vector_cfg ws_vector_defaults(void);

/* The patch of v; lives as long as v. */
ws_patch *ws_vector_patch(ws_vector *v);
void ws_vector_free(ws_vector *v);
const struct ws_steer_ops *ws_vector_method(const ws_vector *v);
int ws_vector_n_sites(const ws_vector *v);
double ws_vector_norm(const ws_vector *v); /* median over the sites of the median length there; 0: not known */
/* y [n, width of the site] -> y' at strengths c [n], none of which is 0; outside a pass. */
void ws_vector_apply(const ws_vector *v, int site, int64_t n, float *y, const float *c);
int ws_vector_hangs_at(const ws_vector *v, int site);

/* sum_i weight_i vector_i, of one method whose states add up, at the same sites; else WS_EUNSUPPORTED says why. */
ws_status ws_vector_add(ws_vector **out, const ws_vector *const *v, const double *weight, int n, ws_err *err);

ws_status ws_vector_save(const ws_vector *v, const char *path, ws_err *err);
/* A ws-vector file, or one of steering-lite (metadata `cfg` alone).  Another base is WS_ESTATE unless `force`. */
ws_status ws_vector_load(ws_vector **out, const ws_model *m, const char *path, int force, ws_err *err);
void ws_vector_set_meta(ws_vector *v, const char *key, const char *value);
const char *ws_vector_meta(const ws_vector *v, const char *key); /* NULL: none */
#endif
