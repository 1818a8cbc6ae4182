"""Writes tests/fixtures/geometry/oracle.json: what numpy finds about contrasts on the tiny llama of tests/fixtures/peft/model.
Usage: make_geometry.py OUT_DIR           (from the root of the repository)

Whole checkpoints are made by a formula, so that none has to be stored: parameter number k (names sorted) of side c gets
    w[i] = float32(w[i] + scale(c, name) sin((7 i^2 + 13 i + 31 k + 1000 c) mod 9973))        i: place in row-major order
scale: 0.02 (c = 0) and 0.03 (c = 1) for the matrices of linears, a quarter of it for everything else.  A tied head is no parameter.

whole    pos - neg: by kind (name without "model.layers.N."): squares full, lost (after the best RANK factors of every matrix, numpy.linalg.svd),
         left: squares of parameters that are no linear's; norms and products of the sides over the linears
lora     the contrast of tests/fixtures/peft/pos and neg, PEFT's deltas in double:
         subspace.<module>: share, null, head_share, head_null of pipeline.md 4 (numpy.linalg.svd);  layers: ||dW|| by layer
         monitor: cosines of pos, of neg and of the checkpoint of c = 0 with dW, in all and by layer
dense    the subspace report for the contrast of the whole checkpoints
"""
import json, os, shutil, sys, warnings
import numpy as np, torch, transformers, peft
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import LlamaForCausalLM
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
OUT, BASE, RANK = sys.argv[1], "tests/fixtures/peft/model", 5
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT)
W = load_file(os.path.join(BASE, "model.safetensors"))
names = sorted(W)
linear = lambda n: n.endswith("_proj.weight")
kind = lambda n: n.split(".", 3)[3].removesuffix(".weight") if linear(n) else (n.split(".", 3)[3] if ".layers." in n else n)
layer = lambda n: int(n.split(".")[2])

def side(c):
    out = {}
    for k, n in enumerate(names):
        i = np.arange(W[n].size, dtype=np.int64)
        s = (0.02, 0.03)[c] * (1 if linear(n) else 0.25)
        d = s * np.sin(((7 * i * i + 13 * i + 31 * k + 1000 * c) % 9973).astype(np.float64))
        out[n] = (W[n].astype(np.float64).ravel() + d).astype(np.float32).reshape(W[n].shape)
    return out

d64 = lambda a: a.astype(np.float64)
P, N = side(0), side(1)
J = dict(rank=RANK, versions={m.__name__: m.__version__ for m in (np, torch, transformers, peft)})

# ---- whole checkpoints
full, lost, left = {}, {}, {}
tot = dict(pp=0., nn=0., pn=0., dd=0., ww=0.)
for n in names:
    p, q, D = d64(P[n]) - d64(W[n]), d64(N[n]) - d64(W[n]), d64(P[n]) - d64(N[n])
    if not linear(n):
        left[kind(n)] = left.get(kind(n), 0) + float((D ** 2).sum()); continue
    s = np.linalg.svd(D, compute_uv=False)
    full[kind(n)] = full.get(kind(n), 0) + float((D ** 2).sum()); lost[kind(n)] = lost.get(kind(n), 0) + float((s[RANK:] ** 2).sum())
    for key, v in dict(pp=p * p, nn=q * q, pn=p * q, dd=D * D, ww=d64(W[n]) ** 2).items(): tot[key] += float(v.sum())
J["whole"] = dict(full=full, lost=lost, left=left, **tot)

# ---- subspace: pipeline.md 4
head = d64(W.get("lm_head.weight", W["model.embed_tokens.weight"]))
Vh = np.linalg.svd(head, full_matrices=False)[2]
rh = min(head.shape); kh = max(1, round(0.01 * rh)); weak = Vh[rh - kh:rh]
def subspace(w, D, name):
    U, s, Vt = np.linalg.svd(d64(w), full_matrices=False)
    r = min(w.shape); k = max(1, round(0.1 * r)); M = U.T @ D @ Vt.T
    out = dict(share=float((M[:k, :k] ** 2).sum() / (M ** 2).sum()), null=(k / r) ** 2)
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        out.update(head_share=float(((weak @ D) ** 2).sum() / (D ** 2).sum()), head_null=kh / rh)
    return out
J["dense"] = {n: subspace(W[n], d64(P[n]) - d64(N[n]), n) for n in names if linear(n)}

base = lambda: LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()
def deltas(which):
    m = PeftModel.from_pretrained(base(), "tests/fixtures/peft/" + which).double()
    return {n.replace("base_model.model.", "") + ".weight": l.get_delta_weight("default").detach().numpy() for n, l in m.named_modules() if hasattr(l, "lora_A")}
dp, dn = deltas("pos"), deltas("neg")
D = {n: dp.get(n, 0) - dn.get(n, 0) for n in names if n in dp or n in dn}
C = {n: d64(P[n]) - d64(W[n]) for n in names if linear(n)}
def monitor(a):
    dot = lambda x, y, l: sum(float((x[n] * y[n]).sum()) for n in x if n in y and (l is None or layer(n) == l))
    c = lambda l: dot(a, D, l) / (dot(a, a, l) * dot(D, D, l)) ** .5 if dot(a, a, l) * dot(D, D, l) > 0 else None
    return dict(all=c(None), layers=[c(l) for l in range(4)], norm=dot(a, a, None) ** .5)
J["lora"] = dict(subspace={n: subspace(W[n], D[n], n) for n in D}, layers=[sum(float((D[n] ** 2).sum()) for n in D if layer(n) == l) ** .5 for l in range(4)],
                 monitor=dict(pos=monitor(dp), neg=monitor(dn), checkpoint=monitor(C)))
json.dump(J, open(os.path.join(OUT, "oracle.json"), "w"), separators=(",", ":"))
print({k: round(lost[k] / full[k], 4) for k in full}, {k: round(v, 5) for k, v in left.items()})
print(J["lora"]["monitor"], len(D))
