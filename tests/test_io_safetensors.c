/* safetensors against files that the safetensors library wrote; damaged ones are refused; what we write reads back. */
#include "io_help.h"
#include "io/peft.h"

static ws_err err;

/* A file made of a header and `n_data` zero bytes. */
static ws_status parse(const char *header, size_t n_data) {
    size_t n = strlen(header);
    uint8_t *bytes = ws_xcalloc(8 + n + n_data, 1);
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)n >> (8 * i));
    memcpy(bytes + 8, header, n);
    ws_safetensors *s;
    ws_status rc = ws_safetensors_parse(&s, bytes, 8 + n + n_data, "f.st", &err);
    ws_safetensors_close(s);
    free(bytes);
    return rc;
}

static void half_precision_is_widened_as_torch_widens_it(void **state) {
    (void)state;
    ws_safetensors *half, *want;
    OK(ws_safetensors_open(&half, FIXTURES "half/model.safetensors", &err));
    OK(ws_safetensors_open(&want, FIXTURES "half.safetensors", &err));
    assert_int_equal(ws_safetensors_count(half), 11);
    int seen[WS_DTYPE_COUNT] = {0};
    for (size_t i = 0; i < ws_safetensors_count(want); i++) {
        const ws_tensor *w = ws_safetensors_at(want, i), *t = ws_safetensors_find(half, w->name);
        assert_non_null(t);
        seen[t->type]++;
        assert_same_values(t, w);
    }
    assert_true(seen[WS_F16] && seen[WS_BF16]);
    assert_string_equal(json_string_value(json_object_get(ws_safetensors_meta(half), "format")), "pt");
    assert_null(ws_safetensors_find(half, "none"));
    ws_safetensors_close(half);
    ws_safetensors_close(want);
}

static void good_headers_are_taken(void **state) {
    (void)state;
    OK(parse("{}", 0));
    OK(parse(
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}   ",
        16));
    OK(parse("{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[4,12]},\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],"
             "\"data_offsets\":[4,4]},"
             "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
             12)); /* scalar, empty, out of order */
}

