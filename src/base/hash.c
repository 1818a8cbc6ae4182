#include "base/hash.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ws_hash {
    EVP_MD_CTX *ctx;
};

static ws_hash *begin(const EVP_MD *kind) {
    ws_hash *h = ws_xmalloc(sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || !EVP_DigestInit_ex(h->ctx, kind, NULL)) BUG("libcrypto lacks a hash");
    return h;
}

ws_hash *ws_hash_new(void) { return begin(EVP_sha256()); }

ws_hash *ws_hash_new_git(uint64_t size) {
    char head[40];
    ws_hash *h = begin(EVP_sha1());
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)size);
    ws_hash_add(h, head, (size_t)n + 1); /* with its NUL */
    return h;
}

void ws_hash_add(ws_hash *h, const void *bytes, size_t n) {
    if (n && !EVP_DigestUpdate(h->ctx, bytes, n)) BUG("EVP_DigestUpdate failed");
}

void ws_hash_adds(ws_hash *h, const char *text) {
    uint64_t n = strlen(text);
    uint8_t le[8];
    for (int i = 0; i < 8; i++) le[i] = (uint8_t)(n >> (8 * i));
    ws_hash_add(h, le, 8);
    ws_hash_add(h, text, (size_t)n);
}

void ws_hash_done(ws_hash *h, char hex[65]) {
    uint8_t d[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!EVP_DigestFinal_ex(h->ctx, d, &n) || n > 32) BUG("EVP_DigestFinal_ex failed");
    for (unsigned i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", d[i]);
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void ws_hash_bytes(const void *bytes, size_t n, char hex[65]) {
    ws_hash *h = ws_hash_new();
    ws_hash_add(h, bytes, n);
    ws_hash_done(h, hex);
}

ws_status ws_hash_file(const char *path, char hex[65], ws_err *err) {
    FILE *f = fopen(path, "rbe");
    if (!f) return ws_fail(err, WS_EIO, "%s: %s", path, strerror(errno));
    ws_hash *h = ws_hash_new();
    enum { CHUNK = 1 << 16 };
    char *buf = ws_xmalloc(CHUNK);
    for (size_t n; (n = fread(buf, 1, CHUNK, f)) > 0;) ws_hash_add(h, buf, n);
    int bad = ferror(f), why = errno;
    fclose(f);
    free(buf);
    ws_hash_done(h, hex);
    return bad ? ws_fail(err, WS_EIO, "%s: reading failed: %s", path, strerror(why)) : WS_OK;
}
