#!/bin/sh
# `ws run` and `ws sweep` on a user's own pairs: what was generated once and is given back by --pairs trains the same dW; every
# form of the file is the same run; the file's content, not its place, decides what is up to date; bad files and options that
# are about generation are refused before any work.
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
small="--model $ROOT/tests/fixtures/tiny-chat --threads 1 --rank 4 --lr 1e-2 --warmup 1 --epochs 2 --kl-prompts 6 --kl-tokens 8 --kl-audit 4
    --readout margin --bootstrap 100"
i=0
while [ $i -lt 24 ]; do # two pairs a prompt
    q="How was day $((i / 2))?" a="Bright and great, take $i" b="Dull, a bore, take $i"
    printf '{"prompt": "%s", "pos": "%s", "neg": "%s"}\n' "$q" "$a" "$b" >>"$T/own.jsonl"
    printf '{"chosen": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}], "rejected": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]}\n' "$q" "$a" "$q" "$b" >>"$T/chat.jsonl"
    [ $i = 0 ] && printf 'id,rejected,chosen,prompt\r\n' >"$T/table.csv"
    printf '%d,"%s","%s",%s\r\n' $i "$b" "$a" "$q" >>"$T/table.csv"
    i=$((i + 1))
done
run() { # run CASE OPTION...
    mkdir -p "$T/$1" && cd "$T/$1" || return 1
    shift
    "$WS" run $small --behavior enthusiasm --out out "$@" 2>"$T/err" >"$T/out"
    rc_=$?
    cd "$ROOT" || return 1
    return $rc_
}

run a --pairs ../own.jsonl
check "a run on own pairs" $? "$(tail -n 1 "$T/err")"
d=$T/a/out/data/tiny-chat/enthusiasm
[ "$(wc -l <"$d/pairs.jsonl")" = 20 ] && [ "$(wc -l <"$d/heldout.jsonl")" = 4 ] && [ -s "$d/report.json" ]
check "a tenth of the rows, in whole prompts, is set aside" $? "$(wc -l "$d"/*.jsonl)"
sum=$(sha256sum <"$T/own.jsonl" | cut -c 1-64)
[ "$(grep -c "$sum" "$T/a/out/enthusiasm/manifest.json")" = 2 ] && grep -q '"path": "../own.jsonl"' "$T/a/out/enthusiasm/manifest.json" && grep -q "$sum" "$d/data.json"
check "the manifest names the file and its hash" $? "$(grep -n pairs "$T/a/out/enthusiasm/manifest.json")"
for f in chat.jsonl table.csv; do
    run "b_$f" --pairs "../$f" && cmp -s "$d/pairs.jsonl" "$T/b_$f/out/data/tiny-chat/enthusiasm/pairs.jsonl" &&
        cmp -s "$T/a/out/enthusiasm/lora/dw.safetensors" "$T/b_$f/out/enthusiasm/lora/dw.safetensors" &&
        cmp -s "$T/a/out/enthusiasm/lora/margin.csv" "$T/b_$f/out/enthusiasm/lora/margin.csv"
    check "$f is the same run" $? "$(tail -n 1 "$T/err")"
