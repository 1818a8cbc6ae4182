/* A run's stages are skipped by content, taken up again after a failure, and never mixed with another configuration's
 * leftovers; what a person changed is kept; a run directory belongs to one model, behaviour and set of options. */
#include "run/stage.h"
#include "base/log.h"
#include "io/file.h"
#include "kernel/kernel.h"
#include "run/tree.h"
#include "golden.h"
#include <unistd.h>

/* A small chain in a temporary folder: "double" reads in.txt and writes a.txt (its content twice), "count" reads a.txt and
 * writes n.txt (its length).  `double` leaves part.txt beside when it is told to fail. */
typedef struct box {
    char root[64], *run, *in, *a, *n, *part;
    int ran[2], fail, found_part, same_kernels;
} box;

static char *content(const char *path) {
    ws_str s = {0};
    ws_err err;
    if (ws_file_read(path, &s, &err)) fail_msg("%s", err.msg);
    return ws_str_take(&s);
}
static void put(const char *path, const char *text) {
    ws_err err;
    if (ws_file_write(path, text, strlen(text), &err)) fail_msg("%s", err.msg);
}

static ws_status run_double(void *arg, ws_err *err) {
    box *b = arg;
    b->ran[0]++;
    b->found_part = ws_file_exists(b->part);
    if (b->fail) {
        put(b->part, "half");
        return ws_fail(err, WS_EINTERRUPTED, "stopped");
    }
    char *s = content(b->in), *t = ws_sprintf("%s%s", s, s);
    put(b->a, t);
    free(s), free(t);
    return WS_OK;
}
static ws_status run_count(void *arg, ws_err *err) {
    box *b = arg;
    (void)err;
    b->ran[1]++;
    char *s = content(b->a), *t = ws_sprintf("%zu\n", strlen(s));
    put(b->n, t);
    free(s), free(t);
    return WS_OK;
}

static void box_open(box *b) {
    memset(b, 0, sizeof *b);
    strcpy(b->root, "/tmp/ws_stage.XXXXXX");
    assert_non_null(mkdtemp(b->root));
    b->run = ws_path_join(b->root, "run");
    b->in = ws_path_join(b->root, "in.txt");
    b->a = ws_path_join(b->run, "work/a.txt");
    b->part = ws_path_join(b->run, "work/part.txt");
    b->n = ws_path_join(b->run, "n.txt");
    put(b->in, "abc");
}
static void box_close(box *b) {
    ws_err err;
    assert_int_equal(ws_tree_remove(b->root, &err), WS_OK);
    free(b->run), free(b->in), free(b->a), free(b->n), free(b->part);
}

/* One session: a fresh manifest from disk, the two stages with `factor` as option and `format` as version. */
static ws_status go(box *b, int factor, int format, ws_stages_result *r, ws_err *err) {
    ws_manifest *m = NULL;
    ws_stage s[2] = {{0}};
    char *work = ws_path_join(b->run, "work");
    s[0] = (ws_stage){.name = "double", .does = ws_xstrdup("twice"), .format = format, .run = run_double, .arg = b};
    s[1] = (ws_stage){.name = "count", .does = ws_xstrdup("length"), .format = 1, .run = run_count, .arg = b};
    s[0].same_kernels = b->same_kernels;
    s[0].options = json_pack("{s:i}", "factor", factor), s[1].options = json_object();
    ws_stage_input(&s[0], b->in), ws_stage_output(&s[0], b->a), ws_stage_scratch(&s[0], work);
    ws_stage_input(&s[1], b->a), ws_stage_output(&s[1], b->n);
    b->ran[0] = b->ran[1] = b->found_part = 0;
    ws_status st = ws_manifest_open(&m, b->run, err);
    if (!st) st = ws_stages_run(s, 2, m, r, err);
    ws_manifest_free(m);
    ws_stages_free(s, 2);
    free(work);
    return st;
}

static void expect(box *b, int factor, int format, int first, int second) {
    ws_stages_result r;
    ws_err err = {0};
    if (go(b, factor, format, &r, &err)) fail_msg("%s", err.msg);
    assert_int_equal(b->ran[0], first);
    assert_int_equal(b->ran[1], second);
    assert_int_equal(r.ran, first + second);
    assert_int_equal(r.skipped, 2 - first - second);
}

