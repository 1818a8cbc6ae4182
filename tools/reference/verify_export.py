"""Shows with the real programs that what `ws export` writes is what they load: PEFT, transformers, llama.cpp, the gguf package.

    verify_export.py tiny WS                      the fixtures: PEFT and transformers load every exact form, logits against the oracle of
                                                  make_export.py (dense dW by PEFT, forward in double) and against ours
    verify_export.py smollm2 WS GGUF WORK [KIND...]         SmolLM2 from its Q4_1 GGUF: de-quantised to WORK/hf by transformers; random adapters of
                                                  every kind by PEFT in WORK; the same checks at full size
    verify_export.py llama WS WORK LLAMA_CPP GGUF        after `smollm2`: GGUFs of WORK/hf in F32, F16 and Q8_0 by llama.cpp's converter, and GGUF
                                                  itself; llama.cpp loads the LoRA GGUF, logits at scales 1, 0.5 and 0, and pos and neg as two LoRAs
    verify_export.py widened WS LLAMA_CPP         GGUFs of the tiny models of every family by llama.cpp's converter; `--to merged --dtype f32` of each,
                                                  with a LoRA GGUF by the gguf package, loaded by transformers

Any warning of PEFT's (missing or unexpected keys) is an error.  Needs torch, transformers, peft, safetensors, gguf; llama: llama-cpp-python.
Exit status 1 when a figure is above its bound.
"""
import ctypes, json, os, shutil, subprocess, sys, warnings
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/fixtures")
torch.set_num_threads(2)
WS, bad = sys.argv[2], []


