#!/bin/sh
# ws diff with whole checkpoints, ws subspace and ws monitor from the command line.  Numbers are tested in test_delta_*.c; here
# is what the verbs write, print and refuse.
M=tests/fixtures/peft/model
P=tests/fixtures/peft/pos
N=tests/fixtures/peft/neg
F=tests/fixtures/foreign
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; sed 's/^/#   /' "$T/err" "$T/out" | head -12; }
ws() { "$WS" "$@" >"$T/out" 2>"$T/err"; }
# says STATUS TEXT ARGS...: exits so, with TEXT in one sentence
says() {
    want=$1 text=$2
    shift 2
    timeout 60 "$WS" "$@" >"$T/out" 2>"$T/err"
    rc=$?
    [ $rc = "$want" ] && [ "$(grep -v '^Try \|warning' "$T/err" | wc -l)" = 1 ] && [ ! -s "$T/out" ] && grep -qF -- "$text" "$T/err" && ok "refused: $text" || no "$want $text (exit $rc)"
}
has() { for t in "$@"; do grep -qF -- "$t" "$T/out" || return 1; done; }

# ---- diff
ws diff --model $M $P $N --out "$T/dw.safetensors" && has "19 (11 of them on one side only)" && ok "two adapters" || no "two adapters"
ws diff --model $M $P --out "$T/pos.safetensors" --json && has '"mode": "delta", "sites": 14, "sites_one_sided": 0, "norm_pos": 2.11294' && ! has cos_pos && ok "one side alone" || no "one side alone"
# a merged checkpoint is the contrast that it was made of: fp32 rounding of W is all that is lost
ws export --model $M --steer "$T/dw.safetensors" --to merged --dtype f32 --out "$T/merged" -q || no "export"
ws diff --model $M "$T/merged" --out "$T/back.safetensors" && has "||dW||                           4.0416" "all of it" "energy lost" && grep -q "the best 64 factors" "$T/err" && ok "a checkpoint is taken at rank 64" || no "a checkpoint at rank 64"
ws monitor --model $M --dw "$T/dw.safetensors" "$T/back.safetensors" "$T/merged" "$T/merged,$M" --draws 0 --json && [ "$(grep -c '"cosine": 0.99999\|"cosine": 1.0' "$T/out")" = 15 ] && ok "and is that contrast again, at its rank, whole, and as a pair" || no "cosine of a merged checkpoint"
ws diff --model $M "$T/merged" $P --dense --dtype bf16 --out "$T/dense.safetensors" --layers 1:2 --modules q_proj,up_proj && has "modules                          2" && ws inspect "$T/dense.safetensors" && has "model.layers.1.self_attn.q_proj              dense BF16" "energy_left_out" && ok "a checkpoint beside an adapter, dense, a part of the model" || no "dense"
ws logits --model $M --ids "1 2 3" --dw "$T/back.safetensors" --alpha 1 --out "$T/a.st" && ws logits --model "$T/merged" --ids "1 2 3" --out "$T/b.st" && ok "and is steered with" || no "steered with"
for t in 1 3; do ws diff --model $M "$T/merged" $P --rank 6 --threads $t --out "$T/t$t.safetensors" && ws diff --model $M "$T/merged" $P --dense --threads $t --out "$T/d$t.safetensors" || no "threads"; done
cmp -s "$T/t1.safetensors" "$T/t3.safetensors" && cmp -s "$T/d1.safetensors" "$T/d3.safetensors" && ok "the same bytes with other threads, at a rank and dense" || no "bytes by threads"
says 1 "is a qwen3 model, the base" diff --model $M tests/fixtures/models/qwen3 --out "$T/x.safetensors"
says 1 "num_hidden_layers is 2" diff --model $M tests/fixtures/models/llama --out "$T/x.safetensors"
says 1 "have the same weights in every linear layer" diff --model $M $M --rank 4 --out "$T/x.safetensors"
says 2 "--rank and --dense" diff --model $M $P $N --rank 3 --dense --out "$T/x.safetensors"
says 2 "--dtype is the type of --dense" diff --model $M $P $N --dtype bf16 --out "$T/x.safetensors"
says 2 "--mode bisector is between two sides" diff --model $M $P --mode bisector --out "$T/x.safetensors"
says 2 "module 'qproj' names no linear" diff --model $M $P $N --modules qproj --out "$T/x.safetensors"
says 2 "layers 3:9" diff --model $M $P $N --layers 3:9 --out "$T/x.safetensors"
says 1 "was made on model" diff --model tests/fixtures/models/llama "$T/dw.safetensors" --out "$T/x.safetensors"
says 1 "was made on model" diff --model "$T/merged" "$T/dw.safetensors" --out "$T/x.safetensors"
ws diff --model "$T/merged" "$T/dw.safetensors" --out "$T/y.safetensors" --force && grep -q "was made on another base" "$T/err" && ok "another base is taken when forced, and that is said" || no "forced"
says 1 "nosuch" diff --model $M "$T/nosuch" --out "$T/x.safetensors"
[ ! -e "$T/x.safetensors" ] && ok "nothing is left behind" || no "left behind"

