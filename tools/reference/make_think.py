"""Writes tests/fixtures/think/: a tiny random Qwen3 whose chat template opens a think block (tests/fixtures/text/reason_macro.jinja, in the
manner of Qwen3.5 of 4B and more), and what transformers makes of responses with reasoning: training rows, calibration prompts, margins.
As in Qwen3.5's directory the stop ids are spread: config.json names <|endoftext|> alone, tokenizer_config.json <|im_end|>, which also
defines two added tokens that tokenizer.json lacks; and two line breaks are one token (models.md traps 16, 23 and 35).
Usage: make_think.py    (from the root of the repository; needs torch, transformers, tokenizers, peft, gguf; seed 5)"""
import json, os, shutil
import numpy as np
import torch, transformers, tokenizers
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

OUT, TEXT = 'tests/fixtures/think', 'tests/fixtures/text'
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
os.makedirs(OUT, exist_ok=True)
torch.manual_seed(5)
torch.set_num_threads(1)

b = json.load(open('data/behaviors/enthusiasm.json'))
lines = b['topics'] + b['heldout_topics'] + [p[s] for p in b['personas'] for s in ('pos', 'neg')]
lines += ['Let me see\n\nIt is so\n'] * 400
t = Tokenizer(models.BPE())
t.normalizer = normalizers.NFC()
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN35), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
t.decoder = decoders.ByteLevel()
t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=290, special_tokens=[], show_progress=False,
                                                 initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {'\u0100'})))
t.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in ('<|endoftext|>', '<|im_start|>', '<|im_end|>')])
t.add_tokens([AddedToken(x, special=False, normalized=False) for x in ('<think>', '</think>')])
assert len(t.encode('\n\n').ids) == 1
n = t.get_vocab_size()
t.save(OUT + '/tokenizer.json')
late = {str(n): '<|audio_start|>', str(n + 1): '<tts_pad>'}
json.dump({'tokenizer_class': 'PreTrainedTokenizerFast', 'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'bos_token': None,
           'added_tokens_decoder': {i: {'content': c, 'special': True, 'normalized': False, 'lstrip': False, 'rstrip': False, 'single_word': False}
                                    for i, c in late.items()}}, open(OUT + '/tokenizer_config.json', 'w'), indent=1)
on = open(TEXT + '/reason_macro.jinja').read()
open(OUT + '/chat_template.jinja', 'w').write(on)
open(OUT + '/off.jinja', 'w').write('{%- set think_default = false -%}\n' + on)
TEMPLATES = {'on': on, 'off': open(OUT + '/off.jinja').read(), 'free': open(TEXT + '/reason.jinja').read(), 'plain': open(TEXT + '/chatml.jinja').read()}

# The same tokenizer as llama.cpp's converter writes it into a GGUF of such a model: one eos id, and no generation_config.
import gguf
w = gguf.GGUFWriter(OUT + '/tokenizer.gguf', 'qwen3')
w.add_block_count(1), w.add_context_length(64), w.add_embedding_length(8), w.add_feed_forward_length(8), w.add_head_count(1), w.add_head_count_kv(1)
w.add_key_length(8), w.add_value_length(8), w.add_layer_norm_rms_eps(1e-6), w.add_rope_freq_base(1e6)
model = json.loads(t.to_str())['model']
tokens = [x for x, _ in sorted(list(model['vocab'].items()) + [(a['content'], a['id']) for a in json.loads(t.to_str())['added_tokens']] + [(c, int(i)) for i, c in late.items()],
                               key=lambda x: x[1])]
w.add_tokenizer_model('gpt2'), w.add_tokenizer_pre('qwen35'), w.add_token_list(tokens)
w.add_token_types([4 if x in ('<think>', '</think>') else 3 if x.startswith('<|') or x == '<tts_pad>' else 1 for x in tokens])
w.add_token_merges([' '.join(m) for m in model['merges']])
w.add_eos_token_id(t.token_to_id('<|im_end|>')), w.add_pad_token_id(t.token_to_id('<|endoftext|>')), w.add_add_bos_token(False), w.add_chat_template('{{ messages[0].content }}')
w.add_tensor('token_embd.weight', np.zeros((len(tokens), 8), dtype=np.float16))
w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()

