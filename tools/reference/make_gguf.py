"""Writes tests/fixtures/io/{kquants,qwen35}.gguf, qwen35 in parts, and the values that the `gguf` package reads from them.

    python tools/reference/make_gguf.py [LIBGGML]

kquants: every K type, blocks of random bits and, with LIBGGML (a shared library of llama.cpp's ggml-base), blocks that
llama.cpp's own quantiser made of normally distributed weights; without it that part of the fixture stays as it is.
qwen35: the architecture as llama.cpp's converter writes it (value heads in tiled order, w + 1, -exp(A_log), a block that
predicts further tokens), with the values in Hugging Face's names and order.  Needs numpy, gguf, safetensors.
Everything is drawn from one seed.
"""
import ctypes
import importlib.metadata as meta
import os
import shutil
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize
from safetensors.numpy import save_file

OUT = os.path.join(os.path.dirname(__file__), "../../tests/fixtures/io")
K_TYPES = [T.Q4_K, T.Q5_K, T.Q6_K]
rng = np.random.default_rng(20261122)
versions = ", ".join(f"{p} {meta.version(p)}" for p in ("gguf", "safetensors", "numpy"))


def finite(b, at):
    h = b[:, at : at + 2].copy().view(np.uint16)
    h[(h & 0x7C00) == 0x7C00] &= np.uint16(~0x4000 & 0xFFFF)
    b[:, at : at + 2] = h.view(np.uint8)


def raw(kind, rows, cols):
    """Stored bytes [rows, bytes]: random bits with finite scales, of every size that fp16 has."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == T.F32:
        return rng.standard_normal((rows, cols)).astype(np.float32)
    b = rng.integers(0, 256, (rows * cols // block, size), dtype=np.uint8)
    for at in {T.Q6_K: [208], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q4_1: [0, 2], T.Q8_0: [0], T.Q4_0: [0]}[kind]:
        finite(b, at)
    return b.reshape(rows, -1)


def values(data, kind):
    return np.ascontiguousarray(dequantize(data if kind == T.F32 else data.view(np.uint8), kind), dtype=np.float32)


def save(name, tensors):
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, os.path.join(OUT, name), metadata={"written_by": versions})


def add(w, name, data, kind):
    w.add_tensor(name, data, raw_dtype=None if kind == T.F32 else kind)


def finish(w):
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def quantised(lib, x, kind):
    """llama.cpp's quantiser on [rows, cols] of float32."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros((x.shape[0], x.shape[1] // block * size), np.uint8)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    x = np.ascontiguousarray(x, np.float32)
    n = lib.ggml_quantize_chunk(int(kind), x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], None)
    assert n == out.nbytes
    return out


def write_kquants(lib):
    before = {}
    if not lib:  # keep what llama.cpp's quantiser wrote once
        for t in gguf.GGUFReader(os.path.join(OUT, "kquants.gguf")).tensors:
            before[t.name] = np.array(t.data)
    x = np.random.default_rng(4).standard_normal((2, 512)).astype(np.float32) * 0.05
    w, want = gguf.GGUFWriter(os.path.join(OUT, "kquants.gguf"), "test"), {}
    for kind in K_TYPES:
        data = raw(kind, 3, 512)
        made = quantised(lib, x, kind) if lib else before[f"{kind.name}.made"]
        assert np.abs(values(made, kind) - x).max() < 0.05  # a quantiser's error, not noise
        for name, d in ((kind.name, data), (f"{kind.name}.made", made)):
            add(w, name, d, kind)
            want[name] = values(d, kind)
    finish(w)
    save("kquants.safetensors", want)


