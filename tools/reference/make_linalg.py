"""Writes tests/fixtures/linalg.h: numpy's singular values and eigenvalues of a matrix that both sides make from integers.
Run: python tools/reference/make_linalg.py"""
import numpy, os
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tests', 'fixtures', 'linalg.h')

def noise(rows, cols):
    """Entry number i: 24 hashed bits / 2^24 - 1/2, exact in fp32."""
    h = (numpy.arange(rows * cols, dtype=numpy.uint64) + 1) * 2654435761 % 2 ** 32
    h ^= h >> 15
    h = h * 2246822519 % 2 ** 32
    h ^= h >> 13
    return ((h >> 8).astype(numpy.float64) / 2 ** 24 - .5).reshape(rows, cols)

o = ['/* Written by tools/reference/make_linalg.py with numpy %s. */' % numpy.__version__]
arr = lambda n, v: o.append('static const double %s[] = {%s};' % (n, ', '.join(float(x).hex() for x in v)))
a = noise(40, 24)
arr('linalg_singular_40x24', numpy.linalg.svd(a, compute_uv=False))
arr('linalg_eigen_24', numpy.linalg.eigvalsh(a.T @ a - numpy.eye(24))[::-1])
q, r = numpy.linalg.qr(a)
arr('linalg_qr_diagonal', abs(numpy.diag(r)))
open(here, 'w').write('\n'.join(o) + '\n')
