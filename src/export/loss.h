/* src/export/loss.h - how much of dW a form leaves out, per kind of module and in all. */
#ifndef WS_EXPORT_LOSS_H
#define WS_EXPORT_LOSS_H
#include <jansson.h>
#include <stdio.h>
typedef struct ws_loss_kind {
    char *kind;        /* "mlp.up_proj" */
    int sites;         /* modules */
    int64_t ranks;     /* sum of the ranks kept; 0: the form has none */
    double full, lost; /* ||dW||^2, ||dW - what the file holds||^2 */
} ws_loss_kind;
typedef struct ws_loss {
    int n;
    ws_loss_kind *kind;
} ws_loss;
void ws_loss_add(ws_loss *l, const char *site, int64_t rank, double full, double lost);
double ws_loss_share(double full, double lost); /* sqrt(lost / full); 0 where nothing is lost */
double ws_loss_all(const ws_loss *l);
void ws_loss_print(const ws_loss *l, FILE *f);
json_t *ws_loss_json(const ws_loss *l);
void ws_loss_free(ws_loss *l);
#endif
