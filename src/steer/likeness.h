/* src/steer/likeness.h - are two methods two results?  What each does to the same extraction states, at a strength of its own,
 * is a field of shifts y' - y; the mean cosine of two fields over the sites tells how alike the methods are there, whatever
 * their formulas. */
#ifndef WS_STEER_LIKENESS_H
#define WS_STEER_LIKENESS_H
#include "steer/states.h"

typedef struct ws_likeness ws_likeness;
/* Methods are added one after the other, so that a vector need not stay. */
ws_likeness *ws_likeness_new(const ws_state_set *s, int methods);
void ws_likeness_add(ws_likeness *l, const ws_vector *v);
/* cosine [methods, methods], the mean over the sites that both hang at; NaN where there is none or one of them moves nothing.
 * most [methods, methods]: the mean of its magnitude, 1 where the fields are parallel at every site. */
void ws_likeness_done(const ws_likeness *l, double *cosine, double *most);
int ws_likeness_moves(const ws_likeness *l, int method); /* 0: the states stay as they are */
void ws_likeness_free(ws_likeness *l);
#endif