def tile(x, keys, each, axis=0, unit=1):
    """Grouped value heads into tiled order, as the converter's _reorder_v_heads describes it."""
    x = np.moveaxis(x, axis, 0)
    y = x.reshape(keys, each, unit, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
    return np.moveaxis(y, 0, axis)


def untile(x, keys, each, axis=0, unit=1):
    return tile(x, each, keys, axis, unit)


def write_qwen35(path, **options):
    """Two layers (recurrent, full) and one that predicts further; 2 key heads, 8 value heads of 32: all in one K block of out_proj."""
    global rng
    rng = np.random.default_rng(35)
    hidden, inner, heads, kv, hd, vocab, keys, each, dk, dv, taps = 32, 64, 2, 1, 16, 24, 2, 4, 16, 32, 4
    nv = keys * each
    key_dim, value_dim = keys * dk, nv * dv
    w = gguf.GGUFWriter(path, "qwen35", **options)
    w.add_block_count(3), w.add_context_length(512), w.add_embedding_length(hidden), w.add_feed_forward_length(inner)
    w.add_head_count(heads), w.add_head_count_kv(kv), w.add_layer_norm_rms_eps(1e-6), w.add_rope_freq_base(1e7)
    w.add_key_length(hd), w.add_value_length(hd), w.add_rope_dimension_count(hd // 4), w.add_rope_dimension_sections([2, 1, 1, 0])
    w.add_ssm_conv_kernel(taps), w.add_ssm_state_size(dk), w.add_ssm_group_count(keys), w.add_ssm_time_step_rank(nv), w.add_ssm_inner_size(value_dim)
    w.add_full_attention_interval(2), w.add_uint32("qwen35.nextn_predict_layers", 1)
    w.add_token_list([f"t{i}" for i in range(vocab)]), w.add_eos_token_id(2)
    want = {}

    def tensor(name, hf, shape, kind, undo=lambda v: v, stored=None):
        data = (raw(kind, *shape) if len(shape) == 2 else rng.standard_normal(shape).astype(np.float32)) if stored is None else stored
        add(w, name, data, kind)
        if hf:
            v = values(data, kind).reshape(shape)
            want[hf] = np.ascontiguousarray(undo(v), dtype=np.float32)

    def norm(name, hf, n):
        v = rng.standard_normal(n).astype(np.float32) * np.float32(0.3)
        tensor(name, None, (n,), T.F32, stored=v + np.float32(1))
        if hf:
            want[hf] = v + np.float32(1) - np.float32(1)

    def mlp(n, hf):
        norm(f"blk.{n}.post_attention_norm.weight", hf and hf + "post_attention_layernorm.weight", hidden)
        for part, name, shape, kind in (("ffn_gate", "gate_proj", (inner, hidden), T.Q4_0), ("ffn_up", "up_proj", (inner, hidden), T.Q8_0), ("ffn_down", "down_proj", (hidden, inner), T.Q4_1)):
            tensor(f"blk.{n}.{part}.weight", hf and f"{hf}mlp.{name}.weight", shape, kind)

    def full(n, hf):
        norm(f"blk.{n}.attn_norm.weight", hf and hf + "input_layernorm.weight", hidden)
        for part, name, shape in (("attn_q", "q_proj", (2 * heads * hd, hidden)), ("attn_k", "k_proj", (kv * hd, hidden)), ("attn_v", "v_proj", (kv * hd, hidden)), ("attn_output", "o_proj", (hidden, heads * hd))):
            tensor(f"blk.{n}.{part}.weight", hf and f"{hf}self_attn.{name}.weight", shape, T.Q8_0)
        norm(f"blk.{n}.attn_q_norm.weight", hf and hf + "self_attn.q_norm.weight", hd)
        norm(f"blk.{n}.attn_k_norm.weight", hf and hf + "self_attn.k_norm.weight", hd)
        mlp(n, hf)

    tensor("token_embd.weight", "model.embed_tokens.weight", (vocab, hidden), T.Q8_0)
    hf = "model.layers.0."
    norm("blk.0.attn_norm.weight", hf + "input_layernorm.weight", hidden)
    mixed = lambda v: np.concatenate([v[: 2 * key_dim], untile(v[2 * key_dim :], keys, each, 0, dv)])
    heads_of = lambda v: untile(v, keys, each)
    linear = hf + "linear_attn."
    tensor("blk.0.attn_qkv.weight", linear + "in_proj_qkv.weight", (2 * key_dim + value_dim, hidden), T.Q4_0, mixed)
    tensor("blk.0.attn_gate.weight", linear + "in_proj_z.weight", (value_dim, hidden), T.Q8_0, lambda v: untile(v, keys, each, 0, dv))
    tensor("blk.0.ssm_alpha.weight", linear + "in_proj_a.weight", (nv, hidden), T.F32, heads_of)
    tensor("blk.0.ssm_beta.weight", linear + "in_proj_b.weight", (nv, hidden), T.Q4_1, heads_of)
    tensor("blk.0.ssm_conv1d.weight", linear + "conv1d.weight", (2 * key_dim + value_dim, taps), T.F32, lambda v: mixed(v).reshape(-1, 1, taps))
    a_log = np.log(rng.uniform(0.01, 16, nv)).astype(np.float32)
    tensor("blk.0.ssm_a", None, (nv,), T.F32, stored=tile(-np.exp(a_log), keys, each))
    want[linear + "A_log"] = a_log
    tensor("blk.0.ssm_dt.bias", linear + "dt_bias", (nv,), T.F32, heads_of)
    tensor("blk.0.ssm_norm.weight", linear + "norm.weight", (dv,), T.F32)
    tensor("blk.0.ssm_out.weight", linear + "out_proj.weight", (hidden, value_dim), T.Q5_K, lambda v: untile(v, keys, each, 1, dv))
    mlp(0, hf)
    full(1, "model.layers.1.")
    full(2, None)
    tensor("blk.2.nextn.eh_proj.weight", None, (hidden, 2 * hidden), T.Q8_0)
    norm("blk.2.nextn.enorm.weight", None, hidden), norm("blk.2.nextn.hnorm.weight", None, hidden), norm("blk.2.nextn.shared_head_norm.weight", None, hidden)
    norm("output_norm.weight", "model.norm.weight", hidden)
    finish(w)
    return want


lib = ctypes.CDLL(sys.argv[1]) if len(sys.argv) > 1 else None
write_kquants(lib)
save("qwen35.safetensors", write_qwen35(os.path.join(OUT, "qwen35.gguf")))
parts = os.path.join(OUT, "parts")
shutil.rmtree(parts, ignore_errors=True)
os.makedirs(parts)
write_qwen35(os.path.join(parts, "tiny.gguf"), split_max_tensors=16)
