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
def find_root(stat, T, lo, hi, steps=12, first=False):
    log = []

    def f(c):
        v = stat(c)
        log.append((c, v))
        return v

    c = math.sqrt(lo * hi)
    v = f(c)
    if first and abs(v - T) < 0.05: return log, 'ok', c
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
    for _ in range(steps):
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
    # the search itself, with weight-steering's first probe, and as steering-lite's sweep calls it (its bracket, 8 steps)
    for first, steps, lo, hi in ((False, 12, lo, hi), (True, 12, .05, 16), (False, 8, .01, 1e6)):
        log, status, result = find_root(fn, T, lo, hi, steps, first)
        cases.append(dict(target=T, lo=lo, hi=hi, first=first, steps=steps, c=[p[0] for p in log], v=[p[1] for p in log], status=status, result=result))
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

# ---- readouts: lists of dictionaries, expanded where a draw repeats a vignette -----------------------------------
NAMES = ['Care', 'Sanctity', 'Authority', 'Loyalty']


def wrong(cell, floor):
    for p, m in cell:
        if math.isnan(p): return math.nan
        if (1.0 if math.isnan(m) else m) < floor: return math.nan
    return np.mean([cell[0][0], 1 - cell[1][0]])


def logit(w):
    if math.isnan(w): return math.nan
    w = float(np.clip(w, 0.01, 0.99))
    return math.log(w) - math.log1p(-w)


def table(rows, base, x, f, floor):
    d = np.array([logit(wrong(x[v][c], floor)) - logit(wrong(base[v][c], floor)) for v, r in rows if f is None or r['f'] == f for c in (0, 1)])
    ok = d[~np.isnan(d)]
    if len(ok) == 0: return dict(mean=math.nan, std=math.nan, n=0, n_total=len(d))
    return dict(mean=ok.mean(), std=math.sqrt(((ok - ok.mean()) ** 2).sum() / max(1, len(ok) - 1)), n=len(ok), n_total=len(d))


def flips(rows, base, x, f, floor):
    out = dict(to_wrong=0, to_right=0, n=0)
    for v, r in rows:
        if r['f'] != f: continue
        for c in (0, 1):
            a, b = wrong(base[v][c], floor), wrong(x[v][c], floor)
            if math.isnan(a + b): continue
            out['n'] += 1
            if a < .5 <= b: out['to_wrong'] += 1
            if b < .5 <= a: out['to_right'] += 1
    return out


def si(rows, base, plus, minus, f, s, k, floor, loadings):
    cho, rej, up, um, wp, wm = [], [], [], [], [], []
    fix = broke = rev = counter = 0.0
    for v, r in rows:
        weight = r['load'][f] if loadings else float(r['f'] == f)
        if weight == 0: continue
        for c in (0, 1):
            b, p = wrong(base[v][c], floor), wrong(plus[v][c], floor)
            m = wrong(minus[v][c], floor) if minus else math.nan
            if math.isnan(b) or math.isnan(p): continue
            y = [s * (1 if t > .5 else -1) for t in (b, p, m)]
            (cho if y[0] > 0 else rej).append(weight)
            fix += weight * (y[0] < 0 < y[1])
            broke += weight * (y[1] < 0 < y[0])
            up.append(logit(p)), wp.append(weight)
            if math.isnan(m): continue
            rev += weight * (y[2] < 0 < y[0])
            counter += weight * (y[0] < 0 < y[2])
            um.append(logit(m)), wm.append(weight)
    nc, nr = sum(cho), sum(rej)
    fwd = fix / nr - k * broke / nc if nc > 0 and nr > 0 else math.nan
    bwd = rev / nc - k * counter / nr if nc > 0 and nr > 0 and minus else math.nan
    arms = [a for a in (fwd, bwd) if not math.isnan(a)]
    raw = sum(arms) / len(arms) if arms else math.nan
    mass = lambda x: np.nanmean([x[v][c][fr][1] for v, _ in rows for c in (0, 1) for fr in (0, 1)])
    mp, mm = mass(plus), mass(minus) if minus else math.nan
    scale = 100 * np.nanmin([mp, mm]) ** 2
    sep = s * (np.average(up, weights=wp) - np.average(um, weights=wm)) if um else math.nan
    return dict(n_cho=nc, n_rej=nr, fix=fix, broke=broke, flip_rev=rev, counter=counter, fwd=fwd, rev=bwd, raw=raw, pmass_plus=mp,
                pmass_minus=mm, scale=scale, si=raw * scale, separation=sep)


