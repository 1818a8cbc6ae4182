"""Writes tests/fixtures/models/qwen35*: tiny random Qwen3.5 checkpoints in the shapes in which they are found, with what the
classes of transformers compute from them.  Layout of the expected values as in make_models.py.
Usage: make_qwen35.py OUT_DIR            (versions and seed are printed into every expected.json)

The reference runs in double: the modelling file of transformers is loaded a second time with its casts to float32 made casts to
float64 (its rotary tables stay as they are).  In fp32 it is no sharp reference: where q.k of the delta rule is near zero its
output is tiny, and the gated norm behind it makes the rounding error large.  How far transformers' own fp32 is from it stands in
expected.json: "fp32_logit_error", absolute, and "fp32_gradient_error", the largest relative one of a probe's gradient.

All parameters are random: transformers starts zero-centred norms at 0, dt_bias and the plain norm at 1, which hides mistakes.
  qwen35      multimodal wrapper: nested text_config, model.language_model.* names in two shards, vision and MTP tensors beside them;
              BF16 with A_log and the plain norm in F32; three delta layers, one full; 2 value heads a key head; tied
  qwen35_1x   text-only export in F32: an explicit list of layer types that ends in a delta layer, as many value as key heads,
              dv != dk, 3 taps, untied
  qwen35_3x   everything BF16, A_log too: old RoPE keys, full_attention_interval, attention_bias, conv1d.weight without its middle
              dimension (which transformers does not read: it is squeezed after saving), 3 value heads a key head, 5 layers
"""
import importlib.util, json, os, shutil, sys
import torch, transformers
from safetensors.torch import load_file, save_file
from transformers import Qwen3_5Config, Qwen3_5ForCausalLM, Qwen3_5TextConfig
import transformers.models.qwen3_5.modeling_qwen3_5 as modeling

SEED, RANK = 20261123, 2
torch.set_num_threads(1)


def in_double():
    """The same modelling code with its fp32 islands in fp64."""
    text = open(modeling.__file__).read()
    head, rest = text[:text.index("class Qwen3_5RMSNormGated")], text[text.index("class Qwen3_5RMSNormGated"):]
    text = head + rest.replace("torch.float32", "torch.float64").replace(".float()", ".double()")
    spec = importlib.util.spec_from_loader("transformers.models.qwen3_5.modeling_qwen3_5_double", loader=None, origin=modeling.__file__)
    module = importlib.util.module_from_spec(spec)
    module.__package__ = "transformers.models.qwen3_5"
    module.__file__ = modeling.__file__
    sys.modules[spec.name] = module
    exec(compile(text, modeling.__file__, "exec"), module.__dict__)
    return module


base = dict(vocab_size=64, hidden_size=32, intermediate_size=40, num_attention_heads=2, num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-6,
            max_position_embeddings=1024, attn_implementation="eager", bos_token_id=None, eos_token_id=2, pad_token_id=None)
rope = dict(rope_type="default", rope_theta=1e7, partial_rotary_factor=0.25, mrope_section=[1, 1, 0], mrope_interleaved=True)
L, F = "linear_attention", "full_attention"
# name: (config, row lengths with the first supervised token, dtype, dtype of A_log and the plain norm)
MODELS = {
    "qwen35": (dict(num_hidden_layers=4, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
                    layer_types=[L, L, L, F], tie_word_embeddings=True, rope_parameters=rope), [(70, 40), (33, 1), (7, 3)], torch.bfloat16, torch.float32),
    "qwen35_1x": (dict(num_hidden_layers=3, linear_num_key_heads=3, linear_num_value_heads=3, linear_key_head_dim=8, linear_value_head_dim=12,
                       linear_conv_kernel_dim=3, layer_types=[L, F, L], tie_word_embeddings=False, rope_parameters={**rope, "partial_rotary_factor": 0.5}),
                  [(40, 20), (17, 1)], torch.float32, torch.float32),
    "qwen35_3x": (dict(num_hidden_layers=5, linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=8, linear_value_head_dim=8,
                       layer_types=[L, F, L, F, L], attention_bias=True, tie_word_embeddings=True, rope_parameters=rope), [(48, 30), (16, 1), (31, 5)], torch.bfloat16, torch.bfloat16),
}
LINEARS = {L: ["linear_attn.out_proj", "linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_b", "linear_attn.in_proj_a"],
           F: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]}
