"""Expected values for the calibration and evaluation tests, restated in plain Python and numpy from the specification:
root finder, quantiles, Pearson, bootstrap quantiles, readouts.   python make_eval.py  (writes tests/fixtures/eval_*.json)"""
import json, math, os, sys
import numpy as np

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tests', 'fixtures')
rng = np.random.default_rng(20)


def clean(x):
    """JSON has no NaN: null stands for it."""
    if isinstance(x, dict): return {k: clean(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)): return [clean(v) for v in x]
    if isinstance(x, (float, np.floating)): return None if math.isnan(x) else float(x)
    if isinstance(x, np.integer): return int(x)
    return x


def save(name, what):
    what = dict(made_by='tools/reference/make_eval.py', numpy=np.__version__, **what)
    with open(os.path.join(OUT, name), 'w') as f: json.dump(clean(what), f, separators=(',', ':'))


# ---- root finder -------------------------------------------------------------------------------------------------
def find_root(stat, T, lo, hi):
    log = []

    def f(c):
        v = stat(c)
        log.append((c, v))
        return v

    c = math.sqrt(lo * hi)
    v = f(c)
    below = above = None
    if v < T:
        below = (c, v)
        while c < hi:
            c *= 2
            v = f(c)
            if v >= T:
                above = (c, v)
                break
            below = (c, v)
    else:
        above = (c, v)
        while c > lo:
            c /= 2
            v = f(c)
            if v <= T:
                below = (c, v)
                break
            above = (c, v)
    if below is None: return log, 'below_range', log[-1][0]
    if above is None: return log, 'above_range', log[-1][0]
    stale = [0, 0]
    for _ in range(12):
        (a, va), (b, vb) = below, above
        c = None
        if va > 0 and vb > 0:
            la = math.log(va) - (math.log(2) if stale[0] >= 2 else 0)
            lb = math.log(vb) - (math.log(2) if stale[1] >= 2 else 0)
            if abs(lb - la) >= 1e-6:
                c = math.exp(math.log(a) + (math.log(T) - la) / (lb - la) * (math.log(b) - math.log(a)))
        if c is None or not a < c < b: c = math.sqrt(a * b)
        v = f(c)
        if abs(v - T) < 0.05: return log, 'ok', c
        if v < T: below, stale = (c, v), [0, stale[1] + 1]
        else: above, stale = (c, v), [stale[0] + 1, 0]
    return log, 'not_converged', min(log, key=lambda p: abs(p[1] - T))[0]


def curves():
    for p in (0.3, 0.7, 1, 1.5, 2, 3, 4):
        for k in (1e-3, 0.02, 0.3, 1, 5, 200): yield lambda c, p=p, k=k: k * c ** p
    for s in (0.5, 2, 9): yield lambda c, s=s: 10 * (1 - math.exp(-(c / s) ** 2))  # saturates
    for s in (0.3, 1, 4): yield lambda c, s=s: 0.001 if c < s else 6.0             # a step: never within 0.05
    for s in (0.4, 3): yield lambda c, s=s: 0.0 if c < s else (c - s) ** 2          # zero at first: no logarithm
    for a in (0.2, 0.5): yield lambda c, a=a: c * c * 0.3 * (1 + a * math.sin(9 * c))  # bumpy
    for s in (0.6, 2.5): yield lambda c, s=s: 0.2 * c if c < s else 0.2 * c + 4 * (1 - math.exp(-(c - s) * 8))  # a knee
    for v in (0.0, 0.4, 1.0, 7.0): yield lambda c, v=v: v                             # flat
    yield lambda c: 3 / c                                                             # falls
    for e in (1, 2, 3): yield lambda c, e=e: math.exp(e * c) - 1
    for i in range(6):
        xs = np.sort(rng.uniform(-4, 4, 6))
        ys = np.sort(rng.uniform(-5, 3, 6))
        yield lambda c, xs=xs, ys=ys: float(np.exp(np.interp(math.log(c), xs, ys)))


cases = []
for i, fn in enumerate(curves()):
    T, lo, hi = [(1, 0.05, 16), (0.5, 0.05, 16), (1, 0.01, 100), (2.5, 0.3, 5)][i % 4]
    log, status, result = find_root(fn, T, lo, hi)
    cases.append(dict(target=T, lo=lo, hi=hi, c=[p[0] for p in log], v=[p[1] for p in log], status=status, result=result))
save('eval_root.json', dict(cases=cases))
print(len(cases), 'curves:', {s: sum(c['status'] == s for c in cases) for s in ('ok', 'below_range', 'above_range', 'not_converged')})

# ---- statistics --------------------------------------------------------------------------------------------------
stats = []
for n in (1, 2, 3, 7, 40, 131):
    x, y = rng.normal(size=n), rng.normal(size=n)
    y = 0.6 * x + y
    hole = rng.random(n) < (0.2 if n > 3 else 0)
    xn = np.where(hole, np.nan, x)
    ok = ~np.isnan(xn)
    r = np.corrcoef(x[ok], y[ok])[0, 1] if ok.sum() > 1 else np.nan
    stats.append(dict(x=xn, y=y, full=np.sort(x), q=[[q, float(np.quantile(x, q))] for q in (0, .025, .05, .5, .77, .95, .975, .99, 1)],
                      mean=np.nanmean(xn), std0=np.nanstd(xn), std1=np.nanstd(xn, ddof=1) if ok.sum() > 1 else 0.0, pearson=r, n=int(ok.sum())))
draws = rng.normal(size=1000)
some = np.where(rng.random(1000) < 0.3, np.nan, draws)
save('eval_stats.json', dict(stats=stats, intervals=[dict(x=d, lo=np.nanquantile(d, .025), hi=np.nanquantile(d, .975)) for d in (np.round(draws, 6), np.round(some, 6))]))
