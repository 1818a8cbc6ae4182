/* libFuzzer target: a chat template from a stranger renders or is refused, within the limits of depth, steps and memory. */
#include "text/jinja.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static json_t *vars;
    static const char json[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"SYS\"},{\"role\":\"user\",\"content\":\" Hi \\u00e9\\n\"},"
        "{\"role\":\"assistant\",\"content\":\"Yo\",\"reasoning_content\":\"R\",\"tool_calls\":[{\"function\":{"
        "\"name\":\"f\","
        "\"arguments\":{\"a\":1,\"b\":[2.5,null,true]}}}]},{\"role\":\"tool\",\"content\":\"r\"}],\"tools\":null,"
        "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"enable_thinking\":false}";
    ws_jinja *j;
    ws_str out = {0};
    ws_err err;
    if (!vars) vars = json_loads(json, 0, NULL);
    if (ws_jinja_new(&j, (const char *)data, n, "fuzz", &err)) return 0;
    ws_jinja_render(j, vars, "2024-07-26", &out, &err);
    ws_jinja_free(j);
    ws_str_free(&out);
    return 0;
}