MLP = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def randomise(model, g):
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=g)
            if name.endswith("A_log"): p.copy_(0.8 * r)  # decay rates 0.2 .. 4
            elif name.endswith("dt_bias"): p.copy_(-1 + 0.7 * r)
            elif name.endswith("linear_attn.norm.weight"): p.copy_(1 + 0.3 * r)
            elif "norm" in name: p.copy_(0.3 * r)  # zero-centred
            elif name.endswith("bias"): p.copy_(0.3 * r)
            elif "conv1d" in name: p.copy_(0.6 * r)
            elif "embed" in name or "lm_head" in name: p.copy_(0.3 * r)
            else: p.copy_(r / p.shape[1] ** 0.5)


def write(where, name, model, config, dtype, fine, g):
    """The checkpoint in its style."""
    os.makedirs(where)
    t = {}
    for k, v in model.state_dict().items():
        if k == "lm_head.weight" and config.tie_word_embeddings: continue
        t[k] = v.to(fine if k.endswith("A_log") or k.endswith("linear_attn.norm.weight") else dtype).contiguous()
    top = config.to_dict()
    for k in ("transformers_version", "_name_or_path"): top.pop(k, None)
    if name == "qwen35":
        t = {k.replace("model.", "model.language_model.", 1): v for k, v in t.items()}
        t["model.visual.patch_embed.proj.weight"] = torch.randn(4, 3, generator=g).to(dtype)
        t["model.visual.blocks.0.attn.qkv.weight"] = torch.randn(6, 4, generator=g).to(dtype)
        t["mtp.fc.weight"] = torch.randn(4, 8, generator=g).to(dtype)
        t["mtp.layers.0.self_attn.q_proj.weight"] = torch.randn(4, 8, generator=g).to(dtype)
        text = {**top, "model_type": "qwen3_5_text"}
        text.pop("architectures", None)
        tie = text["tie_word_embeddings"]
        top = dict(architectures=["Qwen3_5ForConditionalGeneration"], model_type="qwen3_5", tie_word_embeddings=tie, text_config=text,
                   vision_config=dict(model_type="qwen3_5", depth=1, hidden_size=4), image_token_id=60, video_token_id=61)
        names, cut = sorted(t), len(t) // 2
        shards = ["model.safetensors-%05d-of-00002.safetensors" % (i + 1) for i in range(2)]
        index = {k: shards[i >= cut] for i, k in enumerate(names)}
        for s in shards: save_file({k: t[k] for k in names if index[k] == s}, os.path.join(where, s), metadata={"format": "pt"})
        total = sum(v.numel() * v.element_size() for v in t.values())
        json.dump(dict(metadata=dict(total_size=float(total)), weight_map=index), open(os.path.join(where, "model.safetensors.index.json"), "w"), indent=1)
    else:
        if name == "qwen35_3x":
            t = {k: v[:, 0].contiguous() if "conv1d" in k else v for k, v in t.items()}
            p = top.pop("rope_parameters")
            top.update(rope_theta=p["rope_theta"], partial_rotary_factor=p["partial_rotary_factor"], rope_scaling=None, full_attention_interval=2)
            top.pop("layer_types")
        save_file(t, os.path.join(where, "model.safetensors"), metadata={"format": "pt"})
    json.dump(top, open(os.path.join(where, "config.json"), "w"), indent=1)


def nll(logits, ids, first):
    lp = torch.log_softmax(logits[first - 1:-1].double(), -1)
    return -lp[torch.arange(len(ids) - first), ids[first:]].sum()


