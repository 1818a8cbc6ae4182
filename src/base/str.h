/* src/base/str.h - a growing byte buffer.  `p` is NUL-terminated after every call and never NULL after the first
 * append; a zeroed ws_str is an empty one; the bytes may contain NUL. */
#ifndef WS_BASE_STR_H
#define WS_BASE_STR_H
#include <stddef.h>
typedef struct ws_str {
    char *p;
    size_t n, cap;
} ws_str;
void ws_str_add(ws_str *s, const void *bytes, size_t n);
void ws_str_adds(ws_str *s, const char *text);
void ws_str_addc(ws_str *s, char c);
void ws_str_addf(ws_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ws_str_clear(ws_str *s); /* n = 0, memory kept */
void ws_str_free(ws_str *s);  /* back to a zeroed one */
char *ws_str_take(ws_str *s); /* the caller owns the bytes now (never NULL); *s is empty */
/* A printf into fresh memory that the caller frees. */
char *ws_sprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A growing list of token ids (or any int32). */
#include <stdint.h>
typedef struct ws_ids {
    int32_t *id;
    int n, cap;
} ws_ids;
void ws_ids_add(ws_ids *v, int32_t id);
void ws_ids_addn(ws_ids *v, const int32_t *id, int n);
void ws_ids_free(ws_ids *v);
#endif
