#include "eval/protocol.h"
#include <string.h>

static const ws_protocol list[] = {
    {.name = "ours",
     .title = "ours",
     .floor = 0.5,
     .k = 2,
     .preface = "",
     .kl_prompts = 50,
     .kl_tokens = 50,
     .kl_steps = 12,
     .not_followed = ""},
    {.name = "ws",
     .title = "weight-steering",
     .floor = 0.5,
     .k = 2,
     .frame_min = 1,
     .preface = "",
     .kl_prompts = 50,
     .kl_tokens = 50,
     .kl_steps = 12,
     .lo = 0.05,
     .hi = 16,
     .first_fits = 1,
     .not_followed = "Otherwise than weight-steering: the wording of questions and prompts is our own unless theirs is "
                     "given, arithmetic is fp32, and no repetition penalty is applied."},
    {.name = "sl",
     .title = "steering-lite",
     .max_think = 64,
     .max_think_most = 256,
     .tag_anyway = 1,
     .floor = 0.5,
     .k = 1,
     .loading_weighted = 1,
     .dlogit_weighted = 1,
     .own_cells = 1,
     .care_axis = 1,
     .sign_after = 1,
     .preface = "Think briefly. ",
     .prompt_in_user = 1,
     .kl_prompts = 8,
     .kl_tokens = 20,
     .kl_steps = 8,
     .lo = 0.01,
     .hi = 1e6,
     .mirrored = 1,
     .messages = 1,
     .not_followed =
         "Otherwise than steering-lite: the wording of questions and prompts is our own unless theirs is given, "
         "arithmetic is fp32, an answer without a pmass is left out of the pmass factor instead of making it 1, and "
         "the strength is audited."}};
enum { N = sizeof list / sizeof *list };

const ws_protocol *ws_protocol_find(const char *name) {
    for (int i = 0; i < N; i++)
        if (!name || !strcmp(list[i].name, name)) return &list[i];
    return NULL;
}

const char *ws_protocol_names(void) { return "ours, ws, sl"; }

ws_si_rule ws_protocol_si(const ws_protocol *p, double k) {
    return (ws_si_rule){k, p && p->own_cells, p && p->frame_min};
}

static void other(ws_str *s, int *n, const char *what, double v) {
    ws_str_addf(s, "%s%s %g", (*n)++ ? ", " : " (", what, v);
}

void ws_protocol_label(const char *name, int max_think, double floor, double k, int loading_weighted, ws_str *out) {
    const ws_protocol *p = ws_protocol_find(name);
    ws_str_adds(out, p ? p->name : name);
    if (!p) return;
    int n = 0;
    if (k != p->k) other(out, &n, "k", k);
    if (floor != p->floor) other(out, &n, "floor", floor);
    if (max_think != p->max_think) other(out, &n, "thoughts of at most", max_think);
    if (loading_weighted != p->loading_weighted)
        ws_str_addf(out, "%sweighted by %s", n++ ? ", " : " (", loading_weighted ? "loadings" : "foundation");
    if (n) ws_str_addc(out, ')');
}
