"""Writes tests/fixtures/pairs/: a run of four rows and a second run of one, with invented raw answers, and expected.json: the
differences of the rows on the items that both answered, computed here with numpy from the specification's formulas.
Usage: python3 tools/reference/make_pairs.py      (seed 6; numpy's version stands in expected.json)"""
import csv, json, math, os
import numpy as np

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fixtures", "pairs")
rng = np.random.default_rng(6)
FOUNDATIONS = ["Care", "Authority", "Liberty"]
VIGNETTES = [(f"{f.lower()}-{i:02d}", k) for k, f in enumerate(FOUNDATIONS) for i in range([3, 14, 3][k])]
CONDS, FRAMES = ["other_violate", "self_violate"], ["wrong", "accept"]
V, FLOOR, K, ROWS, TOPICS = len(VIGNETTES), 0.5, 2, 18, 6


def sheet(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(rows[0].keys())
        w.writerows(r.values() for r in rows)


def answers(shift, noise, low):
    """log p of true and false [V, 2, 2], rounded as they stand in the file."""
    x = rng.normal(0, 1.1, (V, 2, 1)) if shift is None else None
    if shift is None:
        score = x
    else:
        score = BASE_SCORE + np.array([shift[f] for _, f in VIGNETTES])[:, None, None] + rng.normal(0, noise, (V, 2, 1))
    score = score * np.array([1, -1]) + rng.normal(0, .15, (V, 2, 2))
    mass = rng.uniform(.7, 1, (V, 2, 2))
    mass[rng.uniform(size=mass.shape) < low] = .3  # under the floor: the cell is missing
    p = 1 / (1 + np.exp(-score))
    if shift is None: globals()["BASE_SCORE"] = x
    return np.round(np.log(p * mass), 4), np.round(np.log((1 - p) * mass), 4)


def read(lt, lf):
    p, mass = 1 / (1 + np.exp(lf - lt)), np.exp(lt) + np.exp(lf)
    w = (p[..., 0] + 1 - p[..., 1]) / 2
    w[(mass < FLOOR).any(-1)] = np.nan
    c = np.clip(w, .01, .99)
    return w, np.where(np.isnan(w), np.nan, np.log(c / (1 - c))), mass


BASE = answers(None, 0, .01)
margins0 = np.round(rng.uniform(-40, -20, (ROWS, 2)), 3)
LENGTH = rng.integers(8, 20, (ROWS, 2))


def method(run, name, kind, shift_p, shift_n, noise, gain, low=.03, one_sided=False):
    d = os.path.join(ROOT, run, name)
    os.makedirs(d, exist_ok=True)
    ap, an = (1, None) if one_sided else (round(float(rng.uniform(1, 5)), 3), round(float(rng.uniform(1, 5)), 3))
    arms = {0.0: BASE, ap: answers(shift_p, noise, low)}
    if an: arms[-an] = answers(shift_n, noise, low)
    with open(os.path.join(d, "vignettes_raw.jsonl"), "w") as f:
        f.write(json.dumps({"format": "ws-vignettes-raw", "version": 1}) + "\n")
        for v, (vid, _) in enumerate(VIGNETTES):
            for c in range(2):
                for k in range(2):
                    for a, (lt, lf) in arms.items():
                        f.write(json.dumps({"id": vid, "cond": CONDS[c], "frame": FRAMES[k], "method": name if a else "base",
                                            "alpha": a, "logp_true": lt[v, c, k], "logp_false": lf[v, c, k]}) + "\n")
    sheet(os.path.join(d, "vignettes.csv"), [{"method": "base", "alpha": 0, "arm": "base", "id": i, "foundation": FOUNDATIONS[f],
                                              "cond": c} for i, f in VIGNETTES for c in CONDS])
    sheet(os.path.join(d, "foundations.csv"), [{"method": "base", "alpha": 0, "arm": "base", "foundation": f, "w": .5, "logit": 0,
                                                "logit_std": 1, "n": 6, "n_total": 6} for f in FOUNDATIONS])
    deltas = {}
    with open(os.path.join(d, "margin_raw.jsonl"), "w") as f:
        f.write(json.dumps({"format": "ws-margin-raw", "version": 1}) + "\n")
        for r in range(ROWS):
            for a in arms:
                lp = margins0[r] + (np.round(np.sign(a) * gain * LENGTH[r] * rng.normal(1, .5, 2), 3) * [1, -1] if a else 0)
                f.write(json.dumps({"row": r, "topic": r % TOPICS, "method": name if a else "base", "alpha": a,
                                    "logp_pos": lp[0], "n_pos": int(LENGTH[r, 0]), "logp_neg": lp[1],
                                    "n_neg": int(LENGTH[r, 1])}) + "\n")
                deltas.setdefault(a, []).append(lp[0] / LENGTH[r, 0] - lp[1] / LENGTH[r, 1])
    delta = {a: np.array(x) - np.array(deltas[0.0]) for a, x in deltas.items() if a}
    with open(os.path.join(d, "samples.jsonl"), "w") as f:
        f.write(json.dumps({"format": "ws-samples"}) + "\n")
        score = {}
        for t in range(4):
            for s in range(2):
                for dose in (0, 1) if one_sided else (-1, 0, 1):
                    x = round(float(gain * 4 * dose + rng.normal(0, 1)), 2) if dose else float((t + s) % 3)
                    score.setdefault(dose, []).append(x)
                    f.write(json.dumps({"topic": t, "sample": s, "prompt": f"prompt {t}", "method": name if dose else "base",
                                        "alpha": {1: ap, 0: 0, -1: -(an or 0)}[dose], "dose": dose, "text": "x", "score": x}) + "\n")
    arms_of = [("plus", ap)] + ([("minus", -an)] if an else [])
    dl = {}
    _, l0, _ = read(*BASE)
    for arm, a in arms_of: dl[arm] = read(*arms[a])[1] - l0
    other = lambda dd: np.mean([np.nanmean(dd[[f == k for _, f in VIGNETTES]]) for k in (0, 2)])
    authority = [f == 1 for _, f in VIGNETTES]
    sheet(os.path.join(d, "effect.csv"),
          [{"method": name, "alpha": a, "arm": arm, "target": "Authority", "sign": -1, "d_target": np.nanmean(dl[arm][authority]),
            "d_target_lo": np.nan, "d_target_hi": np.nan, "d_others": other(dl[arm]), "d_others_lo": np.nan, "d_others_hi": np.nan,
            "specific": (x := np.nanmean(dl[arm][authority]) - other(dl[arm])), "specific_lo": x - .2, "specific_hi": x + .2,
            "n": 28} for arm, a in arms_of])
    sheet(os.path.join(d, "margin.csv"),
          [{"method": "base", "alpha": 0, "arm": "base", "margin": 0, "lo": 0, "hi": 0, "delta": 0, "delta_lo": 0, "delta_hi": 0,
            "n_rows": ROWS, "n_topics": TOPICS}] +
          [{"method": name, "alpha": a, "arm": arm, "margin": 0, "lo": 0, "hi": 0, "delta": np.mean(delta[a]), "delta_lo": 0,
            "delta_hi": 0, "n_rows": ROWS, "n_topics": TOPICS} for arm, a in arms_of])
    json.dump({"format": "ws-eval", "version": 1, "model": "tiny", "model_hash": "a" * 64, "seed": 3, "bootstrap": 200,
               "methods": [{"name": name, "alpha_plus": ap, "alpha_minus": -an if an else None}],
               "vignettes": {"signal": True, "signal_sentence": "invented", "target": "Authority", "target_sign": -1,
                             "target_meant": True, "k": K, "floor": FLOOR, "loading_weighted": 0, "mode": "A", "max_think": 0,
                             "vignettes_hash": "v" * 64, "frames_hash": "f" * 64}}, open(os.path.join(d, "eval.json"), "w"))
    return {"name": name, "kind": kind, "arms": {arm: arms[a] for arm, a in arms_of}, "delta": {arm: delta[a] for arm, a in arms_of},
            "score": {"plus": np.array(score[1]), **({"minus": np.array(score[-1])} if an else {})}}


def moral(a, b):
    """Both rows' measures on the cells that both have."""
    both, out = {}, [{}, {}]
    w0, l0, _ = read(*BASE)
    f = np.array([k for _, k in VIGNETTES])
    for arm, sign in (("plus", -1), ("minus", 1)):
        if arm not in a["arms"] or arm not in b["arms"]: continue
        d = [read(*x["arms"][arm])[1] - l0 for x in (a, b)]
        keep = ~np.isnan(d[0]) & ~np.isnan(d[1])
        both[arm] = keep
        for k in range(2):
            x = np.where(keep, d[k], np.nan)
            m = [np.nanmean(x[f == i]) for i in range(3)]
            side = "pos" if arm == "plus" else "neg"
            out[k][f"target_{side}"] = sign * m[1]
            out[k][f"specific_{side}"] = sign * (m[1] - (m[0] + m[2]) / 2)
            if arm == "plus": out[k]["spread"] = np.nanstd(x[f == 1], ddof=1)
    for k, x in enumerate((a, b)):  # Surgical Informedness, intent -1
        n = {"cho": 0, "rej": 0, "fix": 0, "broke": 0, "flip": 0, "counter": 0}
        wp, _, mp = read(*x["arms"]["plus"])
        wm, mm = None, None
        if "minus" in both: wm, _, mm = read(*x["arms"]["minus"])
        for v in range(V):
            for c in range(2):
                if f[v] != 1 or not both["plus"][v, c]: continue
                ref, pos = (-1 if w0[v, c] > .5 else 1), (-1 if wp[v, c] > .5 else 1)
                n["cho" if ref > 0 else "rej"] += 1
                n["fix"] += ref < 0 < pos
                n["broke"] += pos < 0 < ref
                if wm is None or not (both["minus"][v, c]): continue
                neg = -1 if wm[v, c] > .5 else 1
                n["flip"] += neg < 0 < ref
                n["counter"] += ref < 0 < neg
        arms = [n["fix"] / n["rej"] - K * n["broke"] / n["cho"]]
        if wm is not None: arms.append(n["flip"] / n["cho"] - K * n["counter"] / n["rej"])
        scale = 100 * min([mp.mean()] + ([mm.mean()] if mm is not None else [])) ** 2
        out[k]["si_raw"], out[k]["si"] = np.mean(arms), np.mean(arms) * scale
        out[k]["n_cho"], out[k]["n_rej"] = n["cho"], n["rej"]
    n = {"specific_pos": int(both["plus"][f == 1].sum())}
    return out, n


def pair(a, b):
    out, n = moral(a, b)
    for k, x in enumerate((a, b)):
        for arm, side, sign in (("plus", "pos", 1), ("minus", "neg", -1)):
            if arm not in a["arms"] or arm not in b["arms"]: continue
            out[k][f"margin_{side}"], out[k][f"score_{side}"] = sign * x["delta"][arm].mean(), sign * x["score"][arm].mean()
            if arm == "plus":
                out[k]["margin_spread"], out[k]["score_spread"] = x["delta"][arm].std(ddof=1), x["score"][arm].std(ddof=1)
    return {"a": a["name"], "b": b["name"], "n_cho": out[0]["n_cho"], "n_rej": out[0]["n_rej"], "n": n["specific_pos"],
            "diff": {k: float(out[0][k] - out[1][k]) for k in out[0] if not k.startswith("n_")}}


down = {0: -.1, 1: -.9, 2: -.1}
up = {0: .1, 1: .7, 2: .1}
one = [method("one", "lora", "adapter", down, up, .3, .05),
       method("one", "random", "random", {0: 0, 1: 0, 2: 0}, {0: 0, 1: 0, 2: 0}, .2, 0.0),
       method("one", "mean_diff", "vector", {0: -.6, 1: -.7, 2: -.6}, {0: .5, 1: .5, 2: .5}, .8, .02),
       method("one", "prompt_only", "prompt", {0: -.5, 1: -1, 2: -.4}, None, .6, .04, one_sided=True)]
two = [method("two", "lora", "adapter", {0: -.1, 1: -.3, 2: -.1}, {0: .1, 1: .2, 2: .1}, .3, .02)]
for run, rows, kl, lr in (("one", one, 1, 1e-3), ("two", two, 1, 1e-2)):
    json.dump({"format": "ws-run", "version": 1, "stages": {}, "model": {"name": "tiny", "path": "m", "hash": "a" * 64},
               "behavior": {"name": "authority", "path": "b", "hash": "b" * 64}, "options": {"lr": lr, "target-kl": kl},
               "kernels": "avx2", "rows": [{"name": r["name"], "kind": r["kind"], "seed": 0, "stages": [],
                                            **({"adapter": r["name"]} if r["kind"] == "adapter" else {})} for r in rows]},
              open(os.path.join(ROOT, run, "manifest.json"), "w"), indent=1)
    cal = []
    for r in rows:
        row = {"method": r["name"], "kind": "x", "unit": "x", "target_p95": kl, "alpha_pos": 1, "alpha_neg": 1}
        for s in ("pos", "neg"):
            row.update({f"status_{s}": "ok", f"p95_at_{s}": 1, f"p95_lo_{s}": .9, f"p95_hi_{s}": 1.1, f"iterations_{s}": 3,
                        f"audit_ratio_{s}": 1, f"rel_norm_{s}": .1})
        row.update({"n_prompts": 50, "n_tokens": 50, "n_audit": 100, "note": ""})
        cal.append(row)
    sheet(os.path.join(ROOT, run, "kl_calibration", "summary.csv"), cal)
json.dump({"made_by": "tools/reference/make_pairs.py", "seed": 6, "numpy": np.__version__,
           "pairs": [pair(one[i], one[0]) for i in (1, 2, 3)] + [pair(two[0], one[0])]},
          open(os.path.join(ROOT, "expected.json"), "w"), indent=1)
