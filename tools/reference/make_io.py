"""Writes tests/fixtures/io: small GGUF and safetensors files and the values that the reference libraries read from them.

    python tools/reference/make_io.py [MODEL.gguf]

With a model file (SmolLM2-135M-Instruct, Q4_1) it also writes smollm2.json: SHA-256 of a few de-quantised tensors.
Needs numpy, torch, gguf, safetensors.  Everything is drawn from one seed, so the files are the same every time.
"""
import hashlib
import importlib.metadata as meta
import json
import os
import shutil
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "../../tests/fixtures/io")
TYPES = [T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1]
rng = np.random.default_rng(20240917)
versions = ", ".join(f"{p} {meta.version(p)}" for p in ("gguf", "safetensors", "numpy", "torch"))


def raw(kind, rows, cols):
    """Stored bytes [rows, bytes] of a type: block types get random bits with finite random scales, not only what a quantiser writes."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind == T.F32:
        return rng.standard_normal((rows, cols)).astype(np.float32)
    b = rng.integers(0, 256, (rows * cols // block, size), dtype=np.uint8)
    scales = 2 if kind in (T.Q4_1, T.Q5_1) else 1
    if kind in (T.F16, T.BF16):  # all bit patterns but infinities and NaN
        h = b.view(np.uint16).reshape(rows, cols)
        top = 0x7C00 if kind == T.F16 else 0x7F80
        h[(h & top) == top] &= np.uint16(~0x4000 & 0xFFFF)
        return h.view(np.float16) if kind == T.F16 else h.view(np.uint8).reshape(rows, cols * 2)
    for s in range(scales):
        h = b[:, 2 * s : 2 * s + 2].copy().view(np.uint16)
        h[(h & 0x7C00) == 0x7C00] &= np.uint16(~0x4000 & 0xFFFF)
        b[:, 2 * s : 2 * s + 2] = h.view(np.uint8)
    return b.reshape(rows, -1)


def values(data, kind):
    return np.ascontiguousarray(dequantize(data.view(np.uint8) if kind not in (T.F32, T.F16) else data, kind), dtype=np.float32)


def add(w, name, data, kind):
    w.add_tensor(name, data, raw_dtype=None if kind in (T.F32, T.F16) else kind)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def save(name, tensors):
    save_file({k: torch.from_numpy(np.ascontiguousarray(v)) if isinstance(v, np.ndarray) else v for k, v in tensors.items()},
              os.path.join(OUT, name), metadata={"written_by": versions})


def write_types():
    """Every stored type once, and every kind of metadata."""
    w = gguf.GGUFWriter(os.path.join(OUT, "types.gguf"), "test")
    w.add_uint8("a.u8", 200), w.add_int8("a.i8", -100), w.add_uint16("a.u16", 60000), w.add_int16("a.i16", -30000)
    w.add_uint32("a.u32", 4000000000), w.add_int32("a.i32", -2000000000), w.add_uint64("a.u64", 2**63 + 5), w.add_int64("a.i64", -(2**62))
    w.add_float32("a.f32", 0.1), w.add_float64("a.f64", 0.1), w.add_bool("a.bool", True), w.add_string("a.str", "grün ✓")
    w.add_array("a.ints", [3, -1, 7]), w.add_array("a.nums", [0.5, -2.25]), w.add_array("a.strs", ["x", "", "héllo", "Ġthe"])
    w.add_array("a.bools", [True, False, True])
    want = {}
    for kind in TYPES:
        data = raw(kind, 3, 96)
        add(w, kind.name, data, kind)
        want[kind.name] = values(data, kind)
    finish(w)
    save("types.safetensors", want)


def permute(w, heads):
    """llama.cpp's converter: the two halves of every head interleaved."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def write_model(arch, tied, heads=4, kv=2, hd=8, hidden=32, inner=64, layers=2, vocab=24, extra=None):
    w = gguf.GGUFWriter(os.path.join(OUT, f"{arch}.gguf"), arch)
    w.add_block_count(layers), w.add_context_length(512), w.add_embedding_length(hidden), w.add_feed_forward_length(inner)
    w.add_head_count(heads), w.add_head_count_kv(kv), w.add_layer_norm_rms_eps(1e-5), w.add_rope_freq_base(50000.0)
    if arch != "qwen2":
        w.add_key_length(hd), w.add_value_length(hd)
    w.add_token_list([f"t{i}" for i in range(vocab)])
    w.add_bos_token_id(1), w.add_eos_token_id(2)
    if extra:
        extra(w)
    want, kinds = {}, iter(TYPES * 10)

    def tensor(name, hf, shape, kind):
        data = raw(kind, *shape) if len(shape) == 2 else rng.standard_normal(shape).astype(np.float32)
        v = values(data, kind).reshape(shape)
        part = name.split(".")[-2]
        if arch == "llama" and part in ("attn_q", "attn_k"):
            v = unpermute(v, heads if part == "attn_q" else kv)
            assert (permute(v, heads if part == "attn_q" else kv) == values(data, kind).reshape(shape)).all()
        add(w, name, data, kind)
        want[hf] = v

    tensor("token_embd.weight", "model.embed_tokens.weight", (vocab, hidden), T.Q8_0)
    for n in range(layers):
        shapes = {"attn_norm": (hidden,), "attn_q": (heads * hd, hidden), "attn_k": (kv * hd, hidden), "attn_v": (kv * hd, hidden),
                  "attn_output": (hidden, heads * hd), "ffn_norm": (hidden,), "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden),
                  "ffn_down": (hidden, inner)}
        if arch == "qwen3":
            shapes |= {"attn_q_norm": (hd,), "attn_k_norm": (hd,)}
        for part, shape in shapes.items():
            hf = f"model.layers.{n}.{NAMES[part]}"
            tensor(f"blk.{n}.{part}.weight", hf + ".weight", shape, next(kinds) if len(shape) == 2 else T.F32)
            if part in ("attn_q", "attn_k", "attn_v") and arch != "qwen3" or part == "attn_output" and arch == "llama":
                tensor(f"blk.{n}.{part}.bias", hf + ".bias", shape[:1], T.F32)
    tensor("output_norm.weight", "model.norm.weight", (hidden,), T.F32)
    if not tied:
        tensor("output.weight", "lm_head.weight", (vocab, hidden), T.Q5_1)
    if arch == "llama":
        add(w, "rope_freqs.weight", np.array([1, 1, 3.5, 8], dtype=np.float32), T.F32)
    finish(w)
    save(f"{arch}.safetensors", want)


