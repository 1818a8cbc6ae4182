#!/bin/sh
# Rows and runs against one another, and by which protocol: a sweep's report has its pairs and three answers, the same for any
# number of threads; ws compare in all its forms says the same and refuses what cannot be compared; protocols settle options;
# the published figures are set beside ours and never ranked.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR
check() { if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; fi; }
P=tests/fixtures/pairs

# ---- a sweep ----
mkdir "$T/vig"
for f in other_violate self_violate; do grep -E '"id": "[a-z-]*-0[12]"' data/vignettes/$f.jsonl >"$T/vig/$f.jsonl"; done
cp data/vignettes/frames.json "$T/vig/"
run() { # run OUT [OPTION...]
    o=$1
    shift
    "$WS" run --model tests/fixtures/tiny-chat --behavior authority --topics 4 --personas 2 --samples 2 --heldout 4 --max-new-tokens 16 --min-new-tokens 4 --rank 4 \
        --lr 1e-2 --warmup 1 --epochs 2 --kl-audit 4 --dose-topics 4 --dose-samples 2 --dose-tokens 12 --vignettes "$T/vig" --bootstrap 100 --out "$o" "$@"
}
run "$T/a" --methods lora,mean_diff,prompt_only --vector-pairs 8 --vector-layers 1:3 --kl-prompts 6 --kl-tokens 12 --floor 0 --threads 1 >"$T/a.out" 2>"$T/a.err"
check "a run of several rows" $? "$(tail -n 1 "$T/a.err")"
r=$T/a/authority
[ -s "$r/report/pairs.csv" ] && [ -s "$r/report/pairs.json" ] && [ -s "$r/report/pairs_answers.csv" ] &&
    [ "$(grep -c '^[a-z_]*,lora,' "$r/report/pairs.csv")" = 4 ] && [ "$(grep -c '^[a-z_]*,prompt_only,' "$r/report/pairs.csv")" = 4 ]
check "its pairs: every row against lora, and all but prompts against the prompt" $? "$(cut -d, -f 1,2 "$r/report/pairs.csv" | tr '\n' ' ')"
grep -q '^Three questions of lora' "$r/report/report.md" && grep -q '^2\. Does it move it more than hidden-state steering?' "$r/report/report.md" && grep -q '3\. With less uncertainty' "$r/report/report.html"
check "its report answers the three questions" $?
! grep -q '"protocol"' "$r/manifest.json" && grep -q '"weights": "BF16"' "$r/manifest.json"
check "no protocol was asked: the manifest has none, but the type of weights" $? "$(grep -n 'protocol\|weights' "$r/manifest.json" | head -n 2)"
[ "$(grep -c 'Protocol ours (k\|Protocol ours (floor 0), base model tiny-chat, BF16 weights' "$r/report/report.md")" -ge 8 ]
check "every table names protocol, base model and type of weights" $?
"$WS" table "$r" --threads 2 --table pairs --format csv >"$T/p2" 2>/dev/null && cmp -s "$T/p2" "$r/report/pairs.csv"
check "the same intervals with two threads" $?

# ---- compare ----
"$WS" compare $P/one $P/two --format csv --table compare >"$T/c.csv" 2>"$T/err"
check "ws compare" $? "$(cat "$T/err")"
"$WS" compare $P/one $P/two --format json --out "$T/c.json" && grep -q '"name": "differs"' "$T/c.json" &&
    grep -q -- "$(awk -F, '$4 == "specific effect at +" { print $7 }' "$T/c.csv")" "$T/c.json"
