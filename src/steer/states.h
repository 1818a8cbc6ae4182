/* src/steer/states.h - H+ and H-: the states of the last token of every prompt, at chosen blocks and linears, all from one
 * unsteered pass; and files of them. */
#ifndef WS_STEER_STATES_H
#define WS_STEER_STATES_H
#include "base/str.h"
#include "steer/room.h"

typedef struct ws_state_set {
    int64_t n, n_neutral; /* pairs; rows of the neutral corpus */
    int n_sites;
    ws_states *at; /* [n_sites] in the order of the model */
    json_t *meta;  /* string -> string */
} ws_state_set;
void ws_states_free(ws_state_set *s);
/* pos and neg [n], neutral [n_neutral] (NULL for 0): whole prompts. */
ws_status ws_states_collect(ws_state_set *s, ws_model *m, const int *site, int n_sites, const ws_ids *pos,
                            const ws_ids *neg, int64_t n, const ws_ids *neutral, int64_t n_neutral, ws_err *err);
ws_status ws_states_save(const ws_state_set *s, const ws_model *m, const char *path, ws_err *err);
/* Another base is WS_ESTATE unless `force`.  States that are not finite are WS_ENONFINITE. */
ws_status ws_states_load(ws_state_set *s, const ws_model *m, const char *path, int force, ws_err *err);
/* Names of the tensors of one site in files: "layer12.<key>", "sub::layers.12.mlp.down_proj::<key>"; caller frees. */
char *ws_state_tensor(const ws_model *m, int site, const char *key);
/* What such a name speaks of: the site, with *key; -1: "shared.<key>"; -2: something else. */
int ws_state_place(const ws_model *m, const char *name, const char **key);
/* Metadata base_hash against this base. */
ws_status ws_state_base(const ws_model *m, const json_t *meta, const char *path, int force, ws_err *err);
#endif
