/* src/steer/frame.h - S-space: states of a linear seen in the frame of its weight's singular vectors, whitened by the square
 * roots of its singular values; and the same for the residual over all layers (pipeline.md 8).
 *     W = U S V',  x_S = (y - b) U / sqrt S,  dS = unit(mean x_S(H+) - mean x_S(H-)) */
#ifndef WS_STEER_FRAME_H
#define WS_STEER_FRAME_H
#include "steer/room.h"

typedef struct ws_frame {
    int64_t d, r;
    float *u, *sqrt_s; /* [d, r], [r] */
    char *tied;        /* [r] 1: as many pairs say yes as no to the sign of the column */
} ws_frame;
void ws_frame_free(ws_frame *f);

/* Keys of the four S-space rooms, in this order; b only at linears with a bias. */
enum { WS_FRAME_U, WS_FRAME_SQRT_S, WS_FRAME_DS, WS_FRAME_B };
#define WS_FRAME_KEYS                                                                                                  \
    {"U_r", "dk", 0}, {"sqrtS", "k", 0}, { "dS_hat", "k", 0 }
/* Frames of all linears, or the one of the residual, side by side; once for all rooms. */
ws_status ws_frame_linears(ws_extraction *x, ws_err *err);
ws_status ws_frame_residual(ws_extraction *x, ws_err *err);
/* The state: the r modes of largest |dS| (v->cfg.rank 0: all), ascending; s->norm becomes the median length of x_S.  flip:
 * columns whose sign the pairs leave open turn so that dS_i >= 0. */
ws_status ws_frame_extract(const ws_extraction *x, int i, const ws_frame *f, const ws_vector *v, int flip,
                           ws_vector_site *s, ws_err *err);

/* What the maps want ready, at s->made. */
typedef struct ws_framed {
    float *towards; /* [d] (dS sqrt S) U': what one unit of x_S along dS is in y */
    float *probe;   /* [d] U (dS / sqrt S): x_S . dS = (y - b) . probe */
    float *whiten;  /* [r, d] U' / sqrt S; owned by the site unless `borrowed` */
    int borrowed;
} ws_framed;
ws_status ws_frame_make(ws_vector *v, ws_vector_site *s, ws_err *err);
void ws_frame_unmake(ws_vector_site *s);
void ws_frame_centre(float *out, const ws_vector_site *s, int64_t n, const float *y); /* y - b */
/* y + (C |cos(x_S, dS)| dS sqrt S) U', the map of sspace and super_sspace. */
void ws_frame_steer(const ws_vector *v, const ws_vector_site *s, int64_t n, float *y, const float *c, ws_arena *a);
#endif