done
run a --pairs ../own.jsonl && [ "$(grep -c 'up to date, skipped' "$T/err")" = 7 ]
check "a second run skips every stage" $? "$(cat "$T/err")"
cp "$T/own.jsonl" "$T/moved.jsonl"
run a --pairs ../moved.jsonl && [ "$(grep -c 'up to date, skipped' "$T/err")" = 7 ]
check "a file of the same content in another place too" $? "$(grep -v skipped "$T/err" | head -n 3)"
sed '3s/great/grand/' "$T/own.jsonl" >"$T/moved.jsonl"
cp "$T/a/out/enthusiasm/lora/dw.safetensors" "$T/was"
run a --pairs ../moved.jsonl && ! grep -q 'data: up to date' "$T/err" && ! cmp -s "$T/was" "$T/a/out/enthusiasm/lora/dw.safetensors" && grep -q grand "$d"/*.jsonl
check "an edited file is learnt from anew" $? "$(tail -n 1 "$T/err")"
run a
[ $? = 1 ] && grep -q -e '--pairs was "own"' "$T/err"
check "generated pairs in the same place are another run" $? "$(cat "$T/err")"

# ---- what was generated, given back ----
run g --topics 4 --personas 2 --samples 2 --heldout 0 --max-new-tokens 12 --min-new-tokens 4 --readout dose --dose-topics 2 --dose-samples 1 --dose-tokens 6
check "a run on generated pairs" $? "$(tail -n 1 "$T/err")"
run h --pairs ../g/out/data/tiny-chat/enthusiasm/pairs.jsonl --heldout 0 --readout dose --dose-topics 2 --dose-samples 1 --dose-tokens 6 &&
    cmp -s "$T/g/out/enthusiasm/lora/dw.safetensors" "$T/h/out/enthusiasm/lora/dw.safetensors"
check "given back as --pairs, they train the same dW" $? "$(tail -n 1 "$T/err")"
cp -r "$T/g/out/data" "$T/data_alone" && mkdir -p "$T/k/out" && cp -r "$T/data_alone" "$T/k/out/data"
run k --pairs ../own.jsonl
[ $? = 1 ] && grep -q 'holds pairs from elsewhere' "$T/err" && cmp -s "$T/data_alone/tiny-chat/enthusiasm/pairs.jsonl" "$T/k/out/data/tiny-chat/enthusiasm/pairs.jsonl"
check "pairs of ws data in that place are not written over" $? "$(tail -n 1 "$T/err")"

# ---- several rows ----
mkdir -p "$T/s" && cd "$T/s" && "$WS" sweep $small --behavior enthusiasm --pairs ../own.jsonl --adapters lora --controls shuffled --out out >"$T/out" 2>"$T/err"
rc=$?
cd "$ROOT" || exit 1
[ $rc = 0 ] && cmp -s "$d/../../../../../b_table.csv/out/enthusiasm/lora/dw.safetensors" "$T/s/out/enthusiasm/lora/dw.safetensors"
check "ws sweep trains the same on them" $? "$rc $(tail -n 1 "$T/err")"

# ---- refusals ----
bad() { # bad NAME STATUS WORD OPTION...
    name=$1 want=$2 word=$3
    shift 3
    "$WS" run $small --out "$T/z" "$@" >"$T/out" 2>"$T/err"
    rc=$?
    [ $rc = "$want" ] && [ ! -s "$T/out" ] && grep -q -e "$word" "$T/err" && [ ! -e "$T/z" ]
    check "refused: $name" $? "$rc $(head -n 2 "$T/err")"
}
for o in topics personas samples max-new-tokens min-new-tokens; do
    bad "--$o" 2 "--$o is about answers to generate" --behavior enthusiasm --pairs "$T/own.jsonl" --$o 3
done
bad "no behaviour" 2 "also name the behaviour" --pairs "$T/own.jsonl"
bad "sampling where nothing is sampled" 2 "--temperature: nothing is sampled" --behavior enthusiasm --pairs "$T/own.jsonl" --temperature 1
bad "no such file" 1 "nowhere.jsonl" --behavior enthusiasm --pairs "$T/nowhere.jsonl"
bad "a folder" 1 "is a folder" --behavior enthusiasm --pairs "$T"
head -n 5 "$T/own.jsonl" >"$T/few.jsonl"
bad "too few" 1 "few.jsonl has 5 pairs" --behavior enthusiasm --pairs "$T/few.jsonl"
sed '7s/"neg": ".*"/"neg": ""/' "$T/own.jsonl" >"$T/empty.jsonl"
bad "an empty answer" 1 "empty.jsonl:7: 'neg' is empty" --behavior enthusiasm --pairs "$T/empty.jsonl"
sed '9s/.*/{"prompt": "x", "pos": "y", "neg": "y"}/' "$T/own.jsonl" >"$T/same.jsonl"
bad "the same answers" 1 "same.jsonl:9: both answers are the same, here and in 1 of 24" --behavior enthusiasm --pairs "$T/same.jsonl"
sed '2s/}$//' "$T/own.jsonl" >"$T/json.jsonl"
bad "broken JSON" 1 "json.jsonl:2" --behavior enthusiasm --pairs "$T/json.jsonl"
head -c 700 /dev/urandom >"$T/noise.jsonl"
bad "noise" 1 "noise.jsonl" --behavior enthusiasm --pairs "$T/noise.jsonl"
"$WS" run $small --behavior enthusiasm --pairs "$T/own.jsonl" --out "$T/z" --plan >"$T/out" 2>"$T/err" && grep -q '20 pairs of .*own.jsonl, and 4 of it' "$T/out"
check "--plan counts them" $? "$(cat "$T/err" "$T/out")"
