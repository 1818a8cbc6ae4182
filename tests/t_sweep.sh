#!/bin/sh
# `ws sweep` on a tiny random model: what rows share is made once and a row's results are those of `ws run`, bit for bit; rows
# that are asked for later redo nothing; a row that fails does not stop the others; kill -9 changes nothing; controls and seeds
# are rows.
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
mkdir -p "$T/vig"
for f in other_violate self_violate; do
    grep -E '"id": "[a-z-]*-0[12]"' data/vignettes/$f.jsonl >"$T/vig/$f.jsonl"
done
cp data/vignettes/frames.json "$T/vig/"
small="--model $ROOT/tests/fixtures/tiny-chat --behavior enthusiasm --threads 1 --topics 4 --personas 2 --samples 2 --heldout 4
    --max-new-tokens 16 --min-new-tokens 4 --rank 4 --lr 1e-2 --warmup 1 --epochs 3 --save-every 1 --kl-prompts 6 --kl-tokens 12
    --kl-audit 4 --dose-topics 6 --dose-samples 2 --dose-tokens 12 --floor 0 --vignettes $T/vig --bootstrap 100
    --readout vignettes,margin,dose"
go() { # go VERB CASE [OPTION...]: every case in its own folder with --out out
    verb=$1
    mkdir -p "$2" && cd "$2" || return 1
    shift 2
    "$WS" $verb $small --out out "$@"
    rc_=$?
    cd "$ROOT" || return 1
    return $rc_
}
sweep() { go sweep "$@"; }
# Hashes of all results; what holds times differs by its nature.
hashes() {
    (cd "$1/out" && find . -type f ! -name .lock ! -name manifest.json ! -name train.json ! -name timing.csv ! -name probes.jsonl \
        ! -name 'costs.*' ! -name report.md ! -name report.html | LC_ALL=C sort | xargs sha256sum)
}
row() { (cd "$1" && find . -type f ! -name .lock ! -name train.json ! -name timing.csv ! -name probes.jsonl | LC_ALL=C sort | xargs sha256sum); }
ran() { grep -o '[0-9]* stages run' "$1" | cut -d' ' -f1; }
calls() { # calls FILE STAGE KERNEL: of a profile
    awk -v stage="$2 " -v kernel="$3 " 'index($0, stage) == 1 && / calls / { in_ = 1 } in_ && index($0, kernel) == 1 { sub(kernel, ""); print $1; exit }' "$1"
}

# ---- shared work ----
go run "$T/run" --profile >/dev/null 2>"$T/run.err"
check "a run to compare with" $? "$(tail -n 1 "$T/run.err")"
sweep "$T/a" --adapters ia3,lora --controls none --profile >"$T/a.out" 2>"$T/a.err"
check "a sweep of two adapters" $? "$(tail -n 1 "$T/a.err")"
r=$T/a/out/enthusiasm
n=0 other=""
for f in $(cd "$T/run/out/enthusiasm/lora" && find . -type f ! -name .lock ! -name train.json ! -name timing.csv); do
    n=$((n + 1))
    cmp -s "$T/run/out/enthusiasm/lora/$f" "$r/lora/$f" || other="$other $f"
done
[ $n -gt 15 ] && [ -z "$other" ]
check "a row's files are those of a run, bit for bit" $? "$n files$other"
for f in summary audit root_history; do cmp "$T/run/out/enthusiasm/kl_calibration/$f.csv" "$r/lora/kl_calibration/$f.csv"; done >"$T/x"
[ ! -s "$T/x" ]
check "and so is its calibration" $? "$(cat "$T/x")"
[ "$(grep -c '"data": {' "$r/manifest.json")" = 1 ] && [ "$(grep -c '"base": {' "$r/manifest.json")" = 1 ] && [ -s "$r/base/samples.jsonl" ]
check "data and base are one stage each" $?
all=$(calls "$T/run.err" eval attention) mine=$(calls "$T/a.err" "lora: eval" attention)
[ "${mine:-9999}" -lt "${all:-0}" ]
check "a row's evaluation does without the base's forward passes" $? "$mine calls of attention, $all in a run"
all=$(calls "$T/run.err" calibrate attention) mine=$(calls "$T/a.err" "lora: calibrate" attention)
[ "${mine:-9999}" -lt "${all:-0}" ]
check "the second row's calibration does without reading the prompts" $? "$mine calls of attention, $all in a run"

