"""Writes tests/fixtures/steer/<model>/: the hidden-state methods of pipeline.md 8, written down a second time in numpy, in double,
from the text of the specification alone, on tiny models of tests/fixtures/models.
Usage: make_steer.py            (from the repository's root; torch, transformers, numpy, safetensors; versions in expected.json)

  states.safetensors   H+, H- and a neutral corpus [n, d] at every block and linear (a ws-states file; fp32 of the doubles);
                       variants with "small" take a tenth of them: costs at which chars' clamped coupling has mass in part
  expected.st          ids: pos.I, neg.I, neutral.I (prompts), row (a test row)
                       y.<site> [3, d]: states to be mapped, taken from the test row
                       <variant>/<site>/<key>: what is drawn from the states (S-space: sqrtS and dS_hat; U up to signs is not)
                       <variant>/<site>/to.J [3, d]: those states mapped at the variant's strength J, C = strengths[J]
                       <variant>/logits.J [2, vocab]: of the test row at POSITIONS with the vectors hung in the model
  expected.json        variants: name, method, cfg (as `ws extract`'s options), strengths; layers; versions
Weights are read from the fixture and everything after them is double (Qwen3.5: the modelling code with its fp32 islands made
double, see make_qwen35.py; llama: RMSNorm and RoPE keep transformers' fp32).
"""
import json, os, re, shutil
import numpy as np, torch, transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM
from make_qwen35 import in_double

ROOT, SEED, PAIRS, POSITIONS = "tests/fixtures/steer", 20261128, 16, [9, 19]
LINEARS = re.compile(r"mlp\.down_proj|self_attn\.o_proj")
EPS = 1e-8
torch.set_num_threads(1)

MODELS = {"llama": (0, 2), "llama_bias": (0, 2), "qwen35_1x": (0, 3)}  # layers [first, last)
additive = [2.0, -3.0]
VARIANTS = [
    ("mean_diff", "mean_diff", {}, additive),
    ("mean_centred", "mean_centred", {}, additive),
    ("mean_centred_neutral", "mean_centred", dict(neutral=1), additive),
    ("pca", "pca", {}, additive),
    ("pca_vote", "pca", dict(pca_vote=1), additive),
    ("topk_clusters", "topk_clusters", dict(clusters=4), additive),
    ("topk_clusters_3", "topk_clusters", dict(clusters=3, seed=5), additive),
    ("cosine_gated", "cosine_gated", dict(tau=0.0), [9.0, -9.0]),
    ("cosine_gated_tau", "cosine_gated", dict(tau=0.1), [9.0, -9.0]),
    ("directional_ablation", "directional_ablation", {}, [2.0, -0.5]),
    ("spherical", "spherical", {}, [0.3, -0.2, 1.0]),
    ("angular_steering", "angular_steering", {}, [0.5, -2.0]),
    ("linear_act", "linear_act", {}, [0.4, -0.4, 1.0]),
    ("chars", "chars", dict(clusters=4), [0.5, -0.5, 1.0]),
    ("chars_sigma", "chars", dict(clusters=3, sigma=2.5, seed=1), [0.5]),
    ("chars_small", "chars", dict(clusters=4, small=1), [0.5, -1.0]),
    ("chars_small_clamp", "chars", dict(clusters=4, small=1, clamp=1), [0.5, -1.0]),
    ("sspace", "sspace", dict(rank=0), [9.0, -9.0]),
    ("sspace_8", "sspace", dict(rank=8), [9.0, -9.0]),
    ("sspace_ablate", "sspace_ablate", dict(rank=0), [3.0, -3.0]),
    ("sspace_ablate_8", "sspace_ablate", dict(rank=8), [3.0, -3.0]),
    ("sspace_damp_amp", "sspace_damp_amp", dict(rank=0), [3.0, -3.0]),
    ("sspace_damp_amp_8", "sspace_damp_amp", dict(rank=8), [9.0, -3.0]),
    ("super_sspace", "super_sspace", dict(rank=0), [9.0, -9.0]),
    ("super_sspace_8", "super_sspace", dict(rank=8), [9.0, -9.0]),
    ("repeng", "repeng", {}, additive),
]


def norm(x): return np.sqrt((x * x).sum(-1))
def unit(x): return x / (norm(x)[..., None] + EPS)


def first_direction(x):
    """First right singular vector of the centred rows, some sign."""
    return np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]


