#!/bin/sh
# A model that reasons first, from the command line, on a tiny random Qwen3 with a think-aware template: what is stored, told,
# trained on, calibrated and counted; --thinking in every verb; kill -9 and the same command give the same rows.
set -u
WS=${WS:-$PWD/build/release/ws}
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
M=$PWD/tests/fixtures/think
WS_DATA_DIR=$PWD/data
export WS_DATA_DIR
bad=0
check() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "ok $name"; else echo "not ok $name"; bad=1; fi; }
says() { grep -q -- "$1" "$2"; }

data() { "$WS" data --model "$M" --behavior enthusiasm --topics 3 --personas 2 --samples 4 --heldout 4 --max-new-tokens 60 --temperature 1 --top-k 0 --top-p 1 "$@"; }
data --out "$T/on" >"$T/report" 2>"$T/log"
check "data runs" test $? = 0
check "data says how prompts end" says 'thinking: prompts open a think block' "$T/log"
check "the first prompt is shown with its open block" says '<think>\\n"' "$T/log"
check "the report has closed blocks and answers" says 'think blocks that were closed' "$T/report"
check "the report says that it looks at answers" says 'below: the answers alone' "$T/report"
jq_rows() { # every row: the parts agree with the response
    awk 'BEGIN { n = 0 } /"response_pos": "[^"]*<\/think>/ { if ($0 !~ /"closed_pos": true/) exit 1; n++ }
        /"closed_pos": false/ { if ($0 !~ /"answer_pos": ""/) exit 1; m++ } END { exit !(n > 3 && m > 0) }' "$1"
}
check "rows hold the response with </think> and its parts" jq_rows "$T/on/pairs.jsonl"
data --out "$T/dflt" --thinking on >/dev/null 2>&1
check "on is this template's default: the same rows" cmp -s "$T/on/pairs.jsonl" "$T/dflt/pairs.jsonl"
data --out "$T/off" --thinking off >"$T/report" 2>"$T/log"
check "off closes the block in the prompt" says '<think>\\n\\n</think>\\n\\n"' "$T/log"
check "off: no parts are stored" sh -c "! grep -q closed_pos '$T/off/pairs.jsonl'"
head -c 5000 "$T/on/pairs.jsonl" >"$T/part" && mkdir "$T/cut" && cp "$T/on/data.json" "$T/cut/" && cp "$T/part" "$T/cut/pairs.jsonl"
data --out "$T/cut" >/dev/null 2>&1
check "a file cut in the middle is completed to the same bytes" cmp -s "$T/on/pairs.jsonl" "$T/cut/pairs.jsonl"

d() { "$WS" data --model "$M" --behavior enthusiasm --topics 1 --personas 1 --samples 1 --heldout 0 "$@" >/dev/null 2>&1; }
d --out "$T/d1" --max-new-tokens 20
d --out "$T/d2" --max-new-tokens 20 --thinking off
d --out "$T/d3" --max-new-tokens 20 --template "$M/off.jinja"
d --out "$T/d4" --max-new-tokens 20 --temperature 0.9
check "thinking is sampled at 0.6, 0.95, 20" sh -c "tr -d '\n ' <'$T/d1/data.json' | grep -q '\"temperature\":0.6,\"top_k\":20,\"top_p\":0.95'"
check "thinking off at 0.7, 0.8, 20" sh -c "tr -d '\n ' <'$T/d2/data.json' | grep -q '\"temperature\":0.7,\"top_k\":20,\"top_p\":0.8'"
check "so is a template whose default is off" sh -c "tr -d '\n ' <'$T/d3/data.json' | grep -q '\"temperature\":0.7,\"top_k\":20,\"top_p\":0.8'"
check "what is given wins" sh -c "tr -d '\n ' <'$T/d4/data.json' | grep -q '\"temperature\":0.9,\"top_k\":20,\"top_p\":0.95'"
"$WS" data --model tests/fixtures/tiny-chat --behavior enthusiasm --thinking on --out "$T/x" >/dev/null 2>"$T/log"
check "a model without think tag refuses on: exit 2" test $? = 2
check "with a sentence" says 'this model.s chat template has no think block' "$T/log"