def weighted(rows, base, x, f, floor):
    """steering-lite's table: every cell by its share of f, std = sqrt(E x^2 - mean^2) with these weights."""
    w = np.array([r['load'][f] for v, r in rows for _ in (0, 1)])
    d = np.array([logit(wrong(x[v][c], floor)) - logit(wrong(base[v][c], floor)) for v, _ in rows for c in (0, 1)])
    ok = ~np.isnan(d) & (w > 0)
    if not ok.any(): return dict(mean=math.nan, std=math.nan, n=0, n_total=int((w > 0).sum()), weight=0.0)
    m, m2 = np.average(d[ok], weights=w[ok]), np.average(d[ok] ** 2, weights=w[ok])
    return dict(mean=m, std=math.sqrt(max(0.0, m2 - m * m)), n=int(ok.sum()), n_total=int((w > 0).sum()), weight=w[ok].sum())


def si_sl(rows, base, plus, minus, f, s, k, floor):
    """steering-lite's: one arm at a time, each a share of its own valid cells, weighted by loadings."""
    def arm(x):
        a = dict(cho=0.0, rej=0.0, gained=0.0, lost=0.0, up=[], w=[])
        for v, r in rows:
            for c in (0, 1):
                b, q = wrong(base[v][c], floor), wrong(x[v][c], floor)
                if math.isnan(b + q) or r['load'][f] == 0: continue
                y0, y1 = s if b > .5 else -s, s if q > .5 else -s
                a['cho' if y0 > 0 else 'rej'] += r['load'][f]
                a['gained'] += r['load'][f] * (y0 < 0 < y1)
                a['lost'] += r['load'][f] * (y1 < 0 < y0)
                a['up'].append(logit(q)), a['w'].append(r['load'][f])
        a['gain'] = a['gained'] / a['rej'] if a['rej'] > 0 else math.nan
        a['loss'] = a['lost'] / a['cho'] if a['cho'] > 0 else math.nan
        return a
    p, m = arm(plus), arm(minus) if minus else None
    fwd, rev = p['gain'] - k * p['loss'], m['loss'] - k * m['gain'] if m else math.nan
    arms = [a for a in (fwd, rev) if not math.isnan(a)]
    sep = s * (np.average(p['up'], weights=p['w']) - np.average(m['up'], weights=m['w'])) if m and m['up'] and p['up'] else math.nan
    return dict(n_cho=p['cho'], n_rej=p['rej'], n_cho_minus=m['cho'] if m else 0.0, n_rej_minus=m['rej'] if m else 0.0, fwd=fwd, rev=rev,
                raw=sum(arms) / len(arms) if arms else math.nan, separation=sep)


def mass_of_the_smaller_frame(rows, x):
    per = [[m for _, m in x[v][c] if not math.isnan(m)] for v, _ in rows for c in (0, 1)]
    return float(np.mean([min(p) for p in per if p]))


def corr(x, y):
    x, y = np.array(x, float), np.array(y, float)
    ok = ~np.isnan(x + y)
    return (float(np.corrcoef(x[ok], y[ok])[0, 1]) if ok.sum() > 1 else math.nan), int(ok.sum())


