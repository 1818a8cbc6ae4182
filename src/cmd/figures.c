#include "cmd/figures.h"
#include "cmd/cmd.h"
#include <stdlib.h>
#include <unistd.h>

void ws_figures_print(ws_table *const *t, int n, int json) {
    ws_str s = {0};
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        if (json) {
            json_array_append_new(list, ws_table_json(t[i]));
            continue;
        }
        if (i) ws_str_addc(&s, '\n');
        ws_table_print(t[i], &s, isatty(1) && !getenv("NO_COLOR"));
    }
    if (json)
        ws_print_json(list, 0);
    else {
        json_decref(list);
        if (s.n) fwrite(s.p, 1, s.n, stdout);
    }
    ws_str_free(&s);
}

static ws_status put(const char *dir, const char *name, const char *ext, const ws_str *s, ws_err *err) {
    char *file = ws_sprintf("%s%s", name, ext), *path = ws_path_join(dir, file);
    ws_status st = ws_file_write(path, s->p ? s->p : "", s->n, err);
    free(file), free(path);
    return st;
}

ws_status ws_figures_tables(const char *dir, ws_table *const *t, int n, ws_err *err) {
    ws_str s = {0};
    ws_status st = ws_mkdirs(dir, err);
    for (int i = 0; i < n && !st; i++) {
        ws_str_clear(&s);
        ws_table_csv(t[i], &s);
        st = put(dir, ws_table_name(t[i]), ".csv", &s, err);
        ws_str_clear(&s);
        json_t *j = ws_table_json(t[i]);
        ws_json_dump(j, &s, 0);
        ws_str_addc(&s, '\n');
        json_decref(j);
        if (!st) st = put(dir, ws_table_name(t[i]), ".json", &s, err);
    }
    ws_str_free(&s);
    return st;
}

ws_status ws_figures_plot(const char *dir, const char *name, const ws_plot *p, ws_err *err) {
    ws_str s = {0};
    if (!ws_plot_drawable(p)) return WS_OK;
    ws_status st = ws_plot_png(p, &s, err);
    if (!st) st = put(dir, name, ".png", &s, err);
    ws_str_clear(&s);
    if (!st) st = ws_plot_svg(p, &s, err);
    if (!st) st = put(dir, name, ".svg", &s, err);
    ws_str_free(&s);
    return st;
}
