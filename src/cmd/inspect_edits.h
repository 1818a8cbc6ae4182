/* src/cmd/inspect_edits.h - what ws inspect says of the linears that a dW file or an adapter touches. */
#ifndef WS_CMD_INSPECT_EDITS_H
#define WS_CMD_INSPECT_EDITS_H
#include "io/safetensors.h"
#include "model/model.h"
/* Adds "sites": {site, form, rank, shape, norm}, the norm where it is known without the base, and then "norm" and "layers"
 * for a dW; without its names an adapter's `config` is read for its scale. */
void ws_inspect_dw(json_t *report, const ws_safetensors *s);
void ws_inspect_adapter(json_t *report, const ws_safetensors *s);
/* The same from the edits on their base, all norms known. */
ws_status ws_inspect_on_base(json_t *report, const ws_model *m, const char *path, int force, ws_err *err);
void ws_inspect_print_sites(const json_t *report);
#endif
