"""Writes tests/fixtures/export/: pairs of adapters whose contrast is no product of thin matrices, and the logits of the model that
their dense dW steers.
Usage: make_export.py

KIND_pos/, KIND_neg/   adapters as PEFT saves them, every tensor away from its initial value.  dora, ia3, oft, boft on
                       tests/fixtures/peft/model; bias_ia3 on tests/fixtures/models/llama_bias
oracle.safetensors     KIND.R: logits of row R with W + ALPHA (W_pos - W_neg), b + ALPHA (b_pos - b_neg); merged by PEFT in fp32,
                       contrast and forward in double
oracle.json            seed, strength, rows, versions
"""
import json, os, shutil, warnings
import torch, transformers, peft
from peft import LoraConfig, IA3Config, OFTConfig, BOFTConfig, get_peft_model, PeftModel
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
import transformers.models.llama.modeling_llama as ml
warnings.filterwarnings("ignore")
torch.set_num_threads(1)
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/fixtures")
OUT, SEED, ALPHA = os.path.join(HERE, "export"), 20261130, 0.7
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT)
g = torch.Generator().manual_seed(SEED)
TARGETS = dict(target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
SLICE = dict(TARGETS, layers_to_transform=[1, 2])
KINDS = {"dora": ("peft/model", lambda: LoraConfig(r=2, lora_alpha=4, use_dora=True, **SLICE)),
         "ia3": ("peft/model", lambda: IA3Config(feedforward_modules=["down_proj"], **TARGETS)),
         "oft": ("peft/model", lambda: OFTConfig(oft_block_size=8, r=0, use_cayley_neumann=True, **SLICE)),
         "boft": ("peft/model", lambda: BOFTConfig(boft_block_size=8, **SLICE)),
         "bias_ia3": ("models/llama_bias", lambda: IA3Config(feedforward_modules=["down_proj"], **TARGETS))}
def fresh(where): return LlamaForCausalLM.from_pretrained(os.path.join(HERE, where), dtype=torch.float32, attn_implementation="eager").eval()
def norm(s, x): return s.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + s.variance_epsilon)
ml.LlamaRMSNorm.forward = norm
T, J = {}, dict(seed=SEED, alpha=ALPHA, versions={m.__name__: m.__version__ for m in (torch, transformers, peft)})
J["rows"] = [torch.randint(3, 40, (n,), generator=g).tolist() for n in (17, 9)]
for kind, (where, config) in KINDS.items():
    merged = {}
    for side in ("pos", "neg"):
        m = get_peft_model(fresh(where), config())
        with torch.no_grad():
            for p in m.parameters():
                if p.requires_grad: p.add_(0.1 * torch.randn(p.shape, generator=g))
        d = os.path.join(OUT, kind + "_" + side)
        m.save_pretrained(d); os.remove(os.path.join(d, "README.md"))
        c = json.load(open(os.path.join(d, "adapter_config.json"))); c["base_model_name_or_path"] = None
        json.dump(c, open(os.path.join(d, "adapter_config.json"), "w"), indent=2, sort_keys=True)
        merged[side] = PeftModel.from_pretrained(fresh(where), d).merge_and_unload().state_dict()
    m = fresh(where); W = m.state_dict()
    assert any((merged["pos"][k] - merged["neg"][k]).abs().max() > 0 for k in W if k.endswith(".bias")) == (kind == "bias_ia3")
    m.double(); m.load_state_dict({k: W[k].double() + ALPHA * (merged["pos"][k].double() - merged["neg"][k].double()) for k in W})
    with torch.no_grad():
        for r, x in enumerate(J["rows"]): T["%s.%d" % (kind, r)] = m(torch.tensor([x])).logits[0].float().contiguous()
save_file(T, os.path.join(OUT, "oracle.safetensors"))
json.dump(J, open(os.path.join(OUT, "oracle.json"), "w"))
