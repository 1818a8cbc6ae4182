#!/bin/sh
# ws data and ws generate as programs, on a tiny random model with an ASCII tokenizer: kill -9 and the same command give the
# bytes of an unbroken run; steering, order, errors and exit statuses of the verbs.
set -u
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; }
check() { name=$1; shift; if "$@"; then ok "$name"; else no "$name"; fi; }
says() { grep -q -- "$1" "$2"; }

mkdir "$t/tiny"
cp tests/fixtures/models/llama/config.json tests/fixtures/models/llama/model.safetensors tests/fixtures/ascii/*.json "$t/tiny/"
cat >"$t/mood.json" <<'END'
{"format": "ws-behavior", "version": 1, "name": "mood", "system_template": "You are {persona}.",
 "personas": [{"pos": "glad", "neg": "sad"}, {"pos": "merry", "neg": "grim"}],
 "topics": ["Rain?", "Snow?", "Work?"], "heldout_topics": ["Sea?", "Sky?"]}
END
data() { "$WS" data --model "$t/tiny" --behavior "$t/mood.json" --samples 200 --heldout 20 --max-new-tokens 48 --seed 3 "$@"; }

data --out "$t/whole" >"$t/report" 2>"$t/log"
check "data writes its files" test -s "$t/whole/pairs.jsonl" -a -s "$t/whole/heldout.jsonl" -a -s "$t/whole/data.json" -a -s "$t/whole/report.json"
check "data reports on stdout" says "1200 pairs on 3 topics with 2 personas" "$t/report"
check "data logs a rendered prompt with its special tokens" says '<|im_start|>system\\nYou are' "$t/log"

# Killed each time as soon as it has written rows, until it has been killed in the middle three times.
kills=0 rows=0
for try in 1 2 3; do
    (exec "$WS" data --model "$t/tiny" --behavior "$t/mood.json" --samples 200 --heldout 20 --max-new-tokens 48 --seed 3 --out "$t/killed" >/dev/null 2>&1) &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(cat "$t/killed/pairs.jsonl" 2>/dev/null | wc -l)" -le $rows ]; do sleep 0.02; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    now=$(wc -l <"$t/killed/pairs.jsonl")
    [ "$now" -gt $rows ] && [ "$now" -lt 1200 ] && kills=$((kills + 1))
    rows=$now
done
check "killed in the middle of the rows" test $kills -ge 1
data --out "$t/killed" >/dev/null 2>&1
check "kill -9 and again: the same pairs" cmp -s "$t/whole/pairs.jsonl" "$t/killed/pairs.jsonl"
check "kill -9 and again: the same held-out pairs" cmp -s "$t/whole/heldout.jsonl" "$t/killed/heldout.jsonl"
data --out "$t/one" --threads 1 --max-rows 5 >/dev/null 2>&1
check "threads and rows in flight change no byte" cmp -s "$t/whole/pairs.jsonl" "$t/one/pairs.jsonl"

data --out "$t/whole" --temperature 0.5 >/dev/null 2>"$t/log"
check "another configuration: exit 1" test $? = 1
check "another configuration: both are named" says 'temperature: 0.7 there, 0.5 here' "$t/log"
"$WS" data --model "$t/tiny" --behavior nobody >/dev/null 2>"$t/log"
check "unknown behaviour: exit 1" test $? = 1
"$WS" data --behavior "$t/mood.json" >/dev/null 2>"$t/log"
check "no model: exit 2" test $? = 2
"$WS" data --model "$t/tiny" --topics 0 >/dev/null 2>&1
check "an option out of range: exit 2" test $? = 2
data --out "$t/x" --steer dw.safetensors >/dev/null 2>&1
check "data refuses --steer: exit 2" test $? = 2

cat >"$t/p.jsonl" <<'END'
{"messages": [{"role": "user", "content": "Hello there"}]}
{"text": "Once upon a time"}
{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Why?"}]}
END
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --max-new-tokens 20 >"$t/a" 2>/dev/null
check "generate answers every prompt in order" test "$(sed 's/.*"index": \([0-9]*\).*/\1/' "$t/a" | tr '\n' ' ')" = "0 1 2 "
check "generate gives ids, text and finish_reason" says '"ids": \[.*"text": ".*"finish_reason": "\(stop\|length\)"' "$t/a"
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --max-new-tokens 20 --max-rows 1 --threads 1 --out "$t/b" 2>/dev/null
check "generate: one at a time gives the same" cmp -s "$t/a" "$t/b"
sed -n 2p "$t/p.jsonl" >"$t/q.jsonl"
"$WS" generate --model "$t/tiny" --prompts "$t/q.jsonl" --max-new-tokens 20 2>/dev/null | sed 's/"index": 0/"index": 1/' >"$t/c"
sed -n 2p "$t/a" >"$t/d"
check "generate: an answer does not depend on its neighbours" cmp -s "$t/c" "$t/d"
# which arithmetic auto takes goes by the prompts: many as `ws doctor` says, few in fp32 wherever that is faster
cat "$t/p.jsonl" "$t/p.jsonl" "$t/p.jsonl" >"$t/nine.jsonl"
for n in nine q; do "$WS" generate --compute auto --model "$t/tiny" --prompts "$t/$n.jsonl" --max-new-tokens 8 >"$t/$n" 2>"$t/$n.log"; done
kernels=$("$WS" doctor --json 2>/dev/null | sed -n 's/.*"kernel_set": "\([a-z0-9]*\).*/\1/p')
if [ "$kernels" = amx ]; then
    check "generate: many in tiles of bf16" says 'weights are in bf16 (auto; the amx kernels multiply tiles of bf16)' "$t/nine.log"
    check "generate: one in fp32" says 'weights are in fp32 (auto; the amx kernels multiply 1 row faster than in bf16)' "$t/q.log"
