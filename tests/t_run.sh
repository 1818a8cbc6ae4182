#!/bin/sh
# The whole program on a tiny random model: `ws run` from persona to report; nothing is done twice; kill -9 in every stage,
# Ctrl-C and a full disk lose nothing and change nothing; whoever is in the way is named.
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
mkdir -p "$T/vig"
for f in other_violate self_violate; do # two vignettes of each of the seven foundations
    grep -E '"id": "[a-z-]*-0[12]"' data/vignettes/$f.jsonl >"$T/vig/$f.jsonl"
done
cp data/vignettes/frames.json "$T/vig/"
small="--model $ROOT/tests/fixtures/tiny-chat --behavior enthusiasm --threads 1 --topics 4 --personas 2 --samples 2 --heldout 4
    --max-new-tokens 16 --min-new-tokens 4 --rank 4 --lr 1e-2 --warmup 1 --epochs 3 --save-every 1 --kl-prompts 6 --kl-tokens 12
    --kl-audit 4 --dose-topics 6 --dose-samples 2 --dose-tokens 12 --floor 0 --vignettes $T/vig --bootstrap 100"
# Every case works in its own folder with --out out, because results carry the paths that they were made from.
run() { # run CASE [OPTION...]
    mkdir -p "$1" && cd "$1" || return 1
    shift
    "$WS" run $small --out out "$@"
    rc_=$?
    cd "$ROOT" || return 1
    return $rc_
}
start() { # the same in the background; $pid is the program itself
    mkdir -p "$1" && cd "$1" || return 1
    "$WS" run $small --out out >/dev/null 2>err &
    pid=$!
    cd "$ROOT" || return 1
}
# Hashes of all results; what holds times differs between runs by its nature.
hashes() {
    (cd "$1/out" && find . -type f ! -name err ! -name .lock ! -name manifest.json ! -name train.json ! -name timing.csv ! -name probes.jsonl |
        LC_ALL=C sort | xargs sha256sum 2>/dev/null)
}

run "$T/a" >"$T/a.out" 2>"$T/a.err"
check "a whole run" $? "$(tail -n 1 "$T/a.err")"
r=$T/a/out/enthusiasm
missing=""
for f in manifest.json lora/pos/adapter_model.safetensors lora/neg/adapter_config.json lora/dw.safetensors kl_calibration/summary.csv \
    lora/eval.json lora/si.csv lora/margin.csv lora/dose.csv lora/samples.jsonl report/report.md report/report.html report/samples.md \
    report/dose.png report/dose.svg report/margin.png report/dlogit.png report/calibration.svg report/training.png report/calibration.csv \
    report/si.json; do
    [ -s "$r/$f" ] || missing="$missing $f"
done
[ -z "$missing" ]
check "every result is there" $? "$missing"
tail -n 1 "$T/a.err" | grep -Eq '^(steering works|no effect shown): '
check "the last line is the verdict" $?
! grep -Eq 'up to date|\[[0-9]/7\]|it/s|tokens/s' "$T/a.out" && grep -q '^Dose: ' "$T/a.out"
check "stdout has the samples and tables alone" $?
# Each stage's peak beside what was planned for it: none is above, so none pays for memory of the stages before it either.
awk -F '[ ,]+' '/"peak_kib"/ { took = $3 * 1024 } /"planned_bytes"/ { n++; if (took > $3) print took, "above", $3 } END { print n }' "$r/manifest.json" >"$T/mem"
case $WS in *debug*) sed -i '/above/d' "$T/mem" ;; esac # sanitizers keep what is freed
[ "$(cat "$T/mem")" = 7 ]
check "no stage takes more memory than was planned" $? "$(tr '\n' ' ' <"$T/mem")"
hashes "$T/a" >"$T/a.sum"

run "$T/a" >"$T/a2.out" 2>"$T/a2.err" && [ "$(grep -c 'up to date, skipped' "$T/a2.err")" = 7 ] && hashes "$T/a" | cmp -s - "$T/a.sum"
check "a second run skips every stage" $?
cmp -s "$T/a.out" "$T/a2.out"
check "and prints the same" $?

