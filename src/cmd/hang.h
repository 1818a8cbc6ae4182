/* src/cmd/hang.h - what the verbs that look inside a model hang in it: --steer FILE[:ALPHA] (common to all verbs),
 * --dw FILE --alpha A, --adapter DIR. */
#ifndef WS_CMD_HANG_H
#define WS_CMD_HANG_H
#include "cmd/cmd.h"
#include "steer/steer.h"

typedef struct ws_hang {
    const char *dw, *adapter;
    double alpha;
    int has_alpha;
    ws_steering steering;
    float **row_alpha; /* [steering.n] -> [rows] */
} ws_hang;

enum { WS_HANG_DW = 0x500, WS_HANG_ALPHA, WS_HANG_ADAPTER };
/* Entries of a verb's option table; its parser hands keys that it does not know to ws_hang_parse. */
#define WS_HANG_OPTIONS                                                                                                \
    {"dw", WS_HANG_DW, "FILE", 0, "hang this dW at the strength of --alpha", 2},                                       \
        {"alpha", WS_HANG_ALPHA, "A", 0, "strength of --dw (default 1)", 2}, {                                         \
        "adapter", WS_HANG_ADAPTER, "DIR", 0, "hang a PEFT adapter directory as it was trained", 2                     \
    }
error_t ws_hang_parse(ws_hang *h, int key, char *arg, struct argp_state *state);
/* Loads everything that was asked for; strengths for up to `rows` rows, the same on each. */
ws_status ws_hang_open(ws_hang *h, const ws_model *m, const ws_common *c, int rows, ws_err *err);
void ws_hang_close(ws_hang *h);
#endif
