#!/bin/sh
# `ws run --methods`: adapters, hidden-state methods and prompts are rows of one table on a tiny random model; each at its own
# strengths, prompts at 1; states are read once for all; rows asked for later redo nothing; what cannot be is refused at once.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
ok() { echo "ok $1"; }
not_ok() { echo "not ok $1${2:+: $2}"; }
check() { if [ "$2" = 0 ]; then ok "$1"; else not_ok "$1" "${3:-}"; fi; }

ROOT=$PWD
WS_DATA_DIR=$ROOT/data
export WS_DATA_DIR
run() {
    "$WS" run --model "$ROOT/tests/fixtures/tiny-chat" --behavior enthusiasm --threads 1 --topics 4 --personas 2 --samples 2 \
        --heldout 4 --max-new-tokens 12 --min-new-tokens 4 --rank 4 --lr 1e-2 --warmup 1 --epochs 3 --kl-prompts 4 --kl-tokens 8 \
        --kl-audit 4 --dose-topics 4 --dose-samples 1 --dose-tokens 8 --bootstrap 50 --readout margin,dose,canaries \
        --canary-prompts 4 --out "$T/out" "$@"
}
ran() { grep -o '[0-9]* stages run' "$1" | cut -d' ' -f1; }
r=$T/out/enthusiasm

# ---- refused before anything is made ----
run --methods lora,mean_diff >/dev/null 2>"$T/err"
[ $? = 2 ] && [ ! -e "$r/manifest.json" ] && grep -q -- '--vector-layers' "$T/err"
check "a model of so few layers is refused before anything runs, with the option that helps" $? "$(tail -n 1 "$T/err")"
run --methods lora,control_vector >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q "there is no 'control_vector'" "$T/err"
check "a form of file is no method" $? "$(tail -n 1 "$T/err")"
run --methods lora --vector-layers 0:2 >/dev/null 2>"$T/err"
[ $? = 2 ]
check "options of vectors without one are refused" $? "$(tail -n 1 "$T/err")"

# ---- rows of every kind ----
layers=$(sed -n 's/.*"num_hidden_layers": \([0-9]*\).*/\1/p' tests/fixtures/tiny-chat/config.json)
set -- --vector-pairs 12 --vector-layers "0:$layers" --controls none
run --methods lora,mean_diff,spherical,prompt_only,engineered_prompt "$@" >"$T/a" 2>"$T/a.err"
check "an adapter, two hidden-state methods and two prompts in one run" $? "$(tail -n 1 "$T/a.err")"
[ "$(cut -d, -f1 "$r/report/rows.csv" | tail -n +2 | tr '\n' ' ')" = "lora mean_diff spherical prompt_only engineered_prompt " ]
check "are the lines of one table" $? "$(cut -d, -f1 "$r/report/rows.csv" | tr '\n' ' ')"
awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $1 == "prompt_only" { exit !($c["alpha_pos"] == 1 && $c["alpha_neg"] == "") }' "$r/report/rows.csv"
check "the plain prompt is there at 1 alone, one-sided" $? "$(grep '^prompt_only' "$r/report/rows.csv")"
[ "$(grep -c '"extract": {' "$r/manifest.json")" = 1 ] && grep -q '"mean_diff: calibrate"' "$r/manifest.json"
check "states are read in one stage, strengths found for each" $? "$(grep -o '"[a-z_: ]*": {' "$r/manifest.json" | tr '\n' ' ')"
cp "$r/report/rows.csv" "$T/rows.csv"
run --methods lora,mean_diff,spherical,prompt_only,engineered_prompt "$@" >"$T/b" 2>"$T/b.err" && [ "$(ran "$T/b.err")" = 0 ] && cmp -s "$T/a" "$T/b"
check "again: nothing runs and the same is printed" $? "$(tail -n 1 "$T/b.err")"
find "$r/lora" -type f ! -name .lock | LC_ALL=C sort | xargs sha256sum >"$T/lora"
run --methods lora,mean_diff,spherical,prompt_only,engineered_prompt,linear_act "$@" >"$T/c" 2>"$T/c.err" &&
    find "$r/lora" -type f ! -name .lock | LC_ALL=C sort | xargs sha256sum | cmp -s - "$T/lora" &&
    grep -v '^linear_act' "$r/report/rows.csv" | cut -d, -f1-6 >"$T/was" && cut -d, -f1-6 "$T/rows.csv" | cmp -s - "$T/was"
check "a method added later leaves the others as they were" $? "$(tail -n 1 "$T/c.err")"