"$WS" train --model "$M" --pairs "$T/on/pairs.jsonl" --side pos --rank 2 --max-len 60 --epochs 1 --out "$T/pos" >/dev/null 2>"$T/log"
check "training runs" test $? = 0
check "it says how many rows are cut" says 'rows are longer than 60 tokens and are cut there' "$T/log"
check "how many have a think block and never closed it" says 'responses have a think block: [1-9][0-9]* never closed it' "$T/log"

cal() { "$WS" calibrate --model "$M" --steer "$M/adapter" --force --n 4 --tokens 6 --audit 2 --out "$@"; }
cal "$T/c" >"$T/report" 2>"$T/log"
check "calibration runs" test $? = 0
check "it says what is steered and what is scored" says 'scored are the first 6 tokens of each greedy answer, from inside its open think block' "$T/log"
check "and so does its table" says '4 prompts x 6 tokens of the reasoning' "$T/report"
check "and summary.csv" says ',reasoning$' "$T/c/summary.csv"
cal "$T/c0" --thinking off >"$T/report" 2>/dev/null
check "off: answers are scored" says '4 prompts x 6 tokens of the answer' "$T/report"

echo '[{"messages": [{"role": "user", "content": "Why?"}]}, {"text": "Once"}]' >"$T/p.json"
"$WS" generate --model "$M" --prompts "$T/p.json" --max-new-tokens 30 --temperature 1 >"$T/g" 2>/dev/null
check "generate takes reasoning and answer apart" sh -c "head -1 '$T/g' | grep -q '\"reasoning\": \".*\"answer\": \".*\"closed\": '"
check "but not in a text that goes on as it stands" sh -c "tail -1 '$T/g' | grep -vq closed"
echo '[{"text": "Once"}]' >"$T/q.json"
"$WS" generate --model "$M" --prompts "$T/q.json" --thinking on >/dev/null 2>&1
check "--thinking without messages: exit 2" test $? = 2
echo '[{"messages": [{"role": "user", "content": "Why?"}]}, {"prompt": "x"}]' >"$T/b.json"
"$WS" generate --model "$M" --prompts "$T/b.json" >/dev/null 2>"$T/log"
check "an entry of an array is named as one" says 'b.json, entry 2' "$T/log"
echo '[{"messages": [{"role": "user", "content": "Why?"}], "completion": "R</think>Yo"}]' >"$T/s.json"
"$WS" score --model "$M" --file "$T/s.json" >"$T/s1" 2>/dev/null
"$WS" score --model "$M" --file "$T/s.json" --thinking on >"$T/s2" 2>/dev/null
"$WS" score --model "$M" --file "$T/s.json" --thinking off >"$T/s3" 2>/dev/null
check "score: on is the default here" cmp -s "$T/s1" "$T/s2"
check "score: off is another prompt" sh -c "! cmp -s '$T/s1' '$T/s3' && test -s '$T/s3'"
echo '[{"messages": []}, {"messages": 3}]' >"$T/b.json"
"$WS" score --model "$M" --file "$T/b.json" >/dev/null 2>"$T/log"
check "score: an entry of an array is named as one" says 'b.json, entry [12]' "$T/log"

# The whole chain; --thinking reaches every stage and stands in the manifest.
run() { "$WS" run --model "$M" --behavior enthusiasm --topics 3 --personas 1 --samples 2 --heldout 4 --max-new-tokens 40 --rank 2 --epochs 2 --warmup 1 --lr 1e-2 \
    --kl-prompts 3 --kl-tokens 5 --kl-audit 2 --dose-topics 3 --dose-samples 2 --dose-tokens 30 --readout margin,dose --bootstrap 50 --target-kl 0.3 "$@"; }
run --plan --out "$T/r" >"$T/plan" 2>/dev/null
check "the plan counts reasoning" says 'reasoning and answer of at most 40 tokens' "$T/plan"
run --temperature 1 --out "$T/r" >"$T/report" 2>"$T/log"
check "a whole run with thinking" test $? = 0
check "its dose table has the closed share" says 'closed' "$T/report"
run --temperature 1 --thinking off --out "$T/r0" >"$T/report" 2>"$T/log"
check "a whole run without" test $? = 0
check "the manifest says so" sh -c "tr -d '\n ' <'$T/r0/enthusiasm/manifest.json' | grep -q '\"thinking\":0'"
check "its calibration scored answers" says ',answer$' "$T/r0/enthusiasm/kl_calibration/summary.csv"
exit $bad