def kmeans(x, k, seed, keep_old):
    """Cosine k-means; torch draws the rows, as the reference does."""
    g = torch.Generator().manual_seed(seed)
    c = x[torch.randperm(len(x), generator=g)[:k].numpy()].copy()
    for _ in range(20):
        of = (unit(x) @ unit(c).T).argmax(1)
        new = np.empty_like(c)
        for j in range(k):
            if (of == j).any(): new[j] = x[of == j].mean(0)
            else:
                assert keep_old, "empty cluster"
                new[j] = x[torch.randperm(len(x), generator=g)[0].item()]
        still = (np.abs(new - c) <= 1e-6 + 1e-5 * np.abs(c)).all()
        if not (still and keep_old): c = new
        if still: break
    return c, np.bincount(of, minlength=k) / len(x)


def sinkhorn(cost, p, q, clamp):
    if clamp:  # fp32 throughout, as the reference computes it
        f = np.float32
        K, p, q = np.exp(-cost / 0.1).astype(f), p.astype(f), q.astype(f)
        u = np.ones(len(p), f)
        for _ in range(50):
            v = q / np.maximum(K.T @ u, f(1e-8))
            u = p / np.maximum(K @ v, f(1e-8))
        return (u[:, None] * K * v[None]).astype(np.float64)
    lu, lK = np.zeros(len(p)), -cost / 0.1
    for _ in range(50):
        lv = np.log(q) - np.logaddexp.reduce(lK + lu[:, None], axis=0)
        lu = np.log(p) - np.logaddexp.reduce(lK + lv[None], axis=1)
    return np.exp(lu[:, None] + lK + lv[None])