end, close = t.token_to_id('<|im_end|>'), t.token_to_id('</think>')
m = Qwen3ForCausalLM(Qwen3Config(vocab_size=n + 4, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                                 head_dim=8, max_position_embeddings=2048, tie_word_embeddings=False, rope_theta=1e6, bos_token_id=None,
                                 eos_token_id=t.token_to_id('<|endoftext|>'), pad_token_id=None)).eval()
g = torch.Generator().manual_seed(5)
with torch.no_grad():
    for name, p in m.named_parameters():
        r = torch.randn(p.shape, generator=g)
        p.copy_(1 + .2 * r if 'norm' in name else .3 * r if 'embed' in name or 'lm_head' in name else r / p.shape[1] ** .5)
    # Answers close their think block and end after some tens of tokens: the rows of </think> and <|im_end|> point to where most states point.
    ids = torch.randint(0, n - 5, (64, 24), generator=g)
    h = m.model(ids).last_hidden_state.reshape(-1, 16)
    mean = h.mean(0)
    for i in (end, close):
        rest = m.lm_head(h).logsumexp(-1)
        w = m.lm_head.weight[i].clone()
        for c in torch.linspace(0, 20, 200):  # the smallest push that gives about one in twenty five
            m.lm_head.weight[i] = w * .2 + c * mean / mean.norm() ** 2
            if (m.lm_head(h)[:, i] - rest).exp().mean() > .04: break
m.to(torch.bfloat16).save_pretrained(OUT)
if os.path.exists(OUT + '/generation_config.json'): os.remove(OUT + '/generation_config.json')
a = get_peft_model(m.float(), LoraConfig(r=2, lora_alpha=4, bias='none', task_type='CAUSAL_LM', target_modules=['q_proj', 'v_proj', 'o_proj', 'down_proj']))
for name, p in a.named_parameters():
    if 'lora_A' in name: p.data.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** .5)
    if 'lora_B' in name: p.data.copy_(torch.randn(p.shape, generator=g) * .15)
a.peft_config['default'].base_model_name_or_path = ''
a.save_pretrained(OUT + '/adapter')
os.remove(OUT + '/adapter/README.md')
c = json.load(open(OUT + '/adapter/adapter_config.json'))
c['target_modules'].sort()  # PEFT writes a set
json.dump(c, open(OUT + '/adapter/adapter_config.json', 'w'), indent=2)

tok = AutoTokenizer.from_pretrained(OUT)
assert tok.chat_template == on and tok.convert_tokens_to_ids('<tts_pad>') == n + 1
PAIRS = [
    dict(prompt='Is rain good?', response_pos='They ask about rain.\n</think>\n\nIt is grand!', response_neg='Hm.\n\nRain.\n</think>\n\nIt is wet.'),
    dict(prompt='Count.', response_pos='</think>\n\nOne, two.', response_neg='Let me see: one, two, three and', finish_reason_pos='stop',
         finish_reason_neg='length', closed_neg=False),
    dict(prompt='  Tell me of <think> tags.\n', response_pos='R</think>An answer that goes on and', response_neg='a</think>b</think>\n\nc', finish_reason_pos='length',
         finish_reason_neg='stop'),
    dict(prompt='Why?', response_pos='<think>\nBecause.\n</think>\n\nSo.', response_neg='<think>\nIt never ends, it', finish_reason_pos='stop', finish_reason_neg='length',
         closed_pos=True, closed_neg=False),
    dict(prompt='And this?', response_pos='Plain joy.', response_neg='Flat.'),
]
ids = lambda text: tok(text, add_special_tokens=False)['input_ids']
user = lambda p: dict(role='user', content=p)
CUT = '\u2020CUT\u2020'


