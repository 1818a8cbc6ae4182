"""The same chain with transformers + PEFT, timed stage by stage: the peer that bench/run.sh measures ws against.

It is meant to be a fair, plain use of these libraries on a CPU: batched generation with left padding, PEFT LoRA with
AdamW and a look at the rows held out, dense dW merged for every alpha.  It makes no expected values; tools/reference/ does
that.

    peer.py MODEL OUT [--dtype f32|bf16] [--stages data,train,diff,calibrate,eval] [--topics 20 --personas 5 --samples 2 ...]

MODEL is a Hugging Face directory or a .gguf file (converted once into OUT/hf).  Stages may run in processes of their own:
what the next one needs lies in OUT.  The last line is JSON: seconds and tokens per second of every stage that ran.  Opening
the model counts in data and train, as it does for ws; for the other stages it is opened before the clock starts.
"""
import argparse
import json
import math
import os
import random
import resource
import time

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    p.add_argument("--data", default=os.path.join(HERE, "..", "data"))
    p.add_argument("--behavior", default="enthusiasm")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--stages", default="data,train,diff,calibrate,eval")
    for name, value in dict(topics=20, personas=5, samples=2, tokens=96, batch=32, epochs=1, seed=42, kl_prompts=50,
                            kl_tokens=50, vignettes=1000).items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    return p.parse_args()


def hf_directory(path, out):
    if os.path.isdir(path):
        return path
    target = os.path.join(out, "hf")
    if not os.path.exists(os.path.join(target, "config.json")):
        folder, name = os.path.split(os.path.abspath(path))
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        config = loaded.config
        if hasattr(config, "quantization_config"):  # a model that came from GGUF refuses to be saved; a fresh copy does not
            del config.quantization_config
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        fresh.load_state_dict(loaded.state_dict())
        fresh.save_pretrained(target)
        AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
    return target


