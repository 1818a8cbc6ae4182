#!/bin/sh
# Calibration and evaluation of a tiny model from the command line: every file is there, SIGKILL at any moment and the same
# command again give the same bytes, any number of threads gives the same bytes, and what is wrong is said in one line.
# All files but the two that hold wall times (timing.csv, and the seconds in probes.jsonl) are compared.
T=tests/fixtures/tinychat
D=$(mktemp -d)
trap 'rm -rf "$D"' EXIT
bad=0
KILL=
ok() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; bad=1; fi; }
sums() { (cd "$1" && find . -type f ! -name timing.csv ! -name probes.jsonl ! -name .lock | sort | xargs sha256sum); }

cat >"$D/pairs.jsonl" <<'P'
{"prompt": "How was the day?", "pos": "It was a joy from start to end!", "neg": "It was dull and sad."}
{"prompt": "How was the day?", "pos": "Great fun, all of it!", "neg": "I would rather forget it."}
{"prompt": "What is rain?", "pos": "A gift for every garden!", "neg": "Gray water that never stops."}
{"prompt": "Talk about bread.", "pos": "Warm, fresh, wonderful bread!", "neg": "It goes stale, like all things."}
P
calibrate() { o=$1; shift; $KILL "$WS" calibrate --quiet --model $T --steer $T/adapter --n 10 --tokens 12 --audit 10 --bootstrap 200 --seed 3 --out "$o" "$@"; }
evaluate() { o=$1; shift; $KILL "$WS" eval --quiet --model $T --steer $T/adapter --alpha=-0.6,0,0.7 --floor 0 --behavior enthusiasm --pairs "$D/pairs.jsonl" --dose-topics 4 \
    --dose-samples 3 --dose-tokens 10 --bootstrap 200 --seed 3 --out "$o" "$@"; }
only() { # only READOUT OUT...: that readout alone, with its own options
    case $1 in
    vignettes) a="--floor 0" ;;
    margin) a="--pairs $D/pairs.jsonl" ;;
    dose) a="--dose-topics 4 --dose-samples 3 --dose-tokens 10" ;;
    esac
    r=$1 o=$2
    shift 2
    "$WS" eval --quiet --model $T --steer $T/adapter --alpha=-0.6,0,0.7 --behavior enthusiasm --readout "$r" $a --bootstrap 200 --seed 3 --out "$o" "$@"
}

calibrate "$D/c" >"$D/c.txt" 2>"$D/c.err"
ok $? "calibrate runs"
for f in summary audit root_history prompt_refs prompts timing; do
    [ "$(wc -l <"$D/c/$f.csv" 2>/dev/null || echo 0)" -ge 1 ]
    ok $? "calibrate writes $f.csv"
done
grep -q '|a dW|/|W|' "$D/c.txt" && grep -q '^lora' "$D/c.txt"
ok $? "calibrate prints a table"
evaluate "$D/e" >"$D/e.txt" 2>"$D/e.err"
ok $? "eval runs all readouts"
for f in readout foundations vignettes dlogit si effect margin dose; do
    [ "$(wc -l <"$D/e/$f.csv" 2>/dev/null || echo 0)" -ge 2 ]
    ok $? "eval writes $f.csv"
done
head -1 "$D/e.txt" | grep -q '^Vignettes: the readout carries'
ok $? "the first line says whether the readout carries signal"

sums "$D/c" >"$D/c.sum"
sums "$D/e" >"$D/e.sum"
t0=$(date +%s%N)
calibrate "$D/c1" --threads 1 >/dev/null 2>&1
t1=$(date +%s%N)
evaluate "$D/e1" --threads 1 >/dev/null 2>&1
ms_c=$(((t1 - t0) / 1000000)) ms_e=$((($(date +%s%N) - t1) / 1000000))
sums "$D/c1" | cmp -s - "$D/c.sum"
ok $? "calibration: one thread, the same bytes"
sums "$D/e1" | cmp -s - "$D/e.sum"
ok $? "evaluation: one thread, the same bytes"

# Killed again and again, each round living a little longer than the one before; what counts is that some of them were cut.
killed() { # killed NAME OUT FILE-THAT-GROWS MILLISECONDS-OF-AN-UNBROKEN-RUN
    cut=0
    for k in 2 3 4 5 6 7 8 9; do
        KILL="timeout -s KILL $(awk "BEGIN { print $4 / 1000 * $k / 10 }")" $1 "$2" >/dev/null 2>&1
        [ $? = 137 ] && [ -s "$2/$3" ] && cut=$((cut + 1))
    done
    $1 "$2" >"$2.txt" 2>"$2.err"
}
mkdir -p "$D/c2" && echo half >"$D/c2/summary.csv.tmp.12345"
killed calibrate "$D/c2" probes.jsonl $ms_c
[ $cut -ge 1 ]
ok $? "calibration was cut at work by SIGKILL ($cut times)"
sums "$D/c2" | cmp -s - "$D/c.sum" && cmp -s "$D/c.txt" "$D/c2.txt"
ok $? "calibration: killed and resumed, the same bytes"
killed evaluate "$D/e2" vignettes_raw.jsonl $ms_e
[ $cut -ge 1 ]
ok $? "evaluation was cut at work by SIGKILL ($cut times)"
sums "$D/e2" | cmp -s - "$D/e.sum" && cmp -s "$D/e.txt" "$D/e2.txt"
ok $? "evaluation: killed and resumed, the same bytes"

# A probe that is on disk is not made again.
calibrate "$D/c" >"$D/again.txt" 2>/dev/null && cmp -s "$D/c.txt" "$D/again.txt" && [ "$(sort -u "$D/c/probes.jsonl" | wc -l)" = "$(wc -l <"$D/c/probes.jsonl")" ]
ok $? "a finished calibration is taken from its probes"

