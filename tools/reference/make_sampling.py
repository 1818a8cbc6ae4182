"""Writes tests/fixtures/sampling.json: what transformers' logits processors keep, and with which probability.
Settings and logits vary; ties and masked tokens are among them.  Order of the processors: temperature, top_k, top_p, min_p.
The arithmetic runs in double, so that a kept set does not depend on how a sum of fp32 numbers was ordered; the logits
themselves are fp32 numbers on a grid of 1/256, which JSON holds exactly.
Usage: make_sampling.py > tests/fixtures/sampling.json"""
import json, sys
import torch, transformers
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, MinPLogitsWarper

SEED = 7
g = torch.Generator().manual_seed(SEED)

def grid(x):
    return torch.round(x * 256) / 256

def logits(kind, n):
    if kind == "peaked":
        return grid(torch.randn(n, generator=g) * 4)
    if kind == "flat":
        return grid(torch.randn(n, generator=g) * 0.05)
    if kind == "ties":
        return torch.round(torch.randn(n, generator=g) * 2)
    if kind == "equal":
        return torch.full((n,), 1.5)
    if kind == "masked":
        x = grid(torch.randn(n, generator=g) * 3)
        x[torch.randperm(n, generator=g)[: n // 3]] = -float("inf")
        return x
    raise ValueError(kind)

SETTINGS = [dict(temperature=t, top_k=k, top_p=p, min_p=m) for t, k, p, m in [
    (1.0, 0, 1.0, 0.0), (0.7, 20, 0.8, 0.0), (0.6, 20, 0.95, 0.0), (1.0, 5, 1.0, 0.0), (1.0, 1, 1.0, 0.0),
    (1.0, 0, 0.9, 0.0), (0.3, 0, 0.5, 0.0), (2.0, 0, 0.99, 0.0), (1.0, 0, 1.0, 0.1), (0.8, 0, 0.9, 0.05),
    (1.0, 40, 0.95, 0.02), (1.0, 1000, 0.9, 0.0), (0.05, 0, 0.9, 0.0), (1.0, 0, 0.01, 0.0)]]

cases, rows = [], {}
for kind, n in [("peaked", 300), ("flat", 80), ("ties", 200), ("equal", 31), ("masked", 120)]:
    x = logits(kind, n)
    for s in SETTINGS:
        scores = x.double()[None]
        scores = TemperatureLogitsWarper(s["temperature"])(None, scores) if s["temperature"] != 1.0 else scores
        if s["top_k"]:
            scores = TopKLogitsWarper(s["top_k"])(None, scores)
        if s["top_p"] < 1:
            scores = TopPLogitsWarper(s["top_p"])(None, scores)
        if s["min_p"] > 0:
            scores = MinPLogitsWarper(s["min_p"])(None, scores)
        p = scores.softmax(-1)[0]
        ids = torch.nonzero(p > 0).flatten().tolist()
        cases.append(dict(logits=kind, **s, ids=ids, p=[float("%.12g" % p[i]) for i in ids]))
    rows[kind] = [None if v == -float("inf") else v for v in x.tolist()]

json.dump({"made_by": "tools/reference/make_sampling.py", "transformers": transformers.__version__,
           "torch": torch.__version__, "seed": SEED, "logits": rows, "cases": cases}, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
