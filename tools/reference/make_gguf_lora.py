"""Writes tests/fixtures/gguf_lora/: LoRA adapters and what llama.cpp's own converter makes of them.
Usage: make_gguf_lora.py LLAMA_CPP       (a source tree; the source package of llama-cpp-python (PyPI) has one in vendor/llama.cpp)

NAME/        a PEFT LoRA of random tensors on tests/fixtures/models/NAME, every linear layer of the architecture
writer.gguf  metadata and tensors as the gguf package writes them (tests/test_delta_gguf_lora.c holds the same ones)
NAME.gguf    convert_lora_to_gguf.py of it; llama.gguf: of tests/fixtures/peft/pos
Versions and the seed stand in NAME/adapter_config.json (peft_version) and in made.json.
"""
import importlib.metadata as meta
import json
import os
import re
import runpy
import shutil
import sys
import tempfile

import torch
from safetensors import safe_open
from safetensors.torch import save_file

llama = sys.argv[1]
sys.path.insert(0, llama)
sys.path.insert(0, os.path.join(llama, "gguf-py"))
from conversion.base import ModelBase  # noqa: E402

ModelBase.no_mtp = True  # no adapter hangs at the blocks that predict further tokens
HERE = os.path.dirname(os.path.abspath(__file__))
FIX = os.path.join(HERE, "../../tests/fixtures")
OUT = os.path.join(FIX, "gguf_lora")
SEED, RANK, ALPHA = 20261129, 2, 3
shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT)
g = torch.Generator().manual_seed(SEED)


def adapter(name):
    base, out, t, targets = os.path.join(FIX, "models", name), os.path.join(OUT, name), {}, set()
    for file in sorted(os.listdir(base)):
        if not file.endswith(".safetensors"):
            continue
        with safe_open(os.path.join(base, file), "pt") as f:
            for key in f.keys():
                m = re.fullmatch(r"model\.(?:language_model\.)?(layers\.\d+\..*\.(\w*_proj\w*|in_proj_\w+))\.weight", key)
                if not m or "mtp" in key or "visual" in key:
                    continue
                d_out, d_in = f.get_slice(key).get_shape()
                targets.add(m[2])
                k = "base_model.model.model." + m[1]
                t[k + ".lora_A.weight"] = torch.randn(RANK, d_in, generator=g) / d_in ** 0.5
                t[k + ".lora_B.weight"] = torch.randn(d_out, RANK, generator=g) * 0.2
    os.makedirs(out)
    save_file(t, os.path.join(out, "adapter_model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(out, "adapter_config.json"), "w") as f:
        json.dump(dict(peft_type="LORA", task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules=sorted(targets), bias="none"), f, indent=2, sort_keys=True)
    return base, out


def convert(base, lora, out):
    with tempfile.TemporaryDirectory() as copy:
        with open(os.path.join(base, "config.json")) as f:
            config = json.load(f)
        config["architectures"] = config.get("architectures") or ["Qwen3_5ForCausalLM"]
        with open(os.path.join(copy, "config.json"), "w") as f:
            json.dump(config, f)
        sys.argv = ["convert_lora_to_gguf.py", "--base", copy, "--outfile", out, "--outtype", "f32", lora]
        runpy.run_path(os.path.join(llama, "convert_lora_to_gguf.py"), run_name="__main__")


convert(os.path.join(FIX, "peft/model"), os.path.join(FIX, "peft/pos"), os.path.join(OUT, "llama.gguf"))
for name in ("qwen3", "qwen35", "qwen35_3x"):
    convert(*adapter(name), os.path.join(OUT, name + ".gguf"))
import gguf  # noqa: E402
import numpy as np  # noqa: E402

w = gguf.GGUFWriter(os.path.join(OUT, "writer.gguf"), "llama")
w.add_string("general.type", "adapter"), w.add_float32("adapter.lora.alpha", 1.5), w.add_uint32("some.number", 4000000000)
w.add_tensor("three.by.five", (np.arange(15, dtype=np.float32) / 4 - 1).reshape(3, 5))
w.add_tensor("seven", np.arange(7, dtype=np.float16) / 2)
w.add_tensor("two.by.four", np.array([0x3F80, 0, 0x4000, 0xC000, 0x7F7F, 1, 0x8000, 0x3F00], np.uint16).view(np.uint8).reshape(2, 8),
             raw_dtype=gguf.GGMLQuantizationType.BF16)
w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
with open(os.path.join(llama, "../../PKG-INFO")) as f:
    package = re.search(r"^Version: (.*)$", f.read(), re.M).group(1)
with open(os.path.join(OUT, "made.json"), "w") as f:
    json.dump(dict(seed=SEED, converter="convert_lora_to_gguf.py of llama-cpp-python " + package, gguf=meta.version("gguf"), torch=torch.__version__), f, indent=2)
