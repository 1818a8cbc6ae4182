#!/bin/sh
# `ws behavior init` writes a behaviour that works as it stands, and never writes over one; `ws behavior check` tells of a few
# answers what `ws score` tells of them, on any number of threads, leaves nothing behind, and says what it wants.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
check() { if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1${3:+: $3}"; fi; }
ROOT=$PWD
WS_DATA_DIR=$ROOT/data
export WS_DATA_DIR
model=$ROOT/tests/fixtures/tiny-chat
cd "$T" || exit 1

"$WS" behavior init mine >out 2>err && [ "$(cat out)" = mine.json ] && [ -s mine.json ] && grep -q '"name": "mine"' mine.json
check "init writes NAME.json" $? "$(cat err)"
for key in name title system_template personas topic_template topics heldout_topics targets counters engineered; do
    grep -q "^  \"// .*$key" mine.json || grep -q "^  \"// $key" mine.json
    check "$key is explained" $?
done
"$WS" data --quiet --model "$model" --behavior mine.json --topics 2 --personas 1 --samples 1 --heldout 2 --max-new-tokens 6 --min-new-tokens 2 --out d >out 2>err && [ "$(cat d/pairs.jsonl d/heldout.jsonl | wc -l)" = 4 ]
check "it works as it is" $? "$(cat err)"
sum=$(sha256sum <mine.json)
"$WS" behavior init mine >out 2>err
rc=$?
[ $rc = 1 ] && [ ! -s out ] && grep -q 'mine.json is there already' err && [ "$sum" = "$(sha256sum <mine.json)" ]
check "and is never written over" $? "$rc $(cat err)"
usage() { # usage NAME WORD ARGS...
    name=$1 word=$2
    shift 2
    "$WS" behavior "$@" >out 2>err
    rc=$?
    [ $rc = 2 ] && [ ! -s out ] && grep -q -e "$word" err
    check "usage: $name" $? "$rc $(head -n 1 err)"
}

# ---- check ----
mkdir tmp
TMPDIR=$T/tmp
export TMPDIR
look() { "$WS" behavior check mine.json --quiet --model "$model" --max-new-tokens 8 --rows 3 "$@"; }
look --out c.json >out 2>err
check "check of an own file" $? "$(cat err)"
[ -z "$(ls -A tmp)" ]
check "nothing is left in the temporary folder" $? "$(ls -A tmp)"
grep -q '^mine on tiny-chat: 3 pairs of answers of at most 8 tokens' out && grep -q '^likelier under their own persona' out && grep -q '^Without a persona the model is ' out && grep -Eq '^Verdict: (ok|[0-9]+ warning)' out && grep -q 'What to do: ' out
check "table, direction and verdict in words" $? "$(cat out)"
look --json >j.json 2>err && cmp -s j.json c.json && grep -q '"format": "ws-behavior-check"' j.json && [ "$(grep -c '"response_pos"' j.json)" = 3 ]
check "--json prints what --out writes, answers included" $? "$(cat err)"
look --json --threads 1 2>err | cmp -s - c.json
check "one thread, the same" $?
look --json --seed 1 2>err | cmp -s - c.json
[ $? = 1 ]
check "another seed, other answers" $?
# Mean log-probabilities of the first pair against ws score, which is given the same messages (JSON texts copied as they stand).
text() { sed -n "s/^ *\"$1\": \(\".*\"\),*\$/\1/p" c.json | head -n 1; }
for side in pos neg; do
    other=$([ $side = pos ] && echo neg || echo pos)
    for system in "$(text sys_prompt_$side)" "$(text sys_prompt_$other)" ""; do
        printf '{"messages": [%s{"role": "user", "content": %s}], "completion": %s}\n' "${system:+{\"role\": \"system\", \"content\": $system\}, }" "$(text prompt)" "$(text response_$side)"
    done
done | sed 's/\\}, {/}, {/' >score.jsonl
"$WS" score --quiet --model "$model" --file score.jsonl >scored.jsonl 2>err
awk -F '[:,]' '{ printf "%.5f\n", $4 / $2 }' scored.jsonl >want
awk '/"lp_(pos|neg)": / { n = 3; next } n-- > 0 { v = $2; sub(/,/, "", v); printf "%.5f\n", v }' c.json | head -n 6 >have
[ "$(wc -l <want)" = 6 ] && cmp -s want have && [ "$(sort -u want | wc -l)" = 6 ]
check "log-probabilities are those of ws score" $? "$(cat err) $(tr "\n" " " <have) against $(tr "\n" " " <want)"
look --rows 14 --max-new-tokens 4 --json >j.json 2>err && [ "$(grep -c '"response_pos"' j.json)" = 14 ]
check "more rows than topics" $? "$(cat err)"
"$WS" behavior check enthusiasm --quiet --model "$model" --max-new-tokens 4 --rows 2 >out 2>err && grep -q '^enthusiasm on tiny-chat' out
check "a behaviour that comes with the program" $? "$(cat err)"
bad() { # bad NAME STATUS WORD ARGS...
    name=$1 want=$2 word=$3
    shift 3
    "$WS" behavior "$@" >out 2>err
    rc=$?
    [ $rc = "$want" ] && [ ! -s out ] && grep -q -e "$word" err
    check "refused: $name" $? "$rc $(head -n 1 err)"
}
sed 's/"topics"/"topisc"/' mine.json >typo.json
bad "a misspelt key" 1 "typo.json: unknown key 'topisc'" check typo.json --model "$model"
head -c 300 mine.json >half.json
bad "half a file" 1 "half.json" check half.json --model "$model"
bad "no such behaviour" 1 "no behaviour 'nowhere'" check nowhere --model "$model"
bad "no model" 2 "--model is missing" check mine.json
bad "one row" 2 "--rows" check mine.json --model "$model" --rows 1
bad "check's options with init" 2 "rows" init other --rows 3
bad "a place that cannot be written to" 1 "/dev/null" check mine.json --model "$model" --out /dev/null/x
TMPDIR=$T/nowhere bad "no temporary folder" 1 "TMPDIR" check mine.json --model "$model" --rows 2

usage "nothing said" "say what to do"
usage "something else" "say what to do" destroy mine
usage "no name" "name is missing" init
usage "two names" "one behaviour at a time" init a b
usage "a path" "cannot name" init ../x
usage "a hidden file" "cannot name" init .x
mkdir ro && chmod 500 ro && cd ro && { [ -w . ] || { "$WS" behavior init x >../out 2>../err; [ $? = 1 ] && [ ! -s ../out ]; }; }
check "a folder that cannot be written to is one error" $? "$(cat ../err)"
