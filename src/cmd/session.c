/* src/cmd/session.c - what most verbs open first. */
#include "base/log.h"
#include "cmd/stages.h"
#include "io/checkpoint.h"
#include "io/hub.h"
#include "kernel/compute.h"
#include "model/model.h"
#include "steer/prompt.h"
#include "text/chat.h"
#include <stdlib.h>
#include <string.h>

/* A hub id is fetched where it is missing; a name without a slash is sooner a mistyped folder, and so is a path into a folder
 * that is there. */
static int worth_asking_the_hub(const char *where) {
    const char *slash = strchr(where, '/');
    if (ws_file_exists(where) || !slash || !ws_hub_is_id(where)) return 0;
    char *first = ws_xstrndup(where, (size_t)(slash - where));
    int here = ws_is_dir(first);
    free(first);
    return !here;
}

ws_status ws_cmd_checkpoint(ws_checkpoint **out, const char *where, const ws_common *c, ws_err *err) {
    const ws_pull_options o = {.id = where, .offline = c->offline};
    ws_pull_result r = {0};
    ws_err why;
    *out = NULL;
    if (!worth_asking_the_hub(where) || ws_hub_whole(where)) return ws_checkpoint_open(out, where, err);
    if (!o.offline) ws_note("%s is not whole in the cache; pulling it", where);
    ws_status rc = ws_hub_pull(&r, &o, err);
    if (!rc)
        rc = ws_checkpoint_open(out, r.path, err);
    else if (rc == WS_EIO && !ws_checkpoint_open(out, where, &why)) {
        ws_warn("%s; going on with what the cache has", err->msg); /* weights without a tokenizer, say */
        rc = WS_OK;
    }
    ws_pull_result_free(&r);
    return rc;
}

static ws_status open_parts(ws_session *s, const ws_common *c, int text, int weights, ws_err *err) {
    memset(s, 0, sizeof *s);
    if (!c->model) return ws_fail(err, WS_EUSAGE, "--model is missing: give a directory, a .gguf file or a hub id");
    if (ws_cmd_checkpoint(&s->checkpoint, c->model, c, err) ||
        (text && ws_tokenizer_open(&s->tokenizer, s->checkpoint, err)) || (weights && ws_session_weights(s, err))) {
        ws_session_close(s);
        return err->code;
    }
    return WS_OK;
}

ws_status ws_session_weights(ws_session *s, ws_err *err) {
    if (ws_model_open(&s->model, s->checkpoint, err)) return err->code;
    if (ws_compute_type() == WS_COMPUTE_BF16 || ws_compute_few())
        ws_note("products with the model's weights are in %s (%s)", ws_compute_few() ? "fp32" : "bf16",
                ws_compute_why());
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

ws_status ws_session_fold(ws_session *s, const ws_protocol *p, ws_method *const *m, int n, ws_err *err) {
    int folded = 0, prompts = 0;
    for (int i = 0; i < n; i++)
        if (m[i]->system_prompt[0]) prompts++, folded += !strcmp(m[i]->name, WS_PROMPT_PLAIN);
    if (!p || !p->prompt_in_user || !folded) return WS_OK;
    if (folded < prompts)
        return ws_fail(
            err, WS_EUSAGE,
            "--protocol %s puts prompt_only in the user's message and other prompts in the system's: give them to "
            "commands of their own",
            p->name);
    ws_chat_fold(s->chat, 1);
    return WS_OK;
}
