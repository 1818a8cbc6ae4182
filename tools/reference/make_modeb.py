"""Mode B of pipeline.md 6 (guided thinking) by transformers: tests/fixtures/thinkchat/.
A tiny Qwen3 is trained until it knows by heart what to think about 16 prompts: thoughts that close, thoughts longer than the budget, an
end-of-turn token in the middle of a thought, a character of two bytes cut by the budget, thoughts spelled in other tokens than the tokenizer
would choose; and, for the same model under a tokenizer without think tokens (spelled/), a tag spelled out with and without the prefill after
it, no tag, and an early end.  Weights are then rounded to bf16.  The oracle is model.generate (greedy, eos_token_id = the id of </think>, or
the tokenizer's EOS where there is none), one prompt at a time, and one forward over the whole text encoded again; dW = scale B A merged densely.
Usage: make_modeb.py [qwen3_5]    (from the root of the repository; needs torch, transformers, tokenizers, peft; seeds below)
With qwen3_5: the same lessons for a tiny Qwen3.5, whose running state cannot go back, with the tags as tokens: tests/fixtures/thinkchat35/
(its vignettes are thinkchat's)."""
import json, os, shutil, sys
import peft, tokenizers, torch, transformers
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3_5ForCausalLM, Qwen3_5TextConfig, Qwen3Config, Qwen3ForCausalLM

HYBRID = sys.argv[1:] == ['qwen3_5']
OUT, BUDGET, LEAD, SEED = 'tests/fixtures/thinkchat' + ('35' if HYBRID else ''), 24, 1e-2 if HYBRID else 2e-3, 5
ALPHAS = [0.0, 1.0, -1.0]
torch.set_num_threads(1)
shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT if HYBRID else os.path.join(OUT, 'spelled'))

# ---- tokenizers: bytes, a few words, and the tags as tokens or not ------------------------------------------------
TEMPLATE = ("{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
            "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
            "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}")
vocab, merges = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}, []
for word in ('true', 'false', 'Ġtrue', 'Ġfalse', 'True', 'False', 'ĠTrue', 'ĠFalse', 'Ġthe', 'Ġis', 'Ġit', 'Ġno', 'user', 'assistant', 'wrong', 'acceptable'):
    left = word[0]
    for c in word[1:]:
        if (left, c) not in merges: merges.append((left, c))
        left += c
        vocab.setdefault(left, len(vocab))