# ---- rows that come later; controls; seeds ----
sweep "$T/a" --adapters ia3,lora --controls none >"$T/a2.out" 2>"$T/a2.err" && [ "$(ran "$T/a2.err")" = 0 ]
check "a second call does nothing" $? "$(tail -n 1 "$T/a2.err")"
cmp -s "$T/a.out" "$T/a2.out"
check "and prints the same" $?
cp -r "$T/a" "$T/k"
row "$r/lora" >"$T/lora.sum"
sweep "$T/a" --adapters ia3,lora --seeds 2 >"$T/b.out" 2>"$T/b.err"
check "controls and a second seed are asked for later" $? "$(tail -n 1 "$T/b.err")"
# 2 more trainings and the shuffled one of 5 stages each, the random one of 3, the table
[ "$(ran "$T/b.err")" = 19 ] && row "$r/lora" | cmp -s - "$T/lora.sum"
check "which redoes nothing" $? "$(ran "$T/b.err") stages"
[ -s "$r/lora-seed1/dw.safetensors" ] && ! cmp -s "$r/lora/dw.safetensors" "$r/lora-seed1/dw.safetensors"
check "another seed is another dW" $?
[ "$(tail -n +2 "$r/report/seeds.csv" | wc -l)" = 4 ] && awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "effect_std") c = i } NR > 1 && !($c > 0) { bad = 1 } END { exit !c || bad }' "$r/report/seeds.csv"
check "the spread between seeds stands in a table" $? "$(cat "$r/report/seeds.csv")"
want=$(sed -n 's/^  "norm": \([0-9.]*\).*/\1/p' "$r/lora/diff.json")
have=$(sed -n 's/^  "norm": \([0-9.]*\).*/\1/p' "$r/random/diff.json")
awk -v a="$want" -v b="$have" 'BEGIN { d = (a - b) / a; exit !(d < 1e-6 && d > -1e-6) }'
check "the random dW is as long as lora's" $? "$have, lora's $want"
layers() { sed -n '/"layers"/,/\]/s/.*"norm": \([0-9.e-]*\).*/\1/p' "$1/diff.json"; }
layers "$r/lora" | awk -v a="$want" '{ q += $1 * $1 } END { d = q / (a * a) - 1; exit !(NR > 1 && d < 1e-9 && d > -1e-9) }' &&
    layers "$r/lora" >"$T/l" && layers "$r/random" | paste "$T/l" - | awk '{ d = $2 / $1 - 1; if (!(d < 1e-6 && d > -1e-6)) bad = 1 } END { exit bad || NR < 2 }'
check "the layers make up the whole, and the random dW has lora's in each" $? "$(layers "$r/lora" | tr '\n' ' ')"
! cmp -s "$r/shuffled/pos/adapter_model.safetensors" "$r/lora/pos/adapter_model.safetensors" && [ "$(cut -d, -f1 "$r/report/rows.csv" | tail -n +2 | tr '\n' ' ')" = "ia3 lora ia3-seed1 lora-seed1 random shuffled " ]
check "every row and control is a line of the table" $? "$(cut -d, -f1 "$r/report/rows.csv" | tr '\n' ' ')"
head -n 1 "$r/report/rows.csv" | grep -q 'beats_random,beats_shuffled' && grep -q 'Not shown to be more than a control' "$T/b.out" && tail -n 1 "$T/b.err" | grep -q 'not shown: .*ia3'
check "adapters that do not beat a control are marked and told" $? "$(tail -n 1 "$T/b.err")"
[ -s "$r/report/rows.png" ] && [ -s "$r/report/rows.svg" ] && [ -s "$r/report/layers_adapters.png" ] && [ -s "$r/report/calibration_adapters.svg" ] && [ -s "$r/report/row_answers.csv" ] && [ -s "$r/report/row_moral.json" ] && grep -q '<svg' "$r/report/report.html"
check "rows are compared in plots and tables" $?
awk -F '[ ,]+' '/"peak_kib"/ { took = $3 * 1024 } /"planned_bytes"/ { if (took > $3) print took, "above", $3 }' "$r/manifest.json" >"$T/x"
case $WS in *debug*) : >"$T/x" ;; esac # sanitizers keep what is freed
[ ! -s "$T/x" ]
check "no stage takes more memory than was planned" $? "$(tr '\n' ' ' <"$T/x")"
sweep "$T/a" --adapters ia3,lora --seeds 2 --plan >"$T/plan" 2>&1 && grep -q '^lora-seed1: train pos' "$T/plan" && grep -q '^random: diff' "$T/plan"
check "--plan tells every row's stages" $? "$(head -n 3 "$T/plan")"
hashes "$T/a" >"$T/a.sum"

# ---- going on with other kernels, as on another machine ----
cp -r "$T/k" "$T/o"
WS_KERNELS=ref sweep "$T/o" --adapters ia3,lora,oft --controls none >/dev/null 2>"$T/o.err" && grep -q 'base is asked again' "$T/o.err" && [ "$(ran "$T/o.err")" = 6 ]
check "a row of other kernels asks the base itself" $? "$(tail -n 1 "$T/o.err")"