def yarn(w):
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN), w.add_rope_scaling_factor(4.0), w.add_rope_scaling_orig_ctx_len(128)


def write_directories():
    """One model five ways: single file, shards, wrapper prefixes with vision and mtp tensors, bare names, half precision."""
    torch.manual_seed(5)
    names = ["embed_tokens.weight", "norm.weight"] + [f"layers.{n}.{p}" for n in range(2) for p in
             ("input_layernorm.weight", "self_attn.q_proj.weight", "self_attn.q_proj.bias", "mlp.up_proj.weight")]
    shape = {"embed_tokens.weight": (20, 8), "q_proj.weight": (8, 8), "up_proj.weight": (12, 8)}
    full = {n: torch.randn(next((s for k, s in shape.items() if n.endswith(k)), (8,))) for n in names}
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 2, "rms_norm_eps": 1e-06, "eos_token_id": [2, 3]}

    def directory(name, conf, files, index=None):
        d = os.path.join(OUT, name)
        shutil.rmtree(d, ignore_errors=True)
        os.makedirs(d)
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(conf, f, indent=1)
        for file, tensors in files.items():
            save_file(tensors, os.path.join(d, file), metadata={"format": "pt"})
        if index:
            with open(os.path.join(d, "model.safetensors.index.json"), "w") as f:
                json.dump({"metadata": {"total_size": 55562855904.0}, "weight_map": index}, f)
        return d

    model = {f"model.{k}": v for k, v in full.items()} | {"lm_head.weight": torch.randn(20, 8)}
    d = directory("single", config | {"_name_or_path": "/somewhere/else"}, {"model.safetensors": model})
    with open(os.path.join(d, "generation_config.json"), "w") as f:
        json.dump({"eos_token_id": 3}, f)
    half = [k for i, k in enumerate(model) if i % 2]
    shards = {"model.safetensors-00001-of-00002.safetensors": {k: model[k] for k in model if k not in half},
              "model.safetensors-00002-of-00002.safetensors": {k: model[k] for k in half}}
    directory("sharded", config, shards, {k: f for f, t in shards.items() for k in t})
    wrapped = {f"model.language_model.{k}": v for k, v in full.items()} | {"lm_head.weight": model["lm_head.weight"],
               "model.visual.patch_embed.proj.weight": torch.randn(2, 3, 2, 2, 2), "mtp.layers.0.self_attn.q_proj.weight": torch.randn(8, 8),
               "model.layers.0.self_attn.rotary_emb.inv_freq": torch.randn(4)}
    directory("wrapped", {"model_type": "wrapper", "text_config": config}, {"model.safetensors": wrapped})
    directory("bare", config, {"weights-a.safetensors": {k: v for k, v in full.items() if "layers" in k},
                               "weights-b.safetensors": {k: v for k, v in full.items() if "layers" not in k} | {"lm_head.weight": model["lm_head.weight"]}})
    directory("half", config, {"model.safetensors": {k: v.to(torch.float16 if "layers.0" in k else torch.bfloat16) for k, v in model.items()}})
    save("half.safetensors", {k: v.to(torch.float16 if "layers.0" in k else torch.bfloat16).float() for k, v in model.items()})


