/* Which prompts are calibrated on and which audited, and how the assistant's turn is left open (pipeline.md 5). */
#include "calibrate/prompts.h"
#include "data_help.h"
#include "io/checkpoint.h"
#include "fixtures/rng.h"
#include "io/json.h"

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        if (call) fail_msg("%s", err.msg);                                                                             \
    } while (0)

static const char POOL[] = "{\"category\":\"zeta\",\"text\":\"z0\"}\n{\"category\":\"dialogue\",\"text\":\"d0\"}\n"
                           "{\"category\":\"tech\",\"text\":\"t0\"}\n{\"category\":\"dialogue\",\"text\":\"d1\"}\n"
                           "{\"category\":\"code\",\"text\":\"c0\"}\n{\"category\":\"email\",\"text\":\"e0\"}\n"
                           "{\"category\":\"code\",\"text\":\"c1\"}\n{\"category\":\"zeta\",\"text\":\"z1\"}\n"
                           "{\"category\":\"dialogue\",\"text\":\"d2\"}\n{\"category\":\"code\",\"text\":\"c2\"}\n"
                           "{\"category\":\"dialogue\",\"text\":\"d3\"}\n{\"category\":\"email\",\"text\":\"e1\"}\n";

static void round_robin_over_the_categories_in_their_order(void **state) {
    (void)state;
    ws_err err = {0};
    ws_pool p;
    OK(ws_pool_load(&p, file_with("pool.jsonl", POOL), &err));
    assert_int_equal(p.n, 12);
    int first[64][12], orders = 0, audits = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        int pick[12], rest[12], used[12] = {0};
        OK(ws_pool_choose(&p, 9, seed, pick, rest, &err));
        char order[10] = "", want[] = "cdetzcdez"; /* code dialogue email tech others, then again without tech */
        for (int i = 0; i < 9; i++) order[i] = p.prompt[pick[i]].text[0], used[pick[i]]++;
        assert_string_equal(order, want);
        for (int i = 0; i < 3; i++) used[rest[i]]++;
        for (int i = 0; i < 12; i++) assert_int_equal(used[i], 1); /* calibration and audit share nothing */
        int again[12], again_rest[12];
        OK(ws_pool_choose(&p, 9, seed, again, again_rest, &err));
        assert_memory_equal(again, pick, 9 * sizeof *pick);
        assert_memory_equal(again_rest, rest, 3 * sizeof *rest);
        memcpy(first[seed], pick, 9 * sizeof *pick), memcpy(first[seed] + 9, rest, 3 * sizeof *rest);
        orders += seed && memcmp(first[seed], first[0], 9 * sizeof *pick) != 0;
        audits += rest[0] > rest[1] || rest[1] > rest[2];
    }
    /* 3 * 4 * 2 * 2 orders of the categories, each alike: most seeds differ from the first; and 5 of 6 audits are not in
     * the pool's order */
    assert_true(orders > 48 && audits > 38);
    int pick[12], rest[12];
    assert_int_equal(ws_pool_choose(&p, 13, 0, pick, rest, &err), WS_EUSAGE);
    says(&err, "12 prompts");
    ws_pool_free(&p);
}

/* The order of steering-lite's sweep: entries shuffled by Python's random (rng_python_n17_s0 of tools/reference/make_rng.py),
 * then each user message where it first stands; what is not asked is audited in the same order. */
static void messages_stand_in_pythons_order(void **state) {
    (void)state;
    ws_err err = {0};
    ws_str s = {0};
    ws_pool p;
    for (int i = 0; i < 17; i++) ws_str_addf(&s, "{\"user_msg\":\"m%d\",\"suffix\":\"s%d\"}\n", i % 9, i);
    OK(ws_pool_open(&p, file_with("suffixes.jsonl", s.p), 1, 0, &err));
    assert_int_equal(p.n, 9);
    char want[10] = "", got[10] = "";
    for (int i = 0; i < 17; i++) {
        char c = (char)('0' + rng_python_n17_s0[i] % 9);
        if (!strchr(want, c)) want[strlen(want)] = c;
    }
    int pick[6], rest[3];
    OK(ws_pool_choose(&p, 6, 0, pick, rest, &err));
    for (int i = 0; i < 9; i++) got[i] = p.prompt[i < 6 ? pick[i] : rest[i - 6]].text[1];
    assert_string_equal(got, want);
    ws_pool_free(&p);
    ws_str_free(&s);
}

typedef struct opened {
    ws_checkpoint *c;
    ws_tokenizer *tok;
} opened;

