#!/bin/sh
# What a user gets wrong and what a stranger's file may hold: one clear sentence, the right exit status, nothing left behind.
M=tests/fixtures/tiny-chat
L=tests/fixtures/models/llama
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; sed 's/^/#   /' "$T/err" | head -4; }
# says STATUS TEXT ARGS...: exits so, with one sentence that holds TEXT (and at most argp's hint after it), nothing on stdout
says() {
    want=$1 text=$2
    shift 2
    timeout 60 "$WS" "$@" >"$T/stdout" 2>"$T/err"
    rc=$?
    [ $rc = "$want" ] && [ "$(grep -v '^Try ' "$T/err" | wc -l)" = 1 ] && [ ! -s "$T/stdout" ] && grep -qF -- "$text" "$T/err" &&
        ok "$1 refuses: $text" || no "$1: $want, $text (exit $rc)"
}

# ---- the command line
says 2 "did you mean --text?" tokenize --model $M --txt a
says 2 "did you mean --max-new-tokens?" generate --model $M --prompts x --max-new-tokenz=3
says 2 "there is no option --steer" tokenize --model $M --text a --steer nosuch:3
says 2 "there is no option --steer" run --model $M --steer nosuch:3 --out "$T/x"
says 2 "there is no option --steer" table --steer nosuch:3 "$T"
says 2 "there is no option --model" table --model $M "$T"
says 2 "is not UTF-8" tokenize --model $M --text "$(printf 'a\377')"
says 2 "--target-kl: 0 is outside" run --model $M --target-kl 0 --out "$T/x"
says 2 "needs 0 < LO < HI" calibrate --model $M --steer "$T/dw" --bracket 0:5 --out "$T/x"
says 2 "--date 2024-13-45" render --model $M --messages m.json --date 2024-13-45
says 2 "the name of the file to write is empty" logits --model $L --ids "1 2" --out ""
says 2 "the name of the file to write is empty" run --model $M --behavior enthusiasm --out ""
says 2 "does not begin with MxNxK" bench gemm --shapes 4x4 --profile
says 2 "is no weight type" bench gemm --shapes 4x4x4 --types F32,Q3 --profile
says 2 "which has blocks of 32" bench gemm --shapes 4x4x32,4x4x33 --types F32,Q8_0 --profile
"$WS" train --help >/dev/full 2>"$T/err"
[ $? = 1 ] && ok "help that cannot be written is a failure" || no "help into a full disk"

# ---- text verbs: --out, --json, line ends
printf '\357\273\277one line\r\nanother\r\n' >"$T/crlf.txt"
printf 'one line\nanother\n' >"$T/lf.txt"
"$WS" tokenize --model $M --file "$T/lf.txt" >"$T/a" 2>"$T/err" && "$WS" tokenize --model $M --file "$T/crlf.txt" --out "$T/b" >"$T/c" 2>"$T/err" &&
    cmp -s "$T/a" "$T/b" && [ ! -s "$T/c" ] && ok "CR LF and a byte order mark are no text; --out takes what stdout would" || no "tokenize --out"
[ "$("$WS" tokenize --model $M --file "$T/lf.txt" --json 2>"$T/err" | sed 's/[][,]//g')" = "$(cat "$T/a")" ] && ok "tokenize --json" || no "tokenize --json"
echo '[{"role": "user", "content": "Hi"}]' >"$T/m.json"
"$WS" render --model $M --messages "$T/m.json" --json >"$T/a" 2>"$T/err" && [ "$(cat "$T/a")" = '{"text": "<|im_start|>user\nHi<|im_end|>\n"}' ] && ok "render --json" || no "render --json"
"$WS" inspect $M --json >"$T/a" 2>"$T/err" && "$WS" inspect $M --json --out "$T/b" 2>"$T/err" && cmp -s "$T/a" "$T/b" && ok "inspect --out" || no "inspect --out"
says 1 "No space left" tokenize --model $M --text a --out /dev/full
says 1 "is a directory" render --model $M --messages "$T/m.json" --out "$T"

