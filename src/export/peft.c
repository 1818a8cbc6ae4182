/* src/export/peft.c - dW as one PEFT LoRA (adapters.md 3.3, 3.4): A = V, B = alpha U, so lora_alpha = r and the scaling is 1.
 * Whoever loads it can still dial: lora_alpha, set_scale and the like multiply dW. */
#include "export/factors.h"
#include <stdlib.h>
WS_ROOM(peft)

/* Patterns hold the modules whose rank is not the commonest. */
static void set_ranks(json_t *config, const ws_model *m, const ws_factors *f) {
    json_t *rank = json_object(), *alpha = json_object();
    for (int i = 0; i < f->n; i++) {
        if (f->f[i].rank == f->rank) continue;
        const char *name = ws_model_site(m, f->f[i].site)->name;
        json_object_set_new(rank, name, json_integer(f->f[i].rank));
        json_object_set_new(alpha, name, json_integer(f->f[i].rank));
    }
    json_object_set_new(config, "r", json_integer(f->rank));
    json_object_set_new(config, "lora_alpha", json_integer(f->rank));
    json_object_set_new(config, "rank_pattern", rank);
    json_object_set_new(config, "alpha_pattern", alpha);
}

static ws_status write(ws_export *x, const char *dir, ws_err *err) {
    ws_factors f;
    ws_status st = ws_export_factors(x, &f, err);
    if (st) return st;
    int *site = ws_xcalloc((size_t)f.n, sizeof *site);
    ws_tensor *t = ws_xcalloc(2 * (size_t)f.n, sizeof *t);
    for (int i = 0; i < f.n; i++) {
        const ws_site *at = ws_model_site(x->m, site[i] = f.f[i].site);
        t[2 * i] = (ws_tensor){.name = ws_sprintf("%s.lora_A.weight", at->name),
                               .dims = 2,
                               .dim = {f.f[i].rank, at->d_in},
                               .data = f.f[i].a};
        t[2 * i + 1] = (ws_tensor){.name = ws_sprintf("%s.lora_B.weight", at->name),
                                   .dims = 2,
                                   .dim = {at->d_out, f.f[i].rank},
                                   .data = f.f[i].b};
    }
    json_t *config = ws_export_config("lora", x->m, site, f.n);
    if (!config)
        st = ws_fail(err, WS_EUNSUPPORTED, "this build has no LoRA adapter");
    else {
        set_ranks(config, x->m, &f);
        st = ws_export_write_peft(x, dir, config, t, 2 * (size_t)f.n, err);
    }
    json_decref(config);
    for (int i = 0; i < 2 * f.n; i++) free(t[i].name);
    free(t), free(site);
    ws_factors_free(&f);
    return st;
}

const ws_export_ops ws_export_peft = {
    .name = "peft",
    .title = "a PEFT LoRA directory; exact for lora, pissa, delora, else --rank K",
    .dir = 1,
    .takes_rank = 1,
    .check = ws_export_check_factors,
    .write = write,
    .reopen = ws_export_hang_back,
};
