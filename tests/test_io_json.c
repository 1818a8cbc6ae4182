/* JSON, JSON lines and CSV: what is read, what is refused and where, and that numbers survive a round trip. */
#include "io_help.h"
#include "io/csv.h"
#include <float.h>
#include <math.h>

static ws_err err;

static ws_status parse(const char *text) {
    json_t *v;
    ws_status rc = ws_json_parse(&v, text, strlen(text), "f.json", &err);
    json_decref(v);
    return rc;
}

static void malformed_json_is_refused_with_its_line(void **state) {
    (void)state;
    OK(parse("{\"a\": [1, 2.5, null, true, \"\\u00e9\\ud83d\\ude00\"]}"));
    OK(parse("\xef\xbb\xbf{}"));
    OK(parse("3"));
    REFUSED(parse("{\n\"a\": 1,\n\"a\": 2}"), WS_EFORMAT, "f.json:3: column");
    REFUSED(parse("{\"a\": NaN}"), WS_EFORMAT, "f.json:1:");
    REFUSED(parse("{\"a\": Infinity}"), WS_EFORMAT, "f.json:1:");
    REFUSED(parse("[1e999]"), WS_EFORMAT, "f.json:1:");
    REFUSED(parse("[1] 2"), WS_EFORMAT, "f.json:1:");
    REFUSED(parse("[\"\xff\"]"), WS_EFORMAT, "f.json:1:");
    REFUSED(parse(""), WS_EFORMAT, "f.json");
    json_t *v;
    REFUSED(ws_json_load(&v, in_scratch("none.json"), &err), WS_EIO, "none.json: No such file");
}

/* "model_max_length" of a tokenizer without a limit, as Python's json writes int(1e30). */
static void integers_beyond_64_bits_are_numbers(void **state) {
    (void)state;
    static const char text[] =
        "{\"model_max_length\": 1000000000000000019884624838656, \"least\": -9223372036854775808,\n"
        "\"most\":9223372036854775807, \"over\": [-9223372036854775809], \"s\": "
        "\"1000000000000000019884624838656\\\"2\"}";
    json_t *v;
    OK(ws_json_parse(&v, text, strlen(text), "f", &err));
    assert_true(json_real_value(json_object_get(v, "model_max_length")) == 1e30);
    assert_true(json_integer_value(json_object_get(v, "most")) == INT64_MAX);
    assert_true(json_integer_value(json_object_get(v, "least")) == INT64_MIN);
    assert_true(json_real_value(json_array_get(json_object_get(v, "over"), 0)) == -9223372036854775808.0);
    assert_string_equal(json_string_value(json_object_get(v, "s")), "1000000000000000019884624838656\"2");
    json_decref(v);
    REFUSED(ws_json_parse(&v, "[1e999]", 7, "f", &err), WS_EFORMAT, "real number overflow");
    REFUSED(ws_json_parse(&v, "[99999999999999999999, x]", 25, "f", &err), WS_EFORMAT, "f:1");
}

static void nesting_is_bounded(void **state) {
    (void)state;
    ws_str s = {0};
    for (int i = 0; i < 128; i++) ws_str_addc(&s, '[');
    for (int i = 0; i < 128; i++) ws_str_addc(&s, ']');
    OK(parse(s.p));
    ws_str_clear(&s);
    for (int i = 0; i < 200000; i++) ws_str_adds(&s, "{\"a\":");
    REFUSED(parse(s.p), WS_EFORMAT, "f.json: byte 640: JSON nested deeper than 128");
    ws_str_clear(&s);
    ws_str_adds(&s, "\"\\\"");
    for (int i = 0; i < 500; i++) ws_str_addc(&s, '['); /* inside a string they nest nothing */
    ws_str_addc(&s, '"');
    OK(parse(s.p));
    ws_str_free(&s);
}

static void documents_are_written_as_python_writes_them(void **state) {
    (void)state;
    json_t *v;
    ws_str s = {0};
    const char *text = "{\"b\": [1, 2.0, 1e-06, 0.1, 1e+16, -0.0], \"a\": {\"x\\\"\\n\\u0001\": \"é\"}, \"e\": [], "
                       "\"f\": {}, \"n\": null, \"t\": true}";
    OK(ws_json_parse(&v, text, strlen(text), "f.json", &err));
    ws_json_dump(v, &s, 1);
    assert_string_equal(s.p, text); /* json.dumps(..., ensure_ascii=False) */
    ws_str_clear(&s);
    ws_json_dump_sorted(v, &s, 0);
    assert_string_equal(s.p, "{\n  \"a\": {\n    \"x\\\"\\n\\u0001\": \"é\"\n  },\n  \"b\": [\n    1,\n    2.0,\n    "
                             "1e-06,\n    0.1,\n    1e+16,\n    -0.0\n  ],\n"
                             "  \"e\": [],\n  \"f\": {},\n  \"n\": null,\n  \"t\": true\n}");
    OK(ws_json_save(v, in_scratch("saved.json"), &err));
    json_t *back;
    OK(ws_json_load(&back, in_scratch("saved.json"), &err));
    assert_true(json_equal(v, back));
    json_decref(v), json_decref(back);
    ws_str_free(&s);
}

