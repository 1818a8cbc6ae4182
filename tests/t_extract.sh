#!/bin/sh
# ws extract from the command line: a file a method, the same bytes for any number of threads and from kept states, and every
# verb that lets a model speak takes the files; what is wrong is said in one line.
T=tests/fixtures/tiny-chat
D=$(mktemp -d)
trap 'rm -rf "$D"' EXIT
bad=0
ok() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi; }
sums() { (cd "$1" && sha256sum ./*.safetensors); }
extract() { o=$1; shift; "$WS" extract --quiet --model $T --behavior authority --n 24 --layers 1:3 --out "$o" "$@"; }

extract "$D/v" --keep-states "$D/h.safetensors" >"$D/v.txt" 2>"$D/v.err"
ok $? "extract runs"
[ "$(ls "$D/v" | grep -c 'safetensors$')" = 16 ] && [ -s "$D/v/extract.json" ]
ok $? "a file a method, and extract.json"
grep -q '^mean_centred = mean_diff: ' "$D/v.txt" && ! grep -q 'NOT DECLARED' "$D/v.txt" && ! grep -q warning "$D/v.err"
ok $? "rows that are one result are declared, and no others are"
sums "$D/v" >"$D/v.sum"
extract "$D/one" --threads 1 >/dev/null 2>&1 && sums "$D/one" | cmp -s - "$D/v.sum"
ok $? "one thread, the same bytes"
"$WS" extract -q --model $T --states "$D/h.safetensors" --layers 1:3 --out "$D/again" >/dev/null 2>"$D/err" && sums "$D/again" | cmp -s - "$D/v.sum"
ok $? "from the kept states, the same bytes"
"$WS" extract -q --model $T --states "$D/h.safetensors" --layers 2:3 --methods sspace,pca --rank 4 --out "$D/few" >"$D/few.txt" 2>"$D/err" &&
    [ "$(ls "$D/few" | grep -c 'safetensors$')" = 2 ] && grep -q '24 pairs, layers 2:3, 3 sites' "$D/few.txt"
ok $? "some methods and layers of the kept states"
extract "$D/other" --methods mean_diff --seed 7 >/dev/null 2>&1 && ! cmp -s "$D/other/mean_diff.safetensors" "$D/v/mean_diff.safetensors"
ok $? "another seed draws other pairs"
"$WS" extract -q --model $T --states "$D/h.safetensors" --layers 1:3 --methods random_direction,mean_diff --vector-seed 3 --out "$D/seed" >/dev/null 2>&1 &&
    ! cmp -s "$D/seed/random_direction.safetensors" "$D/v/random_direction.safetensors"
ok $? "--vector-seed draws another control"
"$WS" extract -q --json --model $T --states "$D/h.safetensors" --layers 1:3 --methods mean_diff,spherical --out "$D/j" >"$D/j.json" 2>/dev/null &&
    cmp -s "$D/j.json" "$D/j/extract.json" && grep -q '"format": "ws-extract"' "$D/j.json"
ok $? "--json prints extract.json"

# Every verb that lets a model speak takes every file; strength 0 is the base, bit for bit.
echo '{"messages": [{"role": "user", "content": "What makes a good citizen?"}]}' >"$D/p.jsonl"
say() { "$WS" generate -q --model $T --prompts "$D/p.jsonl" --max-new-tokens 8 "$@"; }
say >"$D/base.txt"
for f in "$D"/v/*.safetensors; do
    say --steer "$f:0" | cmp -s - "$D/base.txt" && say --steer "$f:1.5" >"$D/steered.txt" 2>"$D/err" || { echo "$f"; cat "$D/err"; false; } || break
done
ok $? "generate takes every file, and strength 0 is the base"
say --steer "$D/v/mean_diff.safetensors:15" | cmp -s - "$D/base.txt"
[ $? = 1 ]
ok $? "and mean_diff changes what is said"
echo '[[5, 6, 7, 8, 9]]' >"$D/rows.json"
"$WS" logits -q --model $T --ids-file "$D/rows.json" --steer "$D/v/sspace.safetensors:4" --out "$D/l.safetensors" >/dev/null 2>"$D/err"
ok $? "logits takes a vector"

# A template without a system role: the persona goes in front of the question.
printf '%s' "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}" >"$D/plain.jinja"
"$WS" extract -v --model $T --behavior authority --n 4 --layers 1:3 --methods mean_diff --template "$D/plain.jinja" --out "$D/folded" >/dev/null 2>"$D/err" &&
    grep -q 'personas stand in front of the question' "$D/err" && grep -q '"persona_in": "question"' "$D/folded/extract.json"
ok $? "no system role: personas stand in front of the question"

# Suffixes begin inside a think block where the model has the tag, at every second entry of the pool; a user's own tags are taken off.
printf '{"user_msg": "Q%s", "suffix": " <think>The thing</think> is "}\n' 1 2 3 4 5 6 >"$D/s.jsonl"
"$WS" extract -v --model tests/fixtures/thinkchat --behavior authority --suffixes "$D/s.jsonl" --n 6 --layers 0:1 --methods mean_diff --out "$D/t" >/dev/null 2>"$D/err"
st=$?
[ $st = 0 ] || cat "$D/err"
[ "$(grep -c '"inside": true' "$D/t/extract.json")" = 3 ] && ! grep -q '"row": [135],.*"inside": true' "$D/t/extract.json"
ok $? "every second suffix stands inside a think block"
"$WS" extract -v --model $T --behavior authority --suffixes "$D/s.jsonl" --n 6 --layers 1:3 --methods mean_diff --out "$D/t2" >/dev/null 2>"$D/err" &&
    ! grep -q '"inside": true' "$D/t2/extract.json" && grep -q '^The thing is$' "$D/err"
ok $? "and none where the model has no such tag; tags and blanks of the pool are taken off"

# A neutral corpus makes mean_centred a row of its own.
printf '{"text": "The river flows past the mill."}\n{"text": "Copper is a metal."}\n' >"$D/n.jsonl"
extract "$D/neutral" --methods mean_diff,mean_centred --neutral "$D/n.jsonl" >"$D/n.txt" 2>"$D/err" && ! grep -q 'mean_centred = mean_diff' "$D/n.txt"
ok $? "a neutral corpus centres mean_centred"

# Calibration and evaluation take them; the unit and the bracket are the method's.
"$WS" calibrate -q --model $T --steer "$D/v/mean_diff.safetensors" --steer "$D/v/spherical.safetensors" --steer "$D/v/angular_steering.safetensors" \
    --n 6 --tokens 8 --audit 4 --bootstrap 50 --out "$D/cal" >"$D/cal.txt" 2>"$D/err"
ok $? "calibrate takes vectors"
grep -q 'multiple of a unit vector' "$D/cal/summary.csv" && grep -q 'share of the angle to v' "$D/cal/summary.csv" && grep -q radians "$D/cal/summary.csv"
ok $? "each in its own unit"
"$WS" calibrate -q --model $T --steer "$D/v/directional_ablation.safetensors" --target 0.000001 --n 6 --tokens 8 --audit 0 --bootstrap 50 --out "$D/cal0" >"$D/cal0.txt" 2>"$D/err" &&
    grep -q 'is not the identity and costs' "$D/cal0.txt" && grep -q below_range "$D/cal0.txt"
ok $? "a map that is no identity at 0 says that no strength fits a tiny budget"
"$WS" calibrate -q --model $T --steer "$D/v/linear_act.safetensors" --target 30 --n 6 --tokens 8 --audit 0 --bootstrap 50 --out "$D/cal1" >"$D/cal1.txt" 2>"$D/err" &&
    grep -q 'linear_act *+1.0000 .*above_range' "$D/cal1.txt" && grep -q 'at 1, where this strength ends' "$D/cal1.txt"
ok $? "a share ends at 1, and the search there"
"$WS" eval -q --model $T --steer "$D/v/mean_diff.safetensors" --steer "$D/v/spherical.safetensors" --calibration "$D/cal" --readout vignettes --floor 0 --bootstrap 50 --out "$D/ev" >/dev/null 2>"$D/err" &&
    grep -q '^spherical,' "$D/ev/dlogit.csv" && grep -q '^mean_diff,' "$D/ev/dlogit.csv"
ok $? "eval takes them at the calibrated strengths"
"$WS" inspect "$D/v/angular_steering.safetensors" >"$D/i.txt" && grep -q '^method *angular_steering' "$D/i.txt" && grep -q 'radians' "$D/i.txt" && grep -q 'no identity' "$D/i.txt"
ok $? "inspect tells what a vector is"
"$WS" inspect --json "$D/h.safetensors" | grep -q '"kind": "states"'
ok $? "and what a file of states is"

# llama.cpp's control vectors: written from what adds one direction a layer, and hung like any other file.
"$WS" export -q --model $T --steer "$D/v/mean_diff.safetensors:6" --to gguf-control-vector --out "$D/cv.gguf" >"$D/x.txt" 2>"$D/err" && grep -q '2 layers' "$D/x.txt" &&
    say --steer "$D/cv.gguf" >"$D/cv.txt" && say --steer "$D/v/mean_diff.safetensors:6" | cmp -s - "$D/cv.txt"
ok $? "a control vector says what the vector says at its strength"
"$WS" export -q --model $T --steer "$D/v/pca.safetensors:6" --steer "$D/v/pca.safetensors:-2" --to gguf-control-vector --out "$D/cv2.gguf" >/dev/null 2>"$D/err" &&
    say --steer "$D/cv2.gguf:0.5" >"$D/cv.txt" && say --steer "$D/v/pca.safetensors:2" | cmp -s - "$D/cv.txt"
ok $? "and so does a sum of two"

says() { # says STATUS TEXT NAME command...
    want=$1 text=$2 name=$3
    shift 3
    "$@" >"$D/out" 2>"$D/err"
    got=$?
    [ $got = "$want" ] && grep -qF -- "$text" "$D/err"
    r=$?
    ok $r "$name"
    [ $r = 0 ] || { echo "exit $got"; cat "$D/err"; }
}
says 2 "there is no such method; there are angular_steering, chars" "an unknown method" extract "$D/x" --methods mean_dif
says 2 "--behavior is missing" "no behaviour" "$WS" extract --model $T --out "$D/x"
says 2 "--out is missing" "no place" "$WS" extract --model $T --behavior authority
says 2 "the model has layers 0:4" "layers that are not there" "$WS" extract --model $T --behavior authority --layers 1:9 --out "$D/x"
says 2 "has none between the first and the last fifth" "too few layers for the default" "$WS" extract --model $T --behavior authority --out "$D/x"
says 2 "no linear of layers 1:3 is called so as a whole" "no such linear" extract "$D/x" --methods sspace --linears down_proj
says 2 "--linears" "a broken pattern" extract "$D/x" --methods sspace --linears '('
says 2 "have no say in them" "options that kept states decide" "$WS" extract --model $T --states "$D/h.safetensors" --n 5 --out "$D/x"
says 2 "has no states of model.layers.3" "states of other layers" "$WS" extract --model $T --states "$D/h.safetensors" --layers 2:4 --out "$D/x"
says 1 "this base is" "states of another base" "$WS" extract --model tests/fixtures/tinychat --states "$D/h.safetensors" --layers 0:1 --out "$D/x"
says 1 "this base is" "a vector of another base" "$WS" generate --model tests/fixtures/tinychat --prompts "$D/p.jsonl" --steer "$D/v/mean_diff.safetensors"
says 2 "13 clusters need at least as many pairs, not 12" "more clusters than pairs" "$WS" extract --model $T --behavior authority --n 12 --layers 1:3 --methods chars --clusters 13 --out "$D/x"
printf '{"user_msg": "Q", "suffix": "S"}\n{"user_msg": "Q", "suffix": "<think> "}\n' >"$D/s.jsonl"
says 1 "s.jsonl:2" "an empty suffix is named by its line" extract "$D/x" --suffixes "$D/s.jsonl"
printf '{"text": ""}\n' >"$D/n.jsonl"
says 1 "n.jsonl:1: a neutral text" "an empty neutral text is named by its line" extract "$D/x" --methods mean_centred --neutral "$D/n.jsonl"
says 1 "spherical does something else" "a map that is no sum is no control vector" "$WS" export --model $T --steer "$D/v/spherical.safetensors" --to gguf-control-vector --out "$D/x"
says 1 "one of pca cannot be added" "no sum of two methods" "$WS" export --model $T --steer "$D/v/mean_diff.safetensors" --steer "$D/v/pca.safetensors" --to gguf-control-vector --out "$D/x"
says 1 "moves no weights" "a vector is no dW to export" "$WS" export --model $T --steer "$D/v/spherical.safetensors" --to peft --out "$D/x"
exit $bad
