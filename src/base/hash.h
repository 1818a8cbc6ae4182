/* src/base/hash.h - SHA-256 (libcrypto) for provenance: same content, same 64 hexadecimal digits; and git's SHA-1 of a
 * file, by which the hub names what is not in LFS. */
#ifndef WS_BASE_HASH_H
#define WS_BASE_HASH_H
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
typedef struct ws_hash ws_hash;
ws_hash *ws_hash_new(void);
/* What `git hash-object` gives for a file of `size` bytes, which are to be added: 40 digits. */
ws_hash *ws_hash_new_git(uint64_t size);
void ws_hash_add(ws_hash *h, const void *bytes, size_t n);
void ws_hash_adds(ws_hash *h, const char *text); /* with its length, so that "ab","c" differs from "a","bc" */
void ws_hash_done(ws_hash *h, char hex[65]);     /* finishes and frees */
void ws_hash_bytes(const void *bytes, size_t n, char hex[65]);
ws_status ws_hash_file(const char *path, char hex[65], ws_err *err);
#endif
