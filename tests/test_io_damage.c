/* Every prefix and thousands of changed bytes of small files: the readers refuse or accept, and never read outside the
 * bytes they were given (run under ASan by `make CONFIG=debug test`; each input is a malloc of its exact size). */
#include "io_help.h"
#include "io/csv.h"
#include "io/gguf_config.h"

static uint64_t state = 88172645463325252ull; /* xorshift64: the same damage every time */
static uint32_t draw(uint32_t n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

static long accepted, refused;

/* Reads everything a user could: a tensor that was accepted must be readable to its last byte. */
static void touch(const ws_tensor *t) {
    if (ws_tensor_numel(t) > 1 << 20 || !ws_dtypes[t->type].is_weight) return;
    free(ws_tensor_f32(t));
}

static void feed_gguf(const char *bytes, size_t n) {
    ws_gguf *g;
    ws_err err = {0};
    if (ws_gguf_parse(&g, bytes, n, "f", &err)) {
        refused++;
        assert_non_null(strchr(err.msg, 'f'));
        return;
    }
    accepted++;
    for (size_t i = 0; i < ws_gguf_count(g); i++) touch(ws_gguf_at(g, i));
    json_decref(ws_gguf_meta_json(g));
    json_t *config;
    if (!ws_gguf_config(g, "f", &config, &err)) {
        for (size_t i = 0; i < ws_gguf_count(g); i++) {
            ws_tensor t;
            if (ws_gguf_tensor(g, i, config, "f", &t, &err) || !t.name) continue;
            touch(&t);
            free(t.name);
        }
        json_decref(config);
    }
    ws_gguf_close(g);
}

static void feed_safetensors(const char *bytes, size_t n) {
    ws_safetensors *s;
    ws_err err = {0};
    if (ws_safetensors_parse(&s, bytes, n, "f", &err)) {
        refused++;
        assert_non_null(strchr(err.msg, 'f'));
        return;
    }
    accepted++;
    for (size_t i = 0; i < ws_safetensors_count(s); i++) touch(ws_safetensors_at(s, i));
    ws_safetensors_close(s);
}

/* The damage of one byte, two bytes, or an eight-byte number that is likely to break arithmetic. */
static void damage(char *copy, size_t n, size_t head) {
    static const uint64_t nasty[] = {0,          1,          0x7f,       0xff,      0xffff,     0x7fffffff,
                                     0xffffffff, 1ull << 32, 1ull << 62, INT64_MAX, UINT64_MAX, UINT64_MAX - 31};
    size_t at = draw((uint32_t)head);
    switch (draw(3)) {
    case 0: copy[at] = (char)draw(256); break;
    case 1: copy[at] ^= (char)(1 << draw(8)), copy[draw((uint32_t)head)] = (char)draw(256); break;
    default:
        if (at + 8 <= n) memcpy(copy + at, &nasty[draw(sizeof nasty / sizeof *nasty)], 8);
    }
}

static void hurt(const char *path, void (*feed)(const char *, size_t), size_t head, int rounds) {
    ws_err err;
    ws_str s = {0};
    OK(ws_file_read(path, &s, &err));
    if (head > s.n) head = s.n;
    accepted = refused = 0;
    feed(s.p, s.n);
    assert_int_equal(accepted, 1);
    for (size_t n = 0; n < s.n; n += n < head ? 1 : 97) {
        char *copy = malloc(n ? n : 1);
        memcpy(copy, s.p, n);
        feed(copy, n);
        free(copy);
    }
    assert_int_equal(accepted, 1); /* no true prefix of a file is a file */
    for (int i = 0; i < rounds; i++) {
        char *copy = malloc(s.n);
        memcpy(copy, s.p, s.n);
        damage(copy, s.n, head);
        feed(copy, s.n);
        free(copy);
    }
    assert_true(refused > rounds / 4);
    ws_str_free(&s);
}

static void damaged_gguf_files(void **unused) {
    (void)unused;
    hurt(FIXTURES "types.gguf", feed_gguf, 1300, 6000);
    hurt(FIXTURES "llama.gguf", feed_gguf, 3000, 2000);
    hurt(FIXTURES "kquants.gguf", feed_gguf, 600, 2000);
    hurt(FIXTURES "qwen35.gguf", feed_gguf, 4000, 3000);
}

static void damaged_safetensors_files(void **unused) {
    (void)unused;
    hurt(FIXTURES "half/model.safetensors", feed_safetensors, 1500, 4000);
    hurt(FIXTURES "wrapped/model.safetensors", feed_safetensors, 1800, 4000);
}

static void random_json_and_csv(void **unused) {
    (void)unused;
    static const char alphabet[] = "{}[]\",:\\\n\r\t 0123456789eE.+-truefalsn\xc3\xa9\xff";
    for (int i = 0; i < 4000; i++) {
        size_t n = draw(60);
        char *text = malloc(n + 1);
        for (size_t k = 0; k < n; k++) text[k] = alphabet[draw(sizeof alphabet - 1)];
        text[n] = 0;
        ws_err err;
        json_t *v;
        if (!ws_json_parse(&v, text, n, "f", &err)) json_decref(v);
        if (i % 40 == 0) {
            ws_csv c;
            OK(ws_file_write(in_scratch("x.csv"), text, n, &err));
            if (!ws_csv_load(&c, in_scratch("x.csv"), &err)) ws_csv_free(&c);
        }
        free(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_gguf_files),
        cmocka_unit_test(damaged_safetensors_files),
        cmocka_unit_test(random_json_and_csv),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
