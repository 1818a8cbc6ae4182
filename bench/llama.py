"""llama.cpp (through llama-cpp-python) on the same GGUF file, token counts and threads as `ws bench prefill` and `decode`.

    llama.py MODEL.gguf [--threads 2] [--rounds 3] [--prefill 512] [--decode ROWS:CONTEXT:TOKENS ...]

prefill: one prompt, logits of its last token.  decode: every row stands behind CONTEXT tokens of its own sequence; TOKENS
steps of one token for each row, logits for all.  The tokens are given, no sampler runs.  What a user may choose and what
changes the figure is tried (flash attention on and off; for many rows one KV cache for all or one each) and the best round of
the best setting counts, after a round that warms up.  The last line is JSON.
"""
import argparse
import ctypes
import json
import time

from llama_cpp import llama_cpp as L


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--prefill", type=int, default=0)
    p.add_argument("--decode", action="append", default=[])
    return p.parse_args()


class Batch:
    """Tokens with their positions and sequences; logits where asked."""

    def __init__(self, size):
        self.b = L.llama_batch_init(size, 0, 1)

    def set(self, items):
        self.b.n_tokens = len(items)
        for i, (token, pos, seq, out) in enumerate(items):
            self.b.token[i], self.b.pos[i], self.b.n_seq_id[i], self.b.seq_id[i][0], self.b.logits[i] = token, pos, 1, seq, out
        return self.b

    def free(self):
        L.llama_batch_free(self.b)


class Runner:
    def __init__(self, o):
        self.o = o
        p = L.llama_model_default_params()
        p.n_gpu_layers = 0
        self.model = L.llama_model_load_from_file(o.model.encode(), p)
        if not self.model:
            raise SystemExit("llama.py: %s cannot be opened" % o.model)
        self.vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(self.model))

    def context(self, n_ctx, rows, flash, unified, batch):
        p = L.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = n_ctx, batch, batch, rows
        p.n_threads = p.n_threads_batch = self.o.threads
        p.flash_attn_type = L.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else L.LLAMA_FLASH_ATTN_TYPE_DISABLED
        p.kv_unified = unified
        c = L.llama_init_from_model(self.model, p)
        if not c:
            raise SystemExit("llama.py: no context")
        return c

    def decode(self, context, batch):
        if L.llama_decode(context, batch):
            raise SystemExit("llama.py: llama_decode failed")

    def token(self, i):
        return (i * 7919 + 11) % min(self.vocab, 40000)

    def prefill(self, n, flash):
        c, b = self.context(max(n, 256), 1, flash, True, n), Batch(n)
        items = b.set([(self.token(i), i, 0, i == n - 1) for i in range(n)])
        best = None
        for r in range(self.o.rounds + 1):
            L.llama_memory_clear(L.llama_get_memory(c), True)
            t = time.perf_counter()
            self.decode(c, items)
            L.llama_get_logits_ith(c, -1)
            t = time.perf_counter() - t
            best = t if r and (best is None or t < best) else best
        b.free()
        L.llama_free(c)
        return n / best

    def rows(self, rows, context, tokens, flash, unified, rounds):
        each = (context + tokens + 255) // 256 * 256
        c, b = self.context(each * rows, rows, flash, unified, 512), Batch(max(512, rows))
        best = None
        for r in range(rounds):
            memory = L.llama_get_memory(c)
            L.llama_memory_clear(memory, True)
            for i in range(0, context, 512):
                self.decode(c, b.set([(self.token(k), k, 0, 0) for k in range(i, min(context, i + 512))]))
            for s in range(1, rows):  # every row has its own copy of the same prompt: the steps are the same work
                L.llama_memory_seq_cp(memory, 0, s, -1, -1)
            self.decode(c, b.set([(self.token(s), context, s, 1) for s in range(rows)]))  # warms up, not counted
            L.llama_synchronize(c)
            t = time.perf_counter()
            for k in range(1, tokens + 1):
                self.decode(c, b.set([(self.token(k * 131 + s), context + k, s, 1) for s in range(rows)]))
                L.llama_get_logits_ith(c, rows - 1)
            t = time.perf_counter() - t
            best = t if best is None or t < best else best
        b.free()
        L.llama_free(c)
        return rows * tokens / best


def main():
    o = options()
    silent = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(silent, ctypes.c_void_p(0))
    L.llama_backend_init()
    run = Runner(o)
    out = dict(model=o.model, threads=o.threads, system=L.llama_print_system_info().decode().strip())
    best = lambda tried: max(tried.items(), key=lambda kv: kv[1])
    if o.prefill:
        how, rate = best({"flash attention" if f else "plain attention": run.prefill(o.prefill, f) for f in (0, 1)})
        out["prefill"] = dict(tokens=o.prefill, tokens_per_second=round(rate, 2), setting=how)
    for spec in o.decode:
        rows, context, tokens = (int(v) for v in spec.split(":"))
        tried, settings = {}, {}
        for f in (0, 1):
            for u in ((0, 1) if rows > 1 else (1,)):
                how = ("flash attention" if f else "plain attention") + (", one KV cache" if u and rows > 1 else "")
                settings[how] = f, u
                tried[how] = run.rows(rows, context, min(tokens, 8), f, u, 1)
        how, rate = best(tried)  # the settings are compared in a short run, the best one is measured
        rate = run.rows(rows, context, tokens, *settings[how], o.rounds)
        out["decode%d" % rows] = dict(rows=rows, context=context, tokens=tokens, tokens_per_second=round(rate, 2), setting=how,
                                      tried={k: round(v, 1) for k, v in tried.items()})
    print(json.dumps(out))


if __name__ == "__main__":
    main()