def main():
    out_dir, double = sys.argv[1], in_double()
    for k, (name, (extra, rows, dtype, fine)) in enumerate(MODELS.items()):
        g = torch.Generator().manual_seed(SEED + k)
        cfg = Qwen3_5TextConfig(**{**base, **extra})
        model = Qwen3_5ForCausalLM(cfg).eval()
        randomise(model, g)
        where = os.path.join(out_dir, name)
        shutil.rmtree(where, ignore_errors=True)
        write(where, name, model, cfg, dtype, fine, g)
        # what the file holds, in fp32: the reference must not know more than the file
        with torch.no_grad():
            for n, p in model.named_parameters(): p.copy_(p.to(fine if n.endswith("A_log") or n.endswith("linear_attn.norm.weight") else dtype).float())
        exact = double.Qwen3_5ForCausalLM(cfg).eval().double()
        exact.load_state_dict(model.state_dict())
        assert {m.__class__.__module__ for m in exact.modules() if "Qwen3_5" in m.__class__.__name__} == {double.__name__}
        for p in list(exact.parameters()) + list(model.parameters()): p.requires_grad_(False)
        if name != "qwen35_3x":  # transformers reads the file as we mean it
            loaded = Qwen3_5ForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager")
            for (n, a), (m, b) in zip(sorted(loaded.state_dict().items()), sorted(model.state_dict().items())): assert n == m and torch.equal(a, b), n
        ids = [torch.randint(0, cfg.vocab_size, (n,), generator=g) for n, _ in rows]
        weight = [0.03 * (r + 1) for r in range(len(rows))]
        out, info = {}, dict(seed=SEED + k, torch=torch.__version__, transformers=transformers.__version__, step=4, first=[f for _, f in rows], weight=weight,
                             nll=[], probe_nll=[], fp32_logit_error=0.0)
        grads = []
        for r, (x, (n, first)) in enumerate(zip(ids, rows)):
            e = exact.get_input_embeddings()(x[None]).detach().requires_grad_(True)
            logits = exact(inputs_embeds=e, use_cache=False).logits[0]
            assert logits.dtype == torch.float64
            loss = nll(logits, x, first)
            (loss * weight[r]).backward()
            grads.append(e.grad[0].float())
            info["nll"].append(loss.item())
            info["fp32_logit_error"] = max(info["fp32_logit_error"], (model(x[None], use_cache=False).logits[0].double() - logits).abs().max().item())
            out["ids.%d" % r] = x.to(torch.int32)
            out["logits.%d" % r] = logits.detach()[::info["step"]].float().contiguous()
        out["embed_grad"] = torch.cat(grads)
        probes, plain = {}, {}
        for l, kind in enumerate(cfg.layer_types):
            for lin in LINEARS[kind] + MLP:
                m = exact.get_submodule("model.layers.%d.%s" % (l, lin))
                A = (torch.randn(RANK, m.in_features, generator=g) / m.in_features ** 0.5).double().requires_grad_(True)
                B = (0.3 * torch.randn(m.out_features, RANK, generator=g)).double().requires_grad_(True)
                probes["model.layers.%d.%s" % (l, lin)] = (A, B)
                m.register_forward_hook(lambda mod, i, o, A=A, B=B: o + (i[0] @ A.T) @ B.T)
                a, b = A.detach().float().requires_grad_(True), B.detach().float().requires_grad_(True)
                plain["model.layers.%d.%s" % (l, lin)] = (a, b)
                model.get_submodule("model.layers.%d.%s" % (l, lin)).register_forward_hook(lambda mod, i, o, A=a, B=b: o + (i[0] @ A.T) @ B.T)
        for r, (x, (n, first)) in enumerate(zip(ids, rows)):
            loss = nll(exact(x[None], use_cache=False).logits[0], x, first)
            (loss * weight[r]).backward()
            info["probe_nll"].append(loss.item())
            (nll(model(x[None], use_cache=False).logits[0], x, first) * weight[r]).backward()
        info["fp32_gradient_error"] = max(((p.grad.double() - q.grad).norm() / q.grad.norm()).item() for s in probes for p, q in zip(plain[s], probes[s]))
        for site, (A, B) in probes.items():
            out["A." + site], out["B." + site] = A.detach().float(), B.detach().float()
            out["gA." + site], out["gB." + site] = A.grad.float(), B.grad.float()
        save_file(out, os.path.join(where, "expected.st"))
        json.dump(info, open(os.path.join(where, "expected.json"), "w"), indent=1)
        with open(os.path.join(where, "rows.json"), "w") as f: json.dump([x.tolist() for x in ids], f)
        print(name, "max |logit| %.2f" % max(v.abs().max() for q, v in out.items() if q.startswith("logits")), "fp32 errors %.1e %.1e" % (info["fp32_logit_error"], info["fp32_gradient_error"]),
              "nll", info["nll"], info["probe_nll"])


if __name__ == "__main__": main()
