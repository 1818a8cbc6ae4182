#include "base/interrupt.h"
#include <signal.h>
#include <string.h>

static volatile sig_atomic_t caught;
static const char *outlook;

static void on_signal(int sig) { caught = sig; }

void ws_interrupt_install(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    a.sa_flags = (int)SA_RESETHAND; /* the second signal has its default effect */
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}
void ws_interrupt_says(const char *what) { outlook = what; }
int ws_interrupted(void) { return caught; }
ws_status ws_interrupt_check(ws_err *err) {
    if (!caught) return WS_OK;
    return ws_fail(err, WS_EINTERRUPTED, "interrupted by signal %d%s%s", (int)caught, outlook ? "; " : "",
                   outlook ? outlook : "");
}
