#!/bin/sh
# Guided thinking from the command line: what is steered and scored is said, the thoughts are kept and counted at every
# strength, SIGKILL at any moment and the same command again give the same bytes, and a whole run thinks too.
T=tests/fixtures/thinkchat
D=$(mktemp -d)
trap 'rm -rf "$D"' EXIT
bad=0
KILL=
ok() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi; }
sums() { (cd "$1" && find . -type f ! -name .lock | sort | xargs sha256sum); }
evaluate() { o=$1; shift; $KILL "$WS" eval --model $T --steer $T/adapter --alpha=-1,0,0.5,1 --readout vignettes --vignettes "$D/v" --floor 0 --max-think 24 --bootstrap 100 --out "$o" "$@"; }

# The fixture's vignettes many times over, so that a process can be killed between two thoughts.
mkdir "$D/v"
cp $T/vignettes/frames.json "$D/v"
for f in other_violate self_violate; do
    for k in 1 2 3 4 5 6; do sed "s/\"id\": \"/&$k-/; s/a\\([a-z ]*\\)\\./a\\1 $k./" $T/vignettes/$f.jsonl; done >"$D/v/$f.jsonl"
done

t0=$(date +%s%N)
evaluate "$D/a" >"$D/a.txt" 2>"$D/a.err"
ok $? "an evaluation with thoughts"
ms=$((($(date +%s%N) - t0) / 1000000))
grep -q '^vignettes: guided thinking of at most 24 tokens (mode B): prompt, thought and prefill are steered, the token after the prefill is scored$' "$D/a.err"
ok $? "what is steered and what is scored is said"
grep -q '^Thoughts of at most 24 tokens' "$D/a.txt" && grep -q '^base  *+0.000 ' "$D/a.txt"
ok $? "the thoughts have a table"
[ "$(wc -l <"$D/a/thinking.csv")" = 5 ] && head -1 "$D/a/thinking.csv" | grep -qx 'method,alpha,arm,n,max_think,closed,closed_lo,closed_hi,forced,own_prefill,tokens,tokens_lo,tokens_hi,loop,loop_lo,loop_hi'
ok $? "thinking.csv has a row per strength"
[ "$(grep -c '"thought": "' "$D/a/vignettes_raw.jsonl")" = 384 ]
ok $? "every raw row keeps its thought"
# The tables say what the raw rows hold: share closed, forced, tokens and loop of the base, recounted.
awk -F, '$1 == "base" { print $4, $6, $9, $11, $14 }' "$D/a/thinking.csv" >"$D/table"
grep '"cond".*"method": "base"' "$D/a/vignettes_raw.jsonl" | sed 's/.*"closed": \([a-z]*\).*"tokens": \([0-9]*\), "loop": \([0-9.e-]*\).*/\1 \2 \3/' |
    awk '{ n++; if ($1 == "true") c++; t += $2; l += $3 } END { print n, c / n, n - c, t / n, l / n }' >"$D/count"
awk 'NR == FNR { split($0, a); next } { for (i = 1; i <= 5; i++) if ((a[i] - $i) ^ 2 > 1e-9) bad = 1 } END { exit bad || NR != 2 }' "$D/table" "$D/count"
ok $? "the table counts what the raw rows hold"
sums "$D/a" >"$D/a.sum"
evaluate "$D/b" --threads 1 --max-rows 3 >"$D/b.txt" 2>/dev/null && sums "$D/b" | cmp -s - "$D/a.sum" && cmp -s "$D/a.txt" "$D/b.txt"
ok $? "one thread and three rows at once, the same bytes"

cut=0
for k in 2 3 4 5 6 7 8 9; do
    KILL="timeout -s KILL $(awk "BEGIN { print $ms / 1000 * $k / 10 }")" evaluate "$D/k" >/dev/null 2>&1
    [ $? = 137 ] && [ -s "$D/k/vignettes_raw.jsonl" ] && cut=$((cut + 1))
done
KILL=
evaluate "$D/k" >"$D/k.txt" 2>/dev/null
[ $cut -ge 1 ]
ok $? "it was cut at work by SIGKILL ($cut times)"
sums "$D/k" | cmp -s - "$D/a.sum" && cmp -s "$D/a.txt" "$D/k.txt"
ok $? "killed and resumed, the same bytes"
evaluate "$D/a" --max-think 23 >/dev/null 2>"$D/err"
[ $? = 1 ] && grep -q 'text or option than now asked for' "$D/err" && sums "$D/a" | cmp -s - "$D/a.sum"
ok $? "thoughts of another budget are not mixed in"
evaluate "$D/over" --alpha=1e30 >/dev/null 2>"$D/err"
[ $? = 1 ] && grep -q 'among the thoughts of base at alpha +0, lora at alpha +1e+30' "$D/err"
ok $? "an overflow in a thought names the strengths"

# A whole run.
run() { "$WS" run --model $T --behavior enthusiasm --threads 1 --topics 4 --personas 2 --samples 2 --heldout 4 --max-new-tokens 12 --min-new-tokens 4 --thinking off \
    --rank 2 --lr 1e-2 --warmup 1 --epochs 3 --kl-prompts 4 --kl-tokens 8 --kl-audit 2 --readout vignettes --floor 0 --vignettes $T/vignettes --bootstrap 50 --out "$D/out" "$@"; }
run --max-think 16 --plan >"$D/plan" 2>&1
grep -q '4 vignettes x 4 prompts x 3 strengths, thoughts of at most 16 tokens (768 in all)' "$D/plan"
ok $? "the plan counts the tokens of thought"
run --max-think 16 >"$D/run.txt" 2>"$D/run.err"
ok $? "a run that thinks"
r=$D/out/enthusiasm
grep -q '"max-think": 16' "$r/manifest.json" && grep -q '"mode": "B"' "$r/lora/eval.json" && grep -q '"max_think": 16' "$r/lora/eval.json"
ok $? "manifest and evaluation say the mode"
grep -q 'max-think 16' "$r/report/report.md" && grep -q 'Mode B: answers after a thought of at most 16 tokens' "$r/report/report.md" && [ -s "$r/report/thinking.csv" ] && [ -s "$r/report/thinking.json" ]
ok $? "the report says it and has the table of thoughts"
run --max-think 16 2>&1 >/dev/null | grep -c 'up to date, skipped' | grep -qx 7
ok $? "a second run skips every stage"
run >/dev/null 2>"$D/err"
[ $? = 1 ] && grep -q 'max-think' "$D/err"
ok $? "another mode in the same place is refused, and named"
cp -r "$D/out" "$D/out2" && "$WS" eval --quiet --model $T --steer "$r/lora/dw.safetensors" --calibration "$r/kl_calibration" --readout vignettes --vignettes $T/vignettes --floor 0 --bootstrap 50 --fresh \
    --out "$D/out2/enthusiasm/lora" >/dev/null 2>"$D/err"
ok $? "the same steering without thinking"
"$WS" table "$r" "$D/out2/enthusiasm" >"$D/tables" 2>/dev/null
grep -q 'Mode A: answers without thinking' "$D/tables" && grep -q 'Mode B: answers after a thought' "$D/tables" &&
    [ "$("$WS" table "$r" "$D/out2/enthusiasm" --table effect --format csv 2>/dev/null | wc -l)" = 3 ] && [ "$("$WS" table "$r" "$D/out2/enthusiasm" --table effect_think16 --format csv 2>/dev/null | wc -l)" = 3 ]
ok $? "two modes stand in two tables"
exit $bad