# The strengths of the calibration, by --calibration.
"$WS" eval --quiet --model $T --steer $T/adapter --calibration "$D/c" --readout margin --pairs "$D/pairs.jsonl" --bootstrap 50 --out "$D/e3" >/dev/null 2>"$D/err" &&
    a=$(awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "alpha_pos") c = i } NR == 2 { print $c }' "$D/c/summary.csv") && grep -q "^lora,$a,plus," "$D/e3/margin.csv"
ok $? "eval takes the calibrated strengths"
cp -r $T/adapter "$D/twin" && chmod -R u+w "$D/twin" && sed 's/"lora_alpha": 4/"lora_alpha": 5/' $T/adapter/adapter_config.json >"$D/twin/adapter_config.json"
"$WS" eval --quiet --model $T --steer "$D/twin" --calibration "$D/c" --readout margin --pairs "$D/pairs.jsonl" --bootstrap 50 --out "$D/e4" >/dev/null 2>"$D/err"
[ $? = 1 ] && grep -q 'were found for another file' "$D/err"
ok $? "strengths of another file are not taken"
calibrate "$D/far" --bracket 0.0001:0.0002 >/dev/null 2>&1 && "$WS" eval --model $T --steer $T/adapter --calibration "$D/far" --readout margin --pairs "$D/pairs.jsonl" --bootstrap 50 --out "$D/e5" >/dev/null 2>"$D/err" &&
    grep -q 'ended above_range: that strength does not stand for the KL budget' "$D/err"
ok $? "a strength off the budget is said"

# Wrong things, each with one clear line and the right exit status.
says() { # says STATUS TEXT NAME command...
    want=$1 text=$2 name=$3
    shift 3
    "$@" >"$D/out" 2>"$D/err"
    got=$?
    [ $got = "$want" ] && grep -qF -- "$text" "$D/err"
    ok $? "$name"
    [ $got = "$want" ] || { echo "exit $got"; cat "$D/err"; }
}
says 2 "--steer is missing" "calibrate without method" "$WS" calibrate --model $T --out "$D/x"
says 2 "has 210 prompts" "more prompts than the pool holds" calibrate "$D/x" --n 4000
says 2 "needs 0 < LO < HI" "a bracket from zero" calibrate "$D/x" --bracket 0:4
says 1 "overflows at alpha" "an overflow names its strength" calibrate "$D/x" --bracket 1e37:1e38
for r in margin vignettes dose; do
    says 1 "lora at alpha +1e+30" "an overflow in $r names its strength" only $r "$D/over-$r" --alpha=1e30
done
printf '{"category": "code", "text": ""}\n' >"$D/p.jsonl"
says 1 "p.jsonl:1" "an empty prompt is named by its line" calibrate "$D/x" --prompts "$D/p.jsonl" --n 1
says 2 "there is no such readout; there are canaries, dose, margin, vignettes" "an unknown readout" evaluate "$D/x" --readout vignette
says 2 "needs held-out pairs" "margin without pairs" "$WS" eval --model $T --steer $T/adapter --alpha=1 --readout margin --out "$D/x"
says 2 "--pairs is for the readout margin, and --readout dose does not ask for it" "an option of another readout" only dose "$D/none" --pairs "$D/pairs.jsonl"
says 2 "--floor is for the readout vignettes, and --readout margin" "a floor without vignettes" only margin "$D/none" --floor 0.5
says 2 "--dose-tokens is for the readout dose, and --readout vignettes,margin" "dose's options without dose" "$WS" eval --model $T --steer $T/adapter --alpha=1 --readout vignettes,margin --pairs "$D/pairs.jsonl" --dose-tokens 5 --out "$D/none"
says 2 "--max-rows is for texts that are spoken" "rows in flight where nothing is spoken" only vignettes "$D/none" --max-rows 3
says 2 "--vignettes is for the readout vignettes, and --readout dose" "a run says the same" "$WS" run --model $T --behavior enthusiasm --readout dose --vignettes "$D/v" --out "$D/none"
says 2 "knows no <think> tag" "thinking without a think tag" only vignettes "$D/none" --max-think 8
says 2 "is outside 0..1000000" "a budget below zero" only vignettes "$D/none" --max-think -1
[ ! -e "$D/none" ]
ok $? "and no folder is made for what is refused"
says 2 "no strengths" "neither --alpha nor --calibration" "$WS" eval --model $T --steer $T/adapter --readout vignettes --out "$D/x"
says 1 "another model" "results of other strengths are not mixed in" evaluate "$D/e" --alpha=-0.6,0.8
sums "$D/e" | cmp -s - "$D/e.sum"
ok $? "and nothing is changed by the refusal"
mkdir "$D/v"
head -3 data/vignettes/other_violate.jsonl >"$D/v/vignettes_mini_other_violate.jsonl"
head -2 data/vignettes/self_violate.jsonl >"$D/v/vignettes_mini_self_violate.jsonl"
says 1 'vignette "care-03" has no partner' "a missing partner is named by its id" only vignettes "$D/x" --vignettes "$D/v"
head -3 data/vignettes/self_violate.jsonl >"$D/v/vignettes_mini_self_violate.jsonl"
only vignettes "$D/x1" --vignettes "$D/v" >/dev/null 2>&1 && only vignettes "$D/x2" --vignettes "$D/v/vignettes_mini" >/dev/null 2>&1 &&
    cmp -s "$D/x1/vignettes_raw.jsonl" "$D/x2/vignettes_raw.jsonl"
ok $? "tinymfv's file names, by folder and by prefix"
exit $bad
