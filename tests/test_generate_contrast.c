/* The data stage on a tiny model: the files are the same whether the run was cut anywhere or not, for any batch and threads;
 * another configuration's rows are never mixed in; useless answers are errors. */
#include "base/hash.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "generate/contrast.h"
#include "tiny.h"
#include "data_help.h"

static const char TEMPLATE[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char BEHAVIOR[] =
    "{\"format\":\"ws-behavior\",\"version\":1,\"name\":\"mood\",\"system_template\":\"You are {persona}.\","
    "\"personas\":[{\"pos\":\"glad\",\"neg\":\"sad\"},{\"pos\":\"merry\",\"neg\":\"grim\"}],"
    "\"topics\":[\"Rain?\",\"Snow?\",\"Work?\"],\"heldout_topics\":[\"Sea?\",\"Sky?\"]}";

typedef struct fixture {
    tiny t;
    ws_tokenizer *tok, *mute; /* mute: every token is special, so that no answer has text */
    ws_chat *chat;
    ws_behavior *b;
} fixture;
static fixture f;

/* A byte-level vocabulary of ASCII without merges, and the two ChatML tokens. */
static ws_tokenizer *ascii_tokenizer(int all_special) {
    ws_err err = {0};
    ws_str s = {0};
    ws_tokenizer *t = NULL;
    json_t *doc = NULL, *cfg = NULL;
    ws_str_adds(&s, "{\"added_tokens\":[");
    for (int i = 0; all_special && i < 94; i++)
        ws_str_addf(&s, "{\"id\":%d,\"content\":\"\\u%04x\",\"special\":true,\"normalized\":false},", i, '!' + i);
    for (int i = 0; all_special && i < 2; i++)
        ws_str_addf(&s, "{\"id\":%d,\"content\":\"\\u%04x\",\"special\":true,\"normalized\":false},", 94 + i,
                    i ? 0x10a : 0x120);
    ws_str_adds(&s, "{\"id\":96,\"content\":\"<|im_start|>\",\"special\":true,\"normalized\":false},"
                    "{\"id\":97,\"content\":\"<|im_end|>\",\"special\":true,\"normalized\":false}],"
                    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_"
                    "offsets\":true,\"use_regex\":true},"
                    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\","
                    "\"merges\":[],\"vocab\":{");
    for (int i = 0; i < 94; i++) ws_str_addf(&s, "\"\\u%04x\":%d,", '!' + i, i);
    ws_str_adds(&s, "\"\\u0120\":94,\"\\u010a\":95}}}");
    OK(ws_json_parse(&doc, s.p, s.n, "tokenizer", &err));
    OK(ws_json_parse(&cfg, "{\"eos_token\":\"<|im_end|>\"}", 26, "config", &err));
    OK(ws_tokenizer_from_json(&t, doc, cfg, "tokenizer", &err));
    json_decref(doc);
    json_decref(cfg);
    ws_str_free(&s);
    return t;
}

static int open_all(void **state) {
    ws_err err = {0};
    if (make_folder(state)) return -1;
    ws_log_level(0);
    tiny_open(&f.t, "llama");
    f.tok = ascii_tokenizer(0);
    f.mute = ascii_tokenizer(1);
    OK(ws_chat_from_text(&f.chat, TEMPLATE, "test", "", "<|im_end|>", &err));
    OK(ws_behavior_load(&f.b, file_with("mood.json", BEHAVIOR), &err));
    return 0;
}
static int close_all(void **state) {
    ws_behavior_free(f.b);
    ws_chat_free(f.chat);
    ws_tokenizer_free(f.tok);
    ws_tokenizer_free(f.mute);
    tiny_close(&f.t);
    return remove_folder(state);
}

static ws_contrast_options settings(const char *dir) {
    ws_contrast_options o;
    ws_err err = {0};
    OK(ws_contrast_defaults(&o, f.chat, -1, &err));
    assert_true(o.sampling.temperature == 0.7 && o.sampling.top_p == 0.8 && o.sampling.top_k == 20);
    assert_int_equal(o.topics * o.personas * o.samples, 1000);
    o.topics = 3, o.personas = 2, o.samples = 3, o.heldout = 5, o.max_new = 14, o.min_new = 3, o.seed = 9;
    o.dir = in_folder(dir);
    return o;
}
static char *path_in(const char *dir, const char *name) { return ws_path_join(dir, name); }
static ws_str bytes_of(const char *dir, const char *name) {
    ws_str s = {0};
    ws_err err = {0};
    char *p = path_in(dir, name);
    OK(ws_file_read(p, &s, &err));
    free(p);
    return s;
}
static ws_contrast_result make(const ws_contrast_options *o) {
    ws_contrast_result r;
    ws_err err = {0};
    OK(ws_contrast_run(f.t.m, f.tok, f.chat, f.b, o, &r, &err));
    return r;
}

static void rows_are_the_shuffled_grid(void **state) {
    (void)state;
    ws_contrast_options o = settings("grid");
    ws_contrast_result r = make(&o);
    assert_int_equal(r.rows, 18);
    assert_int_equal(r.heldout, 5);
    assert_int_equal(r.new_rows, 23);
    ws_pairs *p = NULL, *h = NULL;
    ws_err err = {0};
    char *path = path_in(o.dir, "pairs.jsonl"), *held = path_in(o.dir, "heldout.jsonl");
    OK(ws_pairs_load(&p, path, &err));
    OK(ws_pairs_load(&h, held, &err));
    OK(ws_pairs_check(p, &err));
    assert_int_equal(p->n, 18);
    assert_int_equal(h->n, 5);
    int seen[3][2][3] = {0}, in_order = 1, topics[2] = {0};
    long tokens = 0;
    for (int i = 0; i < p->n; i++) {
        const ws_pair *x = &p->row[i];
        assert_int_equal(seen[x->topic][x->persona][x->sample]++, 0);
        in_order &= x->topic * 6 + x->persona * 3 + x->sample == i;
        assert_string_equal(x->prompt, f.b->topic[x->topic]);
        assert_string_equal(x->sys_pos, x->persona ? "You are merry." : "You are glad.");
        assert_string_equal(x->sys_neg, x->persona ? "You are grim." : "You are sad.");
        assert_string_equal(x->behavior, "mood");
        assert_true(x->tokens_pos >= 3 && x->tokens_pos <= 14 && x->tokens_neg >= 3 && x->tokens_neg <= 14);
        assert_int_equal(x->cut_pos, x->tokens_pos == 14);
        assert_true(x->pos[strlen(x->pos) - 1] > ' ');
        assert_null(strstr(x->pos, "<|im_end|>"));
        tokens += x->tokens_pos + x->tokens_neg;
    }
    assert_false(in_order);
    for (int i = 0; i < h->n; i++) {
        assert_string_equal(h->row[i].prompt, f.b->heldout[h->row[i].topic]);
        topics[h->row[i].topic]++;
        tokens += h->row[i].tokens_pos + h->row[i].tokens_neg;
    }
    assert_int_equal(abs(topics[0] - topics[1]), 1); /* five rows on two topics */
    assert_int_equal(tokens, r.new_tokens);
    ws_pairs_free(p);
    ws_pairs_free(h);
    free(path);
    free(held);
}

static void cut_anywhere_it_ends_in_the_same_bytes(void **state) {
    (void)state;
    ws_contrast_options o = settings("whole"), c = settings("cut");
    make(&o);
    ws_str pairs = bytes_of(o.dir, "pairs.jsonl"), held = bytes_of(o.dir, "heldout.jsonl");
    char *cp = path_in(c.dir, "pairs.jsonl"), *ch = path_in(c.dir, "heldout.jsonl");
    make(&c);
    for (int k = 0; k < 12; k++) {
        size_t a = k == 0 ? 0 : (size_t)ws_counter_u64(1, "cut", (uint64_t)k, 0) % (pairs.n + 1);
        size_t b = k == 1 ? held.n : (size_t)ws_counter_u64(1, "cut", (uint64_t)k, 1) % (held.n + 1);
        assert_int_equal(truncate(cp, (off_t)a), 0);
        assert_int_equal(truncate(ch, (off_t)b), 0);
        c.max_rows = 1 + k * 5 % 17;
        ws_threads_set(1 + k % 3);
        ws_contrast_result r = make(&c);
        int lines = 0;
        for (size_t i = 0; i < a; i++) lines += pairs.p[i] == '\n';
        for (size_t i = 0; i < b; i++) lines += held.p[i] == '\n';
        assert_int_equal(r.new_rows, 23 - lines);
        ws_str p2 = bytes_of(c.dir, "pairs.jsonl"), h2 = bytes_of(c.dir, "heldout.jsonl");
        assert_int_equal(p2.n, pairs.n);
        assert_memory_equal(p2.p, pairs.p, pairs.n);
        assert_int_equal(h2.n, held.n);
        assert_memory_equal(h2.p, held.p, held.n);
        ws_str_free(&p2);
        ws_str_free(&h2);
    }
    ws_threads_set(0);
    assert_int_equal(make(&c).new_rows, 0);
    ws_str_free(&pairs);
    ws_str_free(&held);
    free(cp);
    free(ch);
}

static void refused(const ws_contrast_options *o, ws_status code, const char *a, const char *b) {
    ws_err err = {0};
    assert_int_equal(ws_contrast_run(f.t.m, f.tok, f.chat, f.b, o, NULL, &err), code);
    says(&err, a);
    says(&err, b);
}

static void another_configuration_is_not_mixed_in(void **state) {
    (void)state;
    ws_contrast_options o = settings("state"), other = o;
    make(&o);
    ws_str before = bytes_of(o.dir, "pairs.jsonl");
    char hash[3][65];
    ws_tokenizer *twin = ascii_tokenizer(0);
    ws_tokenizer_hash(f.tok, hash[0]), ws_tokenizer_hash(twin, hash[1]), ws_tokenizer_hash(f.mute, hash[2]);
    assert_string_equal(hash[0], hash[1]);
    assert_string_not_equal(hash[0], hash[2]);
    ws_tokenizer_free(twin);
    ws_err not_this = {0}; /* the same model and prompts, read by another tokenizer */
    assert_int_equal(ws_contrast_run(f.t.m, f.mute, f.chat, f.b, &o, NULL, &not_this), WS_ESTATE);
    says(&not_this, "tokenizer_hash");
    other.seed = 10, other.max_new = 12;
    refused(&other, WS_ESTATE, "seed: 9 there, 10 here; max_new_tokens: 14 there, 12 here", "--fresh");
    ws_str after = bytes_of(o.dir, "pairs.jsonl");
    assert_int_equal(after.n, before.n);
    other.fresh = 1;
    assert_int_equal(make(&other).new_rows, 23);
    ws_str_free(&after);
    after = bytes_of(o.dir, "pairs.jsonl");
    assert_true(after.n != before.n || memcmp(after.p, before.p, after.n));
    ws_str_free(&after);
    ws_str_free(&before);

    char *pairs = path_in(o.dir, "pairs.jsonl"), *data = path_in(o.dir, "data.json");
    ws_err err = {0};
    other.fresh = 0;
    assert_int_equal(unlink(data), 0);
    refused(&other, WS_ESTATE, "no data.json", "--fresh");
    other.fresh = 1;
    make(&other);
    other.fresh = 0;
    ws_str s = {0}; /* two rows change places */
    OK(ws_file_read(pairs, &s, &err));
    char *nl = strchr(s.p, '\n'), *nl2 = strchr(nl + 1, '\n');
    ws_str t = {0};
    ws_str_add(&t, nl + 1, (size_t)(nl2 - nl));
    ws_str_add(&t, s.p, (size_t)(nl - s.p) + 1);
    OK(ws_file_write(pairs, t.p, t.n, &err));
    refused(&other, WS_ESTATE, "pairs.jsonl:1: not the row that belongs there", "--fresh");
    ws_str_free(&s);
    ws_str_free(&t);
    int lock;
    OK(ws_lock(&lock, other.dir, 0, &err));
    other.fresh = 1;
    refused(&other, WS_ESTATE, "in use by process", other.dir);
    ws_unlock(lock);
    free(pairs);
    free(data);
}

static void useless_answers_and_options_are_errors(void **state) {
    (void)state;
    ws_contrast_options o = settings("useless");
    ws_err err = {0};
    assert_int_equal(ws_contrast_run(f.t.m, f.mute, f.chat, f.b, &o, NULL, &err), WS_EFORMAT);
    says(&err, "an empty POS answer");
    says(&err, "You are ");
    o = settings("options");
    o.thinking = 1;
    refused(&o, WS_EUSAGE, "no think block", "--thinking on");
    o = settings("options");
    o.min_new = 15;
    refused(&o, WS_EUSAGE, "min-new-tokens", "14");
    o = settings("options");
    o.samples = 0;
    refused(&o, WS_EUSAGE, "samples", "at least 1");
    o = settings("options");
    o.sampling.top_p = 0;
    refused(&o, WS_EUSAGE, "top_p", "0");
    o = settings("options"); /* more than there is: cut to what there is */
    o.topics = 99, o.personas = 50, o.samples = 1, o.heldout = 0;
    assert_int_equal(make(&o).rows, 6);
    char *held = path_in(o.dir, "heldout.jsonl");
    assert_false(ws_file_exists(held));
    free(held);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_shuffled_grid),
        cmocka_unit_test(cut_anywhere_it_ends_in_the_same_bytes),
        cmocka_unit_test(another_configuration_is_not_mixed_in),
        cmocka_unit_test(useless_answers_and_options_are_errors),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
