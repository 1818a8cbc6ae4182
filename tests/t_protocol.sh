#!/bin/sh
# A whole run by steering-lite's protocol (pipeline.md 5 and 6) on a tiny random model: what it calibrates on, how it searches, that
# -C stands at C, that prompt_only stands in the user's turn, that its tables are weighted and say whose they are; and the first
# probe of weight-steering.  The figures themselves are compared in test_eval_readout, test_calibrate_root and t_readout.sh.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR
check() { if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; fi; }
M=tests/fixtures/tiny-chat
mkdir "$T/vig"
for f in other_violate self_violate; do grep -E '"id": "(care|authority)-[a-z-]*0[1-4]"' data/vignettes/$f.jsonl >"$T/vig/$f.jsonl"; done
cp data/vignettes/frames.json "$T/vig/"
# floor 0 has no place in the protocol, and a random model puts nothing on true or false: the answers' own floor stands, their cells are NaN
run() {
    "$WS" run --model $M --behavior authority --threads 1 --topics 4 --personas 2 --samples 2 --heldout 4 --max-new-tokens 12 --min-new-tokens 4 \
        --rank 4 --lr 1e-2 --warmup 1 --epochs 3 --kl-audit 4 --bootstrap 50 --readout vignettes,margin --vignettes "$T/vig" \
        --vector-pairs 12 --vector-layers 0:4 --controls none --methods lora,mean_diff,prompt_only,engineered_prompt --out "$T/out" "$@"
}
run --protocol sl >"$T/o" 2>"$T/err"
check "a whole run by steering-lite's protocol" $? "$(tail -n 1 "$T/err")"
r=$T/out/authority
# col FILE ROW COLUMN: of the line whose first cell is ROW
col() { awk -F, -v m="$2" -v c="$3" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) at = i } $1 == m { print $at }' "$1"; }
s=$r/mean_diff/kl_calibration/summary.csv
[ "$(col "$s" mean_diff status_neg)" = mirrored ] && [ "$(col "$s" mean_diff alpha_neg)" = "$(col "$s" mean_diff alpha_pos)" ] &&
    [ "$(col "$s" mean_diff n_prompts)" = 8 ] && [ "$(col "$s" mean_diff n_tokens)" = 20 ] && [ "$(col "$s" mean_diff iterations_neg)" = 0 ] &&
    [ "$(col "$s" mean_diff p95_at_neg)" != "$(col "$s" mean_diff p95_at_pos)" ] && [ -n "$(col "$s" mean_diff audit_p95_neg)" ]
check "-C is measured at C, and audited" $? "$(cat "$s")"
h=$r/mean_diff/kl_calibration/root_history.csv
[ "$(sed -n 2p "$h" | cut -d, -f2-5)" = "pos,1,start,100" ] && ! grep -q ',neg,' "$h" && [ "$(grep -c 'interpolate\|midpoint' "$h")" -le 8 ]
check "the search begins at 100 and makes at most 8 steps, on one side" $? "$(cat "$h")"
# Prompts: in the order of the shuffled pool, once each, and what is audited is none of them.
awk -F, 'NR > 1 { print $1 }' "$r/mean_diff/kl_calibration/prompts.csv" | sort | uniq -c | tr -s ' \n' ' ' | grep -q ' 4 audit 8 calibration' &&
    cut -d, -f5- "$r/mean_diff/kl_calibration/prompts.csv" | sort | uniq -d | grep -q . && dup=1 || dup=0
[ $dup = 0 ] && sed 1d "$r/mean_diff/kl_calibration/prompts.csv" | cut -d, -f5- | tr -d '"' | while read -r p; do grep -qF "\"user_msg\": \"$p\"" data/suffixes.jsonl || echo "$p"; done >"$T/foreign"
[ $dup = 0 ] && [ ! -s "$T/foreign" ]
check "prompts are distinct user messages of the suffix pool" $? "$(head -n 3 "$T/foreign")"
# prompt_only: the same row under `ours` has its text in the system's turn, so its KL is another; engineered_prompt is the system's in both.
grep -q '"prompt-in-user": 1' "$r/manifest.json"
check "prompt_only stands in the user's turn" $?
"$WS" calibrate --model $M --threads 1 --steer "$r/prompt_only/prompt.json" --protocol sl --audit 4 --out "$T/p" >/dev/null 2>&1
"$WS" calibrate --model $M --threads 1 --steer "$r/engineered_prompt/prompt.json" --protocol sl --audit 4 --out "$T/g" >/dev/null 2>&1
[ "$(col "$T/p/summary.csv" prompt_only p95_at_pos)" = "$(col "$r/prompt_only/kl_calibration/summary.csv" prompt_only p95_at_pos)" ] &&
    [ "$(col "$T/g/summary.csv" engineered_prompt p95_at_neg)" = "$(col "$r/engineered_prompt/kl_calibration/summary.csv" engineered_prompt p95_at_neg)" ]