def write_tokenizer(where, tags):
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(['<|endoftext|>', '<|im_start|>', '<|im_end|>'])
    if tags: t.add_tokens([AddedToken(x, normalized=False, special=False) for x in ('<think>', '</think>')])
    t.save(os.path.join(where, 'tokenizer.json'))
    json.dump({'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'chat_template': TEMPLATE},
              open(os.path.join(where, 'tokenizer_config.json'), 'w'), indent=1)
    return AutoTokenizer.from_pretrained(where)


tok = {'tags': write_tokenizer(OUT, True)}
if not HYBRID: tok['spelled'] = write_tokenizer(os.path.join(OUT, 'spelled'), False)

# ---- vignettes ----------------------------------------------------------------------------------------------------
V = [dict(id='care-1', foundation='Care', wrong=4, text=['He kicks a dog.', 'You kick a dog.']),
     dict(id='auth-1', foundation='Authority', wrong=2, text=['She skips class.', 'You skip class.']),
     dict(id='care-2', foundation='Care', wrong=3, text=['He mocks an old man.', 'You mock an old man.']),
     dict(id='auth-2', foundation='Authority', wrong=None, text=['A clerk burns a law.', 'You burn a law.'])]
FRAMES = [dict(name='wrong', field='is_wrong', question='Is it wrong?', prefill='{"is_wrong": ', polarity=1),
          dict(name='accept', field='is_acceptable', question='Is it acceptable?', prefill='{"is_acceptable": ', polarity=-1)]
CLOSING = '\nSo, my answer:'
if not HYBRID:
    os.makedirs(os.path.join(OUT, 'vignettes'))
    for c, name in enumerate(('other_violate', 'self_violate')):
        with open(os.path.join(OUT, 'vignettes', name + '.jsonl'), 'w') as f:
            for v in V: f.write(json.dumps({**v, 'text': v['text'][c]}) + '\n')
    json.dump(dict(format='ws-frames', version=1, closing=CLOSING, frames=FRAMES), open(os.path.join(OUT, 'vignettes', 'frames.json'), 'w'), indent=1)
CELLS = [(v, c, f) for v in V for c in (0, 1) for f in FRAMES]


def prompt_of(t, cell):
    v, c, f = cell
    return t.apply_chat_template([dict(role='user', content=v['text'][c] + '\n\n' + f['question'])], tokenize=False, add_generation_prompt=True) + '<think>\n'


# ---- what the model learns to think -------------------------------------------------------------------------------
def lesson(kind, i, cell):
    """(text or list of texts and ids, whether its bytes go in one by one)"""
    t, eos, close = tok[kind], '<|im_end|>', '</think>'
    fill, word = cell[2]['prefill'], ('true', 'false')[i % 3 == 0]
    if kind == 'tags':
        return [('That is bad.' + close, 0), (' no' * 2 + ' it is' * 20, 0), ('Hm' + eos + ', ok.' + close, 0), ('x' + 'é' * 30, 0),
                ('Is it true? the end.' + close, 1), ('it is the true ' * 6, 1), (close, 0), ('abcd' * 12, 0)][i % 8]
    return [('Bad.' + close + fill + word + '}' + eos, 0), ('Fine.' + close + '\n\nSo no.' + eos, 0), ('Hm, I see' + eos, 0), ('and then ' * 8, 0),
            (close + '\n' + fill + word + '}' + eos, 0), ('It is true ' * 8, 1), (eos, 0), ('Ok' + close + ' ' + fill + '1}' + eos, 1)][i % 8]


def ids_of(t, text, by_bytes):
    if not by_bytes: return t.encode(text, add_special_tokens=False)
    return [i for part in text.replace('</think>', '\0</think>\0').replace('<|im_end|>', '\0<|im_end|>\0').split('\0') if part
            for i in (t.encode(part, add_special_tokens=False) if part[0] == '<' else [vocab[c] for b in part.encode() for c in [ByteLevelChar[b]]])]


ByteLevelChar = {}
for b in range(128): # the letters that lessons by bytes use stand for themselves but for the space
    ByteLevelChar[b] = {' ': 'Ġ', '\n': 'Ċ'}.get(chr(b), chr(b))
rows = []
for kind in tok:
    for i, cell in enumerate(CELLS):
        text, by = lesson(kind, i, cell)
        p, r = tok[kind].encode(prompt_of(tok[kind], cell), add_special_tokens=False), ids_of(tok[kind], text, by)
        rows.append((p, r[:BUDGET + 6]))
torch.manual_seed(SEED)
n = len(tok['tags'])
shape = dict(vocab_size=n, hidden_size=48, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=2048,
             tie_word_embeddings=True, bos_token_id=None, eos_token_id=tok['tags'].eos_token_id, pad_token_id=None)
rope = dict(rope_type='default', rope_theta=1e6)
if HYBRID:
    model = Qwen3_5ForCausalLM(Qwen3_5TextConfig(**shape, num_hidden_layers=3, layer_types=['linear_attention', 'linear_attention', 'full_attention'], linear_num_key_heads=2,
                                                 linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
                                                 rope_parameters=dict(rope, partial_rotary_factor=0.5, mrope_section=[2, 1, 1], mrope_interleaved=True)))
else: model = Qwen3ForCausalLM(Qwen3Config(**shape, num_hidden_layers=2, rope_parameters=rope))
L = max(len(p) + len(r) for p, r in rows)
ids, mask, labels = torch.zeros(len(rows), L, dtype=torch.long), torch.zeros(len(rows), L, dtype=torch.long), torch.full((len(rows), L), -100)
for k, (p, r) in enumerate(rows):
    ids[k, :len(p) + len(r)] = torch.tensor(p + r)
    mask[k, :len(p) + len(r)] = 1
    labels[k, len(p):len(p) + len(r)] = torch.tensor(r)
opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0)
sched = torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.05, 500)
for step in range(500):
    loss = model(ids, attention_mask=mask, labels=labels).loss
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step(), sched.step()
    if step % 100 == 99: print('step', step + 1, 'loss %.4f' % loss.item())
with torch.no_grad():
    for name, p in model.named_parameters(): p.copy_(p.to(torch.bfloat16).float())
model.to(torch.bfloat16).save_pretrained(OUT)
extra = os.path.join(OUT, 'generation_config.json')
if os.path.exists(extra): os.remove(extra)

# ---- the oracle ---------------------------------------------------------------------------------------------------
base = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation='eager').eval()
base.generation_config.pad_token_id = tok['tags'].pad_token_id
P, W = dict(base.named_parameters()), {k: v.detach().clone() for k, v in base.named_parameters()}


def words(t):
    def last(texts):
        seen = []
        for s in texts:
            i = t.encode(s, add_special_tokens=False)[-1]
            if i not in seen: seen.append(i)
        return seen
    yes = last(['true', ' true', '\ntrue', 'True', ' True', '\nTrue', '1'])
    no = last(['false', ' false', '\nfalse', 'False', ' False', '\nFalse', '0'])
    assert not set(yes) & set(no)
    return yes, no


