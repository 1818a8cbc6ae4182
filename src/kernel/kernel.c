#include "kernel/kernel.h"
#include "kernel/sets.h"
#include <stdlib.h>
#include <string.h>

const ws_kernels *const ws_kernels_all[] = {
#if defined(__x86_64__)
    &ws_kernels_amx,    &ws_kernels_avx512bf16,
    &ws_kernels_avx512, &ws_kernels_avx2,
#endif
    &ws_kernels_ref,    NULL,
};

ws_status ws_kernels_init(ws_err *err) {
    static int done;
    if (done) return WS_OK;
    const char *want = getenv("WS_KERNELS");
    const ws_kernels *pick = NULL;
    int known = 0;
    for (int i = 0; ws_kernels_all[i]; i++) {
        const ws_kernels *k = ws_kernels_all[i];
        if (want && *want && strcmp(want, k->name)) continue;
        known = 1;
        if (!pick && k->usable()) pick = k;
    }
    if (!known)
        return ws_fail(err, WS_EUSAGE,
                       "WS_KERNELS=%s: no such kernel set; there are ref, avx2, avx512, avx512bf16 and amx", want);
    if (!pick)
        return ws_fail(err, WS_EUSAGE, "WS_KERNELS=%s: this machine's CPU lacks these instructions; try avx2 or ref",
                       want);
    ws_k = *pick;
    done = 1;
    return WS_OK;
}