# ---- rows
echo '[{"messages": [{"role": "user", "content": "Hi"}], "completion": "there"}, {"prompt_ids": [1], "completion_ids": []}]' >"$T/s.json"
"$WS" score --model $M --file "$T/s.json" >"$T/a" 2>"$T/err" && [ "$(wc -l <"$T/a")" = 2 ] && sed -n 1p "$T/a" | grep -q '"logprob": -' &&
    sed -n 2p "$T/a" | grep -q '"n_tokens": 0' && ok "ws score reads messages" || no "ws score reads messages"
# the same row as ids gives the same numbers
"$WS" render --model $M --messages "$T/m.json" --generation-prompt --json >"$T/r" 2>"$T/err"
sed 's/^{"text": \(.*\)}$/[\1]/' "$T/r" >"$T/r.json"
p=$("$WS" tokenize --model $M --file "$T/r.json" | tr ' ' ,) c=$("$WS" tokenize --model $M --text there | tr ' ' ,)
echo "[{\"prompt_ids\": [$p], \"completion_ids\": [$c]}]" >"$T/i.json"
"$WS" score --model $M --file "$T/i.json" >"$T/b" 2>"$T/err" && [ "$(sed -n 1p "$T/a")" = "$(cat "$T/b")" ] && ok "messages and their ids score alike" || no "messages and their ids score alike"
: >"$T/empty"
says 1 "no rows" score --model $M --file "$T/empty"
echo '[{"prompt_ids": [1], "completion_ids": [480]}]' >"$T/i.json"
says 1 "i.json, entry 1: 'completion_ids': element 0 is 480" score --model $M --file "$T/i.json"
echo '[[1], [999999]]' >"$T/i.json"
says 2 "i.json: entry 1" logits --model $L --ids-file "$T/i.json" --out "$T/x"
[ -e "$T/x" ] && no "nothing is left behind" || ok "nothing is left behind"

# ---- steering
i=0
while [ $i -lt 24 ]; do
    i=$((i + 1))
    echo "{\"prompt\":\"Question $i, what now?\",\"pos\":\"Joy number $i is here and we like it.\",\"neg\":\"Grief $i.\"}"
done >"$T/pairs.jsonl"
for side in pos neg; do
    "$WS" train --model $M --pairs "$T/pairs.jsonl" --side $side --rank 4 --max-steps 6 --lr 0.01 --warmup 1 --batch 2 --accum 2 -q --out "$T/$side" >/dev/null 2>"$T/err"
done
"$WS" diff --model $M "$T/pos" "$T/neg" --out "$T/dw" >/dev/null 2>"$T/err"
"$WS" diff --model $M "$T/pos" "$T/pos" --out "$T/zero" >"$T/a" 2>"$T/err" && grep -q 'undefined$' "$T/a" && ! grep -qi 'nan' "$T/a" && ok "what is undefined is called so" || no "diff of an adapter with itself"
says 2 "no strength can be given here" calibrate --model $M --steer "$T/dw:2" --out "$T/x"
says 2 "no strength can be given here" logits --model $M --ids "1 2" --dw "$T/dw:2" --alpha 3 --out "$T/x"
says 2 "is no finite number" logits --model $M --ids "1 2" --steer "$T/dw:nan" --out "$T/x"
says 2 "is no finite number" logits --model $M --ids "1 2" --steer "$T/dw:" --out "$T/x"
says 2 "is no finite number" logits --model $M --ids "1 2" --steer "$T/dw:1e39" --out "$T/x"
says 2 "needs --steer" eval --model $M --alpha=-1,1 --readout vignettes --out "$T/x"
says 2 "leave one of them out" eval --model $M --steer "$T/dw" --alpha=1 --calibration "$T" --out "$T/x"
for n in 100 9000 15000; do
    cp -r "$T/pos" "$T/cut"
    head -c $n "$T/pos/adapter_model.safetensors" >"$T/cut/adapter_model.safetensors"
    says 1 "adapter_model.safetensors" diff --model $M "$T/cut" "$T/neg" --out "$T/x"
    rm -r "$T/cut"
