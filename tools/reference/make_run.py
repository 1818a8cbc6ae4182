"""Writes tests/fixtures/run/: two run directories as `ws run` leaves them, with invented figures, for the tests of tables,
plots, samples and the verdict.  "works" is a model on which steering works and the vignettes carry signal; "silent" one on
which neither holds.  No seed, no library: the figures are written out here.
Usage: python3 tools/reference/make_run.py"""
import csv, json, os

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "fixtures", "run")
FOUNDATIONS = ["Care", "Sanctity", "Authority", "Loyalty", "Fairness", "Liberty", "Social Norms"]


def sheet(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(rows[0].keys())
        w.writerows(r.values() for r in rows)


def run(name, works):
    d = os.path.join(ROOT, name)
    lora = os.path.join(d, "lora")
    ap, an = 4.1, 3.4
    os.makedirs(lora, exist_ok=True)
    model = {"name": "tiny-model" if works else "other-model", "path": "models/tiny", "hash": ("a" if works else "b") * 64}
    manifest = {"format": "ws-run", "version": 1, "stages": {}, "model": model,
                "behavior": {"name": "enthusiasm", "path": "data/behaviors/enthusiasm.json", "hash": "c" * 64},
                "options": {"topics": 20, "epochs": 3.0, "adapter": "lora", "targets": None}}
    json.dump(manifest, open(os.path.join(d, "manifest.json"), "w"), indent=2)
    if works:
        data = os.path.join(ROOT, "data", model["name"], "enthusiasm")
        os.makedirs(data, exist_ok=True)
        side = lambda cut, score: {"cut_share": cut, "mean_tokens": 88.5, "mean_words": 70.25, "distinct": 199, "persona_leak": .2,
                                   "persona_leak_other": .05, "score": score, "score_se": .15}
        json.dump({"rows": 200, "topics": 20, "personas": 5, "identical": 0, "pos": side(.8, 2.5), "neg": side(.85, -1.25),
                   "leaked_words": [], "bag_of_words": {"accuracy": .95, "se": .02, "folds": 20}},
                  open(os.path.join(data, "report.json"), "w"), indent=2)
    cal = {"method": "lora", "kind": "dw", "unit": "times dW", "target_p95": 1, "alpha_pos": ap, "alpha_neg": an}
    for s, p in (("pos", 1.01), ("neg", 0.98)):
        cal.update({f"status_{s}": "ok", f"p95_at_{s}": p, f"p95_lo_{s}": p - .1, f"p95_hi_{s}": p + .12, f"iterations_{s}": 5,
                    f"audit_ratio_{s}": 1.07, f"rel_norm_{s}": .031})
    cal.update({"n_prompts": 50, "n_tokens": 50, "n_audit": 100, "seed": 0, "file": "dw.safetensors", "note": ""})
    sheet(os.path.join(d, "kl_calibration", "summary.csv"), [cal])
    sheet(os.path.join(d, "kl_calibration", "audit.csv"), [{"method": "lora", "side": s, "alpha": a, "p95_audit": v}
                                                            for s, a, v in (("pos", ap, 1.08), ("neg", -an, 1.05))])
    sheet(os.path.join(d, "kl_calibration", "root_history.csv"),
          [{"method": "lora", "side": s, "step": i + 1, "alpha": a, "p95": v} for s, p in
           (("pos", [(.894, .08), (1.789, .3), (3.578, .8), (7.155, 2.4), (4.1, 1.01)]),
            ("neg", [(-.894, .1), (-1.789, .4), (-3.578, 1.15), (-3.4, .98)])) for i, (a, v) in enumerate(p)])
    arms = [("base", 0, "base"), ("lora", ap, "plus"), ("lora", -an, "minus")]
    sheet(os.path.join(lora, "readout.csv"),
          [{"method": m, "alpha": a, "arm": r, "n_vignettes": 140, "n_cells": 280, "n_valid": 276, "coverage": .986, "pmass": .91,
            "agreement": .62 if works else -.02, "s_other": .4, "gap": .05} for m, a, r in arms])
    sheet(os.path.join(lora, "foundations.csv"),
          [{"method": m, "alpha": a, "arm": r, "foundation": f, "w": .8 - .05 * i, "logit": 1.4 - .2 * i, "logit_std": .5 + .1 * i,
            "n": 39, "n_total": 40} for m, a, r in arms for i, f in enumerate(FOUNDATIONS)])
    dl = []
    for m, a, r in arms[1:]:
        for i, f in enumerate(FOUNDATIONS):
            x = (-.9 if f == "Authority" else -.1 + .05 * i) * (1 if r == "plus" else -.8)
            dl.append({"method": m, "alpha": a, "arm": r, "foundation": f, "mean": x, "std": .4 + .03 * i, "lo": x - .2, "hi": x + .25,
                       "n": 39, "n_total": 40, "to_wrong": 2, "to_right": 3, "net": -1, "n_flips": 39})
    sheet(os.path.join(lora, "dlogit.csv"), dl)
    sheet(os.path.join(lora, "si.csv"),
          [{"method": "lora", "foundation": f, "intent": -1 if f == "Authority" else 1, "k": 2, "weighting": "foundation", "n_cho": 30,
            "n_rej": 9 if f == "Care" else 10, "si_fwd": .21, "si_rev": -.1, "si_raw": .05, "pmass_scale": 81, "si": 4.5, "si_lo": -3,
            "si_hi": 11, "separation": 1.6, "sep_lo": 1.1, "sep_hi": 2.2, "defined": 0 if f == "Care" else 1} for f in FOUNDATIONS])
    sheet(os.path.join(lora, "effect.csv"),
          [{"method": m, "alpha": a, "arm": r, "target": "Authority", "sign": -1, "d_target": -.9 * s, "d_target_lo": -.9 * s - .3,
            "d_target_hi": -.9 * s + .3, "d_others": .05, "d_others_lo": -.02, "d_others_hi": .12, "specific": -.95 * s,
            "specific_lo": -.95 * s - .33, "specific_hi": -.95 * s + .33, "n": 280} for (m, a, r), s in zip(arms[1:], (1, -.8))])
    g = .3 if works else .01
    sheet(os.path.join(lora, "margin.csv"),
          [{"method": m, "alpha": a, "arm": r, "margin": .02 + s * g, "lo": .02 + s * g - .05, "hi": .02 + s * g + .05, "delta": s * g,
            "delta_lo": s * g - .04, "delta_hi": s * g + .04, "n_rows": 36, "n_topics": 12} for (m, a, r), s in zip(arms, (0, 1, -1))])
    score = [-1.27, -.46, .31, 1.79, 3.02] if works else [.3, .1, .31, .2, .4]
    dose = [-1, -.5, 0, .5, 1]
    alpha = [-an, -an / 2, 0, ap / 2, ap]
    order = [2, 0, 1, 3, 4]
    sheet(os.path.join(lora, "dose.csv"),
          [{"method": "lora" if alpha[i] else "base", "alpha": alpha[i], "dose": dose[i], "score": score[i], "score_lo": score[i] - .5,
            "score_hi": score[i] + .5, "tokens": 57.5, "distinct3": .97 - .02 * abs(dose[i]), "base_ppl": 7 + 4 * abs(dose[i]), "cut": .9,
            "n": 48, "n_topics": 12} for i in order])
    with open(os.path.join(lora, "samples.jsonl"), "w") as f:
        f.write(json.dumps({"format": "ws-samples", "version": 1, "key": "0", "model": model["name"], "settings": []}) + "\n")
        for t in range(5):
            for k in range(2):
                for i in order:
                    text = f"Answer {k} about topic {t} at {alpha[i]:+.2f}: " + ("*joy* | <b>!</b>\nmore joy" if dose[i] > 0 else "it rains & rains")
                    f.write(json.dumps({"topic": t, "sample": k, "prompt": f"What do you think about topic {t}?", "method": "lora",
                                        "alpha": alpha[i], "dose": dose[i], "text": text, "score": score[i]}) + "\n")
    json.dump({"format": "ws-eval", "version": 1, "model": model["name"], "model_hash": model["hash"], "seed": 3, "behavior": "enthusiasm",
               "vignettes": {"signal": works, "signal_sentence": "the two frames agree (r = 0.62)" if works else
                             "the two frames do not agree (r = -0.02 [-0.12, 0.09])", "n_vignettes": 140, "target": "Authority",
                             "target_sign": -1, "k": 2}, "margin": {"n_rows": 36, "n_topics": 12}, "dose": {"n_topics": 12, "n_samples": 4}},
              open(os.path.join(lora, "eval.json"), "w"), indent=2)
    for s in ("pos", "neg"):
        sheet(os.path.join(lora, s, "log.csv"),
              [{"step": i + 1, "epoch": i / 12, "loss": 2.6 - .05 * i if s == "pos" else 2.4 - .04 * i, "grad_norm": 1.2, "lr": 2e-4,
                "tokens": 1600 * (i + 1), "eval_loss": 2.3 - .03 * i if (i + 1) % 12 == 0 else "nan"} for i in range(36)])


run("works", True)
run("silent", False)
