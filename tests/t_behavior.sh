#!/bin/sh
# `ws behavior init` writes a behaviour that works as it stands, and never writes over one.
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
usage "nothing said" "say what to do"
usage "something else" "say what to do" destroy mine
usage "no name" "name is missing" init
usage "two names" "one behaviour at a time" init a b
usage "a path" "cannot name" init ../x
usage "a hidden file" "cannot name" init .x
mkdir ro && chmod 500 ro && cd ro && { [ -w . ] || { "$WS" behavior init x >../out 2>../err; [ $? = 1 ] && [ ! -s ../out ]; }; }
check "a folder that cannot be written to is one error" $? "$(cat ../err)"
