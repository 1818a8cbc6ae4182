/* src/cmd/nearest.c - what a misspelt word was probably meant to be. */
#include "cmd/cmd.h"
#include <string.h>

/* Damerau would be kinder; plain edit distance finds most slips of the finger. */
size_t ws_edit_distance(const char *a, const char *b) {
    size_t n = strlen(b), row[64];
    if (n > 62) return 64;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t v = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < v) v = row[j] + 1;
            if (row[j - 1] + 1 < v) v = row[j - 1] + 1;
            row[j] = v;
        }
    }
    return row[n];
}

typedef struct seek {
    const char *name; /* without dashes and value */
    size_t n;
    int known,
        takes_value; /* known: an option begins with it, as getopt allows; an exact one decides about the value */
    const char *near;
    size_t distance;
} seek;

static void look_at(seek *s, const char *name, int takes_value) {
    char word[64];
    if (!strncmp(name, s->name, s->n)) {
        int exact = !name[s->n];
        if (!s->known || exact) s->takes_value = takes_value;
        s->known = 1;
    }
    if (s->n >= sizeof word) return;
    memcpy(word, s->name, s->n), word[s->n] = 0;
    size_t d = ws_edit_distance(word, name);
    if (d < s->distance && d < strlen(name)) s->near = name, s->distance = d;
}

static void walk(seek *s, const struct argp *a) {
    for (const struct argp_option *o = a->options; o && (o->name || o->key || o->doc); o++)
        if (o->name) look_at(s, o->name, o->arg != NULL);
    for (const struct argp_child *c = a->children; c && c->argp; c++) walk(s, c->argp);
}

ws_status ws_options_known(const struct argp *a, int argc, char **argv, ws_err *err) {
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "-m")) i++; /* the one short option with a value: whatever follows is no option */
        if (i >= argc || strncmp(argv[i], "--", 2)) continue;
        seek s = {.name = argv[i] + 2, .n = strcspn(argv[i] + 2, "="), .distance = 4};
        walk(&s, a);
        look_at(&s, "help", 0), look_at(&s, "usage", 0);
        if (!s.known)
            return ws_fail(err, WS_EUSAGE, "there is no option --%.*s%s%s%s; `%s --help` lists them", (int)s.n, s.name,
                           s.near ? " (did you mean --" : "", s.near ? s.near : "", s.near ? "?)" : "", argv[0]);
        if (s.takes_value && !s.name[s.n]) i++;
    }
    return WS_OK;
}
