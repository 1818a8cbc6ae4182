/* src/base/progress.h - a bar with ETA on stderr for everything that takes longer than two seconds.
 *     train pos:  37%|####------| 37/100 [00:12<00:20, 3.07 steps/s, loss=1.82]
 * Drawn at most ten times a second on a terminal; a plain line every ten seconds when stderr is no terminal; nothing
 * with --quiet.  NO_COLOR and TERM=dumb turn the carriage-return drawing off. */
#ifndef WS_BASE_PROGRESS_H
#define WS_BASE_PROGRESS_H
#include <stdint.h>
typedef struct ws_progress {
    char title[48], unit[16];
    int64_t total, done;
    double started, drawn;
    char extra[96];
    int live;
} ws_progress;

void ws_progress_start(ws_progress *p, const char *title, const char *unit, int64_t total);
/* `done` of `total` units; `extra` (may be NULL) is shown at the end, "loss=1.82". */
void ws_progress_update(ws_progress *p, int64_t done, const char *extra);
/* Clears the bar; leaves one line "title: N unit in S s (R unit/s)" when it took longer than two seconds. */
void ws_progress_end(ws_progress *p);
void ws_progress_clear_line(void); /* for the log: wipe a half-drawn bar */
double ws_now(void);               /* seconds, monotonic */
/* While set, every bar also shows the seconds that the whole (a run of many stages) still needs; fn is asked on each
 * drawing, with the bar's own age in seconds and the share that it has done.  NULL: off. */
typedef double (*ws_progress_left_fn)(void *arg, double age, double share);
void ws_progress_whole(ws_progress_left_fn seconds_left, void *arg);
/* "1.2 s", "3 min 05 s", "2 h 10 min" into buf (>= 32 bytes); returns buf. */
char *ws_format_seconds(char *buf, double s);
char *ws_format_bytes(char *buf, double bytes); /* "1.3 GiB" into buf (>= 32 bytes) */
#endif
