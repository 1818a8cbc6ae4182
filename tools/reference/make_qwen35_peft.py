"""Writes tests/fixtures/peft/qwen35: LoRA by PEFT on the tiny Qwen3.5 of make_qwen35.py (qwen35_1x: delta, full attention, delta).
Usage: make_qwen35_peft.py            (from the repository's root)

  adapter/                PEFT directory, target_modules="all-linear", rank 2, with B random instead of zero
  expected.json           versions, seeds; "seven" and "all": names of the modules that PEFT adapts for the seven usual names in layers
                          1..2 and for "all-linear"; row: ids and the first supervised one; nll of the row with the adapter
  expected.st             init.KEY: a fresh all-linear adapter's lora_A (torch.manual_seed(init_seed) after loading the model);
                          grad.KEY: gradients of nll with the adapter of adapter/
nll and gradients come from PEFT on the classes of transformers in double (see make_qwen35.py for why).
"""
import json, os, shutil
import peft, torch, transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from make_qwen35 import in_double

BASE, OUT, SEED = "tests/fixtures/models/qwen35_1x", "tests/fixtures/peft/qwen35", 77
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
torch.set_num_threads(1)


def base(): return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


def adapted(model):
    return [n.removeprefix("base_model.model.") for n, m in model.named_modules() if hasattr(m, "lora_A")]


def config(**kw): return LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", **kw)


shutil.rmtree(OUT, ignore_errors=True)
os.makedirs(OUT)
info = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__, init_seed=SEED)
info["seven"] = adapted(get_peft_model(base(), config(target_modules=SEVEN, layers_to_transform=[1, 2])))
m = base()
torch.manual_seed(SEED)
m = get_peft_model(m, config(target_modules="all-linear"))
info["all"] = adapted(m)
out = {}
for n, p in m.named_parameters():
    if "lora_A" in n: out["init." + n.replace(".default", "")] = p.detach().clone()
g = torch.Generator().manual_seed(SEED)
with torch.no_grad():
    for n, p in m.named_parameters():
        if "lora_B" in n: p.copy_(0.3 * torch.randn(p.shape, generator=g))
m.save_pretrained(os.path.join(OUT, "adapter"))
os.remove(os.path.join(OUT, "adapter", "README.md"))
cfg = json.load(open(os.path.join(OUT, "adapter", "adapter_config.json")))
cfg["base_model_name_or_path"] = "qwen35_1x"
cfg["target_modules"] = sorted(cfg["target_modules"]) if isinstance(cfg["target_modules"], list) else cfg["target_modules"]
json.dump(cfg, open(os.path.join(OUT, "adapter", "adapter_config.json"), "w"), indent=2, sort_keys=True)
plain = base()
exact = in_double().Qwen3_5ForCausalLM(plain.config).eval().double()
exact.load_state_dict(plain.state_dict())
m = PeftModel.from_pretrained(exact, os.path.join(OUT, "adapter"), is_trainable=True)
assert {p.dtype for p in m.parameters()} == {torch.float64}
ids = torch.randint(0, 64, (50,), generator=g)
logp = torch.log_softmax(m(ids[None], use_cache=False).logits[0].double(), -1)
first = 20
nll = -logp[torch.arange(first - 1, 49), ids[first:]].sum()
nll.backward()
info["row"] = dict(ids=ids.tolist(), first=first, nll=nll.item())
for n, p in m.named_parameters():
    if "lora_" in n: out["grad." + n.replace(".default", "")] = p.grad.float()
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(OUT, "expected.st"))
json.dump(info, open(os.path.join(OUT, "expected.json"), "w"), indent=1)
print(len(info["seven"]), len(info["all"]), cfg["target_modules"], nll.item())
