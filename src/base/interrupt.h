/* src/base/interrupt.h - Ctrl-C and SIGTERM: the first one asks loops to stop at the next safe point, a second one
 * kills. */
#ifndef WS_BASE_INTERRUPT_H
#define WS_BASE_INTERRUPT_H
#include "base/err.h"
void ws_interrupt_install(void);
int ws_interrupted(void);                  /* 0, or the signal's number */
ws_status ws_interrupt_check(ws_err *err); /* WS_EINTERRUPTED with a sentence, or WS_OK */
/* What becomes of the work that was done, told with that sentence; a constant text.  WS_RESUMES, or nothing (NULL). */
void ws_interrupt_says(const char *what);
#define WS_RESUMES     "the same command goes on from what is finished"
#define WS_STARTS_OVER "nothing is kept for another run, the same command starts over"
#endif
