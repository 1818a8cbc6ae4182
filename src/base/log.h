/* src/base/log.h - messages for people, on stderr only; stdout is for data. */
#ifndef WS_BASE_LOG_H
#define WS_BASE_LOG_H
/* 0: errors only (--quiet), 1: notes (default), 2: details (-v).  Not thread-safe to change while others log. */
void ws_log_level(int level);
int ws_log_level_get(void);
void ws_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* level 1, one line, newline added */
void ws_detail(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* level 2 */
void ws_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* "ws: warning: ...", always */
#endif
