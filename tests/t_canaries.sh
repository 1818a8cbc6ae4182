#!/bin/sh
# The canary readout: the same bytes from any number of threads and rows and after SIGKILL; its numbers from its own raw
# answers; what the rules call broken is told so, the base never.
T=tests/fixtures/tinychat
D=$(mktemp -d)
trap 'rm -rf "$D"' EXIT
bad=0
ok() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi; }
canaries() { o=$1; shift; "$WS" eval --quiet --model $T --steer $T/adapter --alpha=-1,0,1.5 --readout canaries --canary-prompts 8 --bootstrap 100 --seed 3 --out "$o" "$@"; }
field() { awk -F, -v a="$2" -v c="$3" 'NR==1 {for (i=1;i<=NF;i++) n[$i]=i} $3==a {print $n[c]}' "$1"; }

canaries "$D/a" >"$D/a.txt" 2>"$D/a.err"
ok $? "canaries run"
[ "$(wc -l <"$D/a/canaries_raw.jsonl")" = 25 ] && [ "$(wc -l <"$D/a/canaries.csv")" = 4 ]
ok $? "every prompt has an answer at every strength"
canaries "$D/b" --threads 1 --max-rows 1 >/dev/null 2>&1 && cmp -s "$D/a/canaries_raw.jsonl" "$D/b/canaries_raw.jsonl" && cmp -s "$D/a/canaries.csv" "$D/b/canaries.csv"
ok $? "one thread and one row at a time give the same bytes"
head -c $(($(wc -c <"$D/a/canaries_raw.jsonl") / 2)) "$D/a/canaries_raw.jsonl" >"$D/half"
mkdir "$D/c" && cp "$D/half" "$D/c/canaries_raw.jsonl" && canaries "$D/c" >/dev/null 2>&1 && cmp -s "$D/a/canaries_raw.jsonl" "$D/c/canaries_raw.jsonl"
ok $? "half of the answers are gone on from"
[ "$(field "$D/a/canaries.csv" base broken)" = 0 ] && [ "$(field "$D/a/canaries.csv" minus why)" = "repeats itself" ] &&
    [ "$(field "$D/a/canaries.csv" plus why)" = "no longer answers true or false" ] && grep -q 'BROKEN: repeats itself' "$D/a.txt"
ok $? "what repeats itself or no longer answers is told broken, the base is not"
# the mean of the JSON column is the share of raw lines with "json": 1
want=$(grep '"alpha":1.5\|"alpha": 1.5' "$D/a/canaries_raw.jsonl" | grep -v settings | awk '{n++; k += /"json": ?1/} END {printf "%.6f", k / n}')
[ "$(printf '%.6f' "$(field "$D/a/canaries.csv" plus json)")" = "$want" ]
ok $? "the share of valid JSON is that of the answers"
canaries "$D/a" --seed 4 >/dev/null 2>"$D/err"
[ $? = 1 ] && grep -q 'holds results of another' "$D/err"
ok $? "other prompts in the same place are refused"
"$WS" eval --model $T --steer $T/adapter --alpha=1 --behavior enthusiasm --readout dose --canary-prompts 3 --out "$D/d" >/dev/null 2>"$D/err"
[ $? = 2 ] && grep -q 'is for the readout canaries' "$D/err"
ok $? "its option without the readout is a usage error"
exit $bad
