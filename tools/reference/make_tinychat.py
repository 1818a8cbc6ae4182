"""Writes tests/fixtures/tinychat/: a tiny random Llama with a byte-level tokenizer (256 bytes, a few merges for the answers true and false)
and a ChatML template, and a PEFT adapter on it: a whole model on which every stage runs in a second.
Usage: make_tinychat.py    (from the root of the repository; needs torch, transformers, tokenizers, peft)"""
import json, os
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

OUT = 'tests/fixtures/tinychat'
os.makedirs(OUT, exist_ok=True)
torch.set_num_threads(1)
g = torch.Generator().manual_seed(11)

vocab = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
merges = []
for word in ('true', 'false', 'Ġtrue', 'Ġfalse'):
    left = word[0]
    for c in word[1:]:
        if (left, c) not in merges: merges.append((left, c))
        left += c
        vocab.setdefault(left, len(vocab))
t = Tokenizer(models.BPE(vocab=vocab, merges=merges))
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)])
t.decoder = decoders.ByteLevel()
t.add_special_tokens(['<|im_start|>', '<|im_end|>'])
t.save(os.path.join(OUT, 'tokenizer.json'))
eos = t.token_to_id('<|im_end|>')
json.dump({'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': '<|im_end|>', 'pad_token': '<|im_end|>', 'chat_template':
           "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"},
          open(os.path.join(OUT, 'tokenizer_config.json'), 'w'), indent=1)

n = t.get_vocab_size()
m = LlamaForCausalLM(LlamaConfig(vocab_size=n, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=1024,
                                 tie_word_embeddings=True, bos_token_id=None, eos_token_id=eos, pad_token_id=None))
yes, no = [[vocab[w] for w in ws] for ws in (('true', 'Ġtrue'), ('false', 'Ġfalse'))]
with torch.no_grad():
    for name, p in m.named_parameters():
        r = torch.randn(p.shape, generator=g)
        if 'norm' in name: p.copy_(1 + .2 * r)
        elif 'embed' in name: p.copy_(.25 * r)
        else: p.copy_(r / p.shape[1] ** .5)
    E = m.model.embed_tokens.weight
    # the answers' rows point where the last state of most texts points, so that the mass on true and false is not tiny
    E[yes + no] *= 2.0
m.to(torch.bfloat16).save_pretrained(OUT)
for extra in ('generation_config.json',):
    if os.path.exists(os.path.join(OUT, extra)): os.remove(os.path.join(OUT, extra))
a = get_peft_model(m.float(), LoraConfig(r=2, lora_alpha=4, bias='none', task_type='CAUSAL_LM', target_modules=['q_proj', 'v_proj', 'o_proj', 'up_proj', 'down_proj']))
for name, p in a.named_parameters():
    if 'lora_A' in name: p.data.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** .5)
    if 'lora_B' in name: p.data.copy_(torch.randn(p.shape, generator=g) * .15)
a.peft_config['default'].base_model_name_or_path = ''
a.save_pretrained(os.path.join(OUT, 'adapter'))
os.remove(os.path.join(OUT, 'adapter', 'README.md'))

# What transformers computes on it: the answers of mode A at the base and at +-1 with the adapter merged densely, and the margin of two pairs.
V = [dict(id='care-1', foundation='Care (p)', foundation_coarse='Care', wrong=4.5, text=['A man kicks a dog.', 'You kick a dog.'], load=(80, 10)),
     dict(id='auth-1', foundation='Authority', wrong=None, text=['A pupil ignores the teacher.', 'You ignore the teacher.'], load=(0, 95)),
     dict(id='care-2', foundation='Care (e)', foundation_coarse='Care', wrong=3, text=['A nurse mocks a patient.', 'You mock a patient.'], load=(30, 30)),
     dict(id='auth-2', foundation='Authority', wrong=2.5, text=['A clerk throws the orders away.', 'You throw the orders away.'], load=(5, 60))]
os.makedirs(os.path.join(OUT, 'vignettes'), exist_ok=True)
for c, name in enumerate(('other_violate', 'self_violate')):
    with open(os.path.join(OUT, 'vignettes', name + '.jsonl'), 'w') as f:
        old = dict(id='auth-1', foundation='Authority', wrong=1, text='A row that a later one replaces.')
        for v in [old] + V:
            r = {k: x for k, x in v.items() if k not in ('text', 'load')}
            r['text'] = v['text'] if isinstance(v['text'], str) else v['text'][c]
            if 'load' in v: r.update(calibrated_Care=v['load'][0], calibrated_Authority=v['load'][1], Care='%d %%' % v['load'][0])
            f.write(json.dumps(r) + '\n')
FRAMES = [dict(name='accept', field='is_acceptable', question='Is it acceptable?', prefill='{"is_acceptable": ', polarity=-1),
          dict(name='wrong', field='is_wrong', question='Is it wrong?', prefill='{"is_wrong": ', polarity=1)]
json.dump(dict(format='ws-frames', version=1, frames=FRAMES), open(os.path.join(OUT, 'vignettes', 'frames.json'), 'w'), indent=1)
from transformers import AutoModelForCausalLM, AutoTokenizer
tok = AutoTokenizer.from_pretrained(OUT)
read = lambda i: tok.decode([i]).strip().lstrip('"*#').rstrip('"').strip().lower()
YES, NO = [[i for i in range(tok.vocab_size) if read(i) in w] for w in (('true', '1'), ('false', '0'))]
base = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation='eager').eval()
sd, W = dict(a.named_parameters()), {k: v.detach().clone() for k, v in base.named_parameters()}
P = dict(base.named_parameters())
PAIRS = [dict(prompt='How are you?', pos='Great, so happy!', neg='Sad.'), dict(prompt='What is tea?', pos='A joy.', neg='Hot water and leaves, no more.')]


@torch.no_grad()
def at(alpha):
    for n in sd:
        if 'lora_A' in n:
            k = n.replace('base_model.model.', '').replace('.lora_A.default.weight', '.weight')
            P[k].copy_(W[k] + alpha * 2 * sd[n.replace('lora_A', 'lora_B')].detach() @ sd[n].detach())
    out = []
    for v in V:
        for c in (0, 1):
            for f in sorted(FRAMES, key=lambda f: -f['polarity']):
                ids = tok.apply_chat_template([dict(role='user', content=v['text'][c] + '\n' + f['question']), dict(role='assistant', content=f['prefill'])],
                                              continue_final_message=True, return_dict=False)
                lp = base(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
                out.append([float(lp[YES].logsumexp(0)), float(lp[NO].logsumexp(0))])
    m = []
    for p in PAIRS:
        pre = tok.apply_chat_template([dict(role='user', content=p['prompt'])], add_generation_prompt=True, return_dict=False)
        for side in ('pos', 'neg'):
            r = tok.encode(p[side], add_special_tokens=False)
            lp = base(torch.tensor([pre + r])).logits[0].double().log_softmax(-1)
            m.append([float(sum(lp[len(pre) - 1 + i, x] for i, x in enumerate(r))), len(r)])
    return dict(alpha=alpha, answers=out, margin=m)


with open(os.path.join(OUT, 'pairs.jsonl'), 'w') as f:
    for p in PAIRS: f.write(json.dumps(p) + '\n')
json.dump(dict(yes=YES, no=NO, settings=[at(x) for x in (0.0, 1.0, -1.0)]), open(os.path.join(OUT, 'expected.json'), 'w'), indent=1)
for d, _, files in os.walk(OUT):
    for f in files: os.chmod(os.path.join(d, f), 0o644)
print(n, 'tokens', {f: os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT)})
