/* src/cmd/run.c - `ws run`: the whole chain, from persona to table. */
#include "cmd/chain.h"

WS_ROOM(run)

static const char doc[] =
    "The whole chain in one command: two personas answer the same prompts, two adapters learn the answers, their "
    "difference dW is calibrated to a KL budget and evaluated, and a report says what moved and what it cost.\n\n"
    "Examples:\n"
    "  ws run --model SmolLM2-135M-Instruct.Q4_1.gguf --behavior enthusiasm\n"
    "  ws run --model Qwen/Qwen3.5-4B --plan --cores 64\n"
    "  ws run --model M --behavior my/behavior.json --target-kl 0.5 --out mine\n\n"
    "The same command again skips what is up to date and goes on where a stopped run, even a killed one, left off.\v"
    "Results: OUT/BEHAVIOR/report/ (report.html, report.md, tables, plots), OUT/BEHAVIOR/ADAPTER/dw.safetensors for "
    "--steer, OUT/BEHAVIOR/manifest.json. OUT is `out` unless given. The samples and tables go to standard output.";

static ws_status run(int argc, char **argv, ws_err *err) {
    static const char *const not_train[] = {"pairs", "side", "init", "fresh", NULL};
    const ws_chain_verb v = {.doc = doc, .not_train = not_train};
    return ws_chain(argc, argv, &v, err);
}

const ws_cmd ws_cmd_run = {90, "run", "everything above, in order: from persona to table", run};