# ---- kill -9 in each stage, at its beginning and a little later, then on to the end ----
# A stage that got away is made to run again by taking one of its results away.
result_of() {
    case $1 in
    data) echo data/tiny-chat/enthusiasm/heldout.jsonl ;;
    "train pos") echo enthusiasm/lora/pos/adapter_model.safetensors ;;
    "train neg") echo enthusiasm/lora/neg/log.csv ;;
    calibrate) echo enthusiasm/kl_calibration/summary.csv ;;
    eval) echo enthusiasm/lora/eval.json ;;
    table) echo enthusiasm/report/dose.png ;;
    esac
}
killed=0 missed=""
for at in "data:0" "data:0.3" "train pos:0" "train pos:0.05" "train neg:0.05" "calibrate:0" "calibrate:0.1" "eval:0" "eval:0.3" "table:0"; do
    stage=${at%:*}
    hit=""
    for attempt in 1 2 3 4 5; do
        rm -f "$T/b/out/$(result_of "$stage")"
        start "$T/b"
        while kill -0 $pid 2>/dev/null; do
            if grep -A 1 -F "\"$stage\": {" "$T/b/out/enthusiasm/manifest.json" 2>/dev/null | grep -q begun; then
                sleep "${at#*:}"
                kill -9 $pid 2>/dev/null && hit=1
                break
            fi
        done
        wait $pid 2>/dev/null
        [ -n "$hit" ] && break
    done
    [ -n "$hit" ] && killed=$((killed + 1)) || missed="$missed $at"
done
run "$T/b" >/dev/null 2>"$T/b.err"
check "a run killed in every stage ends" $? "$(tail -n 1 "$T/b.err")"
[ "$killed" -ge 8 ] # a fast machine may end a stage before its kill
check "it was killed in at least eight of ten places" $? "missed$missed"
hashes "$T/b" >"$T/b.sum"
cmp -s "$T/a.sum" "$T/b.sum"
check "to the same bytes as an unbroken run" $? "$(diff "$T/a.sum" "$T/b.sum" | head -n 5 | tr '\n' ' ')"

# ---- Ctrl-C ----
start "$T/c"
i=0
until grep -q '"train pos"' "$T/c/out/enthusiasm/manifest.json" 2>/dev/null || [ $i -gt 3000 ]; do sleep 0.01; i=$((i + 1)); done
kill -INT $pid
wait $pid
rc=$?
[ $rc = 130 ] && grep -q 'interrupted' "$T/c/err"
check "Ctrl-C ends with status 130 and a sentence" $? "$rc"
run "$T/c" >/dev/null 2>&1 && hashes "$T/c" | cmp -s - "$T/a.sum"
check "and the same command goes on to the same bytes" $?

# ---- a disk that is full: files may not grow beyond a limit ----
(trap '' XFSZ; ulimit -f 8; run "$T/d" >/dev/null 2>"$T/d.err")
rc=$?
[ $rc = 1 ] && [ "$(grep -c '^ws run: ' "$T/d.err")" = 1 ] && grep -Eq 'File too large' "$T/d.err"
check "a full disk is one clear error" $? "$rc $(tail -n 1 "$T/d.err")"
[ -z "$(find "$T/d" -name '*.tmp*')" ]
check "and leaves nothing half written" $? "$(find "$T/d" -name '*.tmp*')"
run "$T/d" >/dev/null 2>"$T/d.err" && hashes "$T/d" | cmp -s - "$T/a.sum"
check "with room again the run goes on to the same bytes" $? "$(tail -n 1 "$T/d.err")"

