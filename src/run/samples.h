/* src/run/samples.h - the same prompts at -alpha, 0 and +alpha, side by side.  The prompts are chosen by the seed, not
 * by how well they look; the texts are those of the dose readout (its first sample of each prompt). */
#ifndef WS_RUN_SAMPLES_H
#define WS_RUN_SAMPLES_H
#include "base/str.h"
#include "run/results.h"

enum { WS_TRIPLES = 3 };
typedef struct ws_triple {
    const char *prompt;
    const char *text[3]; /* at -alpha, 0, +alpha */
    double alpha[3];
} ws_triple;
/* At most `most` prompts that have all three texts; returns their number. */
int ws_triples_choose(const ws_method_results *m, uint64_t seed, int most, ws_triple *out);
void ws_triples_print(const ws_triple *t, int n, int width, ws_str *out); /* terminal columns */
void ws_triples_markdown(const ws_triple *t, int n, ws_str *out);
void ws_triples_html(const ws_triple *t, int n, ws_str *out);
#endif
