/* src/cmd/sink.c - where a verb's data goes: stdout, or the file of --out. */
#include "cmd/cmd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

ws_status ws_sink_open(ws_sink *s, const char *out, ws_err *err) {
    *s = (ws_sink){.saved = -1};
    if (!out) return WS_OK;
    if (ws_out_open(&s->file, out, err)) return err->code;
    fflush(stdout);
    s->saved =
        fcntl(1, F_DUPFD_CLOEXEC, 3); /* fails where the caller closed stdout: then there is nothing to restore */
    if (fileno(s->file.f) != 1 && dup2(fileno(s->file.f), 1) < 0) {
        ws_fail(err, WS_EIO, "%s: cannot be made the output: %s", out, strerror(errno));
        if (s->saved >= 0) close(s->saved);
        ws_out_abandon(&s->file);
        return WS_EIO;
    }
    return WS_OK;
}

ws_status ws_sink_close(ws_sink *s, ws_status st, ws_err *err) {
    if (!s->file.f) return st;
    errno = 0;
    int bad = fflush(stdout) || ferror(stdout), why = errno;
    __fpurge(stdout), clearerr(stdout); /* what could not be written must not reach the true stdout */
    if (s->saved >= 0) {
        dup2(s->saved, 1);
        close(s->saved);
        s->saved = -1;
    }
    if (!st && bad)
        st = ws_fail(err, WS_EIO, "%s: writing failed: %s; %s", s->file.path, why ? strerror(why) : "disk full?",
                     s->file.tmp ? "the old file, if any, is as it was" : "the output is incomplete");
    if (!st) return ws_out_commit(&s->file, err);
    ws_out_abandon(&s->file);
    return st;
}

void ws_print_json(json_t *v, int one_line) {
    ws_str s = {0};
    if (!v) BUG("a result cannot be written as JSON");
    ws_json_dump(v, &s, one_line);
    ws_str_addc(&s, '\n');
    fwrite(s.p, 1, s.n, stdout); /* main() looks whether it arrived */
    ws_str_free(&s);
    json_decref(v);
}

void ws_print_text(const ws_str *text, int json) {
    if (json)
        ws_print_json(json_pack("{s:s%}", "text", text->p ? text->p : "", text->n), 1);
    else if (text->n)
        fwrite(text->p, 1, text->n, stdout);
}
