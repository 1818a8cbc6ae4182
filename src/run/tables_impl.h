/* src/run/tables_impl.h - what the tables of runs have in common: which runs are shown, and columns that are read from a
 * sheet by their names. */
#ifndef WS_RUN_TABLES_IMPL_H
#define WS_RUN_TABLES_IMPL_H
#include "run/tables.h"

/* The runs that are shown, and what their tables have in common. */
typedef struct ws_show {
    ws_results *const *run;
    int n;
    double budget;       /* KL budget of the first row; a row at another one carries a mark */
    char *no_best;       /* why nothing may be marked in any table, or NULL */
    int think, modes;    /* the mode of the vignette tables that are being made, and how many modes there are */
    char *no_best_moral; /* as no_best, for these tables */
} ws_show;

/* A column and where its cells come from: the sheet's column `key`, its ends or spread in `lo`, `hi` (NULL: KEY_lo,
 * KEY_hi; KEY_std). */
typedef struct ws_column {
    const char *key, *title;
    ws_cell_kind kind;
    const char *format, *lo, *hi;
    ws_best best;
    int steered;  /* no cell at strength 0: it compares with the base */
    int optional; /* nan where an earlier version wrote the sheet without it */
} ws_column;
#define COLUMNS(c)        c, (int)(sizeof(c) / sizeof *(c))
#define WORDS(k, t)       .key = k, .title = t, .kind = WS_CELL_TEXT
#define NUMBER(k, t, f)   .key = k, .title = t, .kind = WS_CELL_NUM, .format = f
#define SPREAD(k, t, f)   .key = k, .title = t, .kind = WS_CELL_SD, .format = f
#define INTERVAL(k, t, f) .key = k, .title = t, .kind = WS_CELL_CI, .format = f

#define EACH_METHOD(s, r, m)                                                                                           \
    for (int i_ = 0; i_ < (s)->n; i_++)                                                                                \
        for (int k_ = 0; k_ < (s)->run[i_]->n; k_++)                                                                   \
            for (ws_results *r = (s)->run[i_]; r; r = NULL)                                                            \
                for (ws_method_results *m = &r->m[k_]; m; m = NULL)

/* Keeps the table, or frees it where it has no row. */
void ws_tab_keep(ws_tables *all, ws_table *t);
/* The first columns: the run where several are shown, and one that names the row. */
void ws_tab_begin(const ws_show *s, ws_table *t, const char *first_key, const char *first_title);
void ws_tab_row(const ws_show *s, ws_table *t, const ws_results *r, const char *first);
void ws_tab_columns(ws_table *t, const ws_column *c, int n);
void ws_tab_cells(ws_table *t, const ws_column *c, int n, const ws_sheet *s, int r);
void ws_tab_num(ws_table *t, const ws_sheet *s, int r, const char *v);
void ws_tab_ci(ws_table *t, const ws_sheet *s, int r, const char *v, const char *lo, const char *hi);
char *ws_tab_setting(const ws_sheet *s, int r); /* "lora at +4.10", "base"; the caller frees */
/* A note where a strength was taken at the other side's. */
void ws_tab_mirrored(const ws_show *s, ws_table *t);
/* A row per setting of a sheet, from the NEG end to the POS end. */
void ws_tab_settings(const ws_show *s, ws_table *t, const ws_results *r, const ws_sheet *from, const ws_column *c,
                     int n);
/* tables_readouts.c: the readouts of a sweep, a line for each of its rows. */
void ws_tab_readouts(const ws_show *s, ws_tables *all);
/* tables_rows.c: the tables of a sweep. */
void ws_tab_rows(const ws_show *s, ws_tables *all);
/* tables_vignettes.c: the tables of the vignette readout, for each mode its own. */
void ws_tab_vignettes(ws_show *s, ws_tables *all);
#endif
