/* examples/embed.c - a program of your own that steers a model, through include/ws.h alone.
 *
 *     cc -Iinclude examples/embed.c build/release/libws.a
 *        $(pkg-config --libs jansson libpcre2-8 libutf8proc cairo libcrypto lapacke openblas) -lgomp -pthread -lm -o embed
 *     ./embed MODEL out/enthusiasm/lora/dw.safetensors 3 "Tell me about the weekend."
 *
 * asks the same question at -strength, 0 and +strength, in one batch. */
#include "ws.h"
#include <stdio.h>
#include <stdlib.h>

static int show(void *arg, int request, const char *text, size_t length, const char *finish) {
    const float *strength = arg;
    printf("--- strength %+g (%s)\n%.*s\n\n", (double)strength[request], finish, (int)length, text);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s MODEL STEERING STRENGTH QUESTION\n", argv[0]);
        return 2;
    }
    ws_error err = {0};
    ws_engine *engine = ws_engine_open(argv[1], NULL, &err);
    float s = strtof(argv[3], NULL), strength[3] = {-s, 0, s};
    ws_request request[3];
    for (int i = 0; i < 3; i++)
        request[i] = (ws_request){.user = argv[4],
                                  .strength = &strength[i],
                                  .max_new_tokens = 60,
                                  .temperature = 0.7,
                                  .top_k = 20,
                                  .seed = 1};
    if (!engine || ws_engine_load_steering(engine, argv[2], &err) < 0 ||
        ws_engine_generate(engine, request, 3, show, strength, &err) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], err.message);
        ws_engine_close(engine);
        return 1;
    }
    ws_engine_close(engine);
    return 0;
}
