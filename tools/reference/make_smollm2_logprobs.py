"""Writes tests/fixtures/smollm2_logprobs.json: the five most likely tokens of every position, with their log-probabilities, that
transformers computes in fp32 from the de-quantised weights of SmolLM2-135M-Instruct.Q4_1.gguf.
Usage: make_smollm2_logprobs.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf OUT.json
The prompts hold no digits: transformers' GGUF loader forgets this tokenizer's digit split, and only the ids are kept anyway.
"""
import json, os, sys
import torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

path, out = sys.argv[1:3]
torch.set_num_threads(1)
where, name = os.path.split(path)
tok = AutoTokenizer.from_pretrained(where, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32, attn_implementation="eager").eval()
prompts = [
    "The capital of France is Paris, and the capital of Italy is",
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nWhat should I cook tonight?<|im_end|>\n<|im_start|>assistant\n",
    "def add(a, b):\n    return a + b\n\ndef multiply(a, b):\n",
    "Once upon a time a small fox lived at the edge of a wide forest. Every morning it walked to the river, looked at the water and "
    "wondered where all of it was going. One day it asked the heron, who had travelled far and knew every bend between the hills and the sea.",
]
rows = []
for text in prompts:
    ids = tok(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lp = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    v, i = lp.topk(5, -1)
    rows.append(dict(ids=ids, top=[[[int(a), round(float(b), 6)] for a, b in zip(p, q)] for p, q in zip(i, v)]))
with open(out, "w") as f:
    f.write('{"model": "%s", "torch": "%s", "transformers": "%s", "rows": [\n' % (name, torch.__version__, transformers.__version__))
    f.write(",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]}\n")
print([len(r["ids"]) for r in rows])