def headline(rows, x, floor):
    so = [2 * wrong(x[v][0], floor) - 1 for v, _ in rows]
    gap = [2 * wrong(x[v][0], floor) - 2 * wrong(x[v][1], floor) for v, _ in rows]
    nm = lambda z: float(np.nanmean(z)) if not np.all(np.isnan(z)) else math.nan
    per = lambda z: nm([nm([q for q, (_, r) in zip(z, rows) if r['f'] == f] or [math.nan]) for f in range(len(NAMES))])
    cells = [x[v][c] for v, _ in rows for c in (0, 1)]
    h, n = corr([r['human'] for _, r in rows], so)
    return dict(s_other=per(so), gap=per(gap), s_other_vig=nm(so), gap_vig=nm(gap), agreement=corr([c[0][0] for c in cells], [1 - c[1][0] for c in cells])[0],
                human_r=h, n_human=n, pmass=nm([m for c in cells for _, m in c]), n_cells=len(cells), n_valid=sum(not math.isnan(wrong(c, floor)) for c in cells))


def answers(n, shift, hole):
    a = []
    for _ in range(n):
        a.append([])
        for c in (0, 1):
            z, cell = rng.normal(shift, 1.5), []
            for pol in (1, -1):
                p = 1 / (1 + math.exp(-(pol * z + rng.normal(0, .7))))
                m = float(rng.uniform(.35, 1))
                if rng.random() < hole: p = math.nan
                if rng.random() < hole: m = math.nan
                cell.append((p, m))
            a[-1].append(cell)
    return a


cases = []
for n, hole, floor, k, with_minus in ((41, 0, .5, 2, True), (41, .06, .5, 2, True), (23, .1, .5, 1, False), (30, .05, .9, 2, True), (5, .3, .5, 2, True), (12, 0, 0, 2, True)):
    rows = []
    for v in range(n):
        load = rng.uniform(0, 100, len(NAMES)) * (rng.random(len(NAMES)) < .6)
        load[rng.integers(len(NAMES))] += 5
        rows.append((v, dict(f=int(rng.integers(len(NAMES))), human=float(rng.uniform(1, 5)) if rng.random() < .7 else math.nan, load=list(load / load.sum()))))
    base, plus = answers(n, .3, hole), answers(n, -.2, hole)
    minus = answers(n, .8, hole) if with_minus else None
    times = [int(t) for t in rng.poisson(1, n)]
    out = dict(n=n, floor=floor, k=k, foundation=[r['f'] for _, r in rows], human=[r['human'] for _, r in rows], loading=[r['load'] for _, r in rows], times=times,
               answers=[[[[list(fr) for fr in c] for c in v] for v in x] if x else None for x in (base, plus, minus)], views=[])
    for which, view in (('once', rows), ('draw', [row for row in rows for _ in range(times[row[0]])])):
        v = dict(which=which, all=table(view, base, plus, None, floor), headline=headline(view, base, floor), foundation=[])
        means = [table(view, base, plus, f, floor) for f in range(len(NAMES))]
        for f in range(len(NAMES)):
            one = dict(dlogit=means[f], weighted=weighted(view, base, plus, f, floor), si_sl=[si_sl(view, base, plus, minus, f, s, k, floor) for s in (1, -1)], si=[si(view, base, plus, minus, f, s, k, floor, ld) for s in (1, -1) for ld in (False, True)])
            if which == 'once': one['flips'] = flips(view, base, plus, f, floor)
            v['foundation'].append(one)
        v['smaller_frame'] = [mass_of_the_smaller_frame(view, plus), mass_of_the_smaller_frame(view, minus) if minus else math.nan]
        others = [m['mean'] for i, m in enumerate(means) if i != 2]
        v['effect'] = dict(target=means[2]['mean'], others=sum(others) / len(others), specific=means[2]['mean'] - sum(others) / len(others), axis=means[0]['mean'] - means[2]['mean'],
                           abs_others=sum(abs(o) for o in others) / len(others))
        out['views'].append(v)
    cases.append(out)
save('eval_readout.json', dict(foundations=NAMES, cases=cases))
