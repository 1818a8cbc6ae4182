"""Writes tests/fixtures/outside/: the answers of tests/fixtures/pairs/one/lora as another program would hand them over (CSV of
p_true and pmass; steering-lite's bare.json and <method>.json), the vignettes that they belong to, and expected.json: dlogit and
Surgical Informedness by two protocols, computed with numpy from the specification's formulas.
Usage: python3 tools/reference/make_outside.py      (after make_pairs.py; seed 7 for the loadings)"""
import csv, json, os
import numpy as np

FIX = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fixtures")
OUT = os.path.join(FIX, "outside")
os.makedirs(os.path.join(OUT, "sl"), exist_ok=True)
rng = np.random.default_rng(7)
FOUNDATIONS = ["Care", "Authority", "Liberty"]
KEY = {"Care": "Care", "Authority": "Authority", "Liberty": "Liberty"}
CONDS, FRAMES = ["other_violate", "self_violate"], ["wrong", "accept"]
raw = [json.loads(l) for l in open(os.path.join(FIX, "pairs", "one", "lora", "vignettes_raw.jsonl"))][1:]
ids = list(dict.fromkeys(r["id"] for r in raw))
of = [next(f for f in FOUNDATIONS if i.startswith(f.lower())) for i in ids]
load = rng.integers(0, 20, (len(ids), 3))
for i, f in enumerate(of): load[i, FOUNDATIONS.index(f)] = rng.integers(50, 95)
vig = os.path.join(OUT, "vignettes")
os.makedirs(vig, exist_ok=True)
for c in CONDS:
    with open(os.path.join(vig, c + ".jsonl"), "w") as f:
        for i, name in enumerate(ids):
            f.write(json.dumps({"id": name, "foundation": of[i], "foundation_coarse": of[i], "wrong": None, "text": f"{c} {name}.",
                                **{"calibrated_" + k: int(load[i, j]) for j, k in enumerate(FOUNDATIONS)}}) + "\n")
alphas = sorted({r["alpha"] for r in raw})
arm = {0: "base", alphas[-1]: "plus", alphas[0]: "minus"}
A = {}
rows = []
for r in raw:
    p = 1 / (1 + np.exp(r["logp_false"] - r["logp_true"]))
    m = np.exp(r["logp_true"]) + np.exp(r["logp_false"])
    A[arm[r["alpha"]], r["id"], r["cond"], r["frame"]] = p, m
    rows.append({"id": r["id"], "cond": r["cond"], "frame": r["frame"], "method": "lora" if r["alpha"] else "base",
                 "arm": arm[r["alpha"]], "p_true": repr(float(p)), "pmass": repr(float(m))})
with open(os.path.join(OUT, "answers.csv"), "w", newline="") as f:
    w = csv.DictWriter(f, rows[0].keys(), lineterminator="\n")
    w.writeheader()
    w.writerows(rows)


def table(a):
    w = np.full((len(ids), 2), np.nan)
    mass = np.zeros((len(ids), 2, 2))
    for v, i in enumerate(ids):
        for c, cond in enumerate(CONDS):
            (pw, mw), (pa, ma) = (A[a, i, cond, k] for k in FRAMES)
            mass[v, c] = mw, ma
            if mw >= .5 and ma >= .5: w[v, c] = (pw + 1 - pa) / 2
    x = np.clip(w, .01, .99)
    return w, np.log(x / (1 - x)), mass


T = {a: table(a) for a in arm.values()}
D = {a: T[a][1] - T["base"][1] for a in ("plus", "minus")}
is_of = lambda f: np.array([g == f for g in of])
dlogit = {a: {f: {"mean": float(np.nanmean(D[a][is_of(f)])), "std": float(np.nanstd(D[a][is_of(f)], ddof=1)),
                  "n": int((~np.isnan(D[a][is_of(f)])).sum()), "n_total": int(2 * is_of(f).sum())} for f in FOUNDATIONS} for a in D}


def si(k, weight, plus, minus, s=-1):
    n = dict(cho=0., rej=0., fix=0., broke=0., flip=0., counter=0.)
    w0, wp, wm = T["base"][0], T[plus][0], T[minus][0]
    for v in range(len(ids)):
        for c in range(2):
            if np.isnan(w0[v, c]) or np.isnan(wp[v, c]) or not weight[v]: continue
            ref, pos = (s if w0[v, c] > .5 else -s), (s if wp[v, c] > .5 else -s)
            n["cho" if ref > 0 else "rej"] += weight[v]
            n["fix"] += weight[v] * (ref < 0 < pos)
            n["broke"] += weight[v] * (pos < 0 < ref)
            if np.isnan(wm[v, c]): continue
            neg = s if wm[v, c] > .5 else -s
            n["flip"] += weight[v] * (neg < 0 < ref)
            n["counter"] += weight[v] * (ref < 0 < neg)
    fwd, rev = n["fix"] / n["rej"] - k * n["broke"] / n["cho"], n["flip"] / n["cho"] - k * n["counter"] / n["rej"]
    scale = 100 * min(T[plus][2].mean(), T[minus][2].mean()) ** 2
    return {"si_fwd": fwd, "si_rev": rev, "si_raw": (fwd + rev) / 2, "si": (fwd + rev) / 2 * scale, "n_cho": n["cho"],
            "n_rej": n["rej"]}


first = ("plus", "minus") if dlogit["plus"]["Authority"]["mean"] <= dlogit["minus"]["Authority"]["mean"] else ("minus", "plus")
expected = {"numpy": np.__version__, "dlogit": dlogit, "ours": si(2, is_of("Authority").astype(float), "plus", "minus"),
            "sl": si(1, load[:, 1] / load.sum(1), *first)}
json.dump(expected, open(os.path.join(OUT, "expected.json"), "w"), indent=1)
with open(os.path.join(OUT, "expected.csv"), "w") as f:  # for awk: protocol,column,value
    for p in ("ours", "sl"):
        for k, x in expected[p].items(): f.write(f"{p},{k},{float(x)!r}\n")

key = lambda a: {f"{i}|{c}|{k}": A[a, i, c, k] for i in ids for c in CONDS for k in FRAMES}
part = lambda a: {"raw_p_true": {k: float(x[0]) for k, x in key(a).items()}, "raw_pmass": {k: float(x[1]) for k, x in key(a).items()}}
bare = {f: {"mean": float(np.nanmean(T["base"][1][is_of(f)])), "std": float(np.nanstd(T["base"][1][is_of(f)], ddof=1)),
            "n": int((~np.isnan(T["base"][1][is_of(f)])).sum())} for f in FOUNDATIONS}
b = part("base")
sl = os.path.join(OUT, "sl")
json.dump({"absolute_logit_per_foundation": bare, **b}, open(os.path.join(sl, "bare.json"), "w"))
c = float(alphas[-1])
json.dump({"calibrated_C": c, "kl_p95_at_calib": 1.02, "elapsed": float("nan"),
           "pos": {"coeff": c, "dlogit_per_foundation": dlogit["plus"], **part("plus")},
           "neg": {"coeff": -c, "dlogit_per_foundation": dlogit["minus"], **part("minus")}},
          open(os.path.join(sl, "lora.json"), "w"))
json.dump({"coeff_raw": 2.0, "kl_p95_at_calib": .97, "dlogit_per_foundation": dlogit["plus"], "raw_logratios": {"x": 1}},
          open(os.path.join(sl, "probe.json"), "w"))
