"""Writes tests/fixtures/rope.json: rotary frequencies and attention factors as transformers computes them, for configs in both key
styles.  Usage: make_rope.py OUT.json"""
import json, sys
import torch, transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

base = dict(model_type="llama", hidden_size=256, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=1, intermediate_size=64, vocab_size=64,
            max_position_embeddings=4096)
cases = [
    dict(),
    dict(rope_theta=500000.0),
    dict(rope_parameters=dict(rope_type="default", rope_theta=1e6)),
    dict(rope_theta=1e6, rope_scaling=dict(type="linear", factor=4.0)),
    dict(rope_theta=500000.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=512)),
    dict(rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)),
    dict(rope_theta=1e6, rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024)),
    dict(rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512, beta_fast=16, beta_slow=2, truncate=False)),
    dict(rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512, mscale=1.2, mscale_all_dim=0.8)),
    dict(rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=512, attention_factor=1.5)),
    dict(rope_theta=10000.0, rope_scaling=dict(rope_type="yarn", factor=2.0)),  # original = max_position_embeddings
    dict(head_dim=48, rope_theta=10000.0),
]
out = []
for c in cases:
    cfg = {**base, **c}
    r = LlamaRotaryEmbedding(LlamaConfig(**json.loads(json.dumps({k: v for k, v in cfg.items() if k != "model_type"}))))
    out.append(dict(config=cfg, inv_freq=[float(x) for x in r.inv_freq.double()], attention_factor=float(r.attention_scaling)))
json.dump(dict(torch=torch.__version__, transformers=transformers.__version__, cases=out), open(sys.argv[1], "w"))
