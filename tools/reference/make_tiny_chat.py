"""Writes tests/fixtures/tiny-chat: a random llama with a byte-level BPE tokenizer and a ChatML template, small enough for
tests of the whole program.  Its answers mean nothing; that they are there, end, and differ is all the tests need.
Weights: normal with a larger spread than usual, so that the next-token distribution is far from flat.
Usage: make_tiny_chat.py   (transformers, tokenizers, torch; seed 1)"""
import json, os, sys
import torch, transformers, tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
OUT = os.path.join(ROOT, "tests", "fixtures", "tiny-chat")
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
os.makedirs(OUT, exist_ok=True)
torch.manual_seed(1)

text = []
for name in ("enthusiasm", "authority"):
    b = json.load(open(os.path.join(ROOT, "data", "behaviors", name + ".json")))
    text += b["topics"] + b["heldout_topics"] + [p[s] for p in b["personas"] for s in ("pos", "neg")]
text += ['{"is_wrong": true}', '{"is_wrong": false}', '{"is_acceptable": true}', '{"is_acceptable": false}'] * 20

t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
t.decoder = decoders.ByteLevel()
t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=480, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                                initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"\u0100"}),
                                                show_progress=False))  # no NUL byte: JSON texts of tests stay plain C strings
t.save(os.path.join(OUT, "tokenizer.json"))
json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
           "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>", "add_bos_token": False, "chat_template": TEMPLATE,
           "model_max_length": 2048}, open(os.path.join(OUT, "tokenizer_config.json"), "w"), indent=1)

config = LlamaConfig(vocab_size=t.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
                     num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.25,
                     bos_token_id=1, eos_token_id=2, pad_token_id=2, torch_dtype="bfloat16")
model = LlamaForCausalLM(config).to(torch.bfloat16)
model.generation_config.eos_token_id = 2
model.save_pretrained(OUT)
size = sum(os.path.getsize(os.path.join(OUT, f)) for f in os.listdir(OUT))
print("tiny-chat: %d bytes, vocabulary %d, transformers %s, tokenizers %s, torch %s" %
      (size, t.get_vocab_size(), transformers.__version__, tokenizers.__version__, torch.__version__), file=sys.stderr)
