"""Writes tests/fixtures/bf16.h: torch's rounding of fp32 to bf16, and products in double of matrices that torch rounded to
bf16; both sides make the matrices from integers.  Run: python tools/reference/make_bf16.py"""
import numpy, os, torch
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'tests', 'fixtures', 'bf16.h')

def noise(rows, cols, seed):
    """Entry number i: 24 hashed bits / 2^24 - 1/2, exact in fp32."""
    h = (numpy.arange(rows * cols, dtype=numpy.uint64) + 1 + seed) * 2654435761 % 2 ** 32
    h ^= h >> 15
    h = h * 2246822519 % 2 ** 32
    h ^= h >> 13
    return ((h >> 8).astype(numpy.float64) / 2 ** 24 - .5).reshape(rows, cols)

def bf16(x):
    return torch.from_numpy(x.astype(numpy.float32)).to(torch.bfloat16).to(torch.float64).numpy()

M, N, K = 5, 13, 1307
x, w = bf16(noise(M, K, 0)), bf16(noise(N, K, 100000))
v = bf16(noise(K, N, 200000))

# ties to even and to odd, neighbours of ties, overflow to infinity, both signs; random bits; NaN with the payload in either half
bits = [0, 0x3f800000, 0x3f808000, 0x3f808001, 0x3f807fff, 0x3f818000, 0x3f817fff, 0x3f818001, 0x7f7f7fff, 0x7f7f8000, 0x7f7fffff,
        0x7f800000, 0x7f800001, 0x7fc00000, 0x7f8fffff, 0x00800000, 0x00808000, 0x00807fff, 0x00ff8000]
bits += [b | 0x80000000 for b in bits]
rng = numpy.random.default_rng(7)
bits += [int(b) for b in rng.integers(0, 2 ** 32, 160) if (int(b) >> 23 & 255)]
got = torch.tensor(numpy.array(bits, dtype=numpy.uint32).view(numpy.float32)).to(torch.bfloat16).view(torch.int16).numpy().view(numpy.uint16)

o = ['/* Written by tools/reference/make_bf16.py with torch %s, numpy %s. */' % (torch.__version__.split('+')[0], numpy.__version__),
     'enum { BF16_M = %d, BF16_N = %d, BF16_K = %d };' % (M, N, K)]
arr = lambda n, a: o.append('static const double %s[] = {%s};' % (n, ', '.join(float(y).hex() for y in a.ravel())))
arr('torch_nt', x @ w.T)
arr('torch_nn', x @ v)
o.append('static const unsigned bf16_rounded[][2] = {%s};' % ', '.join('{0x%08x, 0x%04x}' % (a, int(b)) for a, b in zip(bits, got)))
open(here, 'w').write('\n'.join(o) + '\n')

# Whole models: every linear, the LM head too, with both sides rounded, forward and backward; all else fp32.
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
import json
r16 = lambda t: t.to(torch.bfloat16).to(t.dtype)

class Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(w)
        return r16(x) @ r16(w).T
    @staticmethod
    def backward(ctx, g):
        return r16(g) @ r16(ctx.saved_tensors[0]), None

def linear(x, w, b=None):
    y = Linear.apply(x, w)
    return y if b is None else y + b

torch.manual_seed(0)
for name in ('qwen3_untied', 'llama_bias'):  # stored as F32 and as F16
    where = os.path.join(os.path.dirname(here), 'models', name)
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation='eager').eval()
    for p in model.parameters(): p.requires_grad_(False)
    info, st = json.load(open(os.path.join(where, 'expected.json'))), load_file(os.path.join(where, 'expected.st'))
    def run():
        grads, nll = [], []
        for k, first in enumerate(info['first']):
            ids = st['ids.%d' % k].long()
            e = model.get_input_embeddings()(ids[None]).detach().requires_grad_(True)
            lp = torch.log_softmax(model(inputs_embeds=e, use_cache=False).logits[0][first - 1:-1].float(), -1)
            loss = -lp[torch.arange(len(ids) - first), ids[first:]].sum()
            (loss * info['weight'][k]).backward()
            grads.append(e.grad[0]), nll.append(loss.item())
        return torch.cat(grads), torch.tensor(nll, dtype=torch.float64)
    plain = run()
    torch.nn.functional.linear, kept = linear, torch.nn.functional.linear
    g, nll = run()
    torch.nn.functional.linear = kept
    print(name, 'nll', plain[1].tolist(), nll.tolist(), 'gradient moves by', ((g - plain[0]).norm() / plain[0].norm()).item())
    save_file({'embed_grad': g.contiguous(), 'nll': nll}, os.path.join(where, 'bf16.st'), metadata={'torch': torch.__version__, 'script': 'tools/reference/make_bf16.py'})
