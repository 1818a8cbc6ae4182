#!/bin/sh
# The whole chain on a random tiny Qwen3.5 (delta layers beside full attention, wrapper, two shards), and what is special about
# a hybrid on the command line: its layers in inspect, the adapted modules, resuming, two strengths of one dW in one batch.
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
ok() { echo "ok $1"; }
no() { echo "not ok $1"; [ -f "$T/err" ] && sed 's/^/#   /' "$T/err" | tail -5; }
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR

"$WS" smoke --like tiny --out "$T/s" >"$T/out" 2>"$T/err" && tail -n 1 "$T/out" | grep -q 'all 7 stages' && ok "data, train, diff, calibrate, eval and table" || no "data, train, diff, calibrate, eval and table"
M=$T/s/model P=$T/s/out/data/model/enthusiasm/pairs.jsonl

"$WS" inspect "$M" >"$T/out" 2>"$T/err" && grep -q 'family       qwen35' "$T/out" && grep -q '3 layers: gated delta rule, 2 key heads of 16, 4 value heads of 16, 4 taps' "$T/out" &&
    grep -q '1 layers: full attention, 4 heads, 2 of keys and values, of 32 (3)' "$T/out" && grep -q '^per sequence' "$T/out" && ok "inspect tells the layers apart" || no "inspect tells the layers apart"
"$WS" inspect "$M" --json >"$T/out" 2>"$T/err" && grep -q '"state_bytes_per_sequence": [1-9]' "$T/out" && grep -q '"cache_bytes_per_token": 512' "$T/out" &&
    ok "inspect counts a state for a sequence and keys of one layer for a token" || no "inspect counts a state for a sequence and keys of one layer for a token"

# train NAME OPTIONS...
train() {
    name=$1
    shift
    "$WS" train --model "$M" --pairs "$P" --side pos --rank 4 --batch 2 --accum 2 --epochs 30 --seed 3 --layers 0:4 --targets all-linear --out "$T/$name" "$@" >"$T/out" 2>"$T/err"
}
train whole && grep -q 'linear_attn.in_proj_qkv in 3 layers: 0-2' "$T/err" && grep -q 'self_attn.q_proj in 1 layer: 3' "$T/err" && grep -q '"model.layers.2.linear_attn.in_proj_a"' "$T/whole/train.json" &&
    grep -q '"in_proj_qkv"' "$T/whole/adapter_config.json" && ok "the adapted modules are printed and saved" || no "the adapted modules are printed and saved"
train one --threads 1 && cmp -s "$T/whole/adapter_model.safetensors" "$T/one/adapter_model.safetensors" && ok "one thread trains the same bytes" || no "one thread trains the same bytes"
train parts --memory 0.003 && grep -q 'kept; up to [0-9]* tokens run in parts of' "$T/err" && cmp -s "$T/whole/adapter_model.safetensors" "$T/parts/adapter_model.safetensors" && ok "micro-batches in parts train the same bytes" || no "micro-batches in parts train the same bytes"
train once --memory 0.001 && grep -q 'blocks of those above [0-9]* tokens recomputed' "$T/err" && cmp -s "$T/whole/adapter_model.safetensors" "$T/once/adapter_model.safetensors" && ok "recomputed blocks train the same bytes" || no "recomputed blocks train the same bytes"

"$WS" train --model "$M" --pairs "$P" --side pos --rank 4 --batch 2 --accum 2 --epochs 30 --seed 3 --layers 0:4 --targets all-linear --out "$T/cut" --save-every 1 -q >"$T/out" 2>"$T/err" &
child=$!
while [ "$(cat "$T/cut/log.csv" 2>/dev/null | wc -l)" -lt 4 ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
[ -e "$T/cut/log.csv" ] && [ ! -e "$T/cut/adapter_model.safetensors" ] && train cut --save-every 1 && grep -q 'goes on after step' "$T/err" && cmp -s "$T/whole/adapter_model.safetensors" "$T/cut/adapter_model.safetensors" &&
    cmp -s "$T/whole/log.csv" "$T/cut/log.csv" && ok "SIGKILL, then the same command: the same bytes" || no "SIGKILL, then the same command: the same bytes"

# The default names find what a hybrid has of them.
"$WS" train --model "$M" --pairs "$P" --side neg --rank 2 --max-steps 1 --layers 2:4 --out "$T/seven" >"$T/out" 2>"$T/err" && grep -q 'lora on 10 modules' "$T/err" && ok "the seven names on a hybrid" || no "the seven names on a hybrid"
