"""Writes tests/fixtures/adapters/: the seven adapters as PEFT computes, saves, merges and trains them.
Usage: make_adapters.py [PART ...]           parts: linear llama qwen35 trainer configs compat; none: all of them
       make_adapters.py verify WS     every kind trained and saved by WS on a tiny llama and a tiny Qwen3.5: PEFT loads it without a
                                      warning and says the same logits in double (3e-6 of the largest; the hybrid 1e-5), else exit 1
A part is a folder with oracle.json (seeds, versions, cases) and oracle.safetensors; inputs are fp32, results were computed in double
and stored as fp32 unless said.

linear/   model/: a llama of one layer whose q_proj is the linear 48 -> 40 with a bias.  x, g: input and upstream gradient.
          For each case NAME: param.NAME.SUFFIX, grad.NAME.SUFFIX, y, y_plain (without bias), dx, dw (merged - W, every other
          row), db; merged16: the merged weight of a bf16 base (every other row), PEFT's bits.
llama/    on tests/fixtures/peft/model: KIND_pos, KIND_neg: directories saved by PEFT, every tensor perturbed by N(0, 0.05).
          KIND.logits.R of pos; KIND.grad.KEY of pos over two micro-batches; KIND.steered.ALPHA.R from dense merges;
          KIND.init.KEY, KIND.init16.KEY: fresh tensors on the fp32 and on a bf16 base
qwen35/   the same on tests/fixtures/models/qwen35_1x (delta, full attention, delta), fewer logits
trainer/  30 steps of transformers' Trainer (data of tests/fixtures/peft): final.KIND.KEY (fp32); pissa_start, delora_start
configs/  configurations as they stand in files, what PEFT makes of them, the modules they match on the tiny llama and on Qwen3.5
compat/   the reference program's arithmetic on the llama in bf16, all in bf16: KIND.dw.SITE = (pos - W) - (neg - W), pos and neg merged
          by PEFT, for every third site; by kind of module and in all ("") the norm of the exact dW, and what dW_ref and W + dW_ref lose
"""
import json, os, shutil, sys, tempfile, warnings
import torch, transformers, peft
from peft import BOFTConfig, DeloraConfig, IA3Config, LoraConfig, OFTConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
import transformers.models.llama.modeling_llama as ml
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/fixtures")
OUT, SEED, INIT_SEED, TRAIN_SEED, ALPHAS = os.path.join(HERE, "adapters"), 20261201, 7, 42, [-2, -1, 0, 0.5, 1, 3]
PARTS = sys.argv[1:] or ["linear", "llama", "qwen35", "trainer", "configs", "compat"]
T7 = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS = ["lora", "dora", "pissa", "delora", "oft", "boft", "ia3"]
VERSIONS = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
key = lambda n: n.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector")  # as in files
trained = lambda m: {key(n): p for n, p in m.named_parameters() if p.requires_grad}
f32 = lambda T: {k: v.detach().to(v.dtype if v.dtype in (torch.bfloat16, torch.int32) else torch.float32).contiguous().clone() for k, v in T.items()}


def llama(where, dtype=torch.float32): return LlamaForCausalLM.from_pretrained(where, dtype=dtype, attn_implementation="eager").eval()


class precise:  # Llama in double but for softmax and rotary angles, which transformers keeps in fp32
    def __enter__(self):
        self.old = ml.LlamaRMSNorm.forward
        ml.LlamaRMSNorm.forward = lambda s, x: s.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + s.variance_epsilon)
    def __exit__(self, *a): ml.LlamaRMSNorm.forward = self.old


def begin(part):
    where = os.path.join(OUT, part)
    shutil.rmtree(where, ignore_errors=True); os.makedirs(where)
    return where, torch.Generator().manual_seed(SEED), {}, dict(seed=SEED, init_seed=INIT_SEED, versions=VERSIONS)


def end(where, T, J):
    if T: save_file(f32(T), os.path.join(where, "oracle.safetensors"))
    os.system("chmod -R a+rX '%s'" % where)
    json.dump(J, open(os.path.join(where, "oracle.json"), "w"), separators=(",", ":"))
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(where) for f in fs)
    print("%-8s %7d bytes, %d tensors" % (os.path.basename(where), size, len(T)))


def save(m, where):
    m.save_pretrained(where)
    os.remove(os.path.join(where, "README.md"))
    path = os.path.join(where, "adapter_config.json")
    c = json.load(open(path)); c["base_model_name_or_path"] = None
    for k in ("target_modules", "feedforward_modules"):
        if isinstance(c.get(k), list): c[k] = sorted(c[k])  # sets, in any order
    json.dump(c, open(path, "w"), indent=2, sort_keys=True)
    return c


