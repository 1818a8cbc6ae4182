"""Per-token KL of a steered tiny model against its base, by transformers: tests/fixtures/kl/.
The adapter is written by PEFT; dW = scale B A is merged densely into the weights (W + alpha dW, fp32), the steered model continues greedily,
the base reads the same tokens (teacher forcing), KL = sum_v p_s (log p_s - log p_b) in float64 from fp32 logits.
Usage: make_kl.py    (from the root of the repository; needs torch, transformers, peft)"""
import collections, json, math, os
import numpy as np, peft, torch, transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
SRC, OUT, N_TOKENS = 'tests/fixtures/models/llama', 'tests/fixtures/kl', 14
ALPHAS = [0.4, -0.4, 1.5, -2.0]
os.makedirs(OUT, exist_ok=True)
g = torch.Generator().manual_seed(7)
load = lambda: AutoModelForCausalLM.from_pretrained(SRC, dtype=torch.float32, attn_implementation='eager').eval()

m = get_peft_model(load(), LoraConfig(r=3, lora_alpha=6, bias='none', task_type='CAUSAL_LM', target_modules=['q_proj', 'v_proj', 'o_proj', 'up_proj', 'down_proj']))
delta = {}
for name, p in m.named_parameters():
    if 'lora_A' in name: p.data.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** .5)
    if 'lora_B' in name: p.data.copy_(torch.randn(p.shape, generator=g) * .11)
sd = dict(m.named_parameters())
for name in sd:
    if 'lora_A' in name:
        key = name.replace('base_model.model.', '').replace('.lora_A.default.weight', '.weight')
        delta[key] = (6 / 3) * sd[name.replace('lora_A', 'lora_B')].detach() @ sd[name].detach()
m.peft_config['default'].base_model_name_or_path = ''
m.save_pretrained(os.path.join(OUT, 'adapter'))
for extra in os.listdir(os.path.join(OUT, 'adapter')):
    if extra.endswith('.md'): os.remove(os.path.join(OUT, 'adapter', extra))

base, steered = load(), load()
P, W = dict(steered.named_parameters()), {k: v.detach().clone() for k, v in dict(base.named_parameters()).items()}
start = [5, 17, 9]  # half of the prompts share a beginning
prompts = [(start if i % 2 else []) + torch.randint(3, 128, (int(torch.randint(1, 18, (1,), generator=g)),), generator=g).tolist() for i in range(40)]


@torch.no_grad()
def run(alpha, eos):
    for k in delta: P[k].copy_(W[k] + alpha * delta[k])
    rows = []
    for p in prompts:
        ids, kl, out, margin = list(p), [], [], math.inf
        for _ in range(N_TOKENS):
            x = torch.tensor([ids])
            ls, lb = steered(x).logits[0, -1].double().log_softmax(-1), base(x).logits[0, -1].double().log_softmax(-1)
            kl.append(float((ls.exp() * (ls - lb)).sum()))
            top = ls.topk(2).values
            margin = min(margin, float(top[0] - top[1]))
            t = int(ls.argmax())
            out.append(t), ids.append(t)
            if t == eos: break
        rows.append(dict(kl=kl, ids=out, lead=margin))
    return rows


# an end-of-text token that the continuations meet early, late and never
free = [run(a, -1) for a in ALPHAS]
# prompts on which no choice is a near tie: fp32 forwards differ by about 1e-6
clear = [i for i in range(len(prompts)) if all(f[i]['lead'] > 1e-3 for f in free)][:14]
assert len(clear) == 14, len(clear)
prompts, free = [prompts[i] for i in clear], [[f[i] for i in clear] for f in free]
seen = collections.Counter(t for f in free for r in f for t in set(r['ids'][2:-2]))
eos = max(seen, key=lambda t: (2 * min(seen[t], len(prompts) * len(ALPHAS) - seen[t]), -t))
arms = []
for a in ALPHAS:
    rows = run(a, eos)
    for r in rows: del r['lead']
    pool = np.concatenate([r['kl'] for r in rows])
    print('alpha %+.2f p95 %.4f mean %.4f n %d lengths %s' % (a, np.quantile(pool, .95), pool.mean(), len(pool), [len(r['kl']) for r in rows]))
    arms.append(dict(alpha=a, rows=rows, p95=float(np.quantile(pool, .95)), p50=float(np.quantile(pool, .5)), p99=float(np.quantile(pool, .99)), mean=float(pool.mean()), max=float(pool.max()), n=len(pool)))
json.dump(dict(made_by='tools/reference/make_kl.py', torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__, n_tokens=N_TOKENS, eos=eos, prompts=prompts, arms=arms),
          open(os.path.join(OUT, 'kl.json'), 'w'), separators=(',', ':'))
