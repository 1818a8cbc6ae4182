"""Writes tests/fixtures/foreign/: adapters as other people's PEFT writes them, on the tiny llama of tests/fixtures/peft/model: patterns,
expressions, exact names, other adapter names, bf16 and f16, shuffled headers, classes with a vision tower or without a head.
Usage: make_foreign.py OUT_DIR           (from the root of the repository)

NAME/                  a directory that PEFT saved (its README.md removed); every tensor N(0, 0.05) away from its initial value
logits.safetensors     NAME: logits [n, vocab] of base + adapter over the ids of cases.json, PEFT in double (but for softmax, norms and rotary
                       angles, which transformers keeps in fp32)
cases.json             versions, seed, ids, and per NAME: modules, the names of the adapted linears in our naming; quiet: nothing to tell
"""
import json, os, random, shutil, struct, sys, warnings
import torch, transformers, peft
from peft import BOFTConfig, DeloraConfig, IA3Config, LoraConfig, OFTConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()
OUT, BASE, SEED = sys.argv[1], "tests/fixtures/peft/model", 20261129
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT)
g = torch.Generator().manual_seed(SEED)
base = lambda: LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()
ids = torch.randint(3, 40, (9,), generator=g)
L = dict(task_type="CAUSAL_LM")
two = dict(target_modules=["q_proj", "down_proj"], layers_to_transform=[1, 3])
CASES = {
    # rank and alpha by module, both as an expression and as a name; the first that matches wins
    "patterns": LoraConfig(r=3, lora_alpha=6, use_rslora=True, target_modules=r".*\.(1|2)\.(self_attn\.(q|v)_proj|mlp\.up_proj)", exclude_modules=r".*\.2\..*up_proj",
                           rank_pattern={r"layers\.2\..*q_proj": 2, "q_proj": 4}, alpha_pattern={"mlp.up_proj": 5, r"1\.self_attn\.v_proj": 0.5}, **L),
    "exact": LoraConfig(r=2, lora_alpha=3, target_modules=["model.layers.0.mlp.down_proj", "k_proj"], layers_to_transform=2, layers_pattern="layers", exclude_modules=["model.layers.3.self_attn.k_proj"], **L),
    "all_linear": LoraConfig(r=1, lora_alpha=2, target_modules="all-linear", **L),
    "negative": LoraConfig(r=2, lora_alpha=-3, lora_dropout=0.1, fan_in_fan_out=False, init_lora_weights="gaussian", **two, **L),
    "dora": LoraConfig(r=2, lora_alpha=4, use_dora=True, use_rslora=True, rank_pattern={"down_proj": 3}, **two, **L),
    "pissa": LoraConfig(r=2, lora_alpha=4, init_lora_weights="pissa", rank_pattern={"down_proj": 3}, **two, **L),
    "delora": DeloraConfig(r=2, delora_lambda=5, target_modules=r"model\.layers\.[02]\..*(o|gate)_proj", rank_pattern={r"0\..*gate_proj": 3}, lambda_pattern={"o_proj": 9}, **L),
    "oft_shared": OFTConfig(oft_block_size=8, block_share=True, coft=True, eps=1e-1, use_cayley_neumann=False, **two, **L),
    "oft_count": OFTConfig(r=4, oft_block_size=0, num_cayley_neumann_terms=4, target_modules=["q_proj", "model.layers.0.mlp.up_proj"], layers_to_transform=[2], **L),
    "oft_regex": OFTConfig(oft_block_size=4, target_modules=r".*(0|2)\..*v_proj", layers_to_transform=[0], **L),
    "boft": BOFTConfig(boft_block_size=0, boft_block_num=8, target_modules=["v_proj", "gate_proj"], layers_to_transform=[0, 3], **L),
    "ia3": IA3Config(target_modules=r".*(k_proj|o_proj|up_proj|down_proj)", feedforward_modules=r".*(o|down)_proj", exclude_modules=["model.layers.1.mlp.up_proj"], **L),
}
trained = lambda m: {n: p for n, p in m.named_parameters() if any(s in n for s in ("lora_", "delora_", "oft_", "boft_", "ia3_"))}
T, J = {}, dict(seed=SEED, ids=ids.tolist(), versions={m.__name__: m.__version__ for m in (torch, transformers, peft)}, cases={})

def rewrite(where, dtype, seed):
    """The tensors as dtype, in another order in header and data."""
    path = os.path.join(where, "adapter_model.safetensors")
    t = load_file(path); names = sorted(t); random.Random(seed).shuffle(names)
    head, data = {"__metadata__": {"format": "pt"}}, b""
    for n in names:
        b = t[n].to(dtype).contiguous().view(torch.int16).numpy().tobytes()
        head[n] = dict(dtype={torch.bfloat16: "BF16", torch.float16: "F16"}[dtype], shape=list(t[n].shape), data_offsets=[len(data), len(data) + len(b)]); data += b
    items = list(head.items()); random.Random(seed + 1).shuffle(items)
    h = json.dumps(dict(items)).encode(); h += b" " * (-len(h) % 8)
    open(path, "wb").write(struct.pack("<Q", len(h)) + h + data)

def rename(where, fn):
    path = os.path.join(where, "adapter_model.safetensors")
    save_file({fn(k): v for k, v in load_file(path).items()}, path, metadata=dict(format="pt"))

with torch.no_grad():
    for name, config in CASES.items():
        torch.manual_seed(0)
        adapter = "tuned" if name == "dora" else "default"  # another name is saved in a folder below
        m = get_peft_model(base(), config, adapter_name=adapter).eval()
        half = {"patterns": torch.bfloat16, "exact": torch.float16}.get(name)
        for p in trained(m).values():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
            if half: p.copy_(p.to(half).float())  # the file holds exactly these
        where = os.path.join(OUT, name); m.save_pretrained(where)
        for d, _, files in os.walk(where):
            if "README.md" in files: os.remove(os.path.join(d, "README.md"))
        if half: rewrite(where, half, len(name))
        modules = sorted({n.split(".lora_")[0].split(".delora_")[0].split(".oft_")[0].split(".boft_")[0].split(".ia3_")[0].replace("base_model.model.", "") for n in trained(m)})
        T[name] = m.double()(ids[None]).logits[0].float()
        J["cases"][name] = dict(modules=modules)
        print("%-12s %2d modules, moves logits by %.3f" % (name, len(modules), (T[name] - base()(ids[None]).logits[0]).abs().max()))
    # the same adapters under the names of other classes
    for name, of, fn in (("multimodal", "negative", lambda k: k.replace("base_model.model.model.", "base_model.model.model.language_model.")),
                         ("outer", "dora", lambda k: k.replace("base_model.model.model.", "base_model.model.language_model.model.")),
                         ("headless", "ia3", lambda k: k.replace("base_model.model.model.", "base_model.model."))):
        where = os.path.join(OUT, name)
        src = os.path.join(OUT, of, "tuned") if of == "dora" else os.path.join(OUT, of)
        shutil.copytree(src, where); rename(where, fn)
        if name == "headless":  # there the exact name has no "model." either
            path = os.path.join(where, "adapter_config.json"); text = open(path).read()
            open(path, "w").write(text.replace('"model.layers.1.mlp.up_proj"', '"layers.1.mlp.up_proj"'))
        T[name], J["cases"][name] = T[of].clone(), J["cases"][of]
save_file({k: v.contiguous() for k, v in T.items()}, os.path.join(OUT, "logits.safetensors"))
json.dump(J, open(os.path.join(OUT, "cases.json"), "w"), separators=(",", ":"))
