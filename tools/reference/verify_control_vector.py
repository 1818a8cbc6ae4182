"""Shows with llama.cpp that a control vector of `ws export --to gguf-control-vector` does there what it does here.
Usage: verify_control_vector.py WS MODEL.gguf VECTOR.gguf          (llama-cpp-python, gguf, safetensors; an F32 GGUF gives the sharpest figures)

The file is laid out as llama.cpp's own loader does: direction.N goes to place N - 1 of [layers - 1, hidden].  Logits of three texts, at
strengths 1, -1, 0.5 and none, by llama.cpp and by `ws logits --steer`; the figure is the largest difference as a share of the
largest logit.  Exit status 1 when steered logits are further apart than twice what the base's are.
"""
import ctypes, json, os, subprocess, sys, tempfile
import llama_cpp as L
import numpy as np
from gguf import GGUFReader
from safetensors.numpy import load_file

WS, MODEL, VECTOR = sys.argv[1:4]
rng = np.random.default_rng(3)
ROWS = [rng.integers(100, 40000, n).tolist() for n in (24, 17, 9)]
L.llama_backend_init()
L.llama_log_set(ctypes.cast(None, L.llama_log_callback), None)
m = L.llama_model_load_from_file(MODEL.encode(), L.llama_model_default_params())
layers, d, V = L.llama_model_n_layer(m), L.llama_model_n_embd(m), L.llama_vocab_n_tokens(L.llama_model_get_vocab(m))
directions = np.zeros((layers - 1, d), np.float32)
hung = []
for t in GGUFReader(VECTOR).tensors:
    n = int(t.name.split(".")[1])
    directions[n - 1] = t.data
    hung.append(n)


def theirs(scale):
    out = []
    for ids in ROWS:
        p = L.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_threads, p.n_threads_batch = 64, 64, 64, 2, 2
        p.type_k = p.type_v = 0  # F32: the default rounds keys and values to 16 bits
        c = L.llama_init_from_model(m, p)
        if scale:
            data = np.ascontiguousarray(directions * np.float32(scale))
            set_cvec = getattr(L, "llama_set_adapter_cvec", None) or L.llama_apply_adapter_cvec
            assert set_cvec(c, data.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), data.size, d, 1, layers - 1) == 0
        b = L.llama_batch_init(len(ids), 0, 1)
        b.n_tokens = len(ids)
        for i, x in enumerate(ids): b.token[i], b.pos[i], b.n_seq_id[i], b.seq_id[i][0], b.logits[i] = x, i, 1, 0, 1
        assert L.llama_decode(c, b) == 0
        out.append(np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(c, i), (V,)).copy() for i in range(len(ids))]))
        L.llama_batch_free(b), L.llama_free(c)
    return np.concatenate(out)


def ours(scale):
    with tempfile.TemporaryDirectory() as w:
        json.dump(ROWS, open(w + "/r.json", "w"))
        subprocess.run([WS, "logits", "-q", "--model", MODEL, "--ids-file", w + "/r.json", "--out", w + "/l.st", *(["--steer", "%s:%g" % (VECTOR, scale)] if scale else [])], check=True, stdout=subprocess.DEVNULL)
        t = load_file(w + "/l.st")
        return np.concatenate([t["logits.%d" % i] for i in range(len(ROWS))])


bad, base, moved = 0, None, None
for scale in (0, 1, -1, 0.5):
    a, b = theirs(scale), ours(scale)
    far = np.abs(a - b).max() / np.abs(a).max()
    if not scale: base, moved = far, b
    print("strength %4g: ws and llama.cpp differ by %.2g of the largest logit (the vector moves it by %.2g)" % (scale, far, np.abs(b - moved).max() / np.abs(a).max()), flush=True)
    bad |= not far <= 2 * base + 1e-5
print("%d layers, directions at %d..%d" % (layers, min(hung), max(hung)))
sys.exit(int(bad))