static void every_number_reads_back(void **state) {
    (void)state;
    const double v[] = {0.1,
                        1.0 / 3,
                        DBL_MIN,
                        DBL_MAX,
                        4.9406564584124654e-324,
                        123456789012345678.0,
                        -1e-7,
                        M_PI,
                        1e22,
                        0.30000000000000004};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        char text[32];
        ws_num_text(text, v[i]);
        assert_true(strtod(text, NULL) == v[i]);
    }
    char text[32];
    ws_num_text(text, 0.1);
    assert_string_equal(text, "0.1");
}

static void typed_getters_say_what_is_wrong(void **state) {
    (void)state;
    json_t *o;
    const char *text = "{\"s\": \"x\", \"i\": 3, \"r\": 1000000.0, \"h\": 0.5, \"z\": null, \"b\": false}", *s;
    int64_t i;
    double d;
    int b;
    OK(ws_json_parse(&o, text, strlen(text), "f", &err));
    OK(ws_json_str(o, "s", &s, "f:7", &err));
    OK(ws_json_int(o, "i", &i, "f:7", &err));
    assert_int_equal(i, 3);
    OK(ws_json_int(o, "r", &i, "f:7", &err));
    assert_int_equal(i, 1000000);
    OK(ws_json_num(o, "i", &d, "f:7", &err));
    assert_true(d == 3);
    OK(ws_json_int_or(o, "z", 9, &i, "f:7", &err));
    assert_int_equal(i, 9);
    OK(ws_json_num_or(o, "none", 0.25, &d, "f:7", &err));
    assert_true(d == 0.25);
    OK(ws_json_bool_or(o, "b", 1, &b, "f:7", &err));
    assert_int_equal(b, 0);
    OK(ws_json_bool_or(o, "none", 1, &b, "f:7", &err));
    assert_int_equal(b, 1);
    REFUSED(ws_json_str(o, "i", &s, "f:7", &err), WS_EFORMAT, "f:7: \"i\" must be a string, found an integer");
    REFUSED(ws_json_str(o, "none", &s, "f:7", &err), WS_EFORMAT, "f:7: the key \"none\" (a string) is missing");
    REFUSED(ws_json_int(o, "h", &i, "f:7", &err), WS_EFORMAT, "\"h\" must be a whole number");
    REFUSED(ws_json_num(o, "s", &d, "f:7", &err), WS_EFORMAT, "\"s\" must be a number");
    REFUSED(ws_json_bool_or(o, "i", 1, &b, "f:7", &err), WS_EFORMAT, "\"i\" must be true or false");
    REFUSED(ws_json_int_or(o, "s", 1, &i, "f:7", &err), WS_EFORMAT, "\"s\" must be a whole number");
    json_t *list = json_array();
    REFUSED(ws_json_str(list, "k", &s, "f:7", &err), WS_EFORMAT,
            "f:7: an object with the key \"k\" is needed, found an array");
    json_decref(list), json_decref(o);
}

typedef struct seen {
    ws_str lines;
} seen;
static ws_status note(void *arg, json_t *v, long line, ws_err *e) {
    seen *s = arg;
    if (json_is_false(v)) return ws_fail(e, WS_EFORMAT, "line %ld is false", line);
    ws_str_addf(&s->lines, "%ld=", line);
    ws_json_dump(v, &s->lines, 1);
    ws_str_addc(&s->lines, ';');
    return WS_OK;
}

static void check_lines(const char *text, const char *want) {
    seen s = {0};
    OK(ws_file_write(in_scratch("l.jsonl"), text, strlen(text), &err));
    OK(ws_jsonl_each(in_scratch("l.jsonl"), note, &s, &err));
    assert_string_equal(s.lines.p ? s.lines.p : "", want);
    ws_str_free(&s.lines);
}

