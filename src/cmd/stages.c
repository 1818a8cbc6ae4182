#include "cmd/stages.h"
#include <stdlib.h>
#include <string.h>

static int listed(const char *const *list, const char *name) {
    for (; list && *list; list++)
        if (!strcmp(*list, name)) return 1;
    return 0;
}

struct argp_option *ws_options_pick(const struct argp_option *o, const char *const *leave_out,
                                    const char *const *rename) {
    size_t n = 0;
    while (o[n].name || o[n].key || o[n].doc) n++; /* a heading has a doc alone */
    struct argp_option *p = ws_xcalloc(n + 1, sizeof *p), *to = p;
    for (size_t i = 0; i < n; i++) {
        const char *called = o[i].name ? o[i].name : o[i].doc;
        if (called && listed(leave_out, called)) continue;
        *to = o[i];
        for (const char *const *r = rename; o[i].name && r && *r; r++) {
            size_t k = strcspn(*r, "=");
            if (strlen(o[i].name) == k && !strncmp(*r, o[i].name, k)) to->name = *r + k + 1;
        }
        to++;
    }
    return p;
}
