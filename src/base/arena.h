/* src/base/arena.h - bump allocation for what lives as long as one step.
 *     [ block 0: used used used | free ][ block 1 ... ]   mark = (block, offset); rewind gives everything after it back
 * Blocks are kept for reuse, so a loop that marks and rewinds stops calling malloc after its first round.  64-byte
 * aligned, NOT zeroed.  While a guard is on, growing is a BUG(): hot loops prove that they allocate nothing. */
#ifndef WS_BASE_ARENA_H
#define WS_BASE_ARENA_H
#include <stddef.h>
#include <stdint.h>
typedef struct ws_arena ws_arena;
typedef struct ws_arena_mark {
    size_t block, used;
} ws_arena_mark;
ws_arena *ws_arena_new(void);
void ws_arena_free(ws_arena *a);
void *ws_arena_get(ws_arena *a, size_t bytes); /* never NULL: aborts with a sentence when out of memory */
float *ws_arena_floats(ws_arena *a, int64_t n);
ws_arena_mark ws_arena_save(const ws_arena *a);
void ws_arena_rewind(ws_arena *a, ws_arena_mark m);
void ws_arena_guard(ws_arena *a, int on);
size_t ws_arena_bytes(const ws_arena *a); /* memory held */
size_t ws_arena_peak(const ws_arena *a);  /* most bytes that were in use at once: what a plan should have said */
#endif
