/* src/cmd/things.h - what `ws monitor` is pointed at: files, directories, folders of several of them, pairs. */
#ifndef WS_CMD_THINGS_H
#define WS_CMD_THINGS_H
#include "base/err.h"

typedef struct ws_thing {
    char *name;    /* in tables */
    char *path[2]; /* pos; neg of a pair, or NULL */
    int pair;
    double step; /* the number at the end of its folder's name, "checkpoint-500"; NAN: none */
} ws_thing;
typedef struct ws_things {
    int n;
    ws_thing *t;
} ws_things;
/* `text`: an adapter directory, a dW file, a LoRA GGUF, a checkpoint; "POS,NEG"; or a folder that holds some of them, of
 * which each becomes a row, in the order of the numbers in their names ("checkpoint-500" after "checkpoint-60"; what lies in
 * the folder itself comes last). */
ws_status ws_things_add(ws_things *l, const char *text, ws_err *err);
void ws_things_free(ws_things *l);
#endif