class Chain:
    def __init__(self, o):
        self.o = o
        self.dtype = dict(f32=torch.float32, bf16=torch.bfloat16)[o.dtype]
        self.dir = hf_directory(o.model, o.out)
        self.tok = AutoTokenizer.from_pretrained(self.dir)
        self.tok.padding_side = "left"
        with open(os.path.join(o.data, "behaviors", o.behavior + ".json")) as f:
            self.behavior = json.load(f)
        self.base = None
        self.result, self.alphas, self.probes = {}, (), ()

    def path(self, name):
        return os.path.join(self.o.out, name)

    def load(self):
        return AutoModelForCausalLM.from_pretrained(self.dir, dtype=self.dtype).eval()

    def render(self, messages, **kw):
        return self.tok.apply_chat_template(messages, tokenize=False, **kw)

    def batch(self, texts):
        return self.tok(texts, return_tensors="pt", padding=True, add_special_tokens=False)

    def timed(self, name, fn):
        start = time.time()
        tokens = fn()
        seconds = time.time() - start
        self.result[name] = dict(seconds=round(seconds, 2), tokens=tokens,
                                 per_second=round(tokens / seconds, 1) if tokens else None)
        print(name, self.result[name], flush=True)

    # ---- data: both personas answer every cell of the grid -------------------------------------------------------
    @torch.no_grad()
    def data(self):
        o, b = self.o, self.behavior
        self.base = self.load()
        grid = [(t, p) for t in range(o.topics) for p in range(o.personas) for _ in range(o.samples)]
        random.Random(o.seed).shuffle(grid)
        torch.manual_seed(o.seed)
        self.rows, tokens = [dict(prompt=b["topics"][t]) for t, _ in grid], 0
        for side in ("pos", "neg"):
            system = [b["system_template"].replace("{persona}", p[side]) for p in b["personas"]]
            texts = [self.render([dict(role="system", content=system[p]), dict(role="user", content=b["topics"][t])],
                                 add_generation_prompt=True) for t, p in grid]
            for i in range(0, len(texts), o.batch):
                x = self.batch(texts[i:i + o.batch])
                y = self.base.generate(**x, max_new_tokens=o.tokens, do_sample=True, temperature=0.7, top_p=0.8,
                                       top_k=20, pad_token_id=self.tok.pad_token_id)[:, x["input_ids"].shape[1]:]
                for j, ids in enumerate(y):
                    self.rows[i + j][side] = self.tok.decode(ids, skip_special_tokens=True).strip()
                    tokens += int((ids != self.tok.pad_token_id).sum())
        with open(self.path("pairs.jsonl"), "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in self.rows)
        return tokens

    def read_rows(self):
        with open(self.path("pairs.jsonl")) as f:
            self.rows = [json.loads(line) for line in f]

    # ---- train: PEFT LoRA on the answers of one side ---------------------------------------------------------------
    def encode(self, row, side):
        user = dict(role="user", content=row["prompt"])
        ids = lambda text: self.tok(text, add_special_tokens=False)["input_ids"]
        head = ids(self.render([user], add_generation_prompt=True))
        full = ids(self.render([user, dict(role="assistant", content=row[side])]))[:512]
        n = min(len(head), len(full))
        return full, [-100] * n + full[n:]

    def loss(self, model, rows):
        n = max(len(x) for x, _ in rows)
        pad = lambda v, fill: torch.tensor([list(x) + [fill] * (n - len(x)) for x in v])
        return model(input_ids=pad([x for x, _ in rows], self.tok.pad_token_id),
                     attention_mask=pad([[1] * len(x) for x, _ in rows], 0),
                     labels=pad([y for _, y in rows], -100)).loss

    def train(self, side):
        o = self.o
        torch.manual_seed(o.seed)
        model = self.load()
        n_layers = model.config.num_hidden_layers
        layers = list(range(round(0.3 * n_layers), round(0.8 * n_layers)))
        model = get_peft_model(model, LoraConfig(r=32, lora_alpha=64, bias="none", task_type="CAUSAL_LM",
                                                 layers_to_transform=layers, target_modules=TARGETS))
        model.train()
        rows = [self.encode(r, side) for r in self.rows]
        random.Random(o.seed).shuffle(rows)
        held, rows = rows[:max(1, len(rows) // 10)], rows[max(1, len(rows) // 10):]
        params = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(params, lr=2e-4, weight_decay=0.01)
        total, step, tokens = math.ceil(len(rows) / 16) * o.epochs, 0, 0
        for epoch in range(o.epochs):
            random.Random(epoch).shuffle(rows)
            for i in range(0, len(rows), 16):
                group = rows[i:i + 16]
                for g in optimizer.param_groups:
                    g["lr"] = 2e-4 * (step / 5 if step < 5 else max(0, total - step) / max(1, total - 5))
                for j in range(0, len(group), 4):
                    part = group[j:j + 4]
                    (self.loss(model, part) * len(part) / len(group)).backward()
                    tokens += sum(len(x) for x, _ in part)
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
        with torch.no_grad():
            held_loss = float(np.mean([self.loss(model, [row]).item() for row in held]))
        print("train", side, "steps", step, "held-out loss %.4f" % held_loss, flush=True)
        model.save_pretrained(self.path(side))
        torch.save({k: v.detach().float() for k, v in model.state_dict().items() if "lora_" in k}, self.path(side + ".pt"))
        return tokens

    def train_both(self):
        return sum(self.train(side) for side in ("pos", "neg"))

    # ---- diff: dense dW ---------------------------------------------------------------------------------------------
    def diff(self):
        self.base = self.base or self.load()
        self.factors = {side: torch.load(self.path(side + ".pt")) for side in ("pos", "neg")}
        names = sorted({k.split(".lora_")[0] for k in self.factors["pos"]})
        merged = lambda s, n: 2.0 * self.factors[s][n + ".lora_B.default.weight"] @ self.factors[s][n + ".lora_A.default.weight"]
        self.dW = {n.replace("base_model.model.", "") + ".weight": merged("pos", n) - merged("neg", n) for n in names}
        weights = dict(self.base.named_parameters())
        self.weights = {k: weights[k] for k in self.dW}
        self.original = {k: w.data.clone() for k, w in self.weights.items()}

    def steer(self, alpha):
        for k, w in self.weights.items():
            w.data.copy_((self.original[k].float() + alpha * self.dW[k]).to(self.dtype))

    # ---- calibrate: p95 of KL(steered || base) along steered greedy text -------------------------------------------
    @torch.no_grad()
    def p95(self, alpha):
        o, out = self.o, []
        for i in range(0, len(self.prompts), o.batch):
            x = self.batch(self.prompts[i:i + o.batch])
            n = x["input_ids"].shape[1]
            self.steer(alpha)
            ids = self.base.generate(**x, max_new_tokens=o.kl_tokens, min_new_tokens=o.kl_tokens, do_sample=False,
                                     pad_token_id=self.tok.pad_token_id)
            mask = torch.cat([x["attention_mask"], torch.ones_like(ids[:, n:])], 1)
            kw = dict(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
            steered = self.base(**kw).logits[:, n - 1:-1].float().log_softmax(-1)
            self.steer(0.0)
            base = self.base(**kw).logits[:, n - 1:-1].float().log_softmax(-1)
            out.append((steered.exp() * (steered - base)).sum(-1).flatten().numpy())
        self.probed += sum(len(v) for v in out)
        return float(np.percentile(np.concatenate(out), 95))

    def alpha(self, sign, target=1.0, lo=0.05, hi=16.0):
        c, points = math.sqrt(lo * hi), []
        f = lambda v: points.append((v, self.p95(sign * v))) or points[-1][1]
        v = f(c)
        if v < target:
            low = (c, v)
            while v < target and c < hi:
                low, c = (c, v), 2 * c
                v = f(c)
            high = (c, v)
        else:
            high = (c, v)
            while v > target and c > lo:
                high, c = (c, v), c / 2
                v = f(c)
            low = (c, v)
        for _ in range(12):
            if abs(v - target) < 0.05 or not low[1] < target < high[1]:
                break
            share = (math.log(target) - math.log(low[1])) / (math.log(high[1]) - math.log(low[1]))
            c = math.exp(math.log(low[0]) + share * (math.log(high[0]) - math.log(low[0])))
            v = f(c)
            low, high = ((c, v), high) if v < target else (low, (c, v))
        return sign * min(points, key=lambda q: abs(q[1] - target))[0], len(points)

    def calibrate(self):
        with open(os.path.join(self.o.data, "prompts.jsonl")) as f:
            pool = [json.loads(line)["text"] for line in f]
        random.Random(self.o.seed).shuffle(pool)
        self.prompts = [self.render([dict(role="user", content=t)], add_generation_prompt=True) for t in pool[:self.o.kl_prompts]]
        self.probed = 0
        self.alphas, self.probes = zip(*(self.alpha(s) for s in (1, -1)))
        with open(self.path("alphas.json"), "w") as f:
            json.dump(self.alphas, f)
        return self.probed

    # ---- evaluate: vignettes, answer position only -----------------------------------------------------------------
    @torch.no_grad()
    def evaluate(self):
        with open(self.path("alphas.json")) as f:
            self.alphas = json.load(f)
        texts = []
        word = lambda i: self.tok.decode([i]).strip().lstrip('"*#').rstrip('"').strip().lower()
        words = [word(i) for i in range(self.tok.vocab_size)]
        yes, no = ([i for i, w in enumerate(words) if w in of] for of in (("true", "1"), ("false", "0")))
        for name in ("other_violate", "self_violate"):
            with open(os.path.join(self.o.data, "vignettes", name + ".jsonl")) as f:
                for line in list(f)[:self.o.vignettes]:
                    for field in ("is_wrong", "is_acceptable"):
                        question = json.loads(line)["text"] + '\nAnswer with one JSON object that has the single boolean field "%s" and nothing else.' % field
                        texts.append(self.render([dict(role="user", content=question), dict(role="assistant", content='{"%s": ' % field)],
                                                 continue_final_message=True))
        for alpha in (0.0,) + tuple(self.alphas):
            self.steer(alpha)
            for i in range(0, len(texts), self.o.batch):
                lp = self.base(**self.batch(texts[i:i + self.o.batch]), logits_to_keep=1).logits[:, -1].float().log_softmax(-1)
                (lp[:, yes].logsumexp(-1) - lp[:, no].logsumexp(-1)).tolist()
        return 3 * len(texts)


def main():
    o = options()
    os.makedirs(o.out, exist_ok=True)
    if o.threads:
        torch.set_num_threads(o.threads)
    chain, wanted = Chain(o), o.stages.split(",")
    if "train" in wanted and "data" not in wanted:
        chain.read_rows()
    if "diff" not in wanted and ("calibrate" in wanted or "eval" in wanted):
        chain.diff()
    for name, stage in dict(data=chain.data, train=chain.train_both, diff=chain.diff, calibrate=chain.calibrate,
                            eval=chain.evaluate).items():
        if name in wanted:
            chain.timed(name, stage)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(dict(dtype=o.dtype, threads=torch.get_num_threads(), stages=chain.result, alphas=chain.alphas,
                          probes=chain.probes, peak_mib=peak)))


if __name__ == "__main__":
    main()
