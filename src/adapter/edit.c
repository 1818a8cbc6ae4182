/* src/adapter/edit.c - memory of an edit. */
#include "adapter/edit.h"
#include <stdlib.h>
#include <string.h>

void ws_edit_release(ws_edit *e) {
    if (!e) return;
    for (int j = 0; j < e->n_terms; j++) free(e->term[j].s), free(e->term[j].e);
    free(e->term), free(e->u), free(e->v), free(e->db);
    memset(e, 0, sizeof *e);
}
