#include "cmd/hang.h"
#include <stdlib.h>
#include <string.h>

error_t ws_hang_parse(ws_hang *h, int key, char *arg, struct argp_state *state) {
    ws_err err;
    switch (key) {
    case WS_HANG_DW: h->dw = arg; break;
    case WS_HANG_ADAPTER: h->adapter = arg; break;
    case WS_HANG_ALPHA:
        if (ws_opt_num("--alpha", arg, -1e6, 1e6, &h->alpha, &err)) argp_error(state, "%s", err.msg);
        h->has_alpha = 1;
        break;
    case ARGP_KEY_END:
        if (h->has_alpha && !h->dw) argp_error(state, "--alpha is the strength of --dw, which is missing");
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

ws_status ws_hang_open(ws_hang *h, const ws_model *m, const ws_common *c, int rows, ws_err *err) {
    ws_steering *s = &h->steering;
    for (int i = 0; i < c->n_steer; i++)
        if (ws_steering_add(s, m, c->steer[i], c->force, err)) return err->code;
    if (h->dw && ws_steering_hang(s, m, h->dw, h->has_alpha ? h->alpha : 1, c->force, err))
        return ws_fail_prefix(err, "--dw");
    if (h->adapter && ws_steering_hang(s, m, h->adapter, 1, c->force, err)) return ws_fail_prefix(err, "--adapter");
    h->row_alpha = ws_xcalloc((size_t)s->n, sizeof *h->row_alpha);
    for (int i = 0; i < s->n; i++) {
        h->row_alpha[i] = ws_xcalloc((size_t)rows, sizeof **h->row_alpha);
        for (int r = 0; r < rows; r++) h->row_alpha[i][r] = s->alpha[i];
    }
    return WS_OK;
}

void ws_hang_close(ws_hang *h) {
    for (int i = 0; h->row_alpha && i < h->steering.n; i++) free(h->row_alpha[i]);
    free(h->row_alpha);
    ws_steering_free(&h->steering);
    memset(h, 0, sizeof *h);
}
