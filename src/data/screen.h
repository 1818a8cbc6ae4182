/* src/data/screen.h - answers looked at one by one: refusals, and words taken over from the persona. */
#ifndef WS_DATA_SCREEN_H
#define WS_DATA_SCREEN_H
#include "base/err.h"

typedef struct ws_refusals {
    int n;
    char **opening; /* [n] */
} ws_refusals;
/* data/refusals.json: {"format": "ws-refusals", "version": 1, "openings": ["I'm sorry, but", ...]}.  `path` NULL: the
 * program's own. */
ws_status ws_refusals_load(ws_refusals *r, const char *path, ws_err *err);
void ws_refusals_free(ws_refusals *r);
/* Number of the first opening whose words are the first words of the text; -1: none.  Case, punctuation and the kind of
 * apostrophe do not matter. */
int ws_refusals_find(const ws_refusals *r, const char *text);

/* How many runs of n words of `source` that do not stand in `but_not` stand in `text`, each counted once; *first (may be
 * NULL) gets the first of them, or NULL; the caller frees. */
int ws_shared_runs(const char *text, const char *source, const char *but_not, int n, char **first);
#endif