static void test_skips_by_content(void **state) {
    (void)state;
    box b;
    box_open(&b);
    expect(&b, 2, 1, 1, 1);
    expect(&b, 2, 1, 0, 0);
    put(b.in, "abc"); /* a new time stamp, the same content */
    expect(&b, 2, 1, 0, 0);
    put(b.in, "xyz"); /* other content of the same length: a.txt changes, so count runs too */
    expect(&b, 2, 1, 1, 1);
    char *s = content(b.a);
    assert_string_equal(s, "xyzxyz");
    free(s);
    expect(&b, 3, 1, 1, 0); /* another option, the same a.txt: count is up to date */
    expect(&b, 3, 2, 1, 0); /* another format version */
    expect(&b, 3, 2, 0, 0);
    box_close(&b);
}

static void test_lost_and_changed_outputs(void **state) {
    (void)state;
    box b;
    box_open(&b);
    expect(&b, 2, 1, 1, 1);
    assert_int_equal(unlink(b.n), 0);
    expect(&b, 2, 1, 0, 1);
    put(b.a, "mine!"); /* somebody edits a result: it is kept, and made anew */
    expect(&b, 2, 1, 1, 0);
    char *s = content(b.a), *keep = ws_path_join(b.run, "changed/run-work-a.txt"), *kept = content(keep);
    assert_string_equal(s, "abcabc");
    assert_string_equal(kept, "mine!");
    free(s), free(keep), free(kept);
    expect(&b, 2, 1, 0, 0);
    box_close(&b);
}

static void test_goes_on_after_a_failure(void **state) {
    (void)state;
    box b;
    ws_stages_result r;
    ws_err err = {0};
    box_open(&b);
    b.fail = 1;
    assert_int_equal(go(&b, 2, 1, &r, &err), WS_EINTERRUPTED);
    assert_int_equal(b.ran[1], 0);
    b.fail = 0;
    expect(&b, 2, 1, 1, 1);
    assert_true(b.found_part); /* the same configuration finds what it left */
    b.fail = 1;
    assert_int_equal(unlink(b.a), 0);
    assert_int_equal(go(&b, 2, 1, &r, &err), WS_EINTERRUPTED);
    b.fail = 0;
    expect(&b, 5, 1, 1, 0);
    assert_false(b.found_part); /* another one does not */
    box_close(&b);
}

/* What was begun on another kernel set is gone on with, unless the stage says that its bits may not be mixed. */
static void test_begun_with_other_kernels(void **state) {
    (void)state;
    ws_stages_result r;
    ws_err err = {0};
    assert_int_equal(ws_kernels_init(&err), WS_OK);
    for (int same = 0; same < 2; same++) {
        box b;
        char cmd[300];
        box_open(&b);
        b.same_kernels = same, b.fail = 1;
        assert_int_equal(go(&b, 2, 1, &r, &err), WS_EINTERRUPTED);
        b.fail = 0;
        snprintf(cmd, sizeof cmd,
                 "grep -q '\"kernels\": \"%s\"' %s/manifest.json && sed -i 's/\"kernels\": \"%s\"/\"kernels\": "
                 "\"other\"/' %s/manifest.json",
                 ws_k.name, b.run, ws_k.name, b.run);
        assert_int_equal(system(cmd), 0);
        expect(&b, 2, 1, 1, 1);
        assert_int_equal(b.found_part, !same);
        expect(&b, 2, 1, 0, 0);
        box_close(&b);
    }
}

static void test_a_run_can_be_moved(void **state) {
    (void)state;
    box b;
    ws_err err;
    box_open(&b);
    expect(&b, 2, 1, 1, 1);
    char *root = ws_sprintf("%s.moved", b.root);
    assert_int_equal(rename(b.root, root), 0);
    char *paths[] = {b.run, b.a, b.n, b.part}, *names[] = {"run", "run/work/a.txt", "run/n.txt", "run/work/part.txt"};
    for (int i = 0; i < 4; i++) free(paths[i]);
    char *in = b.in; /* the input keeps its place: it is not part of the run */
    assert_int_equal(ws_mkdirs(b.root, &err), WS_OK);
    put(in, "abc");
    b.run = ws_path_join(root, names[0]), b.a = ws_path_join(root, names[1]);
    b.n = ws_path_join(root, names[2]), b.part = ws_path_join(root, names[3]);
    expect(&b, 2, 1, 0, 0);
    assert_int_equal(ws_tree_remove(root, &err), WS_OK);
    free(root);
    box_close(&b);
}