# ---- subspace
ws subspace --model $M "$T/dw.safetensors" --out "$T/sub" && has "mlp.down_proj" "share of ||dW||^2" "a random dW has the ratio 1" && ok "ws subspace prints kinds and layers" || no "subspace"
[ "$(head -1 "$T/sub/subspace.csv")" = "module,kind,layer,d_out,d_in,norm_dw,norm_w,r,k,share,null,ratio,head_r,head_k,head_share,head_null,head_ratio" ] && [ "$(wc -l <"$T/sub/subspace.csv")" = 20 ] && ok "a row a module" || no "subspace.csv"
for f in subspace.png subspace.svg subspace_head.png subspace_norms.svg subspace_kinds.csv subspace_layers.json; do [ -s "$T/sub/$f" ] || no "subspace: no $f"; done
cp -r "$T/sub" "$T/sub1" && ws subspace --model $M "$T/dw.safetensors" --out "$T/sub" --threads 3 && diff -r "$T/sub" "$T/sub1" >"$T/out" && ok "the same files with other threads" || no "threads"
ws subspace --model $M $F/boft --json && has '"name": "subspace"' '"ratio"' && ok "an adapter with rotations, as JSON" || no "subspace boft"
says 2 "DW is missing" subspace --model $M
says 2 "--top: 3 is outside 0..1" subspace --model $M "$T/dw.safetensors" --top 3
says 1 "was made on model" subspace --model tests/fixtures/models/llama "$T/dw.safetensors"

# ---- monitor
mkdir -p "$T/run" && cp -r $P "$T/run/checkpoint-9" && cp -r $N "$T/run/checkpoint-10" && cp -r $F/ia3/* "$T/run/"
ws monitor --model $M --dw "$T/dw.safetensors" "$T/run" --out "$T/mon" --matrix && has "along dW" "against dW" && ok "ws monitor reads a training run" || no "monitor"
[ "$(cut -d, -f1,2 "$T/mon/monitor.csv" | tr '\n' ' ')" = "thing,step $T/run/checkpoint-9,9 $T/run/checkpoint-10,10 $T/run, " ] && ok "a row a checkpoint, in the order of their numbers, the end last" || no "order"
for f in monitor.png monitor.svg monitor_layers.csv monitor_layers.png monitor_matrix.json; do [ -s "$T/mon/$f" ] || no "monitor: no $f"; done
cp -r "$T/mon" "$T/mon1" && ws monitor --model $M --dw "$T/dw.safetensors" "$T/run" --out "$T/mon" --matrix --threads 3 && diff -r "$T/mon" "$T/mon1" >"$T/out" && ok "the same files with other threads" || no "threads"
ws monitor --model $M --dw "$T/dw.safetensors" $F/exact && has "no module in common" && ok "what has nothing in common is told" || { ws monitor --model $M --dw "$T/dw.safetensors" $F/exact; no "nothing in common"; }
says 2 "--dw is missing" monitor --model $M $P
says 2 "nothing to compare" monitor --model $M --dw "$T/dw.safetensors"
says 2 "one draw makes no band" monitor --model $M --dw "$T/dw.safetensors" $P --draws 1
says 1 "no such file or directory" monitor --model $M --dw "$T/dw.safetensors" "$T/nosuch"
says 1 "holds neither adapters nor checkpoints" monitor --model $M --dw "$T/dw.safetensors" "$T/sub"
says 1 "was made on model" monitor --model tests/fixtures/models/llama --dw "$T/dw.safetensors" $P

# ---- inspect
ws inspect $F/dora && has "model.layers.1.mlp.down_proj                 rank 3 + magnitude       [32, 48]" && ok "an adapter's form, rank and modules" || no "inspect dora"
ws inspect $F/oft_count --model $M && has "4 blocks of 8" "||dW||" "layer     modules" && ok "and with its base how far it moves it" || no "inspect --model"
says 2 "is no adapter and no dW" inspect $M --model $M
exit $bad