/* The text of the ids that ws_calibration_ids makes with a template. */
static void expect(const opened *o, const char *tmpl, const char *system, const char *want) {
    ws_err err = {0};
    ws_chat *chat;
    ws_ids ids = {0};
    ws_str s = {0};
    OK(ws_chat_from_text(&chat, tmpl, "test", "", "<|im_end|>", &err));
    int inside;
    OK(ws_calibration_ids(chat, o->tok, system, "Why?", -1, &ids, &inside, &err));
    assert_int_equal(inside, strstr(want, "<think>\n") != NULL);
    OK(ws_tokenizer_decode(o->tok, ids.id, ids.n, 0, &s, &err));
    assert_string_equal(s.p, want);
    ws_str_free(&s);
    ws_ids_free(&ids);
    ws_chat_free(chat);
}

static void the_assistants_turn_is_left_open(void **state) {
    (void)state;
    static const char plain[] =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    /* as Qwen3 renders a last answer without reasoning */
    static const char thinks[] =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% "
        "endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    static const char two[] = "<think>{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                              "{% if m.role == 'user' %}<think> {% endif %}<|im_end|>\n{% endfor %}";
    static const char dated[] = "{{ strftime_now('%Y-%m-%d') }} {% for m in messages %}<|im_start|>{{ m.role }}\n"
                                "{{ m.content }}<|im_end|>\n{% endfor %}";
    ws_err err = {0};
    opened o;
    OK(ws_checkpoint_open(&o.c, "tests/fixtures/tinychat", &err));
    OK(ws_tokenizer_open(&o.tok, o.c, &err));
    expect(&o, plain, NULL, "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    expect(&o, plain, "Be.",
           "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    expect(&o, thinks, NULL, "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n<think>\n");
    expect(&o, two, NULL, "<think><|im_start|>user\nWhy?<think>\n"); /* after the last one, whatever follows it */
    expect(&o, dated, NULL, "2024-07-26 <|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    ws_tokenizer_free(o.tok);
    ws_checkpoint_close(o.c);
}

/* Against transformers: the text of [user, ""] cut behind its last <think>, on templates that open a block, write an empty
 * one, leave it to the model, or know none; and the generation prompt with thinking off (tools/reference/make_think.py). */
static void prompts_are_those_of_the_reference(void **state) {
    (void)state;
#define THINK "tests/fixtures/think"
    static const char *const file[][2] = {{"on", THINK "/chat_template.jinja"},
                                          {"off", THINK "/off.jinja"},
                                          {"free", "tests/fixtures/text/reason.jinja"},
                                          {"plain", "tests/fixtures/text/chatml.jinja"}};
    ws_err err = {0};
    opened o;
    json_t *doc;
    size_t i, t;
    const json_t *k, *id;
    OK(ws_checkpoint_open(&o.c, THINK, &err));
    OK(ws_tokenizer_open(&o.tok, o.c, &err));
    OK(ws_json_load(&doc, THINK "/expected.json", &err));
    json_array_foreach(json_object_get(doc, "prompts"), i, k) {
        const char *name = json_string_value(json_object_get(k, "template")),
                   *prompt = json_string_value(json_object_get(k, "prompt"));
        int f = 0;
        while (strcmp(file[f][0], name)) assert_true(++f < 4);
        ws_str s = {0};
        ws_chat *chat;
        OK(ws_file_read(file[f][1], &s, &err));
        OK(ws_chat_from_text(&chat, s.p, name, "", "<|im_end|>", &err));
        for (int off = 0; off < 2; off++) {
            const json_t *want = json_object_get(k, off ? "off" : "open");
            ws_ids ids = {0};
            int inside;
            OK(ws_calibration_ids(chat, o.tok, NULL, prompt, off ? 0 : -1, &ids, &inside, &err));
            if (ids.n != (int)json_array_size(want)) fail_msg("%s, '%s': %d tokens", name, prompt, ids.n);
            json_array_foreach(want, t, id) assert_int_equal(ids.id[t], json_integer_value(id));
            assert_int_equal(inside, !off && f < 3);
            ws_ids_free(&ids);
        }
        ws_str_free(&s);
        ws_chat_free(chat);
    }
    assert_int_equal(i, 11);
    /* a tag in the question is a word of the user's where the template knows no think block (the reference cuts there) */
    ws_ids ids = {0};
    ws_str s = {0};
    ws_chat *chat;
    OK(ws_chat_from_text(&chat, "{% for m in messages %}[{{ m.content }}]{% endfor %}", "none", "", "", &err));
    OK(ws_calibration_ids(chat, o.tok, NULL, "What is <think>?", -1, &ids, NULL, &err));
    OK(ws_tokenizer_decode(o.tok, ids.id, ids.n, 0, &s, &err));
    assert_string_equal(s.p, "[What is <think>?][");
    ws_ids_free(&ids);
    ws_str_free(&s);
    ws_chat_free(chat);
    json_decref(doc);
    ws_tokenizer_free(o.tok);
    ws_checkpoint_close(o.c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_robin_over_the_categories_in_their_order),
        cmocka_unit_test(messages_stand_in_pythons_order),
        cmocka_unit_test(the_assistants_turn_is_left_open),
        cmocka_unit_test(prompts_are_those_of_the_reference),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
