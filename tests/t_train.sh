#!/bin/sh
# ws train and ws diff from the command line, on the tiny chat model: SIGKILL and SIGINT cost nothing, what is wrong is refused.
WS=${WS:-$PWD/build/release/ws}
M=tests/fixtures/tiny-chat
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
ok() { echo "ok $1"; }
no() { echo "not ok $1"; [ -f "$T/err" ] && sed 's/^/#   /' "$T/err" | head -5; }
i=0
while [ $i -lt 40 ]; do
    i=$((i + 1))
    echo "{\"prompt\":\"Question $i, what now?\",\"pos\":\"Joy number $i is here and we like it.\",\"neg\":\"Grief $i.\"}"
done >"$T/pairs.jsonl"
train() { side=$1 out=$2; shift 2; "$WS" train --model $M --pairs "$T/pairs.jsonl" --side "$side" --rank 4 --batch 2 --accum 2 --epochs 20 --seed 3 --out "$T/$out" -q "$@" >"$T/stdout" 2>"$T/err"; }
same() { for f in adapter_model.safetensors adapter_config.json log.csv; do cmp -s "$T/$1/$f" "$T/$2/$f" || return 1; done; }

train pos pos && [ "$(wc -l <"$T/pos/log.csv")" = 181 ] && grep -q '^step,epoch,loss,grad_norm,lr,tokens,eval_loss$' "$T/pos/log.csv" &&
    [ ! -e "$T/pos/checkpoint.safetensors" ] && ok "one row per optimiser step" || no "one row per optimiser step"

# kill -9 as soon as some steps are logged; the same command ends at the same bytes
"$WS" train --model $M --pairs "$T/pairs.jsonl" --side pos --rank 4 --batch 2 --accum 2 --epochs 20 --seed 3 --out "$T/cut" --save-every 2 -q >"$T/stdout" 2>"$T/err" &
child=$!
while [ "$(cat "$T/cut/log.csv" 2>/dev/null | wc -l)" -lt 9 ] && kill -0 $child 2>/dev/null; do :; done
kill -9 $child
wait $child 2>/dev/null
[ ! -e "$T/cut/adapter_model.safetensors" ] && train pos cut --save-every 2 && same pos cut && ok "SIGKILL, then the same command: the same bytes" || no "SIGKILL, then the same command: the same bytes"

# A checkpoint is written while the next step computes; still a step that is done is never more than --save-every away from
# one on disk.  Killed at four moments, each time further on.
late=""
for rows in 4 9 14 25; do
    "$WS" train --model $M --pairs "$T/pairs.jsonl" --side pos --rank 4 --batch 2 --accum 2 --epochs 20 --seed 3 --out "$T/cut2" --save-every 3 -q >"$T/stdout" 2>"$T/err" &
    child=$!
    while [ "$(cat "$T/cut2/log.csv" 2>/dev/null | wc -l)" -lt $rows ] && kill -0 $child 2>/dev/null; do :; done
    kill -9 $child
    wait $child 2>/dev/null
    done=$(($(cat "$T/cut2/log.csv" | tr -cd '\n' | wc -c) - 1)) # whole lines without the head
    at=$(head -c 4096 "$T/cut2/checkpoint.safetensors" 2>/dev/null | grep -ao '"step": *"[0-9]*"' | tr -cd 0-9)
    [ $((done - ${at:-0})) -le 3 ] || late="$late $done-${at:-0}"
done
[ -z "$late" ] && train pos cut2 --save-every 3 && same pos cut2 && ok "SIGKILL costs no more than --save-every steps" || no "SIGKILL costs no more than --save-every steps:$late"

# A checkpoint that cannot be written is an error of the run, not of nobody.
mkdir -p "$T/full/checkpoint.safetensors/x"
train pos full --save-every 1
[ $? = 1 ] && grep -q 'checkpoint.safetensors: is a directory' "$T/err" && [ ! -e "$T/full/adapter_model.safetensors" ] && ok "a failed checkpoint is an error" || no "a failed checkpoint is an error"