static void lines_and_arrays_are_walked(void **state) {
    (void)state;
    check_lines("{\"a\": 1}\n{\"a\": 2}\n", "1={\"a\": 1};2={\"a\": 2};");
    check_lines("\xef\xbb\xbf{\"a\": 1}\r\n\r\n  \n2", "1={\"a\": 1};4=2;");
    check_lines("[1,\n 2]\n", "-1=1;-2=2;"); /* entries of an array are told from lines */
    check_lines("[1, 2]", "-1=1;-2=2;");
    char *line = ws_json_where("f.json", 7), *entry = ws_json_where("f.json", -7);
    assert_string_equal(line, "f.json:7");
    assert_string_equal(entry, "f.json, entry 7");
    free(line), free(entry);
    check_lines("[1, 2]\n[3]\n", "1=[1, 2];2=[3];");
    check_lines("", "");
    seen s = {0};
    const char *bad = "{\"a\": 1}\n\n{\"a\": }\n";
    OK(ws_file_write(in_scratch("l.jsonl"), bad, strlen(bad), &err));
    REFUSED(ws_jsonl_each(in_scratch("l.jsonl"), note, &s, &err), WS_EFORMAT, "l.jsonl:3: column");
    OK(ws_file_write(in_scratch("l.jsonl"), "1\nfalse\n3\n", 10, &err));
    REFUSED(ws_jsonl_each(in_scratch("l.jsonl"), note, &s, &err), WS_EFORMAT, "line 2 is false");
    ws_str_free(&s.lines);
}

static ws_status load_csv(ws_csv *c, const char *text) {
    ws_status rc = ws_file_write(in_scratch("t.csv"), text, strlen(text), &err);
    return rc ? rc : ws_csv_load(c, in_scratch("t.csv"), &err);
}

static void csv_follows_rfc_4180(void **state) {
    (void)state;
    ws_csv c;
    OK(load_csv(&c, "\xef\xbb\xbfid,\"a \"\"b\"\"\",c\r\n1,\"x,\r\ny\",\n\n2,,z"));
    assert_int_equal(c.cols, 3);
    assert_int_equal(c.rows, 2);
    assert_string_equal(c.head[1], "a \"b\"");
    assert_string_equal(c.cell[1], "x,\r\ny");
    assert_string_equal(c.cell[2], "");
    assert_string_equal(c.cell[5], "z");
    assert_int_equal(ws_csv_col(&c, "c"), 2);
    assert_int_equal(ws_csv_col(&c, "none"), -1);
    ws_csv_free(&c);
    OK(load_csv(&c, "only\n"));
    assert_int_equal(c.rows, 0);
    ws_csv_free(&c);
    REFUSED(load_csv(&c, "a,b\n1,2\n3\n"), WS_EFORMAT, "t.csv:3: has 1 fields, the header has 2");
    REFUSED(load_csv(&c, "a,b\n\"1\n2\",3\n4,5,6\n"), WS_EFORMAT, "t.csv:4: has 3 fields");
    REFUSED(load_csv(&c, "a\n\"open\n"), WS_EFORMAT, "t.csv:2: a quoted field is never closed");
    REFUSED(load_csv(&c, "a\n\"x\"y\n"), WS_EFORMAT, "t.csv:2: text after a closing quote");
    REFUSED(load_csv(&c, ""), WS_EFORMAT, "t.csv:1: a header line is needed");
    ws_csv_free(NULL);
}

static void csv_fields_survive_a_round_trip(void **state) {
    (void)state;
    static const char *const fields[] = {"plain", "", "a,b", "say \"hi\"", "two\nlines", " edge ", "é"};
    ws_str s = {0};
    ws_csv c;
    ws_str_adds(&s, "a,b,c,d,e,f,g\n");
    for (size_t i = 0; i < 7; i++) {
        if (i) ws_str_addc(&s, ',');
        ws_csv_field(&s, fields[i]);
    }
    ws_str_addc(&s, '\n');
    OK(load_csv(&c, s.p));
    for (size_t i = 0; i < 7; i++) assert_string_equal(c.cell[i], fields[i]);
    ws_csv_free(&c);
    ws_str_clear(&s);
    ws_csv_num(&s, 0.1), ws_str_addc(&s, ' ');
    ws_csv_num(&s, NAN), ws_str_addc(&s, ' ');
    ws_csv_num(&s, -INFINITY), ws_str_addc(&s, ' ');
    ws_csv_num(&s, 3);
    assert_string_equal(s.p, "0.1 nan -inf 3");
    ws_str_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_json_is_refused_with_its_line),
        cmocka_unit_test(integers_beyond_64_bits_are_numbers),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(documents_are_written_as_python_writes_them),
        cmocka_unit_test(every_number_reads_back),
        cmocka_unit_test(typed_getters_say_what_is_wrong),
        cmocka_unit_test(lines_and_arrays_are_walked),
        cmocka_unit_test(csv_follows_rfc_4180),
        cmocka_unit_test(csv_fields_survive_a_round_trip),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
