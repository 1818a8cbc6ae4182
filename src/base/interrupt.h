/* src/base/interrupt.h - Ctrl-C and SIGTERM: the first one asks loops to stop at the next safe point, a second one
 * kills. */
#ifndef WS_BASE_INTERRUPT_H
#define WS_BASE_INTERRUPT_H
#include "base/err.h"
void ws_interrupt_install(void);
int ws_interrupted(void);                  /* 0, or the signal's number */
ws_status ws_interrupt_check(ws_err *err); /* WS_EINTERRUPTED with a sentence, or WS_OK */
#endif