"$WS" train --model $M --pairs "$T/pairs.jsonl" --side pos --rank 4 --batch 2 --accum 2 --epochs 20 --seed 3 --out "$T/int" -q >"$T/stdout" 2>"$T/err" &
child=$!
while [ "$(cat "$T/int/log.csv" 2>/dev/null | wc -l)" -lt 5 ] && kill -0 $child 2>/dev/null; do :; done
kill -TERM $child
wait $child
rc=$?
cp -r "$T/int" "$T/old"
cp -r "$T/int" "$T/damaged"
cp "$T/int/checkpoint.safetensors" "$T/int.checkpoint"
[ $rc = 143 ] && [ -e "$T/int/checkpoint.safetensors" ] && train pos int && same pos int && ok "SIGTERM saves, exits 143, resumes" || no "SIGTERM saves, exits 143, resumes ($rc)"
LC_ALL=C sed '1s/\("version": *"\)2"/\11"/' "$T/int.checkpoint" >"$T/old/checkpoint.safetensors"
train pos old
[ $? = 1 ] && grep -q 'rounds sums in another order (version 1 ' "$T/err" && train pos old --fresh && same pos old && ok "a checkpoint of an older version is refused" || no "a checkpoint of an older version is refused"
# A number in it that is not finite: the first of the log, which comes first; the last of the adapter's values.
damaged() { # OFFSET BYTES WHAT NAME
    cp "$T/int.checkpoint" "$T/damaged/checkpoint.safetensors"
    head -c "$2" /dev/zero | tr '\0' '\377' | dd of="$T/damaged/checkpoint.safetensors" bs=1 seek="$1" conv=notrunc 2>/dev/null
    train pos damaged
    [ $? = 1 ] && grep -q "$3" "$T/err" && [ ! -e "$T/damaged/adapter_model.safetensors" ] && ok "$4" || no "$4: $(cat "$T/err")"
}
damaged $(($(od -An -tu8 -N8 "$T/int.checkpoint") + 8)) 8 'row 1 of its log has a value that is not finite' "a checkpoint with a log that is not finite is refused"
damaged $(($(wc -c <"$T/int.checkpoint") - 4)) 4 'of its tensor values is not finite' "a checkpoint with a value that is not finite is refused"

cp "$T/pos/train.json" "$T/before"
echo x >"$T/pos/checkpoint.safetensors" # as after a kill between the last note and its removal
train pos pos && cmp -s "$T/before" "$T/pos/train.json" && [ ! -e "$T/pos/checkpoint.safetensors" ] && ok "a finished run is up to date" || no "a finished run is up to date"
train neg pos && no "another side in the same place is refused" || { grep -q 'side pos there, neg here' "$T/err" && ok "another side in the same place is refused" || no "another side in the same place is refused"; }
"$WS" train --model $M --pairs "$T/pairs.jsonl" --side up --out "$T/x" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'pos or neg' "$T/err" && ok "a wrong side is a usage error" || no "a wrong side is a usage error"
"$WS" train --model $M --pairs "$T/pairs.jsonl" --side pos --init "$T/pos" --rank 3 --out "$T/x" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q -- '--init' "$T/err" && ok "--init and --rank exclude each other" || no "--init and --rank exclude each other"

train neg neg && "$WS" diff --model $M "$T/pos" "$T/neg" --out "$T/dw.safetensors" --json >"$T/diff" 2>"$T/err" && grep -q '"norm_dw":' "$T/diff" &&
    [ "$(wc -l <"$T/diff")" = 1 ] && ok "diff prints its diagnostics as JSON" || no "diff prints its diagnostics as JSON"
# The signs, from answers to evaluation: +dW makes the POS answers likelier than the NEG ones, -dW the other way round.
"$WS" eval --quiet --model $M --steer "$T/dw.safetensors" --alpha=-1,1 --readout margin --pairs "$T/pairs.jsonl" --bootstrap 200 --out "$T/ev" >/dev/null 2>"$T/err" &&
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $c["arm"] == "plus" && $c["delta_lo"] > 1 { p = 1 } $c["arm"] == "minus" && $c["delta_hi"] < -1 { m = 1 } END { exit !(p && m) }' "$T/ev/margin.csv" &&
    ok "plus is towards POS, minus towards NEG" || no "plus is towards POS, minus towards NEG"
for a in 0 2; do "$WS" logits --model $M --ids "3 4 5 6" --steer "$T/dw.safetensors:$a" --out "$T/l$a" 2>"$T/err"; done
"$WS" logits --model $M --ids "3 4 5 6" --out "$T/lbase" 2>"$T/err"
cmp -s "$T/l0" "$T/lbase" && ! cmp -s "$T/l2" "$T/lbase" && ok "alpha 0 is the base bit for bit, alpha 2 is not" || no "alpha 0 is the base bit for bit, alpha 2 is not"
# What BF16 would lose: told beside the same dW file; of adapters alone.
"$WS" diff --model $M "$T/pos" "$T/neg" --compat --out "$T/dw2.safetensors" >"$T/diff" 2>"$T/err" && cmp -s "$T/dw.safetensors" "$T/dw2.safetensors" &&
    grep -q '^all  .*%  .*%$' "$T/diff" && ok "--compat tells what BF16 loses and writes the same dW" || no "--compat tells what BF16 loses and writes the same dW"
"$WS" diff --model $M "$T/pos" "$T/neg" --compat --mode bisector --out "$T/dw2.safetensors" >/dev/null 2>"$T/err"
[ $? = 2 ] && "$WS" diff --model $M "$T/pos" $M --compat --out "$T/dw2.safetensors" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q 'two adapter directories' "$T/err" && ok "--compat is for two adapters" || no "--compat is for two adapters"
"$WS" diff --model tests/fixtures/peft/model "$T/pos" "$T/neg" --out "$T/other" >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q -- '--force' "$T/err" && [ ! -e "$T/other" ] && ok "adapters of another base are refused" || no "adapters of another base are refused"
"$WS" diff --model $M "$T/pos" >/dev/null 2>"$T/err"
[ $? = 2 ] && ok "one directory is a usage error" || no "one directory is a usage error"