check "as JSON into a file, with the same figures" $?
"$WS" compare $P/one $P/two | grep -q '^--lr  *0.001  *0.01'
check "what differs in how they were made" $?
"$WS" compare "$r" "$r" --format csv --table compare 2>"$T/err" | awk -F, 'NR > 1 { n++; if ($7 != 0 || $8 != 0 || $9 != 0) bad++ } END { exit !(n > 20 && !bad) }'
check "a run against itself differs in nothing" $? "$(cat "$T/err")"
refuse() { # refuse NAME TEXT
    "$WS" compare $P/one "$T/x" >/dev/null 2>"$T/err"
    rc=$?
    [ $rc = 1 ] && grep -q "$2" "$T/err"
    check "refused: $1" $? "$rc $(cat "$T/err")"
}
copy() { rm -rf "$T/x" && cp -r $P/two "$T/x"; }
copy && sed 's/,x,x,1,/,x,x,0.5,/' $P/two/kl_calibration/summary.csv >"$T/x/kl_calibration/summary.csv"
refuse "another KL budget" 'another KL budget (0.5, 1 nat); --mark'
"$WS" compare $P/one "$T/x" --mark --format csv --table compare 2>/dev/null | awk -F, 'NR > 1 { n++; if (!/another KL budget/) bad++ } END { exit !(n > 5 && !bad) }'
check "with --mark every row carries it" $?
"$WS" table $P/one "$T/x" 2>/dev/null >"$T/t" && grep -q '^x  *lora (KL budget 0.5)' "$T/t" && grep -q 'Nothing is marked as best: the runs have different KL budgets' "$T/t"
check "ws table marks the row at another budget, and nothing as best" $?
copy && sed -i 's/aaaaaaaa/bbbbbbbb/g' "$T/x/manifest.json"
refuse "another base model" 'another base model'
copy && sed -i 's/vvvv/wwww/' "$T/x/lora/eval.json"
refuse "other vignettes" 'the vignettes are others; runs are compared on the same items'
copy && sed -i 's/"mode": "A"/"mode": "A", "protocol": "sl"/' "$T/x/lora/eval.json"
refuse "another protocol" 'another protocol'
"$WS" compare $P/one >/dev/null 2>&1
[ $? = 2 ]
check "one run is no comparison" $?

# ---- protocols ----
run "$T/w" --protocol ws --floor 0 >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q -- '--protocol ws fixes --floor (0.5)' "$T/err"
check "an option against the protocol is refused" $? "$(tail -n 1 "$T/err")"
run "$T/w" --protocol ws --kl-tokens 12 >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'fixes calibration (50 prompts x 50 tokens, its bracket)' "$T/err"
check "of calibration too" $? "$(tail -n 1 "$T/err")"
run "$T/w" --protocol ws --plan >"$T/plan" 2>"$T/err"
check "a plan by weight-steering's protocol" $? "$(tail -n 1 "$T/err")"
K=tests/fixtures/thinkchat
"$WS" eval --model $K --steer $K/adapter --alpha=-1,1 --readout vignettes --vignettes "$T/vig" --protocol sl --bootstrap 50 --out "$T/sl/a" >"$T/sl.out" 2>"$T/err" &&
    grep -q '"protocol": "sl"' "$T/sl/a/eval.json" && grep -q '"max_think": 64' "$T/sl/a/eval.json" && grep -q ',loading,' "$T/sl/a/si.csv" && grep -q 'chosen after the evaluation' "$T/sl.out"
check "and asks as steering-lite does" $? "$(tail -n 1 "$T/err")"
"$WS" eval --model $K --steer $K/adapter --alpha=-1,1 --readout vignettes --vignettes "$T/vig" --max-think 64 --bootstrap 50 --out "$T/b64/a" >/dev/null 2>"$T/err" &&
    [ "$(cut -d, -f 1 "$T/b64/a/thinking.csv")" = "$(cut -d, -f 1 "$T/sl/a/thinking.csv")" ] && ! cmp -s "$T/b64/a/vignettes.csv" "$T/sl/a/vignettes.csv"
check "with its words before the question" $? "$(tail -n 1 "$T/err")"
"$WS" table "$T/sl" --protocol ours >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q 'evaluated by protocol sl, not ours' "$T/err"
check "ws table --protocol refuses runs of another" $? "$(cat "$T/err")"
"$WS" table "$T/sl" --protocol sl 2>/dev/null | grep -q '^Otherwise than steering-lite'
check "what is not followed stands under the tables" $?

# ---- published figures ----
"$WS" table "$r" --published --format csv >"$T/pub" 2>"$T/err"
check "ws table --published" $? "$(cat "$T/err")"
[ "$(grep -c ',steering-lite,' "$T/pub")" = 14 ] && [ "$(grep -c ',weight-steering,' "$T/pub")" = 1 ] && grep -q '^mean_diff,ours (authority),tiny-chat,1,' "$T/pub" &&
    grep -q '^delora,weight-steering,Qwen/Qwen3.5-4B,0.5,-0.89,0.58,-0.49,0.6,19.03,0.02,0.37,0.76,99.9' "$T/pub"
check "has the cited rows, and ours of the same name" $? "$(head -n 3 "$T/pub")"
"$WS" table "$r" --published 2>/dev/null | grep -q 'weight-steering/blob/48c1b07b8' && ! "$WS" table "$r" --published 2>/dev/null | grep -q '\*'
check "with their source, and nothing marked as best" $?
printf 'method,program\nx,y\n' >"$T/bad.csv"
"$WS" table "$r" --published="$T/bad.csv" >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q 'column "model" is missing' "$T/err"
check "a file without its columns is refused" $? "$(cat "$T/err")"