def write_smollm2(path):
    r = gguf.GGUFReader(path)
    want = {}
    for name, hf, heads in (("token_embd.weight", "model.embed_tokens.weight", 0), ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", 9),
                            ("blk.29.attn_k.weight", "model.layers.29.self_attn.k_proj.weight", 3), ("blk.7.ffn_down.weight", "model.layers.7.mlp.down_proj.weight", 0),
                            ("blk.3.attn_norm.weight", "model.layers.3.input_layernorm.weight", 0)):
        t = next(t for t in r.tensors if t.name == name)
        v = np.ascontiguousarray(dequantize(t.data, t.tensor_type), dtype=np.float32)
        v = unpermute(v, heads) if heads else v
        want[hf] = {"shape": list(v.shape), "type": t.tensor_type.name, "sha256": hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest()}
    with open(os.path.join(OUT, "smollm2.json"), "w") as f:
        json.dump({"written_by": versions, "file": os.path.basename(path), "tensors": want}, f, indent=1)


def write_edits():
    """A dW file and an adapter directory, with the Frobenius norms that numpy finds (each on its own random stream)."""
    r = np.random.default_rng(7)
    sites = {"model.layers.0.mlp.up_proj": (12, 8, 3), "model.layers.1.self_attn.q_proj": (8, 8, 2)}
    t, norms = {}, {}
    for site, (d_out, d_in, k) in sites.items():
        t[site + ".U"], t[site + ".V"] = r.standard_normal((d_out, k)).astype(np.float32), r.standard_normal((k, d_in)).astype(np.float32)
        norms[site] = float(np.linalg.norm(t[site + ".U"].astype(np.float64) @ t[site + ".V"].astype(np.float64)))
    save_file({k: torch.from_numpy(v) for k, v in t.items()}, os.path.join(OUT, "dw.safetensors"),
              metadata={"format": "ws-dw", "version": "1", "base_hash": "0" * 64, "base_name": "none"})
    os.makedirs(os.path.join(OUT, "adapter"), exist_ok=True)
    a = r.standard_normal((2, 8)).astype(np.float32)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: torch.from_numpy(a)}, os.path.join(OUT, "adapter", "adapter_model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(OUT, "adapter", "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "org/base"}, f, indent=2, sort_keys=True)
    lines = {"total": sum(v * v for v in norms.values()) ** 0.5, **norms, "adapter": float(np.linalg.norm(a.astype(np.float64)))}
    with open(os.path.join(OUT, "norms.txt"), "w") as f:
        f.writelines(f"{k} {v:.9g}\n" for k, v in lines.items())


os.makedirs(OUT, exist_ok=True)
write_edits()
write_types()
write_model("llama", tied=True)
write_model("qwen2", tied=True, layers=1, extra=yarn)
write_model("qwen3", tied=False, hd=16, layers=1)
write_directories()
if len(sys.argv) > 1:
    write_smollm2(sys.argv[1])
