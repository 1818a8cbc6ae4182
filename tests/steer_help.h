/* tests/steer_help.h - a tiny chat model and random states for it, drawn from a seed: what the hidden-state methods are tested
 * with where no reference is needed. */
#ifndef TESTS_STEER_HELP_H
#define TESTS_STEER_HELP_H
#include "base/log.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "io/json.h"
#include "kernel/kernel.h"
#include "steer/extract.h"
#include "steer/steer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)
#define REFUSED(status, part, call)                                                                                    \
    do {                                                                                                               \
        err.msg[0] = 0;                                                                                                \
        assert_int_equal(call, status);                                                                                \
        if (!strstr(err.msg, part)) fail_msg("message lacks '%s': %s", part, err.msg);                                 \
    } while (0)

typedef struct fixture {
    ws_checkpoint *c;
    ws_model *m;
    char tmp[64]; /* an empty folder, removed at the end */
} fixture;
static inline int fixture_setup(void **state) {
    ws_err err = {0};
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    ws_log_level(0);
    OK(ws_kernels_init(&err));
    OK(ws_checkpoint_open(&f->c, "tests/fixtures/tiny-chat", &err));
    OK(ws_model_open(&f->m, f->c, &err));
    strcpy(f->tmp, "/tmp/ws_test_XXXXXX");
    assert_non_null(mkdtemp(f->tmp));
    return 0;
}
static inline int fixture_teardown(void **state) {
    fixture *f = *state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", f->tmp);
    assert_int_equal(system(cmd), 0);
    ws_model_free(f->m);
    ws_checkpoint_close(f->c);
    free(f);
    return 0;
}

/* n pairs at the blocks of layers 1 and 2 and at their o_proj and down_proj: a cloud a side, far from 0 as real ones are. */
static inline void random_states(const fixture *f, ws_state_set *s, int64_t n, uint64_t seed) {
    *s = (ws_state_set){.n = n, .meta = json_object()};
    for (int i = 0; i < ws_model_n_sites(f->m); i++) {
        const ws_site *at = ws_model_site(f->m, i);
        int block = at->kind == WS_SITE_BLOCK;
        if (at->layer < 1 || at->layer > 2 || !(block || strstr(at->name, "o_proj") || strstr(at->name, "down_proj")))
            continue;
        s->at = realloc(s->at, (size_t)(s->n_sites + 1) * sizeof *s->at);
        float *x[2], *mean = malloc((size_t)at->d_out * 2 * sizeof *mean);
        ws_counter_bell(mean, 2 * at->d_out, seed + (uint64_t)i, 1 << 20);
        for (int side = 0; side < 2; side++) {
            x[side] = malloc((size_t)(n * at->d_out) * sizeof **x);
            ws_counter_bell(x[side], n * at->d_out, seed + 1000 * (uint64_t)side + (uint64_t)i, 0);
            for (int64_t k = 0; k < n * at->d_out; k++)
                x[side][k] += 2 * mean[k % at->d_out] + (side ? 0 : 0.5f * mean[at->d_out + k % at->d_out]);
        }
        free(mean);
        s->at[s->n_sites++] = (ws_states){i, at->d_out, x[0], x[1], NULL};
    }
}

static inline ws_vector *vector_of_method(const fixture *f, const char *name, const ws_state_set *s,
                                          const ws_vector_cfg *cfg) {
    ws_err err = {0};
    ws_extraction x;
    ws_vector *v = NULL;
    ws_vector_cfg plain = ws_vector_defaults();
    ws_extraction_open(&x, f->m, s);
    OK(ws_extract_vector(&v, &x, ws_steer_named(name), cfg ? cfg : &plain, &err));
    ws_extraction_close(&x);
    return v;
}

/* A strength at which the method does something: its nominal one in its own unit. */
static inline float strength_of(const ws_vector *v) {
    return (float)(v->ops->hidden->nominal * (v->ops->of_norm ? ws_vector_norm(v) : 1));
}
static inline int n_hidden(const ws_steer_ops **list, int most) {
    int n = 0;
    for (const ws_steer_ops *const *r = ws_steer_rooms(); *r; r++)
        if ((*r)->hidden && (*r)->hidden->extract && n < most) list[n++] = *r;
    return n;
}
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#endif
