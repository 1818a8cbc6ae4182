/* src/cmd/session.c - what most verbs open first. */
#include "cmd/cmd.h"
#include "model/model.h"
#include "text/chat.h"
#include <string.h>

static ws_status open_parts(ws_session *s, const ws_common *c, int text, int weights, ws_err *err) {
    memset(s, 0, sizeof *s);
    if (!c->model)
        return ws_fail(err, WS_EUSAGE, "--model is missing: give a directory, a .gguf file or a Hugging Face id");
    if (ws_checkpoint_open(&s->checkpoint, c->model, err) ||
        (text && ws_tokenizer_open(&s->tokenizer, s->checkpoint, err)) ||
        (weights && ws_model_open(&s->model, s->checkpoint, err))) {
        ws_session_close(s);
        return err->code;
    }
    return WS_OK;
}

ws_status ws_session_open(ws_session *s, const ws_common *c, ws_err *err) { return open_parts(s, c, 1, 1, err); }
ws_status ws_session_open_text(ws_session *s, const ws_common *c, ws_err *err) { return open_parts(s, c, 1, 0, err); }
ws_status ws_session_open_weights(ws_session *s, const ws_common *c, ws_err *err) {
    return open_parts(s, c, 0, 1, err);
}

ws_status ws_session_chat(ws_session *s, const ws_common *c, ws_err *err) {
    if (s->chat) return WS_OK;
    if (!s->tokenizer && ws_tokenizer_open(&s->tokenizer, s->checkpoint, err)) return err->code;
    return ws_chat_open(&s->chat, s->checkpoint, s->tokenizer, c->template_file, err);
}

void ws_session_close(ws_session *s) {
    ws_chat_free(s->chat);
    ws_model_free(s->model);
    ws_tokenizer_free(s->tokenizer);
    ws_checkpoint_close(s->checkpoint);
    memset(s, 0, sizeof *s);
}
