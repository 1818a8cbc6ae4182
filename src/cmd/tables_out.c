#include "cmd/tables_out.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ws_tables_format(const char *f) {
    return !strcmp(f, "text") || !strcmp(f, "markdown") || !strcmp(f, "csv") || !strcmp(f, "json");
}

ws_status ws_tables_out(const ws_tables *all, const char *only, const char *format, ws_err *err) {
    int shown = 0, bold = isatty(1) && !getenv("NO_COLOR");
    json_t *list = json_array();
    ws_str s = {0};
    for (int i = 0; i < all->n; i++) {
        const ws_table *t = all->t[i];
        if (only && strcmp(only, ws_table_name(t))) continue;
        if (!strcmp(format, "json"))
            json_array_append_new(list, ws_table_json(t));
        else if (!strcmp(format, "csv")) {
            if (!only) ws_str_addf(&s, "%s# %s\n", shown ? "\n" : "", ws_table_name(t));
            ws_table_csv(t, &s);
        } else {
            if (shown) ws_str_addc(&s, '\n');
            if (!strcmp(format, "markdown"))
                ws_table_markdown(t, &s);
            else
                ws_table_print(t, &s, bold);
        }
        shown++;
    }
    if (!strcmp(format, "json")) {
        ws_json_dump(list, &s, 0);
        ws_str_addc(&s, '\n');
    }
    json_decref(list);
    if (!shown) {
        ws_str names = {0};
        for (int i = 0; i < all->n; i++) ws_str_addf(&names, "%s%s", i ? ", " : "", ws_table_name(all->t[i]));
        ws_fail(err, WS_EUSAGE, "--table %s: there is no such table; there are: %s", only ? only : "",
                names.n ? names.p : "none");
        ws_str_free(&names);
    } else
        fwrite(s.p, 1, s.n, stdout);
    ws_str_free(&s);
    return shown ? WS_OK : WS_EUSAGE;
}