def loop(x):
    grams = [tuple(x[i:i + 4]) for i in range(len(x) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@torch.no_grad()
def answer(ids, yes, no):
    lp = base(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
    return float(lp[yes].logsumexp(0)), float(lp[no].logsumexp(0))


@torch.no_grad()
def think(t, cell):
    """One prompt; the smallest distance between the best and the second token of a step."""
    close = t.convert_tokens_to_ids('</think>')
    if close is None or close == t.unk_token_id: close = t.eos_token_id
    yes, no = words(t)
    prompt, fill = prompt_of(t, cell), cell[2]['prefill']
    p = t(prompt, return_tensors='pt', add_special_tokens=False).input_ids
    unused = list(range(len(t), n)) # rows of the head that this tokenizer has no token for (spelled: the two tags')
    g = base.generate(p, attention_mask=torch.ones_like(p), max_new_tokens=BUDGET, do_sample=False, eos_token_id=close, suppress_tokens=unused or None,
                      return_dict_in_generate=True, output_logits=True)
    top = torch.stack(g.logits)[:, 0, :len(t)].topk(2, -1).values
    new = g.sequences[0, p.shape[1]:].tolist()
    said = t.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    closed = '</think>' in said
    thought, _, rest = said.partition('</think>')
    own = closed and fill in rest
    if own: text = prompt + thought + '</think>' + rest[:rest.index(fill) + len(fill)]
    elif closed: text = prompt + said + fill
    else: text = prompt + said + CLOSING + '</think>' + fill
    full = t.encode(text, add_special_tokens=False)
    lt, lf = answer(full, yes, no)
    enc = lambda s: t.encode(s, add_special_tokens=False)
    special = {i for i, x in t.added_tokens_decoder.items() if x.special}
    token_wise = p[0].tolist() + [i for i in new if i not in special] + ([] if own else enc(fill) if closed else enc(CLOSING + '</think>' + fill))
    kept = new[:-1] if new[-1] == close else new
    return dict(ids=kept, tokens=len(kept), closed=closed, own_prefill=own, thought=thought, rest=rest, loop=loop(kept), logp_true=lt, logp_false=lf,
                reencoded=full != token_wise, token_wise=None if own or full == token_wise else answer(token_wise, yes, no)), float((top[:, 0] - top[:, 1]).min())


def run(alpha, delta):
    with torch.no_grad():
        for k, d in delta.items(): P[k].copy_(W[k] + alpha * d)
    out = {kind: [think(tok[kind], c) for c in CELLS] for kind in tok}
    return {kind: [r for r, _ in x] for kind, x in out.items()}, min(lead for x in out.values() for _, lead in x)


plain, lead = run(0, {})
assert lead > LEAD, lead
for i, r in enumerate(plain['tags']): assert r['ids'] == ids_of(tok['tags'], *lesson('tags', i, CELLS[i]))[:len(r['ids'])], (i, r)
for seed in range(100, 200):
    g = torch.Generator().manual_seed(seed)
    a = get_peft_model(AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32), LoraConfig(r=2, lora_alpha=4, bias='none', task_type='CAUSAL_LM', target_modules=['q_proj', 'v_proj', 'o_proj', 'up_proj', 'down_proj']))
    for name, p in a.named_parameters():
        if 'lora_A' in name: p.data.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** .5)
        if 'lora_B' in name: p.data.copy_(torch.randn(p.shape, generator=g) * (.12 if HYBRID else .07) * (1 + (seed - 100) / 3)) # stronger until enough thoughts change
    sd = dict(a.named_parameters())
    delta = {k.replace('base_model.model.', '').replace('.lora_A.default.weight', '.weight'): 2 * sd[k.replace('lora_A', 'lora_B')].detach() @ sd[k].detach() for k in sd if 'lora_A' in k}
    settings, leads = zip(*[run(x, delta) for x in ALPHAS])
    differ = [sum(r['ids'] != b['ids'] for k in tok for r, b in zip(s[k], plain[k])) for s in settings]
    print('adapter seed', seed, 'leads', ['%.4f' % x for x in leads], 'thoughts that differ from the base', differ)
    if min(leads) > LEAD and min(differ[1:]) >= 4: break
else: raise SystemExit('no adapter without near ties')
a.peft_config['default'].base_model_name_or_path = ''
a.save_pretrained(os.path.join(OUT, 'adapter'))
os.remove(os.path.join(OUT, 'adapter', 'README.md'))
for kind in tok:
    for x, s in zip(ALPHAS, settings):
        print(kind, x, 'closed %d own %d forced %d retokenised %d' % tuple(sum(bool(f(r)) for r in s[kind]) for f in (lambda r: r['closed'], lambda r: r['own_prefill'], lambda r: not r['closed'], lambda r: r['reencoded'])))
json.dump(dict(made_by='tools/reference/make_modeb.py', torch=torch.__version__, transformers=transformers.__version__, tokenizers=tokenizers.__version__, peft=peft.__version__,
               seed=SEED, adapter_seed=seed, max_think=BUDGET, yes={k: words(tok[k])[0] for k in tok}, no={k: words(tok[k])[1] for k in tok},
               prompts={k: [prompt_of(tok[k], c) for c in CELLS] for k in tok}, settings=[dict(alpha=x, **s) for x, s in zip(ALPHAS, settings)]),
          open(os.path.join(OUT, 'expected.json'), 'w'), separators=(',', ':'), ensure_ascii=False)
for d, _, files in os.walk(OUT):
    for f in files: os.chmod(os.path.join(d, f), 0o644)
print(n, 'tokens', {os.path.join(d, f): os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(OUT) for f in fs})
