/* src/calibrate/prompts.h - the pool of calibration prompts, and a prompt rendered for calibration. */
#ifndef WS_CALIBRATE_PROMPTS_H
#define WS_CALIBRATE_PROMPTS_H
#include "text/think.h"

/* ws_render_open as ids, for calibration (pipeline.md 5): where the text behind the question holds <think> it is cut after the
 * last one, and a newline added, so that a think block is open (*inside 1): on every template that writes a block into an
 * answer, whatever its default.  thinking 0 leaves the text as the template ends it with thinking off; WS_CALIBRATE_AS_IS is no
 * open turn but the template's own generation prompt, by its default (a block that this leaves open is *inside too). */
enum { WS_CALIBRATE_AS_IS = 2 };
ws_status ws_calibration_ids(const ws_chat *c, const ws_tokenizer *t, const char *system, const char *user,
                             int thinking, ws_ids *out, int *inside, ws_err *err);

typedef struct ws_pool_prompt {
    char *category, *text;
    long line;
} ws_pool_prompt;
typedef struct ws_pool {
    int n;
    ws_pool_prompt *prompt;
    char *path;
    int ordered; /* taken in this order, whatever the category */
} ws_pool;
/* The distinct user messages of a suffix pool (steer/suffixes.h) in the order in which they first stand in the entries as
 * Python's random.Random(seed) shuffles them: on steering-lite's file with seed 0 the prompts of its sweep. */
ws_status ws_pool_load_messages(ws_pool *p, const char *path, uint64_t seed, ws_err *err);
ws_status ws_pool_load(ws_pool *p, const char *path, ws_err *err);
/* The one or the other, as the options of a calibration have it, and the name of the program's own file of it. */
ws_status ws_pool_open(ws_pool *p, const char *path, int messages, uint64_t seed, ws_err *err);
const char *ws_pool_own(int messages);
void ws_pool_free(ws_pool *p);
/* pick [n]: round-robin over the categories (code, dialogue, encyclopedia, reasoning, ethics, fact, stories, general,
 * email, tech, then others as they appear), each shuffled with the seed; rest [pool - n]: the others, shuffled.  Too
 * few: WS_EUSAGE. */
ws_status ws_pool_choose(const ws_pool *p, int n, uint64_t seed, int *pick, int *rest, ws_err *err);
#endif
