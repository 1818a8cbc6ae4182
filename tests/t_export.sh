#!/bin/sh
# ws export on the command line: every form, what it prints, what it refuses, and that nothing half-written is left.
P=tests/fixtures/peft M=tests/fixtures/peft/model X=tests/fixtures/export
T=$(mktemp -d)
trap 'chmod -R u+w "$T"; rm -rf "$T"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; sed 's/^/#   /' "$T/out" "$T/err" 2>/dev/null | head -8; }
ws() { timeout 120 "$WS" "$@" >"$T/out" 2>"$T/err"; }
# says STATUS TEXT ARGS...: exits so, with TEXT on stderr, and nothing at $T/no or beside it
says() {
    want=$1 text=$2
    shift 2
    ws export "$@"
    rc=$?
    [ $rc = "$want" ] && grep -qF -- "$text" "$T/err" && [ -z "$(ls -A "$T" | grep '^no')" ] && ok "refuses: $text" || no "$want, $text (exit $rc)"
}

ws diff --model $M $P/pos $P/neg --out "$T/dw.safetensors" || no "ws diff"
for form in peft gguf-lora dora merged; do
    ws export --model $M --steer "$T/dw.safetensors:1.5" --to $form --out "$T/$form" &&
        grep -q "read back and compared at [0-9]* positions: KL mean" "$T/out" && ok "--to $form" || no "--to $form"
done
ws export --model $M --steer "$T/dw.safetensors:1.5" --to dense --dtype bf16 --out "$T/d16" && grep -q "share lost" "$T/out" && ok "dense in bf16 tells its rounding" || no "dense --dtype bf16"
ws export --model $M --steer "$T/dw.safetensors:1.5" --to dense --out "$T/dense.safetensors" && grep -q "by rows" "$T/out" && ok "--to dense" || no "--to dense"

# what was written is what was steered with: PEFT directory, GGUF and merged model say the same, whoever opens them
echo '[{"prompt_ids": [5, 9, 12], "completion_ids": [33, 7, 21, 4, 8, 15]}]' >"$T/rows.json"
score() { ws score --file "$T/rows.json" "$@" && sed 's/.*"logprob": \([-0-9.e]*\),.*/\1/' "$T/out"; }
want=$(score --model $M --steer "$T/dw.safetensors:1.5") base=$(score --model $M)
for how in "--model $M --steer $T/peft" "--model $M --steer $T/gguf-lora" "--model $M --steer $T/dora" "--model $T/merged"; do
    got=$(score $how)
    echo "$want $got $base" | awk '{d = $1 - $2; e = $1 - $3; if (d < 0) d = -d; if (e < 0) e = -e; exit !(NF == 3 && d < 1e-4 && e > 0.1)}' &&
        ok "opened again (${how##*/}): $got" || no "opened again: $how: '$got', want '$want', base '$base'"
done
# at half the strength a LoRA is half of dW, in both formats
want=$(score --model $M --steer "$T/dw.safetensors:-0.75")
for f in peft gguf-lora; do
    got=$(score --model $M --steer "$T/$f:-0.5")
    echo "$want $got" | awk '{d = $1 - $2; exit !(NF == 2 && d < 1e-4 && d > -1e-4)}' && ok "$f keeps its dial" || no "$f:-0.5: '$got', want '$want'"
done

# two behaviours in one, each at its strength
ws export --model $M --steer "$T/dw.safetensors:1" --steer $P/pos:-0.5 --to peft --out "$T/two" &&
    grep -q '"r": ' "$T/two/adapter_config.json" && ok "several --steer" || no "several --steer"
want=$(score --model $M --steer "$T/dw.safetensors:1" --steer $P/pos:-0.5) got=$(score --model $M --steer "$T/two")
echo "$want $got" | awk '{d = $1 - $2; exit !(NF == 2 && d < 1e-4 && d > -1e-4)}' && ok "are the sum of both" || no "two: '$got', want '$want'"

ws export --model $M --steer "$T/dw.safetensors" --to peft --rank 4 --max-kl 5 --json --out "$T/low" && grep -q '"max_dlogp"' "$T/out" && grep -q '"lost"' "$T/out" && grep -q '"mean_rank"' "$T/low/ws_export.json" &&
    ok "--rank tells what is lost, on the screen and in ws_export.json" || no "--rank --json"
