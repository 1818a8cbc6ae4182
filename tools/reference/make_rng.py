"""Writes tests/fixtures/rng.h: small values of torch's, numpy's and Python's random streams.  Run: python tools/reference/make_rng.py"""
import numpy, os, random, torch
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tests', 'fixtures', 'rng.h')
o = ['/* Written by tools/reference/make_rng.py with torch %s, numpy %s. */' % (torch.__version__, numpy.__version__)]
arr = lambda t, n, v, f: o.append('static const %s %s[] = {%s};' % (t, n, ', '.join(f(x) for x in v)))
def kaiming(seed, rows, cols):
    torch.manual_seed(seed); w = torch.empty(rows, cols)
    torch.nn.init.kaiming_uniform_(w, a=5 ** .5); return [float(x) for x in w.flatten()]
arr('float', 'rng_kaiming_s0_3x7', kaiming(0, 3, 7), lambda x: float(x).hex() + 'f')
arr('float', 'rng_kaiming_s42_5x64', kaiming(42, 5, 64), lambda x: float(x).hex() + 'f')
g = torch.Generator(); g.manual_seed(123)
last = None
for _ in range(100): last = torch.randint(0, 2 ** 24, (10,), generator=g)
arr('int64_t', 'rng_mt_s123_word990', last.tolist(), str)
for n, s in ((1, 0), (2, 3), (17, 0), (150, 42), (150, 43)):
    g.manual_seed(s); arr('int64_t', 'rng_torch_perm_n%d_s%d' % (n, s), torch.randperm(n, generator=g).tolist(), str)
for n, s in ((1, 0), (2, 3), (17, 0), (200, 42), (33, 5000000000)):
    arr('int64_t', 'rng_numpy_perm_n%d_s%d' % (n, s), numpy.random.default_rng(s).permutation(n).tolist(), str)
big = numpy.random.default_rng(7).permutation(4097); h = 0
for x in big.tolist(): h = (h * 31 + x) % 2 ** 32
o.append('static const uint32_t rng_numpy_perm_n4097_s7_hash = %du; /* h = 31 h + x */' % h)
g.manual_seed(7); h = 0
for x in torch.randperm(4097, generator=g).tolist(): h = (h * 31 + x) % 2 ** 32
o.append('static const uint32_t rng_torch_perm_n4097_s7_hash = %du;' % h)
for n, s in ((1, 0), (2, 1), (17, 0), (264, 0), (264, 42), (1024, 5), (33, 5000000000)):
    p = list(range(n)); random.Random(s).shuffle(p)
    arr('int64_t', 'rng_python_n%d_s%d' % (n, s), p, str)
open(here, 'w').write('\n'.join(o) + '\n')
