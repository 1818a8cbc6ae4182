#!/bin/sh
# ws smoke: every stage on a random model, quickly, and a failure that names its stage; ws bench make-checkpoint and the
# subjects that measure a model, on the tiny ones.
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
ok() { echo "ok $1"; }
no() { echo "not ok $1"; [ -f "$T/err" ] && sed 's/^/#   /' "$T/err" | tail -5; }
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR

for like in tiny tiny-qwen3; do
    start=$(date +%s)
    "$WS" smoke --like $like --out "$T/$like" >"$T/out" 2>"$T/err"
    rc=$? spent=$(($(date +%s) - start))
    # under a minute on an idle machine; sanitizers and a loaded machine get five
    [ $rc = 0 ] && [ $spent -lt 300 ] && tail -n 1 "$T/out" | grep -q '^smoke: .* work on a random '$like'.*all 7 stages' &&
        ok "smoke on $like" || no "smoke on $like ($spent s)"
done
for f in data/model/enthusiasm/pairs.jsonl enthusiasm/lora/dw.safetensors enthusiasm/kl_calibration/summary.csv enthusiasm/lora/dlogit.csv \
    enthusiasm/report/report.html; do
    [ -s "$T/tiny/out/$f" ] || missing="$missing $f"
done
[ -z "$missing" ] && ok "smoke keeps its results in --out" || no "smoke keeps its results in --out:$missing"
"$WS" smoke --out "$T/tiny" --json -q >"$T/out" 2>"$T/err" && grep -q '"works": *true' "$T/out" && grep -q '"stages_run": *0' "$T/out" &&
    ok "a second smoke in the same place finds its stages done" || no "a second smoke in the same place finds its stages done"

# What stands in the way of a stage makes that stage's name the first words of the message.
mkdir -p "$T/bad/out/enthusiasm/lora/dw.safetensors/x"
"$WS" smoke --out "$T/bad" -q >"$T/out" 2>"$T/err"
[ $? = 1 ] && grep -q '^ws smoke: stage diff: ' "$T/err" && ok "a failure names its stage" || no "a failure names its stage"
mkdir "$T/tmp"
TMPDIR=$T/tmp "$WS" smoke --like nothing -q >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q 'tiny-qwen3' "$T/err" && [ -z "$(ls "$T/tmp")" ] && ok "an unknown shape is a usage error and leaves nothing" || no "an unknown shape is a usage error and leaves nothing"

"$WS" bench make-checkpoint --like tiny-qwen3 --seed 5 "$T/m" -q >"$T/out" 2>"$T/err" && grep -q "^$T/m: random weights in the shape of tiny-qwen3" "$T/out" &&
    ok "make-checkpoint" || no "make-checkpoint"
"$WS" bench make-checkpoint --like tiny-qwen3 "$T/m" -q >"$T/out" 2>"$T/err"
[ $? = 1 ] && grep -q 'holds a model already' "$T/err" && ok "make-checkpoint replaces nothing" || no "make-checkpoint replaces nothing"
"$WS" bench make-checkpoint "$T/n" >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q 'qwen3.5-4b' "$T/err" && [ ! -e "$T/n" ] && ok "make-checkpoint needs --like" || no "make-checkpoint needs --like"

# A killed writer leaves no config.json, so nothing opens the half of it; the same command makes the whole.
"$WS" bench make-checkpoint --like smollm2-135m "$T/k" -q >/dev/null 2>&1 &
child=$!
while [ -z "$(ls "$T/k" 2>/dev/null)" ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child && wait $child 2>/dev/null
[ ! -e "$T/k/config.json" ] && "$WS" bench make-checkpoint --like smollm2-135m "$T/k" -q >"$T/out" 2>"$T/err" &&
    [ -z "$(ls "$T/k" | grep tmp)" ] && "$WS" bench open --model "$T/k" >"$T/out" 2>"$T/err" && grep -q 'model opened' "$T/out" &&
    ok "make-checkpoint survives SIGKILL" || no "make-checkpoint survives SIGKILL"
rm -rf "$T/k"

for s in "train --rows 2 --tokens 32" "prefill --tokens 64" "decode --rows 3 --context 20 --tokens 4" "open"; do
    "$WS" bench $s --model "$T/m" --json -q >"$T/out" 2>"$T/err" && grep -q '"peak_resident": [1-9]' "$T/out" &&
        head -n 1 "$T/out" | grep -q "\"subject\": \"\(prompts\|${s%% *}\)\"" && ok "bench ${s%% *}" || no "bench ${s%% *}"
done
"$WS" bench delta --seconds 0.01 --tokens 20 --rows 2 --json >"$T/out" 2>"$T/err" && [ "$(grep -c '"prefill_ns": [1-9]' "$T/out")" = 5 ] &&
    grep -q '"chunk": 16,' "$T/out" && ok "bench delta" || no "bench delta"
"$WS" bench delta --rows 1000 >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q '256 rows' "$T/err" && [ ! -s "$T/out" ] && ok "bench delta keeps to its limits" || no "bench delta keeps to its limits"
"$WS" bench machine --model "$T/m" >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q 'machine takes no --model' "$T/err" && ok "bench refuses options that mean nothing to a subject" || no "bench refuses options that mean nothing to a subject"

# The plan before, and beside what the finished stages took.
plan() { "$WS" run --model "$T/tiny/model" --behavior enthusiasm --out "$T/planned" --plan "$@" >"$T/out" 2>"$T/err"; }
plan && grep -q '^train pos ' "$T/out" && grep -q 'at most' "$T/out" && [ ! -e "$T/planned" ] && ok "a plan makes nothing" || no "a plan makes nothing"
plan --cores 64 && grep -q '64 cores, each as fast as one of the' "$T/out" && grep -q 'Assumed:' "$T/out" && ok "a plan for more cores says what it assumes" ||
    no "a plan for more cores says what it assumes"
plan --cores 64 --json && grep -q '"seconds_on_cores"' "$T/out" && grep -q '"memory_free"' "$T/out" && ok "a plan as JSON" || no "a plan as JSON"
"$WS" run --model "$T/tiny/model" --cores 4 --out "$T/planned" >"$T/out" 2>"$T/err"
[ $? = 2 ] && grep -q -- '--cores belongs to --plan' "$T/err" && ok "--cores without --plan is a usage error" || no "--cores without --plan is a usage error"
grep -q '"planned_seconds"' "$T/tiny/out/enthusiasm/manifest.json" && grep -q '"planned_bytes"' "$T/tiny/out/enthusiasm/manifest.json" &&
    ok "the manifest keeps what was planned" || no "the manifest keeps what was planned"