static void damaged_files_are_refused_by_name_and_offset(void **state) {
    (void)state;
#define T(name, type, shape, from, to)                                                                                 \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"
    REFUSED(parse("{" T("a", "F32", "[4]", 0, 16) "}", 12), WS_EFORMAT,
            "f.st: a: ends at byte 16 of the data, which has only 12");
    REFUSED(parse("{" T("a", "F32", "[4]", 0, 16) "}", 20), WS_EFORMAT, "4 bytes after the last tensor");
    REFUSED(parse("{" T("a", "F32", "[4]", 4, 20) "}", 20), WS_EFORMAT, "4 bytes before a");
    REFUSED(parse("{" T("a", "F32", "[4]", 0, 16) "," T("b", "F32", "[2]", 8, 16) "}", 16), WS_EFORMAT,
            "a and b overlap at byte");
    REFUSED(parse("{" T("a", "F32", "[4]", 0, 16) "," T("b", "F32", "[4]", 0, 16) "}", 16), WS_EFORMAT, "overlap");
    REFUSED(parse("{" T("a", "F32", "[4]", 0, 8) "}", 8), WS_EFORMAT,
            "a: data_offsets [0, 8] hold 8 bytes, shape and type need 16");
    REFUSED(parse("{" T("a", "F32", "[4]", 16, 0) "}", 16), WS_EFORMAT, "a: data_offsets are no range");
    REFUSED(parse("{" T("a", "F32", "[4]", -16, 0) "}", 16), WS_EFORMAT, "a: data_offsets are no range");
    REFUSED(parse("{" T("a", "F32", "[-1]", 0, 4) "}", 4), WS_EFORMAT, "a: dimension 0 is negative");
    REFUSED(parse("{" T("a", "F32", "[2.5]", 0, 10) "}", 10), WS_EFORMAT, "no whole number");
    REFUSED(parse("{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0), WS_EFORMAT, "makes the size overflow");
    REFUSED(parse("{" T("a", "F32", "[4611686018427387905]", 0, 4) "}", 4), WS_EFORMAT, "a: the size overflows");
    REFUSED(parse("{" T("a", "F8_E4M3", "[4]", 0, 4) "}", 4), WS_EUNSUPPORTED, "a: stored as F8_E4M3");
    REFUSED(parse("{" T("a", "Q8_0", "[32]", 0, 34) "}", 34), WS_EUNSUPPORTED, "a: stored as Q8_0");
    REFUSED(parse("{" T("a", "F32", "[1,1,1,1,1,1,1]", 0, 4) "}", 4), WS_EUNSUPPORTED, "7 dimensions");
    REFUSED(parse("{" T("a", "F32", "[1]", 0, 4) "," T("a", "F32", "[1]", 0, 4) "}", 4), WS_EFORMAT, "duplicate");
    REFUSED(parse("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4), WS_EFORMAT, "a: the header must give");
    REFUSED(parse("{\"a\":[]}", 4), WS_EFORMAT, "a: the header must give");
    REFUSED(parse("{\"__metadata__\":{\"k\":1}}", 0), WS_EFORMAT, "__metadata__ \"k\" is no string");
    REFUSED(parse("[]", 0), WS_EFORMAT, "byte 8: the header is no JSON object");
    REFUSED(parse("{\"a\"", 0), WS_EFORMAT, "f.st:1:");
    ws_safetensors *s;
    REFUSED(ws_safetensors_parse(&s, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, "f.st", &err), WS_EFORMAT,
            "f.st: byte 0: a header of 18446744073709551615 bytes");
    REFUSED(ws_safetensors_parse(&s, "\3\0\0\0\0\0\0\0{}", 10, "f.st", &err), WS_EFORMAT, "is longer than the file");
    REFUSED(ws_safetensors_parse(&s, "123", 3, "f.st", &err), WS_EFORMAT, "3 bytes are too few");
    ws_str deep = {0};
    ws_str_adds(&deep, "{\"a\":");
    for (int i = 0; i < 100000; i++) ws_str_addc(&deep, '[');
    REFUSED(parse(deep.p, 0), WS_EFORMAT, "nested deeper than 128");
    ws_str_free(&deep);
}

static void what_is_written_reads_back(void **state) {
    (void)state;
    float a[6] = {1, -2, 3.5f, 0, 1e-30f, -0.0f}, z = 7;
    uint16_t h[3] = {0x3c00, 0xc000, 1};
    ws_tensor t[] = {{.name = "z", .type = WS_F32, .dims = 0, .data = &z},
                     {.name = "b.odd", .type = WS_F16, .dims = 1, .dim = {3}, .data = h},
                     {.name = "a", .type = WS_F32, .dims = 2, .dim = {2, 3}, .data = a},
                     {.name = "c.empty", .type = WS_BF16, .dims = 2, .dim = {0, 4}, .data = NULL}};
    json_t *meta = json_pack("{s:s, s:s}", "format", "ws-dw", "note", "grün \"quoted\"");
    const char *path = in_scratch("new/out.safetensors");
    OK(ws_safetensors_write(path, t, 4, meta, &err));
    ws_safetensors *s;
    OK(ws_safetensors_open(&s, path, &err));
    assert_int_equal(ws_safetensors_count(s), 4);
    assert_true(json_equal(ws_safetensors_meta(s), meta));
    assert_string_equal(ws_safetensors_at(s, 0)->name, "a"); /* names sorted, offsets in that order */
    for (size_t i = 0; i < 4; i++) assert_same_values(ws_safetensors_find(s, t[i].name), &t[i]);
    ws_safetensors_close(s);
    ws_map m;
    OK(ws_map_open(&m, path, &err));
    assert_int_equal(m.p[0] % 8, 0);
    ws_map_close(&m);
    json_decref(meta);
    OK(ws_safetensors_write(path, t, 1, NULL, &err));
    OK(ws_safetensors_open(&s, path, &err));
    assert_string_equal(json_string_value(json_object_get(ws_safetensors_meta(s), "format")), "pt");
    ws_safetensors_close(s);
    REFUSED(ws_safetensors_write("/dev/full", t, 3, NULL, &err), WS_EIO, "/dev/full: writing failed: No space left");
}

static void adapter_directories_are_written_and_found(void **state) {
    (void)state;
    float a[4] = {1, 2, 3, 4};
    ws_tensor t = {.name = "base_model.model.x.lora_A.weight", .type = WS_F32, .dims = 2, .dim = {2, 2}, .data = a};
    json_t *config = json_pack("{s:s, s:i, s:[]}", "peft_type", "LORA", "r", 2, "a_list");
    ws_peft_dir d;
    OK(ws_peft_write(in_scratch("ad/default"), config, &t, 1, &err));
    ws_str s = {0};
    OK(ws_file_read(in_scratch("ad/default/adapter_config.json"), &s, &err));
    assert_string_equal(s.p, "{\n  \"a_list\": [],\n  \"peft_type\": \"LORA\",\n  \"r\": 2\n}"); /* as PEFT writes it */
    ws_str_free(&s);
    OK(ws_peft_open(&d, in_scratch("ad/default"), &err));
    ws_peft_close(&d);
    OK(ws_peft_open(&d, in_scratch("ad"), &err)); /* the only sub-directory is followed */
    assert_true(json_equal(d.config, config));
    assert_same_values(ws_safetensors_at(d.tensors, 0), &t);
    ws_peft_close(&d);
    OK(ws_peft_write(in_scratch("ad/other"), config, &t, 1, &err));
    REFUSED(ws_peft_open(&d, in_scratch("ad"), &err), WS_EUSAGE, "holds 2 adapters");
    REFUSED(ws_peft_open(&d, in_scratch("none"), &err), WS_EIO, "no such directory");
    REFUSED(ws_peft_open(&d, FIXTURES "single", &err), WS_EIO, "no adapter_config.json");
    OK(ws_file_write(in_scratch("pk/adapter_config.json"), "{\"peft_type\":\"LORA\"}", 20, &err));
    OK(ws_file_write(in_scratch("pk/adapter_model.bin"), "x", 1, &err));
    REFUSED(ws_peft_open(&d, in_scratch("pk"), &err), WS_EUNSUPPORTED, "is a pickle");
    OK(ws_file_write(in_scratch("pk/adapter_config.json"), "{\"r\":2}", 7, &err));
    REFUSED(ws_peft_open(&d, in_scratch("pk"), &err), WS_EFORMAT, "the key \"peft_type\" (a string) is missing");
    json_decref(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_precision_is_widened_as_torch_widens_it), cmocka_unit_test(good_headers_are_taken),
        cmocka_unit_test(damaged_files_are_refused_by_name_and_offset), cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(adapter_directories_are_written_and_found),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_drop);
}
