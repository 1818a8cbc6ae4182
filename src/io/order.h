/* src/io/order.h - the order in which a GGUF stores the rows or columns of a matrix, where it is not Hugging Face's.
 * llama.cpp's converter swaps two levels of a layout: the halves and the pairs of every rotated head (llama), the key
 * head and the number within its group of every value head (qwen35).  Whoever reads weights undoes it; nothing is copied. */
#ifndef WS_IO_ORDER_H
#define WS_IO_ORDER_H
#include <stdint.h>

/* The places before `from` stay.  Those behind it come in blocks of a * b units; unit (i, j) of a block, i < a, j < b,
 * stands in the file at (j, i).  a = 0: all stay. */
typedef struct ws_order {
    int32_t from, a, b, unit;
} ws_order;

/* Where Hugging Face's place `i` lies in the file. */
static inline int64_t ws_order_at(ws_order o, int64_t i) {
    if (!o.a || i < o.from) return i;
    const uint32_t n = (uint32_t)(i - o.from), unit = (uint32_t)o.unit, a = (uint32_t)o.a, b = (uint32_t)o.b;
    const uint32_t u = n / unit, in_block = u % (a * b), stored = in_block % b * a + in_block / b;
    return i + ((int64_t)stored - in_block) * o.unit;
}
#endif