def perturb(m, g, scale=0.05):
    with torch.no_grad():
        for p in trained(m).values(): p.add_(scale * torch.randn(p.shape, generator=g))
    return m


def exact_residual(m, W):
    """PiSSA's W_res on a model in double by torch's SVD in double: PEFT's own comes from one in fp32, which is good to some 1e-6."""
    for n, x in m.named_modules():
        if not hasattr(x, "base_layer"): continue
        w = W[n.removeprefix("base_model.model.") + ".weight"].double()
        u, s, v = torch.linalg.svd(w, full_matrices=False)
        r = x.r["default"]
        exact = w - (u[:, :r] * s[:r]) @ v[:r]
        assert (x.base_layer.weight - exact).abs().max() < 1e-3 * w.abs().max()  # nearly equal singular values mix
        x.base_layer.weight.data.copy_(exact)
    return m


# ---------- one linear ----------
Q = dict(target_modules=["q_proj"], task_type="CAUSAL_LM")
PATTERN = dict(rank_pattern={r"layers\.0\..*q_proj": 5, "q_proj": 3})
CASES = {  # name: (kind, configuration, change of the perturbed tensors, keys of the saved configuration that are overwritten)
    "lora": ("lora", lambda: LoraConfig(r=4, lora_alpha=8, **Q)),
    "lora_rslora": ("lora", lambda: LoraConfig(r=3, lora_alpha=5, use_rslora=True, **Q)),
    "lora_pattern": ("lora", lambda: LoraConfig(r=4, lora_alpha=8, alpha_pattern={"self_attn.q_proj": 2.5}, **PATTERN, **Q)),
    "lora_negative": ("lora", lambda: LoraConfig(r=2, lora_alpha=-3, **Q)),
    "dora": ("dora", lambda: LoraConfig(r=4, lora_alpha=8, use_dora=True, **Q)),
    "dora_rslora": ("dora", lambda: LoraConfig(r=3, lora_alpha=5, use_rslora=True, use_dora=True, **Q)),
    "dora_pattern": ("dora", lambda: LoraConfig(r=4, lora_alpha=8, use_dora=True, alpha_pattern={"self_attn.q_proj": 2.5}, **PATTERN, **Q)),
    "pissa": ("pissa", lambda: LoraConfig(r=4, lora_alpha=6, init_lora_weights="pissa", **Q)),
    "pissa_rslora": ("pissa", lambda: LoraConfig(r=3, lora_alpha=5, use_rslora=True, init_lora_weights="pissa", **Q)),
    "delora": ("delora", lambda: DeloraConfig(r=4, delora_lambda=15, **Q)),
    "delora_pattern": ("delora", lambda: DeloraConfig(r=4, delora_lambda=15, lambda_pattern={"q_proj": 3.5}, **PATTERN, **Q)),
    "delora_clamp": ("delora", lambda: DeloraConfig(r=4, delora_lambda=15, **Q)),
    "delora_half_clamp": ("delora", lambda: DeloraConfig(r=4, delora_lambda=15, **Q)),
    "oft": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, **Q)),
    "oft_exact": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, use_cayley_neumann=False, **Q)),
    "oft_2": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, num_cayley_neumann_terms=2, **Q)),
    "oft_3": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, num_cayley_neumann_terms=3, **Q)),
    "oft_4": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, num_cayley_neumann_terms=4, **Q)),
    "oft_7": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, num_cayley_neumann_terms=7, **Q)),
    "oft_share": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, block_share=True, **Q)),
    "oft_share_exact": ("oft", lambda: OFTConfig(oft_block_size=6, r=0, block_share=True, use_cayley_neumann=False, **Q)),
    "oft_coft": ("oft", lambda: OFTConfig(oft_block_size=8, r=0, coft=True, eps=0.5, **Q)),
    "oft_size_7": ("oft", lambda: OFTConfig(oft_block_size=7, r=0, **Q)),
    "oft_blocks_5": ("oft", lambda: OFTConfig(oft_block_size=0, r=5, **Q)),
    "boft": ("boft", lambda: BOFTConfig(boft_block_size=8, **Q)),
    "boft_blocks_12": ("boft", lambda: BOFTConfig(boft_block_size=0, boft_block_num=12, **Q)),
    "boft_factors_2": ("boft", lambda: BOFTConfig(boft_block_size=8, boft_n_butterfly_factor=2, **Q)),  # PEFT makes one of it and saves 2
    "ia3": ("ia3", lambda: IA3Config(feedforward_modules=[], **Q)),
    "ia3_input": ("ia3", lambda: IA3Config(feedforward_modules=["q_proj"], **Q)),
}


