"""Writes tests/fixtures/peft/: what transformers' Trainer and PEFT compute with LoRA on a tiny fp32 llama.
Usage: make_peft.py OUT_DIR
       make_peft.py verify MODEL_DIR ADAPTER_DIR LOGITS.safetensors IDS.json    (an adapter that ws wrote, loaded by PEFT; logits of `ws logits`)

model/            the base, F32
pos/, neg/        adapters as PEFT saves them, every tensor N(0, 0.05) away from its initial value; neg has another rank, rslora and patterns
neg_bf16/         neg with bf16 tensors and a shuffled header
oracle.json       versions, seeds, rows, targeting cases, splits and orders, the Trainer's log
oracle.safetensors
  init.<key>, init_bf16.<key>      fresh adapter of seed INIT_SEED on the base in fp32 and in bf16
  logits.R                         base + pos in double, row R of "rows"
  grad.<key>                       of sum over two micro-batches of (sum of token losses) / N_items, in double
  steered.<alpha>.R                base with W + alpha (W_pos - W_neg): both merged by PEFT in fp32, contrast and forward in double
  final.<key>                      tensors after the Trainer's 30 steps (real Trainer, fp32, adamw_torch unfused)
"""
import json, os, random, shutil, struct, sys, warnings
import torch, transformers, peft, accelerate, datasets, numpy
from peft import LoraConfig, get_peft_model, PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, TrainerCallback
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
T7 = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

if sys.argv[1] == "verify":
    model_dir, adapter, logits, ids = sys.argv[2:6]
    base = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("error", UserWarning)  # missing or unexpected keys only warn in PEFT
        m = PeftModel.from_pretrained(base, adapter)
    ours, worst = load_file(logits), 0.0
    with torch.no_grad():
        for r, x in enumerate(json.load(open(ids))):
            want = m(torch.tensor([x])).logits[0]
            worst = max(worst, ((ours["logits.%d" % r] - want).abs().max() / want.abs().max()).item())
    print("PEFT %s loads %s without a warning; largest logit error / largest logit = %.3g" % (peft.__version__, adapter, worst))
    sys.exit(worst > 1e-6)

OUT = sys.argv[1]
SEED, INIT_SEED, TRAIN_SEED, ALPHAS = 20261122, 7, 42, [-2, -1, 0, 0.5, 1, 3]
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT)
g = torch.Generator().manual_seed(SEED)
cfg = LlamaConfig(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, rms_norm_eps=1e-5,
                  max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=0, attn_implementation="eager")
model = LlamaForCausalLM(cfg).eval()
with torch.no_grad():
    for n, p in model.named_parameters():
        r = torch.randn(p.shape, generator=g)
        p.copy_(1 + 0.3 * r if "norm" in n else 0.25 * r if "embed" in n else r / p.shape[1] ** 0.5)
where = os.path.join(OUT, "model")
model.save_pretrained(where)
if os.path.exists(os.path.join(where, "generation_config.json")): os.remove(os.path.join(where, "generation_config.json"))
fresh = lambda dtype=torch.float32: LlamaForCausalLM.from_pretrained(where, dtype=dtype, attn_implementation="eager").eval()
key = lambda n: n.replace(".default", "")
class precise:  # double precision but for softmax and rotary angles, which transformers keeps in fp32
    def __enter__(self):
        import transformers.models.llama.modeling_llama as ml
        self.ml, self.old = ml.LlamaRMSNorm, ml.LlamaRMSNorm.forward
        ml.LlamaRMSNorm.forward = lambda s, x: s.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + s.variance_epsilon)
    def __exit__(self, *a): self.ml.forward = self.old
lora = lambda m: {key(n): p for n, p in m.named_parameters() if "lora_" in n}
T, J = {}, dict(seed=SEED, init_seed=INIT_SEED, train_seed=TRAIN_SEED, alphas=ALPHAS,
                versions={m.__name__: m.__version__ for m in (torch, transformers, peft, accelerate, datasets, numpy)})
# Every tensor of every adapter here is perturbed, so that nothing is zero
def perturbed(config, scale=0.05):
    m = get_peft_model(fresh(), config)
    with torch.no_grad():
        for p in lora(m).values(): p.add_(scale * torch.randn(p.shape, generator=g))
    return m.eval()

# ---- initial tensors
own = dict(r=4, lora_alpha=8, target_modules=T7, layers_to_transform=[1, 2], task_type="CAUSAL_LM")
for name, dtype in (("init", torch.float32), ("init_bf16", torch.bfloat16)):
    torch.manual_seed(INIT_SEED); base = fresh(dtype); torch.manual_seed(INIT_SEED)
    for k, p in lora(get_peft_model(base, LoraConfig(**own))).items():
        if "lora_A" in k: T["%s.%s" % (name, k)] = p.detach().clone()
        else: assert (p == 0).all()

