/* src/linalg/kmeans.h - k-means by cosine, as steering-lite does it (pipeline.md 8): the start is the first k rows of
 * torch.randperm(n), ties go to the first centroid, at most 20 rounds. */
#ifndef WS_LINALG_KMEANS_H
#define WS_LINALG_KMEANS_H
#include "base/err.h"
#include <stdint.h>

typedef enum ws_kmeans_form {
    WS_KMEANS_KEEP_OLD, /* when nothing moves any more the old centroids stay; an empty cluster gets a random row */
    WS_KMEANS_TAKE_NEW  /* ... the new ones are taken; an empty cluster is an error */
} ws_kmeans_form;

/* x [n, d] -> centroids c [k, d] and `of` [n], the last assignment; rounds that were made, into *rounds (may be NULL).
 * WS_EUSAGE for n < k; WS_EFORMAT for an empty cluster. */
ws_status ws_kmeans(const double *x, int64_t n, int64_t d, int k, uint64_t seed, ws_kmeans_form form, double *c,
                    int *of, int *rounds, ws_err *err);
#endif
