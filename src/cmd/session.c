/* src/cmd/session.c - what most verbs open first. */
#include "cmd/cmd.h"
#include "model/model.h"
#include "text/chat.h"
#include <string.h>

ws_status ws_session_open_text(ws_session *s, const ws_common *c, ws_err *err) {
    memset(s, 0, sizeof *s);
    if (!c->model)
        return ws_fail(err, WS_EUSAGE, "--model is missing: give a directory, a .gguf file or a Hugging Face id");
    if (ws_checkpoint_open(&s->checkpoint, c->model, err) || ws_tokenizer_open(&s->tokenizer, s->checkpoint, err)) {
        ws_session_close(s);
        return err->code;
    }
    return WS_OK;
}

ws_status ws_session_open(ws_session *s, const ws_common *c, ws_err *err) {
    if (ws_session_open_text(s, c, err)) return err->code;
    if (ws_model_open(&s->model, s->checkpoint, err)) {
        ws_session_close(s);
        return err->code;
    }
    return WS_OK;
}

ws_status ws_session_chat(ws_session *s, const ws_common *c, ws_err *err) {
    return s->chat ? WS_OK : ws_chat_open(&s->chat, s->checkpoint, s->tokenizer, c->template_file, err);
}

void ws_session_close(ws_session *s) {
    ws_chat_free(s->chat);
    ws_model_free(s->model);
    ws_tokenizer_free(s->tokenizer);
    ws_checkpoint_close(s->checkpoint);
    memset(s, 0, sizeof *s);
}