ws export --model $M --steer "$T/dw.safetensors" --to gguf-lora --dtype f16 --out "$T/f16.gguf" && [ "$(wc -c <"$T/f16.gguf")" -lt "$(wc -c <"$T/gguf-lora")" ] && ok "gguf-lora in f16" || no "gguf-lora --dtype f16"
# ---- refusals
says 2 "--to is missing" --model $M --steer "$T/dw.safetensors" --out "$T/no"
says 2 "there is no such form (dense, dora, gguf-control-vector, gguf-lora, ia3, merged, peft)" --model $M --steer "$T/dw.safetensors" --to lora --out "$T/no"
says 2 "--out is missing" --model $M --steer "$T/dw.safetensors" --to peft
says 2 "--steer is missing" --model $M --to peft --out "$T/no"
says 1 "no such steering file" --model $M --steer nothing:1 --to peft --out "$T/no"
says 2 "every strength is 0" --model $M --steer "$T/dw.safetensors:0" --to peft --out "$T/no"
says 2 "--rank means nothing to merged" --model $M --steer "$T/dw.safetensors" --to merged --rank 3 --out "$T/no"
says 2 "--dtype means nothing to peft" --model $M --steer "$T/dw.safetensors" --to peft --dtype bf16 --out "$T/no"
says 2 "--dtype q8_0" --model $M --steer "$T/dw.safetensors" --to merged --dtype q8_0 --out "$T/no"
says 1 "an IA3 adapter cannot" --model $M --steer "$T/dw.safetensors" --to ia3 --out "$T/no"
says 1 "where 1e-09 is allowed" --model $M --steer "$T/dw.safetensors" --to merged --dtype bf16 --max-kl 1e-9 --out "$T/no"
says 1 "this base is" --model tests/fixtures/models/llama --steer "$T/dw.safetensors" --to peft --out "$T/no"
ws diff --model $M $X/oft_pos $X/oft_neg --out "$T/oft.safetensors" || no "ws diff oft"
says 1 "is no product of two thin matrices" --model $M --steer "$T/oft.safetensors" --to peft --out "$T/no"
says 1 "--to merged" --model $M --steer "$T/oft.safetensors" --to dora --out "$T/no"
ws export --model $M --steer "$T/oft.safetensors" --to peft --rank 8 --max-kl 5 --out "$T/oft8" && grep -q "have flat spectra" "$T/err" && ok "a flat spectrum is told" || no "a flat spectrum"

# ---- a GGUF base: quantised weights take no dW, a LoRA beside them does
G=tests/fixtures/models/qwen35.gguf L=tests/fixtures/gguf_lora/qwen35.gguf
says 1 "smaller than the steps of quantised weights" --model $G --steer $L --to merged --out "$T/no"
ws export --model $G --steer $L:0.5 --to merged --dtype f32 --out "$T/wide" && grep -q "copy tokenizer.json" "$T/err" && [ -s "$T/wide/config.json" ] && ok "a widened GGUF" || no "a widened GGUF"
want=$(score --model $G --steer $L:0.5) got=$(score --model "$T/wide")
echo "$want $got" | awk '{d = $1 - $2; exit !(NF == 2 && d < 1e-3 && d > -1e-3)}' && ok "says what the GGUF says" || no "wide: '$got', want '$want'"
ws export --model $G --steer $L:0.5 --to gguf-lora --out "$T/again.gguf" && ok "a LoRA GGUF in, a LoRA GGUF out" || no "gguf to gguf"
says 2 "is an adapter, not a model" --model $L --steer $L --to peft --out "$T/no"
says 1 "is no LoRA adapter: general.type" --model $G --steer $G --to peft --out "$T/no"

# ---- a full disk, a signal, a folder that is not ours
for form in peft gguf-lora merged dense; do
    (trap '' XFSZ; ulimit -f 8; exec "$WS" export --model $M --steer "$T/dw.safetensors:1.5" --to $form --out "$T/no_$form" >"$T/out" 2>"$T/err")
    rc=$?
    [ $rc = 1 ] && grep -q "writing failed" "$T/err" && [ -z "$(ls -A "$T" | grep '^no')" ] && ok "$form into a full disk leaves nothing" || no "$form into a full disk (exit $rc)"
done
mkdir "$T/mine" && echo x >"$T/mine/file"
ws export --model $M --steer "$T/dw.safetensors" --to peft --out "$T/mine"
[ $? = 1 ] && grep -q "holds other files already" "$T/err" && [ "$(ls "$T/mine")" = file ] && ok "a folder with other files is left alone" || no "a foreign folder"
ws export --model $M --steer "$T/dw.safetensors:2" --to peft --out "$T/peft" && ok "an earlier export is replaced" || no "replacing"
"$WS" export --model $M --steer "$T/dw.safetensors" --to merged --out "$T/no" --check-prompts /dev/null >"$T/out" 2>"$T/err"
[ $? = 1 ] && [ -z "$(ls -A "$T" | grep '^no')" ] && ok "no prompts to compare on" || no "--check-prompts /dev/null"
exit $bad