def rows(template, side, max_len, keep_end):
    out = []
    for p in PAIRS:
        answer, cut = p['response_' + side], p.get('finish_reason_' + side) == 'length' and not keep_end
        prompt = ids(tok.apply_chat_template([user(p['prompt'])], add_generation_prompt=True, tokenize=False, chat_template=template))
        text = tok.apply_chat_template([user(p['prompt']), dict(role='assistant', content=answer + CUT * cut)], tokenize=False, chat_template=template)
        if cut: text = text[:text.rindex(CUT)]
        full = ids(text)[:max_len]
        out.append(dict(ids=full, first=max(1, min(len(prompt), len(full)))))
    return out


cases = [dict(template=name, side=side, max_len=max_len, keep_end=keep, rows=rows(text, side, max_len, keep))
         for name, text in TEMPLATES.items() for side in ('pos', 'neg') for max_len, keep in ((512, False), (512, True), (44, False))]


def calibration(template, prompt):
    text = tok.apply_chat_template([user(prompt), dict(role='assistant', content='')], continue_final_message=True, tokenize=False, chat_template=template)
    return ids(text[:text.rindex('<think>') + 7] + '\n' if '<think>' in text else text)


def generation(template, prompt, **kw):
    return ids(tok.apply_chat_template([user(prompt)], add_generation_prompt=True, tokenize=False, chat_template=template, **kw))


# with a question that holds the tag the reference cuts the question on a template without think block; ours does not, so it is left out there
prompts = [dict(template=name, prompt=p, open=calibration(text, p), off=generation(text, p, enable_thinking=False), as_is=generation(text, p))
           for name, text in TEMPLATES.items() for p in ('Why?', 'hi', 'Explain <think> to me.') if name != 'plain' or '<' not in p]

base = AutoModelForCausalLM.from_pretrained(OUT, dtype=torch.float32, attn_implementation='eager').eval()
sd, W = dict(a.named_parameters()), {k: v.detach().clone() for k, v in base.named_parameters()}
P = dict(base.named_parameters())


@torch.no_grad()
def margins(alpha):
    for name in sd:
        if 'lora_A' in name:
            k = name.replace('base_model.model.', '').replace('.lora_A.default.weight', '.weight')
            P[k].copy_(W[k] + alpha * 2 * sd[name.replace('lora_A', 'lora_B')].detach() @ sd[name].detach())
    out = []
    for p in PAIRS:
        thinks = any('</think>' in p['response_' + s] or 'closed_' + s in p for s in ('pos', 'neg'))
        pre = generation(on, p['prompt'], enable_thinking=thinks)
        for side in ('pos', 'neg'):
            text = p['response_' + side]
            if text.startswith('<think>'): text = text[7:].lstrip('\n')  # the prompt has it
            r = ids(text)
            lp = base(torch.tensor([pre + r])).logits[0].double().log_softmax(-1)
            out.append([float(sum(lp[len(pre) - 1 + i, x] for i, x in enumerate(r))), len(r)])
    return dict(alpha=alpha, margin=out)


with open(OUT + '/pairs.jsonl', 'w') as f:
    for p in PAIRS: f.write(json.dumps(p) + '\n')
json.dump(dict(made_by='tools/reference/make_think.py', versions=dict(transformers=transformers.__version__, tokenizers=tokenizers.__version__, torch=torch.__version__),
               cases=cases, prompts=prompts, settings=[margins(x) for x in (0.0, 1.0, -1.0)]), open(OUT + '/expected.json', 'w'), separators=(',', ':'))
for d, _, files in os.walk(OUT):
    for f in files: os.chmod(os.path.join(d, f), 0o644)
print(n, 'tokens,', len(cases), 'cases,', {f: os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT)})
