"""Writes tests/fixtures/outside/: the answers of tests/fixtures/pairs/one/lora as another program would hand them over (CSV of
p_true and pmass; steering-lite's bare.json and <method>.json), the vignettes that they belong to, and expected.json: dlogit and
Surgical Informedness by two protocols, computed with numpy from the specification's formulas.
The folder sl/ has the keys that steering-lite's own scripts write (wassname/steering-lite at commit fa63e08,
scripts/run_tinymfv_sweep.py, baseline_engineered_prompt.py and baseline_repeng.py): bare, a calibrated method, both prompts, repeng,
one of its first sweeps (coeff_calibrated, no raw_pmass), one of its newer ones (raw_logratios), and a file that is no row.
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


share = load / load.sum(1, keepdims=True)


def weighted(a, f):  # its table: mean and sqrt(E x^2 - mean^2), every cell by its share of f
    x, w = D[a].ravel(), np.repeat(share[:, FOUNDATIONS.index(f)], 2)
    ok = ~np.isnan(x) & (w > 0)
    m = np.average(x[ok], weights=w[ok])
    return float(m), float(np.sqrt(np.average(x[ok] ** 2, weights=w[ok]) - m * m)), int(ok.sum())


def si_sl(weight, plus, minus, k=1, s=-1):  # each arm a share of its own valid cells
    def arm(a):
        b, x, w = T["base"][0].ravel(), T[a][0].ravel(), np.repeat(weight, 2)
        ok = ~np.isnan(b) & ~np.isnan(x)
        b, x, w = np.where(b[ok] > .5, s, -s), np.where(x[ok] > .5, s, -s), w[ok]
        return w[b > 0].sum(), w[b < 0].sum(), w[(b < 0) & (x > 0)].sum(), w[(b > 0) & (x < 0)].sum()

    (cho, rej, gained, lost), (cho2, rej2, gained2, lost2) = arm(plus), arm(minus)
    fwd, rev = gained / rej - k * lost / cho, lost2 / cho2 - k * gained2 / rej2
    scale = 100 * min(T[plus][2].mean(), T[minus][2].mean()) ** 2
    return {"si_fwd": fwd, "si_rev": rev, "si_raw": (fwd + rev) / 2, "si": (fwd + rev) / 2 * scale, "n_cho": cho, "n_rej": rej,
            "n_cho_minus": cho2, "n_rej_minus": rej2}


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


first = ("plus", "minus") if weighted("plus", "Authority")[0] <= weighted("minus", "Authority")[0] else ("minus", "plus")
expected = {"numpy": np.__version__, "dlogit": dlogit, "ours": si(2, is_of("Authority").astype(float), "plus", "minus"),
            "sl": si_sl(share[:, 1], *first),
            "sl_dlogit": {a: {f: dict(zip(("mean", "std", "n"), weighted(a, f))) for f in FOUNDATIONS} for a in D}}
json.dump(expected, open(os.path.join(OUT, "expected.json"), "w"), indent=1)
with open(os.path.join(OUT, "expected.csv"), "w") as f:  # for awk: protocol,column,value
    for p in ("ours", "sl"):
        for k, x in expected[p].items(): f.write(f"{p},{k},{float(x)!r}\n")
    for a in D:
        for g in FOUNDATIONS:
            for k, x in expected["sl_dlogit"][a][g].items(): f.write(f"sl_dlogit_{a},{g} {k},{float(x)!r}\n")

key = lambda a: {f"{i}|{c}|{k}": A[a, i, c, k] for i in ids for c in CONDS for k in FRAMES}
part = lambda a: {"raw_p_true": {k: float(x[0]) for k, x in key(a).items()}, "raw_pmass": {k: float(x[1]) for k, x in key(a).items()}}
bare = {f: {"mean": float(np.nanmean(T["base"][1][is_of(f)])), "std": float(np.nanstd(T["base"][1][is_of(f)], ddof=1)),
            "n": int((~np.isnan(T["base"][1][is_of(f)])).sum()), "n_total": int(2 * is_of(f).sum())} for f in FOUNDATIONS}
bare["Social Norms"] = {"mean": float("nan"), "std": float("nan"), "n": 0, "n_total": 0}  # a foundation without vignettes, as Python writes it
sl, c = os.path.join(OUT, "sl"), float(alphas[-1])
meta = {"run_id": "0", "git_commit": "0", "timestamp": "2026-05-01T00:00:00", "model": "Qwen/Qwen3.5-4B"}
model = {"model": "Qwen/Qwen3.5-4B", "vignettes": "airisk"}
save = lambda name, what: json.dump(what, open(os.path.join(sl, name + ".json"), "w"), indent=1)
flips = {f: {"n_flip_to_wrong": 0, "n_flip_to_right": 1, "n_net": -1, "n_total": 2} for f in FOUNDATIONS}
axis = lambda a: dlogit[a]["Care"]["mean"] - dlogit[a]["Authority"]["mean"]
arm_of = lambda a: {"dlogit_per_foundation": dlogit[a], "flips_per_foundation": flips, "axis_shift": axis(a), **part(a)}
save("bare", {"label": "bare", "meta": meta, **model, "max_think_tokens": 256, "wrongness_mean": .5, "absolute_logit_per_foundation": bare,
              **part("base"), "info": {"n": len(ids), "loop": float("nan")}, "elapsed_s": 1.0})
save("lora", {"label": "steer_lora", "meta": meta, "method": "lora", "model": meta["model"], "layers": [5, 6], "calibrated_C": c,
              "target_kl": 1.0, "kl_p95_at_calib": 1.02, "pos": {"coeff": c, **arm_of("plus")}, "neg": {"coeff": -c, **arm_of("minus")},
              "n_pairs": 256, "max_think_tokens": 256, "vignettes": "airisk", "elapsed_s": float("nan")})
save("prompt_only", {"label": "prompt_only", "meta": meta, **model, "system_prompt": "x", **arm_of("plus"), "raw_pmass": {}, "elapsed_s": 1.0})
save("engineered_prompt", {"label": "engineered_prompt", "meta": meta, **model, "system_prompt_pos": "x", "system_prompt_neg": "y",
                           "pos": arm_of("plus"), "neg": arm_of("minus"), "max_think_tokens": 256, "elapsed_s": 1.0})
save("repeng", {"label": "repeng", "meta": meta, **model, "layers": [5, 6], "coeff_raw": .75, "n_pairs": 256, "calibrated": False, **arm_of("plus"),
                "max_think_tokens": 256, "elapsed_s": 1.0})
first_sweep = {"method": "first", "model": meta["model"], "layers": [5, 6], "coeff_calibrated": 3.5, "target_kl": 1.0, "kl_p95_at_calib": .98, **arm_of("minus")}
del first_sweep["raw_pmass"]
save("first", first_sweep)
probe = {"dlogit_per_foundation": dlogit["plus"], "axis_shift": .1, "raw_logratios": {f"{i}|{k}": {"care": .1} for i in ids[:2] for k in CONDS}, "raw_pmass": {}}
save("probe", {"label": "steer_probe", "meta": meta, "method": "probe", "model": meta["model"], "calibrated_C": 2.0, "kl_p95_at_calib": .97,
               "pos": {"coeff": 2.0, **probe}, "neg": {"coeff": -2.0, **probe}})
save("instruments", {"meta": meta, "instruments": {}})
