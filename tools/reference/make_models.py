"""Writes tests/fixtures/models/: tiny random models of each family as Hugging Face directories, with what transformers computes
from them in fp32 (eager attention): logits, losses, the gradient of the embedding output and of LoRA-like probes on every linear.
Usage: make_models.py OUT_DIR            (versions and seed are printed into every expected.json)

Weights are random, biases and norm weights too (transformers starts norms at 1 and biases at 0, which hides mistakes).
expected.safetensors of a model:
  ids.R [n]               the rows; first.R in expected.json: ids[first..n) are supervised
  logits.R [n, vocab]     of every row, every STEP-th position (STEP in expected.json) to keep the file small
  nll.R                   sum over supervised tokens, nats
  embed_grad [sum n, hidden]   gradient of sum_R weight_R nll_R with respect to the embedding output (no probe)
  A.<module> [r, d_in], B.<module> [d_out, r], gA.<module>, gB.<module>   y += (x A') B' on all seven linears of every
                          layer at once, and the gradients of the same loss
  (expected.json: nll and probe_nll per row, without and with the probes; rows.json and score.json: the rows for the verbs)
"""
import json, os, sys
import torch, transformers
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

OUT = sys.argv[1]
SEED, RANK = 20261122, 2
torch.set_num_threads(1)
base = dict(vocab_size=128, hidden_size=64, intermediate_size=80, num_attention_heads=4, attn_implementation="eager",
            bos_token_id=None, eos_token_id=2, pad_token_id=None)
llama3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
yarn = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
# name: (class, config, row lengths with the first supervised token, dtype on disk)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**base, num_hidden_layers=2, num_key_value_heads=1, rms_norm_eps=1e-5, max_position_embeddings=512, tie_word_embeddings=True,
              rope_parameters=llama3), [(200, 150), (33, 1), (7, 3)], torch.bfloat16),
    "llama_bias": (LlamaForCausalLM, LlamaConfig(**base, num_hidden_layers=2, num_key_value_heads=2, rms_norm_eps=1e-5, max_position_embeddings=512, tie_word_embeddings=False,
                   attention_bias=True, mlp_bias=True, rope_parameters=yarn), [(70, 40), (12, 5)], torch.float16),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**base, num_hidden_layers=2, num_key_value_heads=2, rms_norm_eps=1e-6, max_position_embeddings=512, tie_word_embeddings=True,
              rope_parameters=dict(rope_type="default", rope_theta=1e6)), [(40, 20), (65, 1), (5, 4)], torch.bfloat16),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**base, num_hidden_layers=2, num_key_value_heads=2, head_dim=32, rms_norm_eps=1e-6, max_position_embeddings=512,
              tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6)), [(40, 20), (65, 1), (5, 4)], torch.bfloat16),
    "qwen3_untied": (Qwen3ForCausalLM, Qwen3Config(**{**base, "vocab_size": 64, "intermediate_size": 48}, num_hidden_layers=1, num_key_value_heads=2, head_dim=32, rms_norm_eps=1e-6, max_position_embeddings=512,
                     tie_word_embeddings=False, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=1e6)), [(24, 9)], torch.float32),
}
LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def randomise(model, g):
    """N(0, 1) scaled so that logits reach several units and attention is far from uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=g)
            if "norm" in name: p.copy_(1 + 0.3 * r)
            elif name.endswith("bias"): p.copy_(0.3 * r)
            elif "embed" in name or "lm_head" in name: p.copy_(0.15 * r)
            else: p.copy_(r * 1.5 / p.shape[1] ** 0.5)


def nll(logits, ids, first):
    lp = torch.log_softmax(logits[first - 1:-1].float(), -1)
    return -lp[torch.arange(len(ids) - first), ids[first:]].sum()


def main():
    for k, (name, (cls, cfg, rows, dtype)) in enumerate(MODELS.items()):
        g = torch.Generator().manual_seed(SEED + k)
        model = cls(cfg).eval()
        randomise(model, g)
        model = model.to(dtype)
        where = os.path.join(OUT, name)
        model.save_pretrained(where)
        for extra in ("generation_config.json",):
            if os.path.exists(os.path.join(where, extra)): os.remove(os.path.join(where, extra))
        model = cls.from_pretrained(where, dtype=torch.float32, attn_implementation="eager").eval()  # .to() would have rounded inv_freq
        for p in model.parameters(): p.requires_grad_(False)
        ids = [torch.randint(0, cfg.vocab_size, (n,), generator=g) for n, _ in rows]
        weight = [0.03 * (r + 1) for r in range(len(rows))]
        out, info = {}, dict(seed=SEED + k, torch=torch.__version__, transformers=transformers.__version__, step=1 if sum(n for n, _ in rows) < 60 else 8,
                             first=[f for _, f in rows], weight=weight, nll=[], probe_nll=[])
        grads = []
        for r, (x, (n, first)) in enumerate(zip(ids, rows)):
            e = model.get_input_embeddings()(x[None]).detach().requires_grad_(True)
            logits = model(inputs_embeds=e, use_cache=False).logits[0]
            loss = nll(logits, x, first)
            (loss * weight[r]).backward()
            grads.append(e.grad[0])
            info["nll"].append(loss.item())
            out["ids.%d" % r] = x.to(torch.int32)
            out["logits.%d" % r] = logits.detach()[::info["step"]].contiguous()
        out["embed_grad"] = torch.cat(grads)
        probes = {}
        for l in range(cfg.num_hidden_layers):
            for lin in LINEARS:
                m = model.get_submodule("model.layers.%d.%s" % (l, lin))
                A = (torch.randn(RANK, m.in_features, generator=g) / m.in_features ** 0.5).requires_grad_(True)
                B = (0.5 * torch.randn(m.out_features, RANK, generator=g)).requires_grad_(True)
                probes["model.layers.%d.%s" % (l, lin)] = (A, B)
                m.register_forward_hook(lambda mod, i, o, A=A, B=B: o + (i[0] @ A.T) @ B.T)
        for r, (x, (n, first)) in enumerate(zip(ids, rows)):
            loss = nll(model(x[None], use_cache=False).logits[0], x, first)
            (loss * weight[r]).backward()
            info["probe_nll"].append(loss.item())
        for site, (A, B) in probes.items():
            out["A." + site], out["B." + site] = A.detach(), B.detach()
            out["gA." + site], out["gB." + site] = A.grad, B.grad
        save_file(out, os.path.join(where, "expected.safetensors"))
        # A file of another name, so that nobody takes it for weights of the model.
        os.rename(os.path.join(where, "expected.safetensors"), os.path.join(where, "expected.st"))
        with open(os.path.join(where, "rows.json"), "w") as f:  # for `ws logits --ids-file`
            json.dump([x.tolist() for x in ids], f)
        with open(os.path.join(where, "score.json"), "w") as f:  # for `ws score`: logprob is -nll of expected.json
            json.dump([dict(prompt_ids=x[:f0].tolist(), completion_ids=x[f0:].tolist()) for x, (n, f0) in zip(ids, rows)], f)
        json.dump(info, open(os.path.join(where, "expected.json"), "w"), indent=1)
        print(name, "max |logit| %.2f" % max(v.abs().max() for q, v in out.items() if q.startswith("logits")), "nll", info["nll"], info["probe_nll"])


main()
