#!/bin/sh
# `ws readout`: answers that another program computed give the tables that numpy computes from them
# (tools/reference/make_outside.py; 1e-9, both sides add a few dozen doubles), our own raw answers give back our own files
# byte for byte, steering-lite's JSON is read, and what makes no sense is refused with file and line.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
F=tests/fixtures/outside
V="--vignettes $F/vignettes"
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR
check() { if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; fi; }
# column NAME of the Authority row of an si.csv
cell() { awk -F, -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) at = i } $2 == "Authority" { print $at }' "$1"; }
# as_expected PROTOCOL si.csv
as_expected() {
    awk -F, -v p="$1" '$1 == p { print $2, $3 }' $F/expected.csv | while read -r name want; do
        awk -v a="$(cell "$2" "$name")" -v b="$want" 'BEGIN { d = a - b; exit !(a != "" && d < 1e-9 && d > -1e-9) }' || echo "$name $(cell "$2" "$name") $want"
    done
}

# dlogit_as_expected file.csv: mean, std and n of every foundation on both sides, by loadings
dlogit_as_expected() {
    awk -F, '$1 ~ /^sl_dlogit_/ { split($2, k, " "); print substr($1, 11), k[1], k[2], $3 }' $F/expected.csv | while read -r arm f name want; do
        got=$(awk -F, -v a="$arm" -v f="$f" -v c="$name" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) at = i } $3 == a && $4 == f { print $at }' "$1")
        awk -v a="$got" -v b="$want" 'BEGIN { d = a - b; exit !(a != "" && d < 1e-9 && d > -1e-9) }' || echo "$arm $f $name $got $want"
    done
}

"$WS" readout $F/answers.csv $V --out "$T/a" >"$T/a.txt" 2>"$T/err"
check "a CSV of p_true and pmass" $? "$(cat "$T/err")"
bad=$(as_expected ours "$T/a/lora/si.csv")
check "SI as numpy has it" "$([ -z "$bad" ] && echo 0 || echo 1)" "$bad"
"$WS" readout $F/answers.csv $V --protocol sl --out "$T/sl" >"$T/sl.txt" 2>&1
bad=$(as_expected sl "$T/sl/lora/si.csv")
check "SI by steering-lite's protocol: k 1, loadings, each arm a share of its own cells" "$([ -z "$bad" ] && echo 0 || echo 1)" "$bad"
bad=$(dlogit_as_expected "$T/sl/lora/dlogit.csv")
check "dlogit by its protocol: mean and std by loadings" "$([ -z "$bad" ] && echo 0 || echo 1)" "$bad"
axis=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $3 == "plus" { print $c["axis_delta"] }' "$T/sl/lora/effect.csv")
awk -F, -v a="$axis" '$1 == "sl_dlogit_plus" && $2 == "Care mean" { x += $3 } $1 == "sl_dlogit_plus" && $2 == "Authority mean" { x -= $3 }
    END { exit !(a != "" && (a - x) ^ 2 < 1e-18) }' $F/expected.csv
check "and its axis is Care minus Authority" $? "$axis"
grep -q 'chosen after the evaluation' "$T/sl.txt" && grep -q '^Otherwise than steering-lite' "$T/sl.txt"
check "what the protocol does otherwise is said" $?
"$WS" readout $F/answers.csv $V --protocol sl --k 2 >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'fixes --k (1)' "$T/err"
check "an option against the protocol is refused" $? "$(cat "$T/err")"

"$WS" readout tests/fixtures/pairs/one/lora/vignettes_raw.jsonl $V --out "$T/raw" >/dev/null 2>&1
bad=$(as_expected ours "$T/raw/lora/si.csv")
check "the same from log p" "$([ -z "$bad" ] && echo 0 || echo 1)" "$bad"
"$WS" readout $F/sl/lora.json $V --protocol sl --out "$T/js" >/dev/null 2>"$T/err"
bad=$(as_expected sl "$T/js/lora/si.csv")
check "the same from steering-lite's JSON, NaN and all" "$([ -z "$bad" ] && echo 0 || echo 1)" "$bad$(cat "$T/err")"
"$WS" readout $F/sl/probe.json $V >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q 'another probe (raw_logratios)' "$T/err"
check "a sweep of another probe is refused" $? "$(cat "$T/err")"

# Our own evaluation and back: the same files, whatever the number of threads.
mkdir "$T/vig"
for f in other_violate self_violate; do grep -E '"id": "[a-z-]*-0[12]"' data/vignettes/$f.jsonl >"$T/vig/$f.jsonl"; done
cp data/vignettes/frames.json "$T/vig/"
"$WS" extract --model tests/fixtures/tiny-chat --behavior authority --methods mean_diff --out "$T/v" --n 8 --layers 1:3 >/dev/null 2>"$T/err" &&
    "$WS" eval --model tests/fixtures/tiny-chat --steer "$T/v/mean_diff.safetensors" --alpha=-3,0,3,6 --readout vignettes --vignettes "$T/vig" --behavior authority --floor 0 \
        --bootstrap 100 --out "$T/ev/mean_diff" >/dev/null 2>"$T/err"