done
[ -e "$T/x" ] && no "no result of what was refused" || ok "no result of what was refused"

# ---- a run
run() { "$WS" run --model $M --behavior enthusiasm --topics 8 --personas 2 --samples 1 --heldout 2 --max-new-tokens 6 --rank 2 --batch 2 --accum 1 --lr 0.01 --warmup 1 --kl-prompts 3 --kl-tokens 4 \
    --kl-audit 2 --dose-topics 2 --dose-samples 1 --dose-tokens 4 --readout margin,dose --bootstrap 50 -q --out "$T/run" "$@"; }
refuses() {
    text=$1
    shift
    run "$@" >"$T/stdout" 2>"$T/err"
    [ $? = 2 ] && grep -qF -- "$text" "$T/err" && [ ! -e "$T/run" ] && ok "a run refuses at once: $text" || no "a run refuses at once: $text"
}
refuses "--dose-topics 99" --dose-topics 99
refuses "--dose-tokens 9999" --dose-tokens 9999
refuses "--kl-tokens 9999" --kl-tokens 9999
refuses "--holdout 0.99" --holdout 0.99
refuses "learning rate 0" --topics 2 --personas 1 --batch 16
refuses "--kl-prompts 9999" --kl-prompts 9999
refuses "min-new-tokens" --min-new-tokens 7
run --plan >"$T/a" 2>"$T/err" && grep -q '^calibrate ' "$T/a" && [ ! -e "$T/run" ] && ok "--plan makes nothing" || no "--plan makes nothing"

run >/dev/null 2>"$T/err" && ok "a tiny run" || no "a tiny run"
R=$T/run/enthusiasm
run --plan >"$T/a" 2>"$T/err" && [ "$(grep -c 'up to date' "$T/a")" = 7 ] && ok "the plan knows what is up to date" || no "the plan of a finished run"
# a manifest from a stranger must not make us remove or crash on anything
echo keep >"$T/victim"
cp "$R/manifest.json" "$T/manifest"
for path in ../victim "$T/victim" a/../../victim ..; do
    sed "s|\"enthusiasm/report/report.md\"|\"$path\"|" "$T/manifest" >"$R/manifest.json"
    run >/dev/null 2>"$T/err"
    [ $? = 1 ] && grep -q "is no file of this run" "$T/err" && [ -e "$T/victim" ] && ok "a manifest cannot name $(basename "$path") outside" || no "manifest with $path"
done
sed 's/"enthusiasm\/report\/report.md": "[0-9a-f]*"/"enthusiasm\/report\/report.md": 5/' "$T/manifest" >"$R/manifest.json"
run >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q -- "--fresh" "$T/err" && ok "a damaged manifest is refused" || no "a damaged manifest"
: >"$R/manifest.json"
run --fresh >/dev/null 2>"$T/err" && ok "--fresh starts over whatever the manifest holds" || no "--fresh with a damaged manifest"
sed '2s/"topic": [0-9]*/"topic": 2147483647/' "$R/lora/samples.jsonl" >"$T/samples" && cp "$T/samples" "$R/lora/samples.jsonl"
says 1 "samples.jsonl:2" table "$R"

# ---- interrupted: nothing half written
for sig in INT TERM; do
    i=0
    while [ $i -lt 300 ]; do i=$((i + 1)); echo '{"text": "Once upon a time"}'; done >"$T/p.jsonl"
    "$WS" generate --model $M --prompts "$T/p.jsonl" --max-new-tokens 1500 -q --out "$T/never" >/dev/null 2>"$T/err" &
    child=$!
    sleep 0.3
    kill -$sig $child
    wait $child
    rc=$?
    want=130
    [ $sig = TERM ] && want=143
    [ $rc = $want ] && [ -z "$(ls "$T" | grep '^never')" ] && ok "SIG$sig ends with $want and leaves nothing" || no "SIG$sig ($rc)"
done
exit $bad