def ws(*args):
    r = subprocess.run([WS, *args], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit("ws %s\n%s%s" % (" ".join(args), r.stdout, r.stderr))
    return r.stdout


def row(what, value, bound):
    print("%-58s %.2g (at most %.2g)" % (what, value, bound), flush=True)
    if not value <= bound:
        bad.append(what)


def fresh(where):
    return AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager").eval()


def peft(where, adapter):
    from peft import PeftModel
    base = fresh(where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("error", UserWarning)
        return PeftModel.from_pretrained(base, adapter).eval()


def logits(m, rows):
    with torch.no_grad():
        return [m(torch.tensor([x])).logits[0].float() for x in rows]


def ours(model, rows, steer, work):
    json.dump(rows, open(os.path.join(work, "rows.json"), "w"))
    out = os.path.join(work, "l.safetensors")
    ws("logits", "--model", model, "--ids-file", os.path.join(work, "rows.json"), "--out", out, *(["--steer", steer] if steer else []))
    t = load_file(out)
    return [t["logits.%d" % i] for i in range(len(rows))]


def far(a, b):
    return max(((x - y).abs().max() / y.abs().max()).item() for x, y in zip(a, b))


def kl(a, b):
    a, b = torch.log_softmax(torch.cat(a).double(), -1), torch.log_softmax(torch.cat(b).double(), -1)
    d = (a.exp() * (a - b)).sum(-1)
    return d.mean().item(), d.max().item()


FORMS = {"lora": ("peft", "dora", "merged"), "pissa": ("peft", "dora", "merged"), "delora": ("peft", "dora", "merged"), "dora": ("dora", "merged"),
         "ia3": ("ia3", "merged"), "bias_ia3": ("ia3", "merged"), "oft": ("merged",), "boft": ("merged",)}


def check(kind, model, pos, neg, alpha, rows, want, work, bound):
    dw = os.path.join(work, kind + ".dw.safetensors")
    ws("diff", "--model", model, pos, neg, "--out", dw)
    here = ours(model, rows, "%s:%g" % (dw, alpha), work)
    row("%s: ws against the dense dW of PEFT" % kind, far(here, want), bound)
    for form in FORMS[kind]:
        out = os.path.join(work, "%s_%s" % (kind, form))
        ws("export", "--model", model, "--steer", "%s:%g" % (dw, alpha), "--to", form, "--out", out, *(["--dtype", "f32"] if form == "merged" else []))
        got = logits(fresh(out) if form == "merged" else peft(model, out), rows)
        row("%s: %s loads --to %s, against the dense dW" % (kind, "transformers" if form == "merged" else "PEFT", form), far(got, want), bound)
    out = os.path.join(work, kind + "_dense.safetensors")
    ws("export", "--model", model, "--steer", "%s:%g" % (dw, alpha), "--to", "dense", "--out", out)
    m = fresh(model)
    with torch.no_grad():
        sd = m.state_dict()
        for k, v in load_file(out).items():
            sd[k] += v
    row("%s: W + the dense file in torch" % kind, far(logits(m, rows), want), bound)


def tiny():
    import tempfile
    x, p = os.path.join(HERE, "export"), os.path.join(HERE, "peft")
    info, T = json.load(open(os.path.join(x, "oracle.json"))), load_file(os.path.join(x, "oracle.safetensors"))
    work = tempfile.mkdtemp()
    for kind in ("dora", "ia3", "oft", "boft", "bias_ia3"):
        model = os.path.join(HERE, "models/llama_bias") if kind == "bias_ia3" else os.path.join(p, "model")
        check(kind, model, os.path.join(x, kind + "_pos"), os.path.join(x, kind + "_neg"), info["alpha"], info["rows"],
              [T["%s.%d" % (kind, r)] for r in range(2)], work, 3e-6)
    info, T = json.load(open(os.path.join(p, "oracle.json"))), load_file(os.path.join(p, "oracle.safetensors"))
    check("lora", os.path.join(p, "model"), os.path.join(p, "pos"), os.path.join(p, "neg"), 3, [r["ids"] for r in info["rows"][:2]],
          [T["steered.3.%d" % r].float() for r in range(2)], work, 3e-6)
    shutil.rmtree(work)


ALPHA, T7 = 1.5, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def smollm2():
    from peft import BOFTConfig, DeloraConfig, IA3Config, LoraConfig, OFTConfig, PeftModel, get_peft_model
    from transformers import AutoTokenizer
    gguf, work = sys.argv[3:5]
    os.makedirs(work, exist_ok=True)
    hf = os.path.join(work, "hf")
    if not os.path.exists(hf):
        m = AutoModelForCausalLM.from_pretrained(os.path.dirname(gguf), gguf_file=os.path.basename(gguf), dtype=torch.float32)
        if hasattr(m.config, "quantization_config"):
            del m.config.quantization_config
        plain = type(m)(m.config)  # transformers refuses to save what it read from a GGUF
        plain.load_state_dict(m.state_dict())
        plain.save_pretrained(hf)
        AutoTokenizer.from_pretrained(os.path.dirname(gguf), gguf_file=os.path.basename(gguf)).save_pretrained(hf)
    g = torch.Generator().manual_seed(1)
    rows = [torch.randint(100, 40000, (n,), generator=g).tolist() for n in (24, 17, 9)]
    json.dump(rows, open(os.path.join(work, "ids.json"), "w"))
    few = dict(layers_to_transform=list(range(9, 24)), target_modules=T7, task_type="CAUSAL_LM")
    kinds = {"lora": LoraConfig(r=8, lora_alpha=16, **few), "dora": LoraConfig(r=8, lora_alpha=16, use_dora=True, **few),
             "pissa": LoraConfig(r=8, lora_alpha=16, init_lora_weights="pissa", **few), "delora": DeloraConfig(r=8, delora_lambda=1, **few),
             "oft": OFTConfig(oft_block_size=8, r=0, **few), "boft": BOFTConfig(boft_block_size=8, **few),
             "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")}
    scale = dict(lora=0.02, dora=0.02, pissa=0.01, delora=0.02, oft=0.02, boft=0.02, ia3=0.1)
    W = fresh(hf).state_dict()
    back = os.path.join(work, "widened")
    row("base: ws against torch", far(ours(hf, rows, None, work), logits(fresh(hf), rows)), 2e-5)
    for kind, config in kinds.items():
        if sys.argv[5:] and kind not in sys.argv[5:]:
            continue
        merged = {}
        for side in ("pos", "neg"):
            d = os.path.join(work, kind + "_" + side)
            m = get_peft_model(fresh(hf), config)
            with torch.no_grad():
                for p in m.parameters():
                    if p.requires_grad:
                        p.add_(scale[kind] * torch.randn(p.shape, generator=g))
            m.save_pretrained(d)
            merged[side] = PeftModel.from_pretrained(fresh(hf), d).merge_and_unload().state_dict()
        m = fresh(hf)
        m.load_state_dict({k: (W[k].double() + ALPHA * (merged["pos"][k].double() - merged["neg"][k].double())).float() for k in W})
        want = logits(m, rows)
        print("%s: KL(steered || base) mean %.3g" % (kind, kl(want, logits(fresh(hf), rows))[0]))
        # thirty layers in fp32, here and there: what the base alone differs by, and as much again
        check(kind, hf, os.path.join(work, kind + "_pos"), os.path.join(work, kind + "_neg"), ALPHA, rows, want, work, 2e-5)
    # a GGUF base, widened by ws, is what transformers makes of it
    ws("export", "--model", gguf, "--steer", os.path.join(work, "lora.dw.safetensors") + ":%g" % ALPHA, "--force", "--to", "merged", "--dtype", "f32", "--out", back)
    row("the GGUF widened by ws, loaded by transformers, ours hung", far(logits(fresh(back), rows), ours(hf, rows, "%s:%g" % (os.path.join(work, "lora.dw.safetensors"), ALPHA), work)), 2e-5)


def without_words(self):  # ids alone are fed; the converter wants to know a vocabulary
    w, n = self.gguf_writer, self.hparams["vocab_size"]
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("smollm")
    w.add_token_list(["t%d" % i for i in range(n)]), w.add_token_types([1] * n), w.add_token_merges(["t 0"])


def widened():
    import tempfile
    tree, work = sys.argv[3], tempfile.mkdtemp()
    sys.path[:0] = [tree, os.path.join(tree, "gguf-py")]
    import convert_hf_to_gguf, gguf
    from conversion import llama as cl, qwen as cq
    for c in (cl.LlamaModel, cq.Qwen2Model, cq.Qwen3Model):
        c.set_vocab = without_words
    for name, arch, cls in (("llama", "llama", "Llama"), ("llama_bias", "llama", "Llama"), ("qwen2", "qwen2", "Qwen2"), ("qwen3", "qwen3", "Qwen3"),
                            ("qwen3_untied", "qwen3", "Qwen3"), ("qwen35", "qwen35", None), ("qwen35_3x", "qwen35", None)):
        path = os.path.join(HERE, "models", name + ".gguf")
        if cls:
            d, path = os.path.join(work, name), os.path.join(work, name + ".gguf")
            shutil.copytree(os.path.join(HERE, "models", name), d)
            c = json.load(open(os.path.join(d, "config.json")))
            c["architectures"] = [cls + "ForCausalLM"]
            if name == "llama":  # Llama 3's own frequencies, which alone can be told from a GGUF
                c["rope_parameters"]["original_max_position_embeddings"], c["max_position_embeddings"] = 8192, 65536
            json.dump(c, open(os.path.join(d, "config.json"), "w"))
            sys.argv = ["convert_hf_to_gguf.py", d, "--outtype", "f32", "--outfile", path]
            convert_hf_to_gguf.main()
        lora, out, rng = os.path.join(work, "l.gguf"), os.path.join(work, name + "_hf"), np.random.default_rng(0)
        w = gguf.GGUFWriter(lora, arch)
        w.add_string("general.type", "adapter"), w.add_string("adapter.type", "lora"), w.add_float32("adapter.lora.alpha", 2.0)
        for t in gguf.GGUFReader(path).tensors:
            if t.name in ("blk.0.ffn_up.weight", "blk.0.attn_q.weight", "blk.0.ssm_out.weight", "blk.3.attn_q.weight"):
                i, o = (int(x) for x in t.shape)
                w.add_tensor(t.name + ".lora_a", rng.normal(size=(2, i)).astype(np.float32) * 0.2)
                w.add_tensor(t.name + ".lora_b", rng.normal(size=(o, 2)).astype(np.float32) * 0.2)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
        ws("export", "--model", path, "--steer", lora, "--to", "merged", "--dtype", "f32", "--out", out)
        rows = [[3, 9, 1, 22, 7, 5, 30, 2]]
        row("%s: the GGUF widened, in transformers, against ws" % name, far(logits(fresh(out), rows), ours(path, rows, lora, work)), 1e-5)
    shutil.rmtree(work)


def llama():
    work, tree, q4 = sys.argv[3:6]
    import llama_cpp as L
    silent = L.llama_log_callback(lambda *a: None)  # kept alive as long as llama.cpp may call it
    L.llama_log_set(silent, None)
    L.llama_backend_init()
    hf, rows = os.path.join(work, "hf"), json.load(open(os.path.join(work, "ids.json")))
    dw, pos, neg = os.path.join(work, "lora.dw.safetensors"), os.path.join(work, "lora_pos"), os.path.join(work, "lora_neg")
    paths = {t: os.path.join(work, "m.%s.gguf" % t) for t in ("f32", "f16", "q8_0")}
    sys.path[:0] = [tree, os.path.join(tree, "gguf-py")]
    import convert_hf_to_gguf
    from conversion.llama import LlamaModel

    LlamaModel.set_vocab = without_words
    for t, path in paths.items():
        if not os.path.exists(path):
            sys.argv = ["convert_hf_to_gguf.py", hf, "--outtype", t, "--outfile", path]
            convert_hf_to_gguf.main()
    paths["q4_1"] = q4
    lora = {}
    for name, steer in (("dw", "%s:%g" % (dw, ALPHA)), ("pos", pos), ("neg", neg)):
        lora[name] = os.path.join(work, name + ".lora.gguf")
        print(ws("export", "--model", hf, "--steer", steer, "--to", "gguf-lora", "--out", lora[name]).strip())
    import gguf
    r = gguf.GGUFReader(lora["dw"])
    print("gguf package: %d tensors, alpha %g" % (len(r.tensors), r.fields["adapter.lora.alpha"].contents()))

    def run(path, hung):
        """logits of rows with [(file, scale)] hung"""
        mp = L.llama_model_default_params(); mp.n_gpu_layers = 0
        model = L.llama_model_load_from_file(path.encode(), mp)
        ads = [L.llama_adapter_lora_init(model, f.encode()) for f, _ in hung]
        assert model and all(ads), "llama.cpp did not load %s" % hung
        out = []
        for ids in rows:
            cp = L.llama_context_default_params(); cp.n_ctx, cp.n_batch, cp.n_threads, cp.n_threads_batch = 64, 64, 2, 2
            cp.flash_attn_type = 0
            cp.type_k = cp.type_v = 0  # F32 cache: the default rounds keys and values to 16 bits
            ctx = L.llama_init_from_model(model, cp)
            if ads:
                L.llama_set_adapters_lora(ctx, (L.llama_adapter_lora_p_ctypes * len(ads))(*ads), len(ads), (ctypes.c_float * len(ads))(*[s for _, s in hung]))
            b = L.llama_batch_init(64, 0, 1); b.n_tokens = len(ids)
            for i, t in enumerate(ids):
                b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = t, i, 1, 1
                b.seq_id[i][0] = 0
            assert L.llama_decode(ctx, b) == 0
            v = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
            out.append(torch.from_numpy(np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), (v,)).copy() for i in range(len(ids))])))
            L.llama_batch_free(b); L.llama_free(ctx)
        L.llama_model_free(model)
        return out

    # F32: rounding of thirty layers.  Otherwise llama.cpp rounds activations, to 16 bits or to integers, which ws does not: what the base
    # alone shows is what is to be expected
    bounds = {"f32": 2e-5, "f16": 1e-2, "q8_0": 0.2, "q4_1": 0.2}
    for t, path in paths.items():
        base, plain = ours(path, rows, None, work), run(path, [])
        row("%s: base, llama.cpp against ws" % t, far(plain, base), bounds[t])
        row("%s: the LoRA at scale 0 is the base" % t, far(run(path, [(lora["dw"], 0.0)]), plain), 1e-6)
        for scale in (1.0, 0.5):
            got, want = run(path, [(lora["dw"], scale)]), ours(path, rows, "%s:%g" % (lora["dw"], scale), work)
            row("%s: the LoRA at %g, llama.cpp against ws" % (t, scale), far(got, want), bounds[t])
            print("    KL(llama.cpp || ws) mean %.2g max %.2g; steered against base %.3g" % (*kl(got, want), kl(want, base)[0]))
        two = run(path, [(lora["pos"], ALPHA), (lora["neg"], -ALPHA)])
        row("%s: pos at +%g and neg at -%g, as two LoRAs, against dW" % (t, ALPHA, ALPHA), far(two, run(path, [(lora["dw"], 1.0)])), bounds[t])


{"tiny": tiny, "smollm2": smollm2, "llama": llama, "widened": widened}[sys.argv[1]]()
print("all within their bounds" if not bad else "ABOVE: " + "; ".join(bad))
sys.exit(bool(bad))