static json_t *identity(const char *model, const char *behavior, int epochs, const char *extra) {
    char hash[2][65] = {"", ""};
    memset(hash[0], *model, 64), memset(hash[1], *behavior, 64);
    json_t *j =
        json_pack("{s:{s:s, s:s, s:s}, s:{s:s, s:s, s:s}, s:{s:i}}", "model", "name", model, "path", "m", "hash",
                  hash[0], "behavior", "name", behavior, "path", "b", "hash", hash[1], "options", "epochs", epochs);
    if (extra) json_object_set_new(json_object_get(j, "options"), extra, json_true());
    return j;
}

static ws_status claim(const char *dir, json_t *id, ws_err *err) {
    ws_manifest *m = NULL;
    ws_status st = ws_manifest_open(&m, dir, err);
    if (!st) st = ws_manifest_claim(m, id, err);
    if (!st) st = ws_manifest_save(m, err);
    ws_manifest_free(m);
    json_decref(id);
    return st;
}

static void test_one_directory_one_configuration(void **state) {
    (void)state;
    box b;
    ws_err err = {0};
    box_open(&b);
    assert_int_equal(claim(b.run, identity("alpha", "joy", 3, NULL), &err), WS_OK);
    assert_int_equal(claim(b.run, identity("alpha", "joy", 3, NULL), &err), WS_OK);
    assert_int_equal(claim(b.run, identity("beta", "joy", 3, NULL), &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "alpha"));
    assert_non_null(strstr(err.msg, "beta"));
    assert_non_null(strstr(err.msg, "--fresh"));
    assert_int_equal(claim(b.run, identity("alpha", "rage", 3, NULL), &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "joy"));
    assert_non_null(strstr(err.msg, "rage"));
    assert_int_equal(claim(b.run, identity("alpha", "joy", 4, NULL), &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "--epochs was 3, now 4"));
    assert_int_equal(claim(b.run, identity("alpha", "joy", 3, "keep-end"), &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "--keep-end was (not set), now true"));
    assert_int_equal(claim(b.run, identity("alpha", "joy", 3, NULL), &err), WS_OK); /* the refusals changed nothing */
    json_t *id = identity("alpha", "joy", 3, NULL); /* a run of before notes its tokenizer at the next claim */
    json_object_set_new(id, "tokenizer", json_pack("{s:s, s:s, s:s}", "name", "alpha", "path", "m", "hash", "first"));
    assert_int_equal(claim(b.run, id, &err), WS_OK);
    id = identity("alpha", "joy", 3, NULL);
    json_object_set_new(id, "tokenizer", json_pack("{s:s, s:s, s:s}", "name", "alpha", "path", "m", "hash", "second"));
    assert_int_equal(claim(b.run, id, &err), WS_ESTATE);
    assert_non_null(strstr(err.msg, "another tokenizer"));
    box_close(&b);
}

static void test_damaged_manifests(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"format\": \"ws-run\"}",
                                      "{\"format\": \"ws-run\", \"version\": 1}",
                                      "{\"format\": \"other\", \"version\": 1, \"stages\": {}}",
                                      "{\"format\": \"ws-run\", \"version\": 99, \"stages\": {}}"};
    box b;
    box_open(&b);
    char *path = ws_path_join(b.run, "manifest.json");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ws_manifest *m = NULL;
        ws_err err = {0};
        put(path, bad[i]);
        assert_int_equal(ws_manifest_open(&m, b.run, &err), WS_EFORMAT);
        assert_null(m);
        assert_non_null(strstr(err.msg, "manifest.json"));
    }
    free(path);
    box_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skips_by_content),        cmocka_unit_test(test_lost_and_changed_outputs),
        cmocka_unit_test(test_goes_on_after_a_failure), cmocka_unit_test(test_begun_with_other_kernels),
        cmocka_unit_test(test_a_run_can_be_moved),      cmocka_unit_test(test_one_directory_one_configuration),
        cmocka_unit_test(test_damaged_manifests),
    };
    ws_log_level(0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