# ---- whoever is in the way ----
run "$T/a" --lr 1e-3 >"$T/e.out" 2>"$T/e.err"
rc=$?
[ $rc = 1 ] && [ ! -s "$T/e.out" ] && grep -q -- '--lr was 0.01, now 0.001' "$T/e.err" && grep -q -- '--fresh' "$T/e.err"
check "another option in the same place is an error that names both" $? "$(cat "$T/e.err")"
cp -r tests/fixtures/tiny-chat "$T/twin"
sed 's/"rms_norm_eps": 1e-06/"rms_norm_eps": 1e-05/' "$T/twin/config.json" >"$T/c.json" && mv "$T/c.json" "$T/twin/config.json"
run "$T/a" --model "$T/twin" >/dev/null 2>"$T/e.err"
rc=$?
[ $rc = 1 ] && grep -q 'another model: tiny-chat' "$T/e.err" && grep -q 'twin' "$T/e.err"
check "another model in the same place is an error that names both" $? "$(cat "$T/e.err")"
mkdir "$T/other"
for f in other_violate self_violate; do cp "$T/vig/$f.jsonl" "$T/other/vignettes_mine_$f.jsonl"; done
cp -r "$T/a" "$T/v"
run "$T/v" --vignettes "$T/other" >/dev/null 2>"$T/e.err" && run "$T/v" --vignettes "$T/other" >/dev/null 2>"$T/e.err" && grep -q '\[6/7\] eval: up to date' "$T/e.err"
check "vignettes under tinymfv's names" $? "$(tail -n 2 "$T/e.err")"
sed 's/"text": "/"text": "Once more: /' "$T/other/vignettes_mine_other_violate.jsonl" >"$T/x" && mv "$T/x" "$T/other/vignettes_mine_other_violate.jsonl"
run "$T/v" --vignettes "$T/other" >/dev/null 2>"$T/e.err" && grep -q '\[5/7\] calibrate: up to date' "$T/e.err" && grep -q '\[6/7\] eval: .*changed' "$T/e.err"
check "are evaluated again when their content changes" $? "$(grep '6/7' "$T/e.err")"
cp -r tests/fixtures/tiny-chat "$T/stops" && chmod -R u+w "$T/stops"
sed 's/"eos_token_id": 2/"eos_token_id": [2, 0]/' tests/fixtures/tiny-chat/generation_config.json >"$T/stops/generation_config.json"
run "$T/a" --model "$T/stops" >/dev/null 2>"$T/e.err"
rc=$?
[ $rc = 1 ] && grep -q 'another tokenizer' "$T/e.err"
check "other stop ids in the same place are an error" $? "$rc $(tail -n 1 "$T/e.err")"
hashes "$T/a" | cmp -s - "$T/a.sum"
check "and nothing was touched" $?
cp -r "$T/a" "$T/f"
run "$T/f" --lr 1e-3 --fresh >/dev/null 2>"$T/e.err" && ! hashes "$T/f" | cmp -s - "$T/a.sum"
check "--fresh starts over" $? "$(tail -n 1 "$T/e.err")"
for f in adapter_model.safetensors; do
    cp "$T/a/out/enthusiasm/lora/pos/$f" "$T/was"
    printf x >>"$T/a/out/enthusiasm/lora/pos/$f"
    run "$T/a" >/dev/null 2>"$T/e.err"
    cmp -s "$T/was" "$T/a/out/enthusiasm/lora/pos/$f" && grep -q 'was changed afterwards' "$T/e.err" && [ -f "$T/a/out/enthusiasm/changed/enthusiasm-lora-pos-$f" ]
    check "a changed result is kept aside and made anew" $? "$(grep -v skipped "$T/e.err" | head -n 3)"
done
# Files that no other stage reads: each stage that lost one is done again, to the same results.
further="data/tiny-chat/enthusiasm/data.json enthusiasm/lora/pos/train.json enthusiasm/lora/neg/train.json
    enthusiasm/kl_calibration/probes.jsonl enthusiasm/kl_calibration/prompts.csv enthusiasm/kl_calibration/prompt_refs.csv
    enthusiasm/kl_calibration/timing.csv enthusiasm/lora/margin_raw.jsonl"
rm -rf "$r/changed"
for f in $further; do printf x >>"$T/a/out/$f"; done
run "$T/a" >/dev/null 2>"$T/e.err"
missing=""
for f in $further; do
    kept=$r/changed/$(echo "$f" | tr / -)
    [ "$(tail -c 1 "$kept" 2>/dev/null)" = x ] && [ "$(tail -c 1 "$T/a/out/$f")" != x ] || missing="$missing $f"
done
[ -z "$missing" ] && hashes "$T/a" | grep -v ' ./enthusiasm/changed/' | cmp -s - "$T/a.sum"
check "damage to what no other stage reads is noticed too" $? "not noticed:$missing"

# ---- two runs in the same place ----
start "$T/g"
i=0
until [ -f "$T/g/out/enthusiasm/manifest.json" ] || [ $i -gt 3000 ]; do sleep 0.01; i=$((i + 1)); done
run "$T/g" --no-wait >/dev/null 2>"$T/e.err"
rc=$?
[ $rc = 1 ] && grep -q "$pid" "$T/e.err"
check "--no-wait refuses while another run works, naming it" $? "$rc $(cat "$T/e.err")"
run "$T/g" >/dev/null 2>"$T/e.err" && grep -q 'up to date, skipped' "$T/e.err" && ! grep -q '\[1/7\] data: [0-9]' "$T/e.err"
check "a second run waits and then finds all done" $? "$(tail -n 2 "$T/e.err")"
wait $pid

