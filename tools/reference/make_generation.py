"""Writes tests/fixtures/generation.json: greedy continuations by transformers' generate (fp32, eager attention).
Usage: make_generation.py MODELS_DIR [MODEL.gguf]
MODELS_DIR: the tiny models of make_models.py and make_qwen35.py.  MODEL.gguf: SmolLM2-135M-Instruct, whose weights transformers de-quantises;
its prompts hold no digits, so that transformers' GGUF tokenizer, which does not split them, gives the right ids.
A continuation is kept only where the best token leads by MARGIN in every step, so that the order of fp32 sums does not matter."""
import json, os, random, shutil, sys, tempfile
import torch, transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

SEED, MARGIN = 11, 2e-3
torch.set_num_threads(1)


def continue_(model, ids, max_new, min_new, stops, limit):
    kw = {}
    if limit:
        kw["suppress_tokens"] = list(range(limit, model.config.vocab_size))
    if min_new:
        kw["min_new_tokens"] = min_new
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
                         max_new_tokens=max_new, eos_token_id=stops, pad_token_id=0, output_scores=True,
                         return_dict_in_generate=True, **kw)
    new = out.sequences[0, len(ids):].tolist()
    lead = min((t[0] - t[1]).item() for t in (s[0].topk(2).values for s in out.scores))
    stop = bool(new) and new[-1] in stops
    return new[:-1] if stop else new, "stop" if stop else "length", lead


def loaded(path):
    """qwen35_3x has conv1d.weight without its middle dimension, which transformers does not read."""
    with tempfile.TemporaryDirectory() as d:
        if path.endswith("qwen35_3x"):
            shutil.copy(os.path.join(path, "config.json"), d)
            t = {k: v[:, None].contiguous() if "conv1d" in k else v for k, v in load_file(os.path.join(path, "model.safetensors")).items()}
            save_file(t, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
            path = d
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def tiny(path):
    model = loaded(path)
    rng, cases = random.Random(SEED), []
    shared = [rng.randrange(12, 60) for _ in range(30)]
    stops = [2, 3, 5, 7, 9]
    for n, min_new, limit in [(1, 0, 0), (5, 0, 0), (40, 0, 0), (33, 12, 0), (60, 0, 50), (17, 30, 50), (31, 0, 0), (31, 0, 0), (45, 5, 0), (90, 0, 0)] * 3:
        ids = (shared[:min(n - 1, 30)] if len(cases) % 3 else []) + [rng.randrange(12, 60) for _ in range(n)]
        ids = ids[:n] if n > 1 else ids[-1:]
        new, why, lead = continue_(model, ids, 40, min_new, stops, limit)
        if lead > MARGIN and len(cases) < 12:
            cases.append(dict(prompt=ids, min_new=min_new, limit=limit, ids=new, finish=why))
    return dict(max_new=40, stops=stops, cases=cases)


def real(path):
    folder, name = os.path.split(path)
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32, attn_implementation="eager").eval()
    cases = []
    for system, user in [("You are a cheerful host.", "Tell me about the weekend."), ("You are a gloomy host.", "Tell me about the weekend."),
                         ("You are a helpful AI assistant.", "What is the capital of France?"), ("You are terse.", "Say yes."),
                         ("You are a poet.", "Describe rain."), ("You are a helpful AI assistant.", "Why is the sky blue?")]:
        ids = tok("<|im_start|>system\n%s<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n" % (system, user), add_special_tokens=False)["input_ids"]
        new, why, lead = continue_(model, ids, 48, 0, [2], 0)
        if lead > 10 * MARGIN:
            cases.append(dict(prompt=ids, min_new=0, limit=0, ids=new, finish=why))
    return dict(max_new=48, stops=[2], cases=cases)


out = {"made_by": "tools/reference/make_generation.py", "transformers": transformers.__version__, "torch": torch.__version__, "seed": SEED, "margin": MARGIN}
for name in sorted(os.listdir(sys.argv[1])):
    out[name] = tiny(os.path.join(sys.argv[1], name))
    print(name, [(len(c["ids"]), c["finish"]) for c in out[name]["cases"]], file=sys.stderr)
if len(sys.argv) > 2:
    out["smollm2"] = real(sys.argv[2])
    print([(len(c["ids"]), c["finish"]) for c in out["smollm2"]["cases"]], file=sys.stderr)
json.dump(out, open("tests/fixtures/generation.json", "w"), separators=(",", ":"))