def linear():
    where, g, T, J = begin("linear")
    base_dir = os.path.join(where, "model")
    base = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=48, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=20,
                                        attention_bias=True, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=0))
    with torch.no_grad():
        for n, p in base.named_parameters():
            r = torch.randn(p.shape, generator=g)
            p.copy_(1 + 0.3 * r if "norm" in n else 0.3 * r if p.dim() == 1 else r / p.shape[1] ** 0.5)
            if "q_proj.weight" in n: p.copy_(p.bfloat16().float())  # one fixture for the fp32 and the bf16 base
            if "q_proj.bias" in n: p.copy_(p.bfloat16().float())
    base.save_pretrained(base_dir)
    for f in ("generation_config.json",):
        if os.path.exists(os.path.join(base_dir, f)): os.remove(os.path.join(base_dir, f))
    x, up = torch.randn(5, 48, generator=g), torch.randn(5, 40, generator=g)
    T["x"], T["g"] = x, up
    inner = lambda m: m.base_model.model.model.layers[0].self_attn.q_proj
    plain = lambda m: m.model.layers[0].self_attn.q_proj
    J["cases"] = []
    for name, (kind, config) in CASES.items():
        torch.manual_seed(SEED)
        m = perturb(get_peft_model(llama(base_dir), config()), g, 0.2 if kind in ("oft", "boft") else 0.1)
        with torch.no_grad():
            for n, p in trained(m).items():
                if name == "delora_clamp": p.mul_(1e-6 if n.endswith("delora_A") else 0 if n.endswith("delora_B") else 1)
                if name == "delora_half_clamp" and n.endswith("delora_A"): p[1] *= 1e-6
                if name == "delora_half_clamp" and n.endswith("delora_B"): p[:, 2] *= 1e-6
        with tempfile.TemporaryDirectory() as d:
            if name == "oft_coft": inner(m)(x)  # pulls the parameters back, as every forward pass does
            c = save(m, d)
            saved = load_file(os.path.join(d, "adapter_model.safetensors"))
            suffix = lambda k: k.split("q_proj.")[1]
            for k, v in saved.items(): T["param.%s.%s" % (name, suffix(k))] = v
            # a 16-bit base: PEFT's own load, merge and rounding
            m16 = PeftModel.from_pretrained(llama(base_dir, torch.bfloat16), d).merge_and_unload()
            T["merged16." + name] = plain(m16).weight.data[::2]
        J["cases"].append(dict(name=name, kind=kind, config=c))
        if kind == "pissa": T["wres." + name] = inner(m).base_layer.weight.data.clone()[::2]
        m.double()
        if kind == "pissa": exact_residual(m, llama(base_dir).state_dict())
        W, b = plain(llama(base_dir)).weight.data.double(), plain(llama(base_dir)).bias.data.double()
        xd = x.double().requires_grad_(True)
        y = inner(m)(xd)
        (y * up.double()).sum().backward()
        T["y." + name], T["dx." + name] = y, xd.grad
        for k, p in trained(m).items(): T["grad.%s.%s" % (name, suffix(k))] = p.grad.clone()
        with torch.no_grad():  # without a bias
            layer = inner(m).base_layer; keep, layer.bias = layer.bias, None
            T["y_plain." + name] = inner(m)(x.double())
            layer.bias = keep
            merged = plain(m.merge_and_unload())
            T["dw." + name] = (merged.weight.double() - W)[::2]
            if kind == "ia3": T["db." + name] = merged.bias.double() - b
    end(where, T, J)


# ---------- whole models ----------
def sides(kind, pos, neg):
    """Two configurations a kind, different wherever they may be."""
    few = dict(neg, rank_pattern={r"layers\.2\..*up_proj": 4}) if kind in ("lora", "dora", "delora") else neg
    if kind in ("lora", "dora"):
        return (LoraConfig(r=3, lora_alpha=6, use_dora=kind == "dora", **pos),
                LoraConfig(r=2, lora_alpha=4.5, use_rslora=True, use_dora=kind == "dora", alpha_pattern={"down_proj": 3}, **few))
    if kind == "pissa": return (LoraConfig(r=3, lora_alpha=6, init_lora_weights="pissa", **pos),
                                LoraConfig(r=3, lora_alpha=6, init_lora_weights="pissa", rank_pattern={r"layers\.2\..*up_proj": 2}, **neg))
    if kind == "delora": return (DeloraConfig(r=3, delora_lambda=2, **pos), DeloraConfig(r=2, delora_lambda=1, lambda_pattern={"down_proj": 3}, **few))
    if kind == "oft": return OFTConfig(oft_block_size=8, r=0, **pos), OFTConfig(oft_block_size=4, r=0, use_cayley_neumann=False, **neg)
    narrow = "out_proj" in pos["target_modules"]  # 36 inputs
    if kind == "boft": return BOFTConfig(boft_block_size=4 if narrow else 8, **pos), BOFTConfig(boft_block_size=8 if narrow else 4, **neg)
    drop = lambda c: {k: v for k, v in c.items() if k != "layers_to_transform"}
    return (IA3Config(feedforward_modules=["down_proj"], **dict(drop(pos), target_modules=["k_proj", "v_proj", "down_proj"])),
            IA3Config(feedforward_modules=[], **dict(drop(neg), target_modules=["q_proj", "v_proj", "down_proj"])))


