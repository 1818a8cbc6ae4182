/* src/steer/mean_diff.c - the difference of the mean states (CAA: Rimsky et al. 2024, arXiv:2312.06681). */
#include "steer/room.h"

WS_ROOM(mean_diff)

static const ws_hidden_ops hidden = {.site = WS_SITE_BLOCK,
                                     .key = {{"v", "d", 0}},
                                     .extract = ws_extract_mean_diff,
                                     .token = ws_token_add,
                                     .adds_up = 1,
                                     .nominal = 0.1};

const ws_steer_ops ws_steer_mean_diff = {
    .name = "mean_diff", .title = "y + C v, v = unit(mean H+ - mean H-)", WS_STEER_ADDITIVE, .hidden = &hidden};
