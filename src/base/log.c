#include "base/log.h"
#include "base/progress.h"
#include <stdarg.h>
#include <stdio.h>

static int level = 1;

void ws_log_level(int l) { level = l; }
int ws_log_level_get(void) { return level; }

static void say(const char *prefix, const char *fmt, va_list ap) {
    ws_progress_clear_line();
    fputs(prefix, stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

#define SPEAK(name, prefix, min)                                                                                       \
    void name(const char *fmt, ...) {                                                                                  \
        if (level < (min)) return;                                                                                     \
        va_list ap;                                                                                                    \
        va_start(ap, fmt);                                                                                             \
        say(prefix, fmt, ap);                                                                                          \
        va_end(ap);                                                                                                    \
    }
SPEAK(ws_note, "", 1)
SPEAK(ws_detail, "", 2)
SPEAK(ws_warn, "ws: warning: ", 0)
