"""Converts Hugging Face directories of tests/fixtures/models to GGUF with llama.cpp's own converter.

    python tools/reference/make_qwen35_gguf.py LLAMA_CPP NAME...      writes tests/fixtures/models/NAME.gguf

LLAMA_CPP is a source tree of llama.cpp; the source package of llama-cpp-python (PyPI) has one in vendor/llama.cpp.  The
converter runs as it is, but for the vocabulary: the tiny models have no tokenizer, so names for the tokens are made up.
It gets a copy of the directory whose config names a class, as the converter needs.  Matrices keep the directory's type.  The versions are printed into general.description.  Needs torch, transformers.
"""
import importlib.metadata as meta
import json
import os
import re
import shutil
import sys
import tempfile

llama, names = sys.argv[1], sys.argv[2:]
sys.path.insert(0, llama)
sys.path.insert(0, os.path.join(llama, "gguf-py"))
import convert_hf_to_gguf  # noqa: E402
from conversion import qwen  # noqa: E402
from conversion.base import ModelBase  # noqa: E402
from safetensors import safe_open  # noqa: E402

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/fixtures/models")
with open(os.path.join(llama, "../../PKG-INFO")) as f:
    package = re.search(r"^Version: (.*)$", f.read(), re.M).group(1)
VERSIONS = f"llama.cpp's convert_hf_to_gguf.py of llama-cpp-python {package}, torch {meta.version('torch')}"


def set_vocab(self):
    w, n = self.gguf_writer, self.hparams["vocab_size"]
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("qwen35")
    w.add_token_list([f"t{i}" for i in range(n)]), w.add_token_types([1] * n), w.add_token_merges(["t 0"])
    w.add_description(VERSIONS)


qwen.Qwen3_5TextModel.set_vocab = set_vocab
for name in names:
    ModelBase.no_mtp = True  # a text-only export has no block that predicts further tokens
    with tempfile.TemporaryDirectory() as copy:
        for file in os.listdir(os.path.join(FIXTURES, name)):
            if file.endswith((".json", ".safetensors")):
                shutil.copy(os.path.join(FIXTURES, name, file), copy)
        with open(os.path.join(copy, "config.json")) as f:
            config = json.load(f)
        config["architectures"] = config.get("architectures") or ["Qwen3_5ForCausalLM"]
        with open(os.path.join(copy, "config.json"), "w") as f:
            json.dump(config, f)
        kinds = set()
        for file in os.listdir(copy):
            if file.endswith(".safetensors"):
                with safe_open(os.path.join(copy, file), "np") as t:
                    kinds |= {t.get_slice(k).get_dtype() for k in t.keys() if k.endswith("_proj.weight") and "mtp" not in k}
        assert len(kinds) == 1, kinds
        out = os.path.join(FIXTURES, name + ".gguf")
        sys.argv = ["convert_hf_to_gguf.py", copy, "--outtype", kinds.pop().lower(), "--outfile", out, "--no-mtp", "--model-name", name]
        convert_hf_to_gguf.main()