# ---- where nothing can be written; wrong usage ----
for out in /dev/null/x /proc/ws; do
    run "$T/h" --out "$out" >"$T/e.out" 2>"$T/e.err"
    rc=$?
    [ $rc = 1 ] && [ ! -s "$T/e.out" ] && [ "$(wc -l <"$T/e.err")" = 1 ] && grep -q "$out" "$T/e.err"
    check "--out $out is one clear error" $? "$rc $(cat "$T/e.err")"
done
usage() { # usage NAME WORD ARGS...
    name=$1 word=$2
    shift 2
    "$WS" "$@" >"$T/e.out" 2>"$T/e.err"
    rc=$?
    [ $rc = 2 ] && [ ! -s "$T/e.out" ] && grep -q -e "$word" "$T/e.err"
    check "usage: $name" $? "$rc $(head -n 1 "$T/e.err")"
}
usage "no model" "--model is missing" run --behavior enthusiasm --out "$T/z"
usage "unknown option" "no-such" run --no-such
usage "not a number" "samples" run --model tests/fixtures/tiny-chat --samples many
usage "out of range" "target" run --model tests/fixtures/tiny-chat --target-kl 0
usage "stray argument" "stray" run --model tests/fixtures/tiny-chat stray
usage "unknown readout" "tarot" run $small --out "$T/z" --readout tarot
usage "margin without held-out rows" "heldout" run $small --out "$T/z" --heldout 0
usage "unknown adapter" "tarot" run $small --out "$T/z" --adapter tarot
usage "more prompts than there are" "need more" run $small --out "$T/z" --kl-prompts 100000
usage "table of nothing" "which run" table
usage "unknown table" "there are: " table "$T/b/out/enthusiasm" --table tarot
usage "unknown format" "tarot" table "$T/b/out/enthusiasm" --format tarot
"$WS" run $small --out "$T/z" --vignettes "$T" >"$T/e.out" 2>"$T/e.err"
[ $? = 1 ] && grep -q 'other_violate.jsonl' "$T/e.err"
check "missing vignettes are known before work begins" $? "$(cat "$T/e.err")"
[ ! -e "$T/z" ] || [ -z "$(find "$T/z" -name '*.jsonl')" ]
check "a usage error does no work" $?

# ---- looking without doing; tables again ----
run "$T/t" --threads 2 >/dev/null 2>"$T/e.err" && hashes "$T/t" | cmp -s - "$T/a.sum"
check "two threads give the same bytes as one" $? "$(hashes "$T/t" | diff "$T/a.sum" - | head -n 4 | tr '\n' ' ')"
run "$T/p" --plan >"$T/p.out" 2>"$T/p.err" && grep -q '^calibrate ' "$T/p.out" && grep -q 'at most' "$T/p.out" && [ -z "$(find "$T/p" -type f ! -name .lock)" ]
check "--plan prints the stages and does nothing" $? "$(cat "$T/p.err"; find "$T/p" -type f)"
run "$T/b" --json 2>/dev/null >"$T/j.out" && [ "$(wc -l <"$T/j.out")" = 1 ] && grep -q '"verdict": *"' "$T/j.out"
check "--json prints one object" $?
"$WS" table "$T/b/out/enthusiasm" --out "$T/rep" >"$T/t.out" 2>/dev/null && (cd "$T/rep" && find . -type f | LC_ALL=C sort | xargs sha256sum) >"$T/1" &&
    (cd "$T/b/out/enthusiasm/report" && find . -type f | LC_ALL=C sort | xargs sha256sum) | cmp -s - "$T/1"
check "ws table writes the same report as the run" $?
"$WS" table "$T/a/out/enthusiasm" "$T/f/out/enthusiasm" --table dose --format csv 2>/dev/null | head -n 1 | grep -q '^run,setting,score,score_lo,score_hi,'
check "ws table sets two runs side by side" $?
"$WS" table "$T/b/out" >/dev/null 2>"$T/e.err"
[ $? = 1 ] && grep -q 'is it out/<behavior>' "$T/e.err"
check "ws table of another folder says what it wants" $? "$(cat "$T/e.err")"