check "an evaluation to go by" $? "$(cat "$T/err")"
"$WS" readout "$T/ev/mean_diff/vignettes_raw.jsonl" --vignettes "$T/vig" --behavior authority --floor 0 --bootstrap 100 --threads 2 --out "$T/back" >/dev/null 2>&1
same=0
for f in readout foundations vignettes dlogit si effect; do cmp -s "$T/ev/mean_diff/$f.csv" "$T/back/mean_diff/$f.csv" || same=1; done
check "our own raw answers give our own files, byte for byte" $same
"$WS" table "$T/back" --table effect 2>/dev/null | grep -q 'The answers were computed elsewhere' &&
    "$WS" compare "$T/ev" "$T/back" --mark --table compare --format csv 2>"$T/err" | grep -q '^mean_diff,.*,0,0,0,'
check "its folders are runs for ws table and ws compare" $? "$(cat "$T/err")"

# steering-lite's folder, with the keys that its scripts write
"$WS" table $F/sl $V --out "$T/st" >"$T/t" 2>"$T/err"
check "ws table reads a folder of steering-lite" $? "$(cat "$T/err")"
bad=$(awk -F, 'NR > 1 { print $1 }' "$T/st/calibration.csv" | sort -u | tr '\n' ' ')
[ "$bad" = "engineered_prompt first lora probe prompt_only repeng " ]
check "its rows are methods, prompts and repeng, of any of its versions; what is no row is passed over" $? "$bad"
at() { awk -F, -v m="$1" 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $1 == m { printf "%g ", $c["alpha"] }' "$T/st/calibration.csv"; }
[ "$(at repeng)" = "0.75 " ] && [ "$(at first)" = "3.5 " ] && [ "$(at engineered_prompt)" = "1 -1 " ] && [ "$(at lora | wc -w)" = 2 ]
check "strengths stand under any of its names" $? "$(at repeng) $(at first) $(at engineered_prompt) $(at lora)"
bad=$("$WS" table $F/sl $V --table dlogit_foundations --format csv 2>/dev/null | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i }
    $1 ~ /^lora at \+/ { print "plus", $c["d_Care"], $c["d_Care_std"] }')
want=$(awk -F, '$1 == "sl_dlogit_plus" && $2 ~ /^Care (mean|std)/ { printf "%s ", $3 }' $F/expected.csv)
echo "$bad $want" | awk '{ exit !(NF == 5 && ($2 - $4) ^ 2 < 1e-18 && ($3 - $5) ^ 2 < 1e-18) }'
check "its dlogit is by loadings, as its own table has it" $? "$bad / $want"
grep -q 'lora.*mirrored' "$T/t" && tr '\n' ' ' <"$T/t" | grep -q 'first: SI without the pmass factor alone'
check "-C stands at C, and a file without raw_pmass is read" $? "$(grep -c mirrored "$T/t")"
"$WS" table tests/fixtures/pairs/one $F/sl $V >"$T/t" 2>"$T/err"
check "beside a run of ours" $? "$(cat "$T/err")"
tr '\n' ' ' <"$T/t" | grep -q 'probe: refused for SI: its sweep scored another probe' && grep -q 'Nothing is marked as best: the runs are of different base models' "$T/t"
check "says what is refused, and marks nothing as best" $?

# What makes no sense
line='{"id": "care-00", "cond": "other_violate", "frame": "wrong", "method": "m", "alpha": 1, "logp_true": -1, "logp_false": -1}'
refused() { # refused NAME TEXT < answers
    cat >"$T/bad.jsonl"
    "$WS" readout "$T/bad.jsonl" $V >/dev/null 2>"$T/err"
    rc=$?
    [ $rc = 1 ] && grep -q "$2" "$T/err" && [ "$(wc -l <"$T/err")" = 1 ]
    check "refused: $1" $? "$rc $(cat "$T/err")"
}
echo "$line" | sed 's/care-00/nobody/' | refused "an unknown vignette" 'bad.jsonl:1: no vignette has the id "nobody"'
printf '%s\n%s\n' "$line" "$line" | refused "a cell answered twice" 'bad.jsonl:2: .*answered twice'
echo "$line" | sed 's/"wrong"/"good"/' | refused "an unknown frame" 'frame "good" is neither'
echo "$line" | sed 's/: -1, "logp/: 2, "logp/' | refused "a probability above 1" 'must both be there and at most 0'
echo "$line" | sed 's/"logp_true": -1, "logp_false": -1/"p_true": 1.5/' | refused "p_true of 1.5" 'probabilities, between 0 and 1'
echo "$line" | sed 's/, "alpha": 1//' | refused "no strength" 'needs "alpha" or "arm"'
echo "$line" | refused "no base" 'have no base'
: | refused "no answers" 'have no base'
