/* src/adapter/edit.h - an edit of one linear in closed form (design.md, Words):
 *     dW = sum_j diag(s_j) W E_j + U V,  db        y = W x + b + alpha (sum_j s_j .* W (E_j x) + U (V x) + db)
 * s_j [d_out] or NULL (ones); E_j identity, diagonal or block-diagonal; U [d_out, k], V [k, d_in].
 * Terms are added by the adapters that need them; LoRA, PiSSA, DeLoRA are U V alone. */
#ifndef WS_ADAPTER_EDIT_H
#define WS_ADAPTER_EDIT_H
#include <stdint.h>
typedef struct ws_edit_term {
    float *s; /* [d_out] or NULL */
    float *e; /* E: NULL identity; e_block 1: [d_in] diagonal; e_block b > 1: [d_in/b, b, b] blocks */
    int e_block;
} ws_edit_term;
typedef struct ws_edit {
    int64_t d_out, d_in, k; /* k may be 0 */
    float *u;               /* [d_out, k] */
    float *v;               /* [k, d_in] */
    int n_terms;
    ws_edit_term *term;
    float *db; /* [d_out] or NULL */
} ws_edit;
void ws_edit_release(ws_edit *e);
#endif
