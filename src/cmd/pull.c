/* src/cmd/pull.c - ws pull: a model from the hub into the Hugging Face cache. */
#include "base/progress.h"
#include "cmd/cmd.h"
#include "io/hub.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
WS_ROOM(pull)

enum { K_REVISION = 1, K_INCLUDE, K_ENDPOINT };
static const struct argp_option options[] = {
    {"revision", K_REVISION, "REV", 0, "branch, tag or commit (default main)", 0},
    {"include", K_INCLUDE, "GLOB", 0, "fetch the files whose names match instead of the usual ones; repeatable", 0},
    {"endpoint", K_ENDPOINT, "URL", 0, "a mirror or private hub (default: HF_ENDPOINT, else the public hub)", 0},
    {0}};

enum { MOST_PATTERNS = 64 };
typedef struct args {
    ws_pull_options o;
    const char *include[MOST_PATTERNS];
} args;

static error_t parse(int key, char *arg, struct argp_state *state) {
    args *a = state->input;
    switch (key) {
    case K_REVISION: a->o.revision = arg; break;
    case K_INCLUDE:
        if (a->o.n_include == MOST_PATTERNS) argp_error(state, "--include: at most %d times", MOST_PATTERNS);
        a->include[a->o.n_include++] = arg;
        break;
    case K_ENDPOINT: a->o.endpoint = arg; break;
    case ARGP_KEY_ARG:
        if (a->o.id) argp_error(state, "one model at a time; '%s' is a second one", arg);
        a->o.id = arg;
        break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void print(const ws_pull_result *r, int json) {
    if (!json) {
        puts(r->path);
        return;
    }
    ws_print_json(json_pack("{s:s, s:s, s:s*, s:s, s:i, s:i, s:I, s:I}", "model", r->name, "revision", r->revision,
                            "commit", r->commit, "path", r->path, "files", r->files, "files_fetched", r->files_fetched,
                            "bytes", (json_int_t)r->bytes, "bytes_fetched", (json_int_t)r->bytes_fetched),
                  0);
}

static ws_status run(int argc, char **argv, ws_err *err) {
    args a = {0};
    ws_common c;
    ws_pull_result r;
    static const char *const without[] = {"model",   "template", "steer", "force", "compute",
                                          "threads", "seed",     "out",   NULL};
    ws_common_init(&c);
    c.without = without;
    ws_status st = ws_cmd_parse(
        argc, argv, options, parse, "ORG/NAME[@REV][:FILE.gguf]",
        "Fetch a model from the hub into the Hugging Face cache, where transformers finds it too, and print its "
        "path.\n\n"
        "  ws pull Qwen/Qwen3.5-4B\n"
        "  ws pull Qwen/Qwen3-0.6B --revision main --json\n"
        "  ws pull unsloth/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q4_0.gguf\n"
        "  HF_TOKEN=$(cat token.txt) ws pull org/private-model\n"
        "  HF_HUB_CACHE=/big/disk ws pull Qwen/Qwen3.5-4B\n\n"
        "Fetched are the configuration, the tokenizer, the chat template and the safetensors weights, or one GGUF "
        "file. "
        "The revision becomes a commit once, every file is verified against the hub's hash, and whatever breaks off "
        "(connection, Ctrl-C, kill -9, full disk) goes on with the same command.\v"
        "A token is read from HF_TOKEN, or from the file HF_TOKEN_PATH ($HF_HOME/token, where `hf auth login` puts "
        "it); "
        "it is sent to the hub alone and shown nowhere. Also honoured: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, "
        "HF_HUB_OFFLINE, "
        "HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT (seconds, 10), HF_HUB_DISABLE_IMPLICIT_TOKEN, "
        "HF_HUB_DISABLE_PROGRESS_BARS, HF_HUB_DISABLE_SYMLINKS, HTTPS_PROXY, NO_PROXY, CURL_CA_BUNDLE; WS_RETRY_UNIT "
        "is the "
        "pause before a second try (seconds, 1; doubled each time).",
        &a, &c, err);
    if (st) return st;
    if (!a.o.id) return ws_fail(err, WS_EUSAGE, "give a model: ws pull ORG/NAME; `ws pull --help` has examples");
    a.o.include = a.include, a.o.offline = c.offline;
    if ((st = ws_hub_pull(&r, &a.o, err))) return st;
    print(&r, c.json);
    ws_pull_result_free(&r);
    return WS_OK;
}

const ws_cmd ws_cmd_pull = {5, "pull", "hub id -> the model's files in the Hugging Face cache", run};
