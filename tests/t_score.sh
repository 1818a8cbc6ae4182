#!/bin/sh
# ws score and ws logits on tiny models; the expected sums are transformers' (tools/reference/make_models.py).
F=tests/fixtures/models
out=$(mktemp) dir=$(mktemp -d)
trap 'rm -rf "$out" "$dir"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; cat "$out"; }
# numbers KEY FILE: the numbers of a one-line-per-number JSON array
numbers() { awk -v key="\"$1\"" 'index($0, key) {on = 1; next} on && /\]/ {exit} on {gsub(/[ ,]/, ""); print}' "$2"; }

for m in llama llama_bias qwen2 qwen3 qwen3_untied; do
    if "$WS" score --model $F/$m --file $F/$m/score.json >"$out" 2>&1; then
        numbers nll $F/$m/expected.json >"$dir/want"
        sed 's/.*"logprob": \([-0-9.e]*\),.*/\1/' "$out" | paste - "$dir/want" |
            awk '{d = $1 + $2; if (d < 0) d = -d; if (NF != 2 || d > 1e-3) bad = 1} END {exit bad || NR == 0}' &&
            ok "log-probabilities of $m are transformers'" || no "log-probabilities of $m"
    else
        no "ws score $m"
    fi
done
"$WS" score --model $F/qwen3 --file $F/qwen3/score.json --out "$dir/s" --threads 1 >"$out" 2>&1
"$WS" score --model $F/qwen3 --file $F/qwen3/score.json --threads 2 >"$out" 2>&1
cmp -s "$out" "$dir/s" && ok "--out writes what is printed, on one thread and on two" || no "score --out"

"$WS" logits --model $F/llama --ids-file $F/llama/rows.json --out "$dir/l.safetensors" --json >"$out" 2>&1 &&
    "$WS" inspect "$dir/l.safetensors" >>"$out" 2>&1 && grep -q 'logits.2' "$out" && grep -q '\[200, 128\]' "$out" &&
    ok "logits of every row and position" || no "ws logits"
echo '[[1, 2, 3]]' >"$dir/one.json"
"$WS" logits --model $F/llama --ids "1 2 3" --out "$dir/a.safetensors" >"$out" 2>&1 &&
    "$WS" logits --model $F/llama --ids-file "$dir/one.json" --out "$dir/b.safetensors" >"$out" 2>&1 &&
    cmp "$dir/a.safetensors" "$dir/b.safetensors" >"$out" 2>&1 && ok "ids from the command line or from a file" || no "logits --ids"

# fails STATUS TEXT ARGS...
fails() {
    want=$1 text=$2
    shift 2
    "$WS" "$@" >"$out" 2>&1
    [ $? = "$want" ] && grep -qF -- "$text" "$out" && ok "refused: $text" || no "refused: $text"
}
fails 2 "--model is missing" score --file $F/llama/score.json
fails 2 "--file is missing" score --model $F/llama
fails 2 "does not begin with a token id" logits --model $F/llama --ids "1 x" --out "$dir/x"
fails 2 "--out F.safetensors is missing" logits --model $F/llama --ids "1 2"
fails 2 "--dw, which is missing" logits --model $F/llama --ids "1 2" --alpha 2 --out "$dir/x"
fails 2 "outside the model's vocabulary" logits --model $F/llama --ids "1 500" --out "$dir/x"
fails 1 "no-such-file" logits --model $F/llama --ids "1 2" --dw "$dir/no-such-file" --out "$dir/x"
echo '[{"prompt_ids": [], "completion_ids": [1]}]' >"$dir/e.json"
fails 1 "the prompt is empty" score --model $F/llama --file "$dir/e.json"
echo '[{"prompt_ids": [1], "completion_ids": [1.5]}]' >"$dir/e.json"
fails 1 "element 0 is no token id" score --model $F/llama --file "$dir/e.json"
echo '[{"prompt": "hello"}]' >"$dir/e.json"
fails 1 "neither 'prompt_ids'" score --model $F/llama --file "$dir/e.json"
[ -e "$dir/x" ] && no "nothing is left behind" || ok "nothing is left behind"
exit $bad
