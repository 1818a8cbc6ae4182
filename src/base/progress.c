#include "base/progress.h"
#include "base/log.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int line_is_dirty;
static ws_progress_left_fn whole_left;
static void *whole_arg;

void ws_progress_whole(ws_progress_left_fn seconds_left, void *arg) { whole_left = seconds_left, whole_arg = arg; }

double ws_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int draws_in_place(void) {
    static int known = -1;
    if (known < 0) {
        const char *term = getenv("TERM");
        known = isatty(2) && !getenv("NO_COLOR") && !(term && !strcmp(term, "dumb"));
    }
    return known;
}

void ws_progress_clear_line(void) {
    if (!line_is_dirty) return;
    fputs("\r\033[K", stderr);
    line_is_dirty = 0;
}

static char *clock_text(char *buf, double s) {
    if (!(s >= 0) || s > 359999) return strcpy(buf, "--:--");
    long t = lrint(s);
    if (t >= 3600)
        sprintf(buf, "%ld:%02ld:%02ld", t / 3600, t / 60 % 60, t % 60);
    else
        sprintf(buf, "%02ld:%02ld", t / 60, t % 60);
    return buf;
}

static void draw(ws_progress *p) {
    char spent[32], left[32], bar[21];
    double t = ws_now() - p->started, share = p->total > 0 ? (double)p->done / (double)p->total : 0;
    double rate = t > 0 ? (double)p->done / t : 0;
    int fill = (int)(share * 20);
    fill = fill < 0 ? 0 : fill > 20 ? 20 : fill;
    memset(bar, '-', 20), memset(bar, '#', (size_t)fill), bar[20] = 0;
    clock_text(spent, t), clock_text(left, rate > 0 ? (double)(p->total - p->done) / rate : -1);
    if (draws_in_place()) fputs("\r\033[K", stderr);
    fprintf(stderr, "%s: %3.0f%%|%s| %lld/%lld [%s<%s, ", p->title, 100 * share, bar, (long long)p->done,
            (long long)p->total, spent, left);
    if (rate >= 1 || rate == 0)
        fprintf(stderr, "%.4g %s/s", rate, p->unit);
    else
        fprintf(stderr, "%.3g s/%s", 1 / rate, p->unit);
    fprintf(stderr, "%s%s]", *p->extra ? ", " : "", p->extra);
    if (whole_left) fprintf(stderr, " whole<%s", clock_text(left, whole_left(whole_arg, t, share)));
    if (draws_in_place())
        line_is_dirty = 1;
    else
        fputc('\n', stderr);
}

void ws_progress_start(ws_progress *p, const char *title, const char *unit, int64_t total) {
    memset(p, 0, sizeof *p);
    snprintf(p->title, sizeof p->title, "%s", title);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->total = total, p->started = p->drawn = ws_now();
    p->live = ws_log_level_get() >= 1;
}

void ws_progress_update(ws_progress *p, int64_t done, const char *extra) {
    p->done = done;
    if (extra) snprintf(p->extra, sizeof p->extra, "%s", extra);
    double now = ws_now();
    if (!p->live || now - p->started < 2 || now - p->drawn < (draws_in_place() ? 0.1 : 10)) return;
    p->drawn = now;
    draw(p);
}

void ws_progress_end(ws_progress *p) {
    double t = ws_now() - p->started;
    ws_progress_clear_line();
    if (p->live && t >= 2) {
        char spent[32];
        fprintf(stderr, "%s: %lld %s in %s (%.4g %s/s%s%s)\n", p->title, (long long)p->done, p->unit,
                ws_format_seconds(spent, t), (double)p->done / t, p->unit, *p->extra ? ", " : "", p->extra);
    }
    p->live = 0;
}

char *ws_format_seconds(char *buf, double s) {
    if (s < 120)
        sprintf(buf, "%.1f s", s);
    else if (s < 7200)
        sprintf(buf, "%d min %02d s", (int)(s / 60), (int)fmod(s, 60));
    else
        sprintf(buf, "%.0f h %02d min", floor(s / 3600), (int)fmod(s / 60, 60));
    return buf;
}

char *ws_format_bytes(char *buf, double n) {
    static const char *unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (n >= 1024 && u < 4) n /= 1024, u++;
    sprintf(buf, u ? "%.1f %s" : "%.0f %s", n, unit[u]);
    return buf;
}
