/* src/data/datapath.c - where the files that come with the program lie. */
#include "data/behavior.h"
#include "io/file.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Folder of the running program, without its name; NULL when the system does not tell. */
static char *program_folder(void) {
    char buf[4096];
    ssize_t n = readlink("/proc/self/exe", buf, sizeof buf - 1);
    if (n <= 0) return NULL;
    buf[n] = 0;
    char *slash = strrchr(buf, '/');
    if (!slash) return NULL;
    *slash = 0;
    return ws_xstrdup(buf);
}

char *ws_data_path(const char *relative, ws_err *err) {
    /* beside an installed program; build/<config>/ws; build/<config>/tests/test_x */
    static const char *const beside[] = {"../share/ws", "../../data", "../../../data"};
    const char *env = getenv("WS_DATA_DIR");
    char *folder = program_folder(), *found = NULL;
    ws_str tried = {0};
    for (int i = 0; i < 5 && !found; i++) {
        char *dir = NULL;
        if (i == 0 && env && *env) dir = ws_xstrdup(env);
        if (i == 1) dir = ws_xstrdup("data");
        if (i >= 2 && folder) dir = ws_path_join(folder, beside[i - 2]);
        if (!dir) continue;
        char *path = ws_path_join(dir, relative);
        if (ws_file_exists(path)) {
            found = path;
        } else {
            ws_str_addf(&tried, "%s%s", tried.n ? ", " : "", dir);
            free(path);
        }
        free(dir);
    }
    if (!found)
        ws_fail(err, WS_EIO, "data file '%s' not found in %s; set WS_DATA_DIR to the folder that holds it", relative,
                tried.p);
    ws_str_free(&tried);
    free(folder);
    return found;
}