# ---- two adapters, logits, gradients
pos = perturbed(LoraConfig(r=4, lora_alpha=6, target_modules=T7, layers_to_transform=[1, 3], task_type="CAUSAL_LM"))
neg = perturbed(LoraConfig(r=3, lora_alpha=4.5, use_rslora=True, target_modules=["q_proj", "v_proj", "up_proj", "down_proj", "model.layers.0.self_attn.o_proj"],
                           layers_to_transform=[1, 2, 3], rank_pattern={"q_proj": 2, r"layers\.2\..*up_proj": 5}, alpha_pattern={"mlp.down_proj": 7}, task_type="CAUSAL_LM"))
for n, m in (("pos", pos), ("neg", neg)):
    m.save_pretrained(os.path.join(OUT, n))
    os.remove(os.path.join(OUT, n, "README.md"))
rows = [(23, 9), (5, 2), (40, 33), (11, 1), (17, 12), (2, 1)]
ids = [torch.randint(3, 40, (n,), generator=g) for n, _ in rows]
J["rows"] = [dict(ids=x.tolist(), first=f) for x, (_, f) in zip(ids, rows)]
pos.double()
with torch.no_grad(), precise():
    for r, x in enumerate(ids[:3]): T["logits.%d" % r] = pos(x[None]).logits[0]
def token_losses(m, x, first):
    lp = torch.log_softmax(m(x[None]).logits[0, first - 1:-1], -1)
    return -lp[torch.arange(len(x) - first), x[first:]]
n_items = sum(n - f for n, f in rows); loss = 0
for part in (range(0, 4), range(4, 6)):
    with precise(): l = sum(token_losses(pos, ids[r], rows[r][1]).sum() for r in part) / n_items
    l.backward(); loss += l.item()
J["grad_loss"] = loss
for k, p in lora(pos).items(): T["grad." + k] = p.grad.clone()
pos.zero_grad()

# ---- contrast, dense
with torch.no_grad():
    merged = {n: PeftModel.from_pretrained(fresh(), os.path.join(OUT, n)).merge_and_unload().state_dict() for n in ("pos", "neg")}
    W = fresh().state_dict()
    D = {k: merged["pos"][k].double() - merged["neg"][k].double() for k in W}
    dp = {k: merged["pos"][k].double() - W[k].double() for k in W}; dn = {k: merged["neg"][k].double() - W[k].double() for k in W}
    dot = lambda a, b: sum((a[k] * b[k]).sum().item() for k in a)
    J["norms"] = dict(pos=dot(dp, dp) ** .5, neg=dot(dn, dn) ** .5, dw=dot(D, D) ** .5, pos_neg=dot(dp, dn),
                      w=sum((W[k].double() ** 2).sum().item() for k in W if D[k].abs().max() > 0) ** .5)
    for a in ALPHAS:
        m = fresh().double(); m.load_state_dict({k: W[k].double() + a * D[k] for k in W})
        with precise(): T.update({"steered.%g.%d" % (a, r): m(ids[r][None]).logits[0] for r in (0, 1)})

# ---- neg in bf16 with a shuffled header
src = os.path.join(OUT, "neg_bf16"); shutil.copytree(os.path.join(OUT, "neg"), src)
t = load_file(os.path.join(src, "adapter_model.safetensors")); names = sorted(t); random.Random(1).shuffle(names)
head, data = {"__metadata__": {"format": "pt"}}, b""
for n in names:
    b = t[n].to(torch.bfloat16).view(torch.int16).numpy().tobytes()
    head[n] = dict(dtype="BF16", shape=list(t[n].shape), data_offsets=[len(data), len(data) + len(b)]); data += b
items = list(head.items()); random.Random(2).shuffle(items)
h = json.dumps(dict(items)).encode(); h += b" " * (-len(h) % 8)
open(os.path.join(src, "adapter_model.safetensors"), "wb").write(struct.pack("<Q", len(h)) + h + data)

# ---- the real Trainer: 22 rows, 3 held out, micro-batches of 2, 4 a step, short last batch and group, 10 epochs = 30 steps
data = []
for i in range(22):
    n = 4 + (i * 7) % 23; first = 1 + (i * 5) % (n - 1); x = torch.randint(3, 40, (n,), generator=g).tolist()
    if i == 5: first = n  # a row without any label
    data.append(dict(input_ids=x, labels=[-100] * first + x[first:], idx=i))
