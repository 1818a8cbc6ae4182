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
     .not_followed = ""},
    {.name = "ws",
     .title = "weight-steering",
     .floor = 0.5,
     .k = 2,
     .preface = "",
     .kl_prompts = 50,
     .kl_tokens = 50,
     .lo = 0.05,
     .hi = 16,
     .not_followed =
         "Otherwise than weight-steering: the questions' wording is our own, arithmetic is fp32, no repetition "
         "penalty is applied, and the pmass factor takes the mean over single answers instead of the smaller of "
         "the two frames'."},
    {.name = "sl",
     .title = "steering-lite",
     .max_think = 64,
     .floor = 0.5,
     .k = 1,
     .loading_weighted = 1,
     .sign_after = 1,
     .preface = "Think briefly. ",
     .prompt_in_user = 1,
     .kl_prompts = 8,
     .kl_tokens = 20,
     .lo = 0.01,
     .hi = 1e6,
     .not_followed = "Otherwise than steering-lite: the questions and the calibration prompts are our own, KL is taken "
                     "over the generated "
                     "tokens alone, the search takes up to 12 steps, each side has its own calibrated strength where "
                     "theirs evaluates -C "
                     "at +C's, the std is over cells with ddof 1 instead of weighted, and n_cho and n_rej are shared "
                     "by both arms."}};
enum { N = sizeof list / sizeof *list };

const ws_protocol *ws_protocol_find(const char *name) {
    for (int i = 0; i < N; i++)
        if (!name || !strcmp(list[i].name, name)) return &list[i];
    return NULL;
}

const char *ws_protocol_names(void) { return "ours, ws, sl"; }

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
