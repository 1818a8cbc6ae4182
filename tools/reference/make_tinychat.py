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
for d, _, files in os.walk(OUT):
    for f in files: os.chmod(os.path.join(d, f), 0o644)
print(n, 'tokens', {f: os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT)})