split = datasets.Dataset.from_list(data).train_test_split(test_size=0.1, seed=TRAIN_SEED)
assert 5 in split["train"]["idx"]
seen = []
def collate(batch):
    seen.append([b["idx"] for b in batch]); n = max(len(b["input_ids"]) for b in batch); pad = lambda v, p: v + [p] * (n - len(v))
    return dict(input_ids=torch.tensor([pad(b["input_ids"], 0) for b in batch]), attention_mask=torch.tensor([[1] * len(b["input_ids"]) + [0] * (n - len(b["input_ids"])) for b in batch]),
                labels=torch.tensor([pad(b["labels"], -100) for b in batch]))
torch.manual_seed(TRAIN_SEED)
m = get_peft_model(fresh(), LoraConfig(**own)); held = set(split["test"]["idx"])
args = TrainingArguments(output_dir="/nonexistent", per_device_train_batch_size=2, per_device_eval_batch_size=2, gradient_accumulation_steps=4, num_train_epochs=10, learning_rate=2e-3,
                         warmup_steps=5, lr_scheduler_type="linear", weight_decay=0.01, max_grad_norm=1.0, logging_steps=1, eval_strategy="steps", eval_steps=10, save_strategy="no", seed=TRAIN_SEED,
                         optim="adamw_torch", use_cpu=True, report_to=[], remove_unused_columns=False, bf16=False, disable_tqdm=True, logging_nan_inf_filter=False)
tr = Trainer(model=m, args=args, train_dataset=split["train"], eval_dataset=split["test"], data_collator=collate)
tr.train()
log, evals = [x for x in tr.state.log_history if "loss" in x], [x for x in tr.state.log_history if "eval_loss" in x]
assert len(log) == 30 and log[-1]["step"] == 30
J["train"] = dict(rows=[dict(ids=d["input_ids"], first=sum(v == -100 for v in d["labels"])) for d in data], lr=2e-3, batch=2, accum=4, epochs=10, holdout=0.1, warmup=5,
                  loss=[x["loss"] for x in log], grad_norm=[float(x["grad_norm"]) for x in log], log_lr=[x["learning_rate"] for x in log], batches=[b for b in seen if b[0] not in held], eval_batches=[b for b in seen if b[0] in held],
                  eval_step=[x["step"] for x in evals], eval_loss=[x["eval_loss"] for x in evals])
for k, p in lora(m).items(): T["final." + k] = p.detach().clone()

# ---- splits and orders of several sizes, from datasets and accelerate
J["orders"] = []
for n, seed in ((5, 0), (16, 1), (33, 42), (150, 0)):
    d = datasets.Dataset.from_list([dict(idx=i) for i in range(n)]).train_test_split(test_size=0.1, seed=seed)
    s = accelerate.data_loader.SeedableRandomSampler(data_source=d["train"], data_seed=seed, generator=torch.Generator())
    e = []
    for epoch in range(2): s.set_epoch(epoch); e.append([d["train"][i]["idx"] for i in s])
    J["orders"].append(dict(n=n, seed=seed, test=d["test"]["idx"][:], epochs=e))

# ---- targeting cases, decided by PEFT
L = dict(task_type="CAUSAL_LM")
cases = [dict(target_modules=["q_proj", "mlp.up_proj"]), dict(target_modules=["q_proj"], layers_to_transform=2), dict(target_modules=["q_proj"], layers_to_transform=[0, 3]), dict(target_modules=["q_proj"], layers_to_transform=[]),
         dict(target_modules=["q_proj", "model.layers.0.mlp.down_proj"], layers_to_transform=[3]), dict(target_modules=r".*\.[13]\..*\.(k|v)_proj"), dict(target_modules=r"q_proj"),
         dict(target_modules=["v_proj", "o_proj"], exclude_modules=["model.layers.1.self_attn.v_proj", "o_proj"]), dict(target_modules=["v_proj", "o_proj"], exclude_modules=r".*layers\.[02].*"),
         dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers"), dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern=["h", "layers"]),
         dict(target_modules="all-linear"), dict(target_modules=["proj"]), dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="blocks")]
J["targeting"] = []
for c in cases:
    try: mods = sorted({k.split(".lora_")[0].replace("base_model.model.", "") for k in lora(get_peft_model(fresh(), LoraConfig(**c, **L)))})
    except ValueError: mods = []
    J["targeting"].append(dict(config=c, modules=mods))
json.dump(J, open(os.path.join(OUT, "oracle.json"), "w"), separators=(",", ":"))
save_file({k: v.detach().contiguous().float().clone() for k, v in T.items()}, os.path.join(OUT, "oracle.safetensors"))
print("loss %.4f -> %.4f, grad norm %.3f .. %.3f, eval %s" % (J["train"]["loss"][0], J["train"]["loss"][-1], min(J["train"]["grad_norm"]), max(J["train"]["grad_norm"]), J["train"]["eval_loss"]))
print([(len(c["modules"]), c["config"]) for c in J["targeting"]])