else
    check "generate: one arithmetic for one and many" test "$(grep -c 'weights are in' "$t/nine.log")" = "$(grep -c 'weights are in' "$t/q.log")"
fi
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --max-new-tokens 30 --temperature 1 --seed 1 >"$t/e" 2>/dev/null
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --max-new-tokens 30 --temperature 1 --seed 1 >"$t/g" 2>/dev/null
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --max-new-tokens 30 --temperature 1 --seed 2 >"$t/h" 2>/dev/null
check "the same seed, the same answers" cmp -s "$t/e" "$t/g"
if cmp -s "$t/e" "$t/h"; then no "another seed, other answers"; else ok "another seed, other answers"; fi
echo '{"prompt": "x"}' >"$t/bad.jsonl"
"$WS" generate --model "$t/tiny" --prompts "$t/bad.jsonl" >/dev/null 2>"$t/log"
check "a bad prompt: exit 1" test $? = 1
check "a bad prompt: file and line" says 'bad.jsonl:1' "$t/log"
"$WS" generate --model "$t/tiny" --prompts "$t/p.jsonl" --thinking on >/dev/null 2>&1
check "thinking without a template that knows it: exit 2" test $? = 2
"$WS" generate --model "$t/tiny" >/dev/null 2>&1
check "no prompts: exit 2" test $? = 2
awk 'BEGIN { for (i = 0; i < 3000; i++) print "{\"text\": \"Once upon a time\"}" }' >"$t/many.jsonl"
"$WS" generate --model "$t/tiny" --prompts "$t/many.jsonl" --max-new-tokens 90 --temperature 1 --out "$t/never" >/dev/null 2>"$t/log" &
pid=$!
sleep 0.3
kill -INT $pid
wait $pid
check "generate, interrupted: exit 130" test $? = 130
check "generate, interrupted: it says that it will start over" says 'starts over' "$t/log"
check "generate, interrupted: nothing half written" test ! -e "$t/never"
"$WS" generate --help >"$t/log"
check "help shows examples" says 'ws generate --model M --prompts p.jsonl' "$t/log"
exit $bad