def doubled(m, kind, exact, W):
    """A model with its adapter in double; exact(): the class whose fp32 islands are in double, None: m's own."""
    if exact:
        config, state = m.peft_config["default"], {k: v.double() for k, v in m.state_dict().items()}
        if kind == "pissa": config = LoraConfig(**{**config.to_dict(), "init_lora_weights": True, "peft_type": None, "task_type": "CAUSAL_LM"})
        m = get_peft_model(exact(), config).double()
        miss = m.load_state_dict(state, strict=False)
        assert not miss.missing_keys and not miss.unexpected_keys, miss
        assert {p.dtype for p in m.parameters()} == {torch.float64}
    m.double().eval()
    return exact_residual(m, W) if kind == "pissa" else m


def measure(m, ids, rows, shown):
    """Logits of some rows, loss over all tokens, mean of the micro-batches' losses, gradients of the first loss."""
    flat = [r for batch in rows for r in batch]
    with torch.no_grad(): L = {r: m(ids[r][None], use_cache=False).logits[0] for r in shown}
    items, loss, at, means = sum(n - f for n, f in flat), 0, 0, []
    for batch in rows:
        nll, count = 0, 0
        for n, f in batch:
            if n > f:
                lp = torch.log_softmax(m(ids[at][None], use_cache=False).logits[0, f - 1:-1], -1)
                nll = nll - lp[torch.arange(n - f), ids[at][f:]].sum()
            at, count = at + 1, count + n - f
        (nll / items).backward(); loss += (nll / items).item(); means.append((nll / count).item())
    return L, loss, sum(means) / len(means), {k: p.grad.clone() for k, p in trained(m).items()}


def whole(part, fresh, exact, context, vocab, pos, neg, rows, shown, steered, inits):
    """fresh(dtype): the base; exact(): the same in double, without weights; rows: (length, first) by micro-batch."""
    where, g, T, J = begin(part)
    flat = [r for batch in rows for r in batch]
    ids = [torch.randint(3, vocab, (n,), generator=g) for n, _ in flat]
    J.update(alphas=ALPHAS, rows=[dict(ids=x.tolist(), first=f) for x, (_, f) in zip(ids, flat)], batches=[len(b) for b in rows], steered=steered, kinds={})
    W = fresh().state_dict()
    for kind in KINDS:
        configs, info = sides(kind, pos, neg), {}
        merged = {}
        for side, config in zip(("pos", "neg"), configs):
            torch.manual_seed(SEED)
            m = perturb(get_peft_model(fresh(), config), g)
            save(m, os.path.join(where, "%s_%s" % (kind, side)))
            merged[side] = PeftModel.from_pretrained(fresh(), os.path.join(where, "%s_%s" % (kind, side))).double()
            if kind == "pissa": exact_residual(merged[side], W)
            merged[side] = merged[side].merge_and_unload().state_dict()
        m = PeftModel.from_pretrained(fresh(), os.path.join(where, kind + "_pos"), is_trainable=True).eval()
        m = doubled(m, kind, exact, W)
        with context():
            L, info["loss"], info["mean_loss"], G = measure(m, ids, rows, shown)
        # the same by PEFT in fp32: how far that is off says what fp32 can give on this model
        single = PeftModel.from_pretrained(fresh(), os.path.join(where, kind + "_pos"), is_trainable=True).eval()
        l, _, _, G32 = measure(single, ids, rows, shown)
        off = lambda a, b: ((a - b).abs().max() / b.abs().max()).item()
        info["fp32_logits"], info["fp32_grads"] = max(off(l[r], L[r]) for r in shown), max(off(G32[k], G[k]) for k in G)
        for r in shown: T["%s.logits.%d" % (kind, r)] = L[r]
        for k in G: T["%s.grad.%s" % (kind, k)] = G[k]
        # the contrast, dense and in double
        D = {k: merged["pos"][k].double() - merged["neg"][k].double() for k in W}
        dp, dn = ({k: merged[s][k].double() - W[k].double() for k in W} for s in ("pos", "neg"))
        dot = lambda a, b: sum((a[k] * b[k]).sum().item() for k in a if "proj" in k)
        info["norms"] = dict(pos=dot(dp, dp) ** .5, neg=dot(dn, dn) ** .5, dw=dot(D, D) ** .5, pos_neg=dot(dp, dn),
                             w=sum((W[k].double() ** 2).sum().item() for k in W if D[k].abs().max() > 0) ** .5)
        touched = sorted(k[:-7] for k in W if D[k].abs().max() > 1e-9)
        info["dw"] = {k: [dot({k + ".weight": D[k + ".weight"]}, {k + ".weight": D[k + ".weight"]}) ** .5, D[k + ".weight"].abs().max().item()] for k in touched}
        J["kinds"][kind] = info
        with torch.no_grad(), context():
            s, single, info["fp32_steered"] = exact().double() if exact else fresh().double(), fresh(), []
            for a in ALPHAS:
                s.load_state_dict({k: W[k].double() + a * D[k] for k in W})
                single.load_state_dict({k: W[k].double() + a * D[k] for k in W})
                info["fp32_steered"].append(0)
                for r, positions in steered.items():
                    T["%s.steered.%g.%s" % (kind, a, r)] = l = s(ids[int(r)][None], use_cache=False).logits[0][positions]
                    info["fp32_steered"][-1] = max(info["fp32_steered"][-1], off(single(ids[int(r)][None], use_cache=False).logits[0][positions], l))
        if not inits: continue
        for name, dtype in (("init", torch.float32), ("init16", torch.bfloat16)):
            if kind in ("oft", "boft", "ia3", "lora"): continue
            c = sides(kind, dict(pos, layers_to_transform=[1, 2]), neg)[0]
            base = fresh(dtype); torch.manual_seed(INIT_SEED); m = get_peft_model(base, c)
            for k, p in list(m.named_parameters()) + list(m.named_buffers()):
                if "lora" not in k or ".base_layer." in k: continue
                if kind == "pissa" and name == "init16": continue
                if (p != 0).any(): T["%s.%s.%s" % (kind, name, key(k))] = p.detach().clone()
    end(where, T, J)