check "ws calibrate by the protocol gives the run's figures" $? "$(col "$T/p/summary.csv" prompt_only p95_at_pos)"
grep -q '"mode": "B"' "$r/lora/eval.json" && grep -q '"max_think": 64' "$r/lora/eval.json" && grep -q '"sign": "chosen after the evaluation"' "$r/lora/eval.json" &&
    grep -q '"protocol": "sl"' "$r/lora/eval.json" && grep -q '"loading_weighted": true\|"loading_weighted": 1' "$r/lora/eval.json"
check "answers come after a thought, although the model knows no tag; weights and sign are the protocol's" $?
[ "$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "k") k = i; else if ($i == "weighting") w = i } NR > 1 { print $k, $w }' "$r/lora/si.csv" | sort -u)" = "1 loading" ]
check "SI at k 1 by loadings" $? "$(head -n 2 "$r/lora/si.csv")"
tr '\n' ' ' <"$T/o" | grep -q 'Protocol sl, base model tiny-chat, BF16 weights.' && tr '\n' ' ' <"$T/o" | grep -q 'mirrored: by this protocol'
check "tables name protocol, base model and weights, and what is mirrored" $?
! tr '\n' ' ' <"$T/o" | grep -q 'not_followed\|up to 12 steps\|each side has its own\|alone, the search'
check "nothing of the protocol that can be had stands as not followed" $? "$(grep -A3 'Otherwise than' "$T/o" | head -n 4)"
run --protocol sl >/dev/null 2>"$T/err" && grep -q '^0 stages run' "$T/err"
check "the same run again does nothing" $? "$(tail -n 1 "$T/err")"
run >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q 'protocol' "$T/err"
check "another protocol in the same place is refused" $? "$(tail -n 1 "$T/err")"
for o in "--kl-prompts 9" "--kl-tokens 21" "--max-think 32" "--k 2" "--bracket 0.1:10"; do
    # shellcheck disable=SC2086
    run --protocol sl --fresh $o >/dev/null 2>"$T/err"
    [ $? = 2 ] && grep -q 'protocol sl' "$T/err"
    check "against the protocol: $o" $? "$(tail -n 1 "$T/err")"
done
"$WS" eval --model $M --threads 1 --steer "$r/vectors/mean_diff.safetensors" --alpha=-1,0,1 --readout vignettes --vignettes "$T/vig" --protocol sl --max-think 96 --bootstrap 20 --out "$T/ev" 2>"$T/err" |
    tr '\n' ' ' | grep -q 'protocol sl (thoughts of at most 96)'
check "budgets of thought that steering-lite has used are its own, and told" $? "$(cat "$T/err")"
# weight-steering: the first strength is taken where it fits.  At the target that its own start gives, that is one probe.
d=$r/lora/dw.safetensors
"$WS" calibrate --model $M --threads 1 --steer "$d" --bracket 0.05:16 --audit 2 --target 1000 --out "$T/a" >/dev/null 2>&1
first=$(awk -F, '$4 == "start" && $2 == "pos" { print $6 }' "$T/a/root_history.csv")
n() { awk -F, '$2 == "pos"' "$1/root_history.csv" | wc -l; }
"$WS" calibrate --model $M --threads 1 --steer "$d" --protocol ws --audit 2 --target "$first" --out "$T/w" >/dev/null 2>&1
"$WS" calibrate --model $M --threads 1 --steer "$d" --bracket 0.05:16 --audit 2 --target "$first" --out "$T/b" >/dev/null 2>&1
[ "$(n "$T/w")" = 1 ] && [ "$(n "$T/b")" -gt 1 ]
check "weight-steering's search takes a first strength that fits, ours goes on" $? "$first: $(n "$T/w") $(n "$T/b")"
# Two steps of training are asked for where something is trained.
"$WS" run --model $M --behavior authority --threads 1 --topics 4 --personas 2 --samples 2 --heldout 4 --max-new-tokens 12 --kl-audit 4 --bootstrap 20 \
    --readout vignettes --vignettes "$T/vig" --vector-pairs 12 --vector-layers 0:4 --controls none --methods mean_diff --protocol sl --out "$T/few" >/dev/null 2>"$T/err"
check "few pairs are enough for methods that train nothing" $? "$(tail -n 1 "$T/err")"
