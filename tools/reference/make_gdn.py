"""Writes tests/fixtures/gdn.json: the linear layer of Qwen3.5 between its projections (causal convolution, gates, gated delta rule,
gated norm), with the functions of transformers and autograd.  Their casts to float32 are made float64, so the numbers are the
formulas' own.  Inputs are wave(count, phase) rounded to float32, written again in the test; only results are stored.
Usage: make_gdn.py OUT.json"""
import json, math, sys
import torch, transformers
from transformers.models.qwen3_5 import modeling_qwen3_5 as mod


class InDouble:  # stands in for the torch module inside transformers' file
    def __getattr__(self, name):
        return torch.float64 if name == "float32" else getattr(torch, name)


mod.torch = InDouble()
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)


def plain(f):  # without the decorator that looks for a kernel from the hub
    return getattr(f, "__wrapped__", f)


def wave(count, phase, size=1.0):
    x = [size * math.sin(1.7 * i + 0.013 * i * i + phase) for i in range(count)]
    return torch.tensor(x, dtype=torch.float32).double()


def nums(t):
    return [float("%.9g" % v) for v in t.detach().reshape(-1)]


def case(T, Hk, Hv, dk, dv, K, start):
    """T tokens after `start` others; with start > 0 transformers' own continuation from a stored state is checked as well."""
    channels, N = 2 * Hk * dk + Hv * dv, T + start
    m = wave(N * channels, 0.1, 1.5).reshape(1, N, channels).requires_grad_()
    w = wave(channels * K, 0.7).reshape(channels, K)
    a, b = (wave(N * Hv, p, 2.0).reshape(1, N, Hv).requires_grad_() for p in (1.3, 1.9))
    z = wave(N * Hv * dv, 2.3, 2.0).reshape(1, N, Hv, dv).requires_grad_()
    A_log, dt_bias, norm = wave(Hv, 0.2), wave(Hv, 0.4), 1 + wave(dv, 0.6, 0.3)
    gy = wave(N * Hv * dv, 2.9).reshape(1, N, Hv, dv)
    c = plain(mod.causal_conv1d_fn)(m.transpose(1, 2), w, None, activation="silu").transpose(1, 2)
    q, k, v = torch.split(c, [Hk * dk, Hk * dk, Hv * dv], dim=-1)
    q, k, v = q.reshape(1, N, Hk, dk), k.reshape(1, N, Hk, dk), v.reshape(1, N, Hv, dv)
    beta = b.sigmoid()
    g = -A_log.exp() * torch.nn.functional.softplus(a + dt_bias)
    args = dict(output_final_state=True, use_qk_l2norm_in_kernel=True)
    o, S = plain(mod.torch_chunk_gated_delta_rule)(q, k, v, g=g, beta=beta, **args)
    ro, rS = plain(mod.torch_recurrent_gated_delta_rule)(q, k, v, g=g, beta=beta, **args)
    assert (o - ro).abs().max() < 1e-12 and (S - rS).abs().max() < 1e-12, "the two forms of transformers differ"
    if start:  # in two calls, the second one from the first one's state
        first = [x[:, :start] for x in (q, k, v)]
        rest = [x[:, start:] for x in (q, k, v)]
        o1, s1 = plain(mod.torch_chunk_gated_delta_rule)(*first, g=g[:, :start], beta=beta[:, :start], **args)
        o2, s2 = plain(mod.torch_chunk_gated_delta_rule)(*rest, g=g[:, start:], beta=beta[:, start:], initial_state=s1, **args)
        assert (torch.cat([o1, o2], 1) - o).abs().max() < 1e-12 and (s2 - S).abs().max() < 1e-12
    gated = mod.Qwen3_5RMSNormGated(dv, eps=1e-6)
    with torch.no_grad():
        gated.weight.copy_(norm)
    y = gated(o.reshape(-1, dv), z.reshape(-1, dv)).reshape(1, N, Hv, dv)
    gm, ga, gb, gz = torch.autograd.grad((y * gy).sum(), (m, a, b, z))
    return dict(T=N, Hk=Hk, Hv=Hv, dk=dk, dv=dv, K=K, c_first=nums(c[0, :5]), o=nums(o), S=nums(S), y=nums(y), gm=nums(gm), ga=nums(ga),
                gb=nums(gb), gz=nums(gz))


cases = [case(21, 2, 4, 8, 8, 4, 16), case(35, 1, 3, 8, 12, 4, 0), case(18, 2, 2, 12, 7, 3, 0), case(2, 2, 4, 8, 8, 4, 0)]
json.dump(dict(torch=torch.__version__, transformers=transformers.__version__, cases=cases), open(sys.argv[1], "w"))