def on_llama():
    common = dict(task_type="CAUSAL_LM")
    whole("llama", lambda dtype=torch.float32: llama(os.path.join(HERE, "peft/model"), dtype), None, precise, 40,
          dict(target_modules=T7, layers_to_transform=[1, 3], **common),
          dict(target_modules=["q_proj", "v_proj", "up_proj", "down_proj", "model.layers.0.self_attn.o_proj"], layers_to_transform=[1, 2], **common),
          [[(23, 9), (5, 2), (12, 12)], [(17, 12), (2, 1)]], [0, 1, 4], {"0": [3, 7, 11, 15, 19, 22], "1": [0, 1, 2, 3, 4]}, True)


def on_qwen35():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from make_qwen35 import in_double
    where, double, common = os.path.join(HERE, "models/qwen35_1x"), in_double(), dict(task_type="CAUSAL_LM")
    fresh = lambda dtype=torch.float32: AutoModelForCausalLM.from_pretrained(where, dtype=dtype, attn_implementation="eager").eval()
    def exact(): return double.Qwen3_5ForCausalLM(fresh().config).eval()
    class nothing:
        def __enter__(self): pass
        def __exit__(self, *a): pass
    whole("qwen35", fresh, exact, nothing, 64, dict(target_modules=T7 + ["in_proj_qkv", "out_proj"], layers_to_transform=[1, 2], **common),
          dict(target_modules=["q_proj", "v_proj", "down_proj", "in_proj_qkv", "in_proj_a", "model.layers.0.linear_attn.in_proj_z"], layers_to_transform=[1, 2], **common),
          [[(19, 7), (6, 2)], [(9, 4)]], [1], {"0": [5, 11, 18]}, False)


