/* src/delta/delta.h - dW = theta_pos - theta_neg of a whole model, kept as edits; never dense.
 *     ... -> adapter -> [dW] -> alpha -> eval -> table      Fierro & Roger 2025, arXiv:2511.05408, section 3 */
#ifndef WS_DELTA_DELTA_H
#define WS_DELTA_DELTA_H
#include "adapter/adapter.h"

typedef struct ws_delta ws_delta;
typedef enum ws_contrast_mode { WS_CONTRAST_DW, WS_CONTRAST_BISECTOR } ws_contrast_mode;
typedef struct ws_delta_info {       /* the diagnostics of pipeline.md 4, in double */
    double norm_pos, norm_neg, norm; /* Frobenius norms over all sites; norm is ||dW||, the same in both modes */
    double cos_pos_neg_flipped;      /* cos(delta_pos, -delta_neg) */
    double asymmetry;                /* norm_pos / norm_neg */
    double drift_ratio;              /* ||(p + n)/2|| / ||(p - n)/2|| */
    double cos_drift;                /* |cos(p - n, (p + n)/2)| */
    double norm_w;                   /* ||W|| over the touched matrices */
    int sites, sites_one_sided;      /* touched; touched by one side alone */
} ws_delta_info;
/* pos - neg, exactly (fp32 factors side by side, terms added up).  A site that only one side edits counts as zero in the other.
 * No common site is an error; ||dW|| = 0 a warning. */
ws_status ws_delta_contrast(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                            ws_contrast_mode mode, ws_delta_info *info, ws_err *err);
/* The same at the sites where only[site] is not 0. */
ws_status ws_delta_contrast_of(ws_delta **out, const ws_model *m, const ws_adapter *pos, const ws_adapter *neg,
                               ws_contrast_mode mode, const char *only, ws_delta_info *info, ws_err *err);
/* Of contrasts that stand already. */
ws_status ws_delta_subtract(ws_delta **out, const ws_delta *pos, const ws_delta *neg, ws_contrast_mode mode,
                            ws_delta_info *info, ws_err *err);
/* Drops the sites where only[site] is 0; WS_EUSAGE when none is left. */
ws_status ws_delta_keep(ws_delta *d, const char *only, ws_err *err);
/* only [model sites] for ws_delta_keep: linears of layers first .. last-1, and of them those that a comma-separated list of
 * names or endings ("q_proj,mlp.up_proj"; NULL: all) names. */
ws_status ws_sites_pick(char **only, const ws_model *m, int first, int last, const char *modules, ws_err *err);
ws_status ws_delta_from_adapter(ws_delta **out, const ws_model *m, const ws_adapter *a, ws_err *err);
/* sum over i of alpha[i] d[i], n >= 1; exact but for the product with the strengths. */
ws_status ws_delta_mix(ws_delta **out, const ws_model *m, int n, ws_delta *const *d, const double *alpha, ws_err *err);
/* A control: U V of random factors at the sites of `like`, with its norm at each of them and its rank (64 where it has
 * terms).  A function of the seed alone. */
ws_status ws_delta_random(ws_delta **out, const ws_delta *like, uint64_t seed, ws_err *err);
/* U V of random factors of that rank and of norm 1 at every linear, to measure what steering costs. */
ws_status ws_delta_random_everywhere(ws_delta **out, const ws_model *m, int64_t rank, uint64_t seed, ws_err *err);
void ws_delta_free(ws_delta *d);
/* <a, b> = sum over sites of tr(dWa' dWb) in double, O((d_out + d_in) k^2) a site where both are
 * U V alone, else a pass over W. */
double ws_delta_dot(const ws_delta *a, const ws_delta *b);
/* The part of the i-th site of a. */
double ws_delta_site_dot(const ws_delta *a, int i, const ws_delta *b);
/* "model.layers.12.mlp.up_proj" -> "mlp.up_proj": what linears of all layers have in common. */
const char *ws_delta_kind(const char *site);
int ws_delta_n_sites(const ws_delta *d);
int ws_delta_site(const ws_delta *d, int i); /* model site number */
const ws_edit *ws_delta_edit(const ws_delta *d, int i);
double ws_delta_site_norm(const ws_delta *d, int i);
double ws_delta_norm(const ws_delta *d);
double ws_delta_weight_norm(const ws_delta *d); /* ||W|| over the touched matrices */
/* design.md, Files: metadata format "ws-dw", version, base hash, mode, sources. */
ws_status ws_delta_save(const ws_delta *d, const char *path, ws_err *err);
/* Another base (by hash) is refused unless force. */
ws_status ws_delta_load(ws_delta **out, const ws_model *m, const char *path, int force, ws_err *err);
void ws_delta_set_source(ws_delta *d, const char *key, const char *value); /* kept in the metadata */
const char *ws_delta_source(const ws_delta *d, const char *key); /* NULL: none; "mode", "name", "pos", "neg" ... */
ws_patch *ws_delta_patch(ws_delta *d);                           /* side product, per-row alpha; valid as long as d */
#endif
