#!/bin/sh
# ws inspect on every kind of file; norms are numpy's (tools/reference/make_io.py).
F=tests/fixtures/io
out=$(mktemp)
trap 'rm -f "$out"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; cat "$out"; }
# has NAME TEXT...: the last output holds every TEXT
has() {
    name=$1
    shift
    for t in "$@"; do grep -qF -- "$t" "$out" || { no "$name (no '$t')"; return; }; done
    ok "$name"
}
norm() { sed -n "s/^$1 //p" $F/norms.txt | cut -c1-7; }

"$WS" inspect $F/llama.gguf >"$out" 2>&1 && has "a GGUF is spoken of in Hugging Face names" "kind         checkpoint" "family       llama" \
    "    2  model.layers.*.self_attn.q_proj.bias                 [32]" "head         tied" || no "inspect llama.gguf"
"$WS" inspect $F/wrapped >"$out" 2>&1 && has "a directory with vision tensors" "ignored      3 tensors" "stop ids     2" "[20, 8]" || no "inspect wrapped"
"$WS" inspect $F/wrapped --norms --tensors >"$out" 2>/dev/null && has "norms of a model on demand" "Frobenius norm" "model.layers.1.mlp.up_proj.weight" || no "inspect --norms"
"$WS" inspect $F/types.gguf >"$out" 2>&1 && has "a GGUF of another architecture can be looked at" "kind         gguf" "not_loadable" "a.str" || no "inspect types.gguf"
"$WS" inspect $F/dw.safetensors >"$out" 2>&1 && has "the norms of a dW are numpy's" "kind         dw" "||dW||       $(norm total)" \
    "$(norm model.layers.0.mlp.up_proj)" "$(norm model.layers.1.self_attn.q_proj)" || no "inspect dw"
"$WS" inspect $F/adapter --json >"$out" 2>&1 && has "an adapter directory as JSON" '"kind": "adapter"' '"adapter": "LORA"' '"base": "org/base"' "\"norm\": $(norm adapter)" || no "inspect adapter"
"$WS" inspect $F/half.safetensors >"$out" 2>&1 && has "any safetensors file" "kind         safetensors" "written_by" || no "inspect half.safetensors"
"$WS" inspect $F/none.gguf >"$out" 2>&1
[ $? = 1 ] && has "a missing file is exit status 1" "none.gguf: no such file" || no "missing file"
"$WS" inspect >"$out" 2>&1
[ $? = 2 ] && has "no path is exit status 2" "give a path" || no "no path"
"$WS" inspect $F/norms.txt >"$out" 2>&1
[ $? = 1 ] && has "a file that is no tensor file is refused" "no safetensors file" || no "text file"
"$WS" inspect $F/dw.safetensors >/dev/full 2>"$out"
[ $? = 1 ] && has "a full disk is an error" "writing to standard output failed" || no "full disk"
exit $bad