# ---- kill -9 while the rows are added, wherever it strikes ----
killed=0
for after in 0.05 0.3 0.15 0.45 0.25 0.1 0.35 0.2; do
    mkdir -p "$T/k" && cd "$T/k" || exit 1
    "$WS" sweep $small --out out --adapters ia3,lora --seeds 2 >/dev/null 2>err &
    pid=$!
    cd "$ROOT" || exit 1
    sleep $after
    kill -9 $pid 2>/dev/null && killed=$((killed + 1))
    wait $pid 2>/dev/null
done
sweep "$T/k" --adapters ia3,lora --seeds 2 >/dev/null 2>"$T/k.err"
check "a sweep that was killed $killed times ends" $? "$(tail -n 1 "$T/k.err")"
hashes "$T/k" | sed '/\/err$/d' >"$T/k.sum"
cmp -s "$T/a.sum" "$T/k.sum" && [ "$killed" -ge 4 ]
check "with the bytes of an unbroken one" $? "$(diff "$T/a.sum" "$T/k.sum" | head -n 5 | tr '\n' ' ')"

# ---- parts of the strengths ----
sweep "$T/p" --adapters ia3,lora --controls none --alphas 0.5,1,0.25 >/dev/null 2>"$T/p.err" && p=$T/p/out/enthusiasm/ia3 &&
    [ "$(grep -c ',other,' "$p/margin.csv")" = 4 ] && [ -s "$p/../report/effect_kl_adapters.png" ] &&
    for f in margin dlogit effect si dose; do grep -v ',other,' "$p/$f.csv" | cmp -s - "$r/ia3/$f.csv" || echo "$f"; done >"$T/x" && [ ! -s "$T/x" ]
check "--alphas adds parts of the strengths, and changes nothing at the whole ones" $? "$(tr '\n' ' ' <"$T/x") $(tail -n 1 "$T/p.err")"

# ---- rows that fail ----
sweep "$T/f" --adapters boft,lora --block-size 5 --controls none >"$T/f.out" 2>"$T/f.err"
rc=$?
[ $rc = 1 ] && tail -n 1 "$T/f.err" | grep -q '1 row failed.*boft: train pos.*does not divide'
check "an adapter that is refused: exit status 1 and the reason" $? "$rc $(tail -n 1 "$T/f.err")"
f=$T/f/out/enthusiasm
row "$f/lora" | cmp -s - "$T/lora.sum" && [ ! -e "$f/boft/dw.safetensors" ] && grep -q '^boft.*failed' "$T/f.out" && grep -q 'Failed at boft: train pos' "$f/report/report.md"
check "the other has its results, and the tables tell both" $? "$(grep '^boft' "$T/f.out")"
sweep "$T/f" --adapters boft,lora --block-size 5 --controls none >/dev/null 2>"$T/f.err"
[ $? = 1 ] && [ "$(ran "$T/f.err")" = 1 ]
check "the same again tries that row alone" $? "$(ran "$T/f.err") stages"
sweep "$T/f" --adapters lora --controls none --block-size 5 >/dev/null 2>"$T/f.err"
[ $? = 2 ] && grep -q -- '--block-size means nothing' "$T/f.err"
check "an option that means nothing to any row is refused" $? "$(tail -n 1 "$T/f.err")"
sweep "$T/f" --adapters oft,lora --block-size 5 --controls none >/dev/null 2>"$T/f.err" && ! grep -q boft "$f/report/report.md"
check "without that row the report no longer speaks of it" $? "$(tail -n 1 "$T/f.err")"
sweep "$T/n" --adapters lora,ia3 --lr 1000 --readout vignettes,margin,dose,canaries --canary-prompts 4 >"$T/n.out" 2>"$T/n.err"
[ $? = 1 ] && tail -n 1 "$T/n.err" | grep -q '3 rows failed.*not finite' && grep -q '^ia3.*below_range' "$T/n.out" && grep -q 'Failed at lora: train pos: lora, random' "$T/n.out"
check "training that diverges ends its row and the controls that need it; a row off the budget is told" $? "$(tail -n 1 "$T/n.err")"

# ---- wrong usage ----
for o in "--adapters foo" "--adapters lora,lora" "--controls maybe" "--seeds 0"; do
    sweep "$T/u" $o >/dev/null 2>"$T/u.err"
    [ $? = 2 ] && [ ! -e "$T/u/out" ]
    check "usage: $o" $? "$(tail -n 1 "$T/u.err")"
done
"$WS" sweep --help | sed -n 1,12p | grep -q 'ws sweep --model'
check "the help begins with examples" $?