# ---------- the real Trainer ----------
def trainer():
    import accelerate, datasets, numpy
    from transformers import Trainer, TrainingArguments
    where, g, T, J = begin("trainer")
    J["versions"] = dict(VERSIONS, **{m.__name__: m.__version__ for m in (accelerate, datasets, numpy)})
    J.update(train_seed=TRAIN_SEED, kinds={})
    rows = json.load(open(os.path.join(HERE, "peft/oracle.json")))["train"]["rows"]
    data = [dict(input_ids=r["ids"], labels=[-100] * r["first"] + r["ids"][r["first"]:], idx=i) for i, r in enumerate(rows)]
    split = datasets.Dataset.from_list(data).train_test_split(test_size=0.1, seed=TRAIN_SEED)
    def collate(batch):
        n = max(len(b["input_ids"]) for b in batch); pad = lambda v, p: v + [p] * (n - len(v))
        return dict(input_ids=torch.tensor([pad(b["input_ids"], 0) for b in batch]), labels=torch.tensor([pad(b["labels"], -100) for b in batch]),
                    attention_mask=torch.tensor([[1] * len(b["input_ids"]) + [0] * (n - len(b["input_ids"])) for b in batch]))
    own = dict(target_modules=T7, layers_to_transform=[1, 2], task_type="CAUSAL_LM")
    kinds = dict(dora=LoraConfig(r=2, lora_alpha=4, use_dora=True, **own), pissa=LoraConfig(r=2, lora_alpha=4, init_lora_weights="pissa", **own), delora=DeloraConfig(r=2, delora_lambda=1, **own),
                 oft=OFTConfig(oft_block_size=8, r=0, **own), boft=BOFTConfig(boft_block_size=8, **own),
                 ia3=IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"))
    for kind, config in kinds.items():
        torch.manual_seed(TRAIN_SEED)
        m = get_peft_model(llama(os.path.join(HERE, "peft/model")), config)
        if kind == "delora": perturb(m, g)
        if kind in ("delora", "pissa"): save(m, os.path.join(where, kind + "_start"))
        args = TrainingArguments(output_dir="/nonexistent", per_device_train_batch_size=2, per_device_eval_batch_size=2, gradient_accumulation_steps=4, num_train_epochs=10, learning_rate=2e-3,
                                 warmup_steps=5, lr_scheduler_type="linear", weight_decay=0.01, max_grad_norm=1.0, logging_steps=1, eval_strategy="steps", eval_steps=10, save_strategy="no", seed=TRAIN_SEED,
                                 optim="adamw_torch", use_cpu=True, report_to=[], remove_unused_columns=False, bf16=False, disable_tqdm=True, log_level="error", logging_nan_inf_filter=False)
        tr = Trainer(model=m, args=args, train_dataset=split["train"], eval_dataset=split["test"], data_collator=collate)
        tr.train()
        log, evals = [x for x in tr.state.log_history if "loss" in x], [x for x in tr.state.log_history if "eval_loss" in x]
        assert len(log) == 30 and log[-1]["step"] == 30
        J["kinds"][kind] = dict(loss=[x["loss"] for x in log], grad_norm=[float(x["grad_norm"]) for x in log], lr=[x["learning_rate"] for x in log],
                                eval_step=[x["step"] for x in evals], eval_loss=[x["eval_loss"] for x in evals])
        for k, p in trained(m).items(): T["final.%s.%s" % (kind, k)] = p.detach().clone()
        print("%-7s loss %.4f -> %.4f, grad norm %.3f .. %.3f" % (kind, log[0]["loss"], log[-1]["loss"], min(x["grad_norm"] for x in log), max(x["grad_norm"] for x in log)))
    end(where, T, J)


# ---------- configurations ----------
def configs():
    where, g, T, J = begin("configs")
    base = lambda: llama(os.path.join(HERE, "peft/model"))
    L32, seven = list(range(10, 26)), dict(target_modules=T7, layers_to_transform=list(range(10, 26)), task_type="CAUSAL_LM")
    examples = dict(lora=LoraConfig(r=32, lora_alpha=64, lora_dropout=0.0, **seven), dora=LoraConfig(r=32, lora_alpha=64, use_dora=True, **seven),
                    pissa=LoraConfig(r=32, lora_alpha=64, init_lora_weights="pissa", **seven), delora=DeloraConfig(r=32, delora_lambda=15, **seven),
                    oft=OFTConfig(oft_block_size=8, r=0, **seven), boft=BOFTConfig(boft_block_size=8, **seven),
                    ia3=IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"))
    # the modules of Qwen3.5 with its class's own defaults, weights never made
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig
    cfg = Qwen3_5TextConfig()
    J["qwen35"] = dict(config={k: getattr(cfg, k) for k in ("num_hidden_layers", "hidden_size", "intermediate_size", "layer_types")}, cases=[])
    with torch.device("meta"): names = [n for n, m in Qwen3_5ForCausalLM(cfg).named_modules() if isinstance(m, torch.nn.Linear)]
    J["qwen35"]["linears"] = names
    small = Qwen3_5TextConfig(vocab_size=16, hidden_size=32, intermediate_size=32, num_attention_heads=4, num_key_value_heads=4, head_dim=16, linear_num_key_heads=4, linear_num_value_heads=4,
                              linear_key_head_dim=8, linear_value_head_dim=8)  # the same names, narrow
    assert [n for n, m in Qwen3_5ForCausalLM(small).named_modules() if isinstance(m, torch.nn.Linear)] == names
    def matched(model, config):
        try: m = get_peft_model(model, config)
        except ValueError as e: return None
        return sorted({n.removeprefix("base_model.model.") for n, x in m.named_modules() if hasattr(x, "base_layer")})
    for kind, config in examples.items():
        with tempfile.TemporaryDirectory() as d:
            config.inference_mode = True; config.base_model_name_or_path = "MODEL"
            config.save_pretrained(d); c = json.load(open(os.path.join(d, "adapter_config.json")))
            config.inference_mode = False
        if isinstance(c["target_modules"], list): c["target_modules"] = sorted(c["target_modules"])
        J["qwen35"]["cases"].append(dict(kind=kind, config=c, modules=matched(Qwen3_5ForCausalLM(small), config)))
    # configurations as they may stand in files, on the tiny llama: what PEFT makes of them, module by module
    q = dict(target_modules=["q_proj"])
    cases = [("lora", dict(peft_type="LORA", **q)), ("lora", dict(peft_type="LORA", some_future_key=[1], **q)), ("lora", dict(peft_type="LORA", r=3, lora_alpha=-2.5, layers_to_transform=2, **q)),
             ("lora", dict(peft_type="LORA", r=3, layers_to_transform=[0, 3], **q)), ("lora", dict(peft_type="LORA", r=3, layers_to_transform=[], **q)), ("lora", dict(peft_type="LORA", r=3, layers_to_transform=None, **q)),
             ("lora", dict(peft_type="LORA", target_modules=r".*\.[13]\..*\.(k|v)_proj")), ("lora", dict(peft_type="LORA", layers_to_transform=[3], target_modules=["q_proj", "model.layers.0.mlp.down_proj"])),
             ("lora", dict(peft_type="LORA", r=2, use_rslora=True, rank_pattern={"q_proj": 4, "layers.1.*": 6}, alpha_pattern={r"layers\.2\..*": 3}, **q)),
             ("dora", dict(peft_type="LORA", use_dora=True, **q)), ("dora", dict(peft_type="LORA", use_dora=True, r=2, rank_pattern={"layers.1.*": 6}, **q)),
             ("pissa", dict(peft_type="LORA", init_lora_weights="pissa", **q)), ("pissa", dict(peft_type="LORA", init_lora_weights="pissa", rank_pattern={r".*\.1\..*": 2}, r=5, **q)),
             ("delora", dict(peft_type="DELORA", **q)), ("delora", dict(peft_type="DELORA", unknown=1, r=2, rank_pattern={"layers.1.*": 6}, lambda_pattern={"layers.2.*": 7.5}, **q)),
             ("delora", dict(peft_type="DELORA", layers_to_transform=2, **q)), ("delora", dict(peft_type="DELORA", target_modules=r".*[02].*v_proj")),
             ("oft", dict(peft_type="OFT", oft_block_size=32, **q)), ("oft", dict(peft_type="OFT", r=4, oft_block_size=0, **q)), ("oft", dict(peft_type="OFT", oft_block_size=5, layers_to_transform=[1], target_modules=["down_proj"])),
             ("oft", dict(peft_type="OFT", oft_block_size=8, block_share=True, target_modules=r".*layers\.2\..*_proj", strange="x")), ("oft", dict(peft_type="OFT", oft_block_size=8, layers_to_transform=[0], target_modules=r".*layers\.2\..*_proj")),
             ("boft", dict(peft_type="BOFT", **q)), ("boft", dict(peft_type="BOFT", boft_block_size=0, boft_block_num=2, target_modules=["down_proj"])), ("boft", dict(peft_type="BOFT", layers_to_transform=[3], oddity=None, **q)),
             ("boft", dict(peft_type="BOFT", layers_to_transform=[0], target_modules=r".*layers\.2\..*q_proj")),
             ("ia3", dict(peft_type="IA3", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])), ("ia3", dict(peft_type="IA3", layers_to_transform=[1], feedforward_modules=[], **q)),
             ("ia3", dict(peft_type="IA3", target_modules=r".*(q|down)_proj", feedforward_modules=r".*mlp.*")), ("ia3", dict(peft_type="IA3", target_modules=["mlp.down_proj", "q_proj"], feedforward_modules=["mlp.down_proj"], exclude_modules=r".*layers\.1.*"))]
    J["llama"] = []
    for kind, c in cases:
        with tempfile.TemporaryDirectory() as d:
            json.dump(c, open(os.path.join(d, "adapter_config.json"), "w"))
            config = peft.PeftConfig.from_pretrained(d)
            m = get_peft_model(base(), config)
            tensors = {}
            for k, v in peft.get_peft_model_state_dict(m).items(): tensors[key(k)] = list(v.shape)
            scale = {n.removeprefix("base_model.model."): x.scaling["default"] for n, x in m.named_modules() if kind in ("lora", "dora", "pissa") and hasattr(x, "base_layer")}
            J["llama"].append(dict(kind=kind, config=c, tensors=tensors, scale=scale))
    end(where, T, J)


# ---------- the reference's bf16 merge and subtract ----------
def compat():
    where, g, T, J = begin("compat")
    J["kinds"] = {}
    base = os.path.join(HERE, "peft/model")
    W16 = llama(base, torch.bfloat16).state_dict()
    for kind in KINDS:
        merged, exact, info, sites = {}, {}, {}, []
        for side in ("pos", "neg"):
            load = lambda model: PeftModel.from_pretrained(model, os.path.join(OUT, "llama", "%s_%s" % (kind, side)))
            merged[side] = load(llama(base, torch.bfloat16)).merge_and_unload().state_dict()
            exact[side] = load(llama(base, torch.bfloat16).float()).double()
            if kind == "pissa": exact_residual(exact[side], W16)
            exact[side] = exact[side].merge_and_unload().state_dict()
        for k in W16:
            if not k.endswith("proj.weight"): continue
            d = (merged["pos"][k] - W16[k]) - (merged["neg"][k] - W16[k])
            now = W16[k].clone(); now += 1.0 * d
            assert d.dtype == now.dtype == torch.bfloat16
            D = exact["pos"][k] - exact["neg"][k]
            if D.abs().max() < 1e-9: continue
            sites.append((k[:-7], d))
            square = lambda x: (x ** 2).sum().item()
            for name in (".".join(k.split(".")[3:5]), ""):
                s = info.setdefault(name, [0, 0, 0])
                for i, x in enumerate((D, d.double() - D, now.double() - W16[k].double() - D)): s[i] += square(x)
        for k, d in sites[::3]: T["%s.dw.%s" % (kind, k)] = d
        J["kinds"][kind] = dict(sites=[k for k, _ in sites], lost={n: [dw ** .5, (l / dw) ** .5, (a / dw) ** .5] for n, (dw, l, a) in info.items()})
        print("%-6s lost %.3f, applied %.3f" % (kind, *J["kinds"][kind]["lost"][""][1:]))
    end(where, T, J)


# ---------- the other way round ----------
def verify(ws):
    import subprocess
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from make_qwen35 import in_double
    class nothing:
        def __enter__(self): pass
        def __exit__(self, *a): pass
    good, double = True, in_double()
    for model, limit in (("tiny-chat", 3e-6), ("thinkchat35", 1e-5)):
        where = os.path.join(HERE, model)
        fresh = lambda: AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager").eval()
        hybrid = "35" in model
        def exact(): return double.Qwen3_5ForCausalLM(fresh().config).eval()
        with tempfile.TemporaryDirectory() as d:
            pairs, ids, out = (os.path.join(d, f) for f in ("pairs.jsonl", "ids.json", "logits.safetensors"))
            with open(pairs, "w") as f:
                for i in range(12): f.write(json.dumps(dict(prompt="Question %d, what now?" % i, pos="Joy %d is here and we like it." % i, neg="Grief %d." % i)) + "\n")
            rows = [[3, 4, 5, 6, 7, 8, 9, 10], [20, 11, 5], [7] * 17]
            json.dump(rows, open(ids, "w"))
            run = lambda *a: subprocess.run([ws, *a, "-q"], check=True, stdout=subprocess.DEVNULL)
            for kind in KINDS:
                adapter = os.path.join(d, kind)
                rank = [] if kind in ("oft", "boft", "ia3") else ["--rank", "4"]
                run("train", "--model", where, "--pairs", pairs, "--side", "pos", "--adapter", kind, *rank, "--lr", "5e-3", "--epochs", "8", "--out", adapter)
                run("logits", "--model", where, "--ids-file", ids, "--steer", adapter, "--out", out)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", FutureWarning)
                    warnings.simplefilter("error", UserWarning)  # missing or unexpected keys only warn in PEFT
                    warnings.filterwarnings("ignore", ".*CUDA extension.*|.*boft_n_butterfly_factor to 1.*")  # of this machine
                    m = PeftModel.from_pretrained(fresh(), adapter)
                m = doubled(m, kind, exact if hybrid else None, fresh().state_dict())
                ours, worst, moved = load_file(out), 0.0, 0.0
                off = lambda a, b: ((a - b).abs().max() / b.abs().max()).item()
                with torch.no_grad(), nothing() if hybrid else precise():
                    for r, x in enumerate(rows):
                        want = m(torch.tensor([x]), use_cache=False).logits[0]
                        worst = max(worst, off(ours["logits.%d" % r].double(), want))
                        with m.disable_adapter(): moved = max(moved, off(m(torch.tensor([x]), use_cache=False).logits[0], want))
                good &= worst <= limit
                print("%-12s %-7s PEFT %s loads it; logits moved by %.2g of the largest, error %.2g%s" % (model, kind, peft.__version__, moved, worst, "" if worst <= limit else "  TOO MUCH"), flush=True)
    sys.exit(not good)


if PARTS[0] == "verify": verify(PARTS[1])
for part in PARTS: dict(linear=linear, llama=on_llama, qwen35=on_qwen35, trainer=trainer, configs=configs, compat=compat)[part]()