class Block:
    """A method at one block: state from H+ and H-, and the map."""
    def __init__(self, method, cfg, P, N, neutral):
        D, mean = P - N, P.mean(0) - N.mean(0)
        s = self.s = {}
        self.method, self.cfg = method, cfg
        if method in ("mean_diff", "cosine_gated", "directional_ablation", "spherical"): s["v"] = unit(mean)
        elif method == "mean_centred": s["v"] = unit(P.mean(0) - (neutral.mean(0) if cfg.get("neutral") else np.concatenate([P, N]).mean(0)))
        elif method == "pca":
            v = first_direction(D)
            if cfg.get("pca_vote"):
                proj = (D - D.mean(0)) @ v
                up = (proj > 0).sum()
                sign = 1 if up * 2 > len(D) else -1 if up * 2 < len(D) else np.sign(proj[np.abs(proj).argmax()])
            else: sign = np.sign(v @ mean)
            s["v"] = v * sign
        elif method == "repeng":
            v = first_direction(D)
            votes = (P @ v > N @ v).sum() - (P @ v < N @ v).sum()
            s["v"] = v * (np.sign(votes) if votes else np.sign(v @ mean))
        elif method == "topk_clusters":
            c, _ = kmeans(D, cfg["clusters"], cfg.get("seed", 0), True)
            s["C"] = unit(np.where((c @ mean < 0)[:, None], -c, c))
        elif method == "angular_steering":
            s["b1"] = unit(mean)
            p = first_direction(unit(D))
            b2 = unit(p - (p @ s["b1"]) * s["b1"])
            s["b2"] = b2 * np.sign(b2[np.abs(b2).argmax()])
        elif method == "linear_act":
            a, b = np.sort(N, 0), np.sort(P, 0)
            ma, mb = a.mean(0), b.mean(0)
            s["omega"] = ((a - ma) * (b - mb)).sum(0) / ((a - ma) ** 2).sum(0)
            s["beta"] = mb - s["omega"] * ma
        elif method == "chars":
            seed = cfg.get("seed", 0)
            s["a"], s["p"] = kmeans(N, cfg["clusters"], seed, False)
            s["b"], q = kmeans(P, cfg["clusters"], seed + 1, False)
            cost = ((s["a"][:, None] - s["b"][None]) ** 2).sum(-1)
            s["P"] = sinkhorn(cost, s["p"], q, cfg.get("clamp"))

    def __call__(self, y, C):
        s, m = self.s, self.method
        if m in ("mean_diff", "mean_centred", "pca", "repeng"): return y + C * s["v"]
        if m == "topk_clusters": return y + C * s["C"][(unit(y) @ unit(s["C"]).T).argmax(-1)]
        if m == "cosine_gated": return y + C * np.maximum(0, np.abs(unit(y) @ unit(s["v"])) - self.cfg["tau"])[..., None] * s["v"]
        if m == "directional_ablation": return y - (y @ s["v"])[..., None] * s["v"] + C * s["v"]
        if m == "spherical":
            h = y / norm(y)[..., None]
            W = np.arccos(np.clip(h @ s["v"], -1, 1))[..., None]
            return norm(y)[..., None] * (np.sin((1 - C) * W) * h + np.sin(C * W) * s["v"]) / np.sin(W)
        if m == "angular_steering":
            Py = (y @ s["b1"])[..., None] * s["b1"] + (y @ s["b2"])[..., None] * s["b2"]
            return y - Py + norm(Py)[..., None] * (np.cos(C) * s["b1"] + np.sin(C) * s["b2"])
        if m == "linear_act": return (1 - C) * y + C * (s["omega"] * y + s["beta"])
        if m == "chars":
            d = ((y[..., None, :] - s["a"]) ** 2).sum(-1)
            width = self.cfg["sigma"] ** 2 if self.cfg.get("sigma") else np.maximum(np.sort(d, -1)[..., (d.shape[-1] - 1) // 2], 1e-8)[..., None]
            k = np.exp(-d / (2 * width) + d.min(-1)[..., None] / (2 * width))
            shift = np.einsum("...i,ij,ijd->...d", k, s["P"], s["b"][None] - s["a"][:, None])
            return y + C * shift / np.maximum(k @ s["P"].sum(1), 1e-8)[..., None]


class SSpace:
    def __init__(self, method, cfg, P, N, U, S, b, vote):
        self.method, self.b = method, b
        if vote:
            up = ((P - b) @ U > (N - b) @ U).sum(0)
            U = np.where(up * 2 < len(P), -U, U)
            ties = up * 2 == len(P)
        else: ties = np.zeros(U.shape[1], bool)
        dS = ((P - b) @ U / np.sqrt(S)).mean(0) - ((N - b) @ U / np.sqrt(S)).mean(0)
        if method == "sspace_damp_amp":
            turn = ties & (dS < 0)
            U, dS = np.where(turn, -U, U), np.where(turn, -dS, dS)
        if cfg["rank"]:
            keep = np.sort(np.argsort(-np.abs(dS), kind="stable")[:cfg["rank"]])
            U, S, dS = U[:, keep], S[keep], dS[keep]
        self.U, self.root, self.dS = U, np.sqrt(S), unit(dS)
        self.s = {"sqrtS": self.root, "dS_hat": self.dS}

    def __call__(self, y, C):
        z = (y - self.b) @ self.U
        x = z / self.root
        if self.method in ("sspace", "super_sspace"): return y + (C * np.abs(unit(x) @ unit(self.dS))[..., None] * self.dS * self.root) @ self.U.T
        if self.method == "sspace_ablate": return y + ((C - x @ self.dS)[..., None] * self.dS * self.root) @ self.U.T
        return y + (z * (np.exp(np.clip(C * self.dS, -4, 4)) - 1)) @ self.U.T


def load(name):
    plain = AutoModelForCausalLM.from_pretrained("tests/fixtures/models/" + name, dtype=torch.float32, attn_implementation="eager").eval()
    if not name.startswith("qwen35"): return plain.double()
    exact = in_double().Qwen3_5ForCausalLM(plain.config).eval().double()
    exact.load_state_dict(plain.state_dict())
    return exact


def main():
    shutil.rmtree(ROOT, ignore_errors=True)
    for number, (name, (first, last)) in enumerate(MODELS.items()):
        model = load(name)
        V, d = model.config.vocab_size, model.config.hidden_size
        g = torch.Generator().manual_seed(SEED + number)
        layers = {l: model.model.layers[l] for l in range(first, last)}
        sites = {"layer%d" % l: m for l, m in layers.items()}
        for l, m in layers.items():
            for path, lin in m.named_modules():
                if isinstance(lin, torch.nn.Linear) and LINEARS.fullmatch(path): sites["sub::layers.%d.%s" % (l, path)] = lin

        seen = {}
        def hook(site, edit=None):
            def f(mod, inp, out):
                h = out[0] if isinstance(out, tuple) else out
                if edit: h = torch.from_numpy(edit(h.detach().numpy()))
                seen[site] = h.detach().numpy()[0]
                return (h,) + tuple(out[1:]) if isinstance(out, tuple) else h
            return f
        def run(ids, edits={}):
            handles = [m.register_forward_hook(hook(s, edits.get(s))) for s, m in sites.items()]
            with torch.no_grad(): logits = model(ids[None], use_cache=False).logits[0]
            for h in handles: h.remove()
            return logits.double().numpy()

        draw = lambda n: torch.randint(3, V, (n,), generator=g)
        personas = [[draw(4) for _ in range(3)] for _ in range(2)]
        pairs, neutral = [], []
        for i in range(PAIRS):
            tail = draw(4 + i % 5)
            pairs.append([torch.cat([personas[k][int(torch.randint(0, 3, (1,), generator=g))], tail]) for k in range(2)])
            neutral.append(torch.cat([draw(3), tail]))
        row = draw(20)
        H = {s: [[], [], []] for s in sites}
        for k, prompts in enumerate([[p[0] for p in pairs], [p[1] for p in pairs], neutral]):
            for ids in prompts:
                run(ids)
                for s in sites: H[s][k].append(seen[s][-1].copy())
        H = {s: [np.stack(x) for x in h] for s, h in H.items()}
        out, json_variants = {"row": row.int().numpy()}, []
        base = run(row)
        Y = {s: seen[s][[3, 11, 19]].copy() for s in sites}
        out["logits"] = base[POSITIONS].astype(np.float32)
        for s in sites: out["y." + s] = Y[s].astype(np.float32)
        for i in range(PAIRS):
            for k, what in enumerate(["pos", "neg"]): out["%s.%d" % (what, i)] = pairs[i][k].int().numpy()
            out["neutral.%d" % i] = neutral[i].int().numpy()

        frames = {}
        total = np.zeros((d, d))
        for l, m in layers.items():
            for path, lin in m.named_modules():
                if not isinstance(lin, torch.nn.Linear): continue
                W = lin.weight.detach().numpy()
                if W.shape[0] == d != W.shape[1]: total += W @ W.T
                if W.shape[1] == d != W.shape[0]: total += W.T @ W
                site = "sub::layers.%d.%s" % (l, path)
                if site in sites:
                    U, S, _ = np.linalg.svd(W, full_matrices=False)
                    frames[site] = (U, S, lin.bias.detach().numpy() if lin.bias is not None else 0.0)
        L, U = np.linalg.eigh(total)
        super_frame = (U[:, ::-1], np.maximum(np.sqrt(np.maximum(L[::-1], 0)), 1e-16))

        for vname, method, cfg, strengths in VARIANTS:
            if name == "llama_bias" and "sspace" not in method: continue  # its biases are what it is for
            edits, scale = {}, 0.1 if cfg.get("small") else 1
            for s in sites:
                P, N, Z = [(x.astype(np.float32) * np.float32(scale)).astype(np.float64) for x in H[s]]
                linear = s.startswith("sub::")
                if linear != method.startswith("sspace"): continue
                if linear: f = SSpace(method, cfg, P, N, *frames[s], True)
                elif method == "super_sspace": f = SSpace(method, cfg, P, N, *super_frame, 0.0, False)
                else: f = Block(method, cfg, P, N, Z)
                edits[s] = f
                for key, x in f.s.items(): out["%s/%s/%s" % (vname, s, key)] = np.asarray(x, np.float32)
                for j, C in enumerate(strengths):
                    out["%s/%s/to.%d" % (vname, s, j)] = f(Y[s].astype(np.float32).astype(np.float64), C).astype(np.float32)
            for j, C in enumerate(strengths):
                logits = run(row, {s: (lambda y, f=f: f(y, C)) for s, f in edits.items()})
                assert np.isfinite(logits).all(), vname
                out["%s/logits.%d" % (vname, j)] = logits[POSITIONS].astype(np.float32)
            json_variants.append(dict(name=vname, method=method, cfg=cfg, strengths=strengths))
        where = os.path.join(ROOT, name)
        os.makedirs(where)
        t = {}
        for s, h in H.items():
            for k, what in enumerate(["pos", "neg", "neutral"]): t[s + ("::" if s.startswith("sub::") else ".") + what] = np.ascontiguousarray(h[k].astype(np.float32))
        save_file(t, os.path.join(where, "states.safetensors"), metadata=dict(format="ws-states", version="1", base_hash="reference", base_name=name))
        save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, os.path.join(where, "expected.st"))
        json.dump(dict(torch=torch.__version__, transformers=transformers.__version__, numpy=np.__version__, seed=SEED + number, layers=[first, last],
                       pairs=PAIRS, positions=POSITIONS, variants=json_variants), open(os.path.join(where, "expected.json"), "w"), indent=1)
        size = sum(os.path.getsize(os.path.join(where, f)) for f in os.listdir(where))
        print(name, size, "bytes; median |h|", {s: round(float(np.median(norm(h[0]))), 2) for s, h in H.items()})


main()
