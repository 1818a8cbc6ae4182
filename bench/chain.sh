# bench/chain.sh - the stages of the chain beside transformers + PEFT, for bench/run.sh, which reads this file.
# A stage needs what the one before it left in $OUT (ours) and $OUT/peer.TYPE (theirs), so it can also run alone.

# The types that the peer computes in, the better of which counts: bf16 too, unless torch's products are under half as fast in it
# as in fp32, which is where it walks through them number by number and would take hours.
DTYPES=${DTYPES:-}
pick_dtypes() {
    [ -z "$DTYPES" ] || return 0
    for d in f32 bf16; do
        "$PEERS/bin/python" -W ignore bench/linear.py 256x1536x576 --dtype $d --seconds 0.2 --threads "$THREADS" 2>>"$log" | sed 's/.*"gflops": \([0-9.]*\).*/\1/'
    done >"$OUT/dtypes"
    DTYPES=$(paste -sd' ' "$OUT/dtypes" | awk '{print ($2 >= $1 / 2 ? "f32 bf16" : "f32")}')
    note "peer: torch multiplies at $(paste -sd' ' "$OUT/dtypes" | sed 's/ / GFLOP\/s in fp32, /') in bf16; its stages are timed in: $DTYPES"
}
# theirs STAGE: the better of the types; its seconds, and tokens of theirs.
peer() {
    their_s= their_n= their_d=
    has torch transformers peft || return 0
    pick_dtypes
    for d in $DTYPES; do
        dir=$OUT/peer.$d
        mkdir -p "$dir"
        [ ! -d "$OUT/hf" ] || [ -e "$dir/hf" ] || ln -s ../hf "$dir/hf"
        "$PEERS/bin/python" -W ignore bench/peer.py "$MODEL" "$dir" --dtype "$d" --threads "$THREADS" --stages "$1" --topics $topics \
            --personas $personas --samples $samples --tokens $tokens --kl-prompts $prompts --kl-tokens $kltokens --vignettes $vignettes \
            --seed 42 >"$dir/$1.out" 2>>"$log" || { note "$1: the peer in $d failed, see $log"; continue; }
        tail -n 1 "$dir/$1.out" >"$dir/$1.json"
        s=$(sed 's/.*"'"$1"'": {"seconds": \([0-9.]*\).*/\1/' "$dir/$1.json")
        n=$(sed 's/.*"'"$1"'": {"seconds": [0-9.]*, "tokens": \([0-9]*\|null\).*/\1/' "$dir/$1.json")
        if [ -z "$their_s" ] || [ "$(calc "$s < $their_s")" = 1 ]; then their_s=$s their_n=$n their_d=$d; fi
    done
}
whose() { [ -z "$their_d" ] && echo "transformers + PEFT" || echo "transformers + PEFT, $their_d"; }
# stage NAME SECONDS TOKENS FLOOR: as tokens/s, and the seconds for the sum.  Both did the same work except where texts ended
# earlier or the root took another way, so for the sum the peer's time is scaled to the tokens that we had.
stage() {
    peer "$1"
    rate= scaled=$their_s
    [ -z "$their_s" ] || [ "$1" = diff ] || rate=$(calc "$their_n / $their_s")
    [ -z "$rate" ] || scaled=$(calc "$3 / $rate")
    [ "$1" = diff ] || row "$5" "$6" "$(calc "$3 / $2")" "$rate" "$(whose)" "$4"
    # MiB of our peak in this stage, seconds of both
    echo "$1 $2 ${scaled:--} $(sed -n 's/.*peak memory \([0-9]*\) MiB.*/\1/p' "$OUT/log.$1" | sort -n | tail -n 1)" >"$OUT/stage.$1"
    note "$1: ws $2 s for $3 tokens${their_s:+; peer $their_s s for $their_n}"
}
behavior=enthusiasm
timed() { # NAME COMMAND...: seconds of it
    f=$OUT/log.$1
    shift
    t=$(now)
    "$B/ws" "$@" --threads "$THREADS" --seed 42 -v 2>>"$f" >/dev/null || { tail -n 3 "$f" >&2; exit 1; }
    spent=$(since "$t")
}
part_data() {
    rm -rf "$OUT/data" "$OUT/pos" "$OUT/neg" "$OUT/kl" "$OUT/eval" "$OUT"/log.* "$OUT"/stage.* "$OUT"/peer.*
    if [ ! -d "$OUT/hf" ] && has torch transformers && [ -f "$MODEL" ]; then # once, and not on the clock
        "$PEERS/bin/python" -W ignore bench/peer.py "$MODEL" "$OUT" --stages "" >>"$log" 2>&1 || true
    fi
    timed data data --model "$MODEL" --behavior $behavior --topics $topics --personas $personas --samples $samples \
        --max-new-tokens $tokens --heldout 0 --out "$OUT/data"
    n=$(sed 's/.*"n_tokens_pos": \([0-9]*\), "n_tokens_neg": \([0-9]*\).*/\1 \2/' "$OUT/data/pairs.jsonl" | awk '{n += $1 + $2} END {print n}')
    stage data "$spent" "$n" 3.00 "data: $((2 * topics * personas * samples)) answers of $tokens tokens" tok/s
}
column() { f=$1; shift; awk -F, -v c="$f" 'FNR == 1 {for (i = 1; i <= NF; i++) if ($i == c) k = i; next} {n += $k} END {print n}' "$@"; }
part_train() {
    rm -rf "$OUT/pos" "$OUT/neg" "$OUT/dw.safetensors"
    all=0
    for side in pos neg; do
        timed train train --model "$MODEL" --pairs "$OUT/data/pairs.jsonl" --side $side --eval-every 0 --out "$OUT/$side"
        all=$(calc "$all + $spent")
    done
    stage train "$all" "$(column tokens "$OUT/pos/log.csv" "$OUT/neg/log.csv")" 2.00 "training, ragged pairs, both sides" tok/s
    t=$(now)
    "$B/ws" diff --model "$MODEL" "$OUT/pos" "$OUT/neg" --out "$OUT/dw.safetensors" 2>>"$OUT/log.diff" >/dev/null
    stage diff "$(since "$t")" 0
}
part_calibrate() {
    rm -rf "$OUT/kl"
    timed calibrate calibrate --model "$MODEL" --steer "$OUT/dw.safetensors" --n $prompts --tokens $kltokens --audit 0 --out "$OUT/kl"
    stage calibrate "$spent" "$(column n "$OUT/kl/root_history.csv")" 5.00 "calibrate: $prompts prompts of $kltokens tokens, both signs" pos/s
    note "calibrate: probes of alpha: ws $(($(wc -l <"$OUT/kl/root_history.csv") - 1))$(for d in $DTYPES; do [ ! -f "$OUT/peer.$d/calibrate.json" ] || sed 's/.*"probes": \(\[[^]]*\]\).*/, peer \1/' "$OUT/peer.$d/calibrate.json"; done)"
}
part_eval() {
    rm -rf "$OUT/eval" "$OUT/vignettes"
    mkdir "$OUT/vignettes"
    for f in other_violate self_violate; do head -n $vignettes "data/vignettes/$f.jsonl" >"$OUT/vignettes/$f.jsonl"; done
    timed eval eval --model "$MODEL" --steer "$OUT/dw.safetensors" --calibration "$OUT/kl" --readout vignettes --behavior $behavior \
        --vignettes "$OUT/vignettes" --out "$OUT/eval"
    stage eval "$spent" $((12 * vignettes)) 5.00 "eval: $vignettes vignettes x 4 prompts x 3 strengths" prompt/s
    # the sum, where every stage of this size is there
    for s in data train diff calibrate eval; do [ -f "$OUT/stage.$s" ] || { note "eval: without $s there is no sum of the chain"; return 0; }; done
    row "whole chain" s "$(cat "$OUT"/stage.* | awk '{n += $2} END {print n}')" "$(cat "$OUT"/stage.* | awk '$3 == "-" {none = 1} {n += $3} END {if (!none) print n}')" "$(whose)" 5.00
    row "whole chain, peak memory" MiB "$(cat "$OUT"/stage.* | awk '$4 > m {m = $4} END {print m}')" 1024 "limit" 1.00
    ram=$(for d in $DTYPES; do cat "$OUT/peer.$d"/*.json 2>/dev/null; done | sed -n 's/.*"peak_mib": \([0-9]*\).*/\1/p' | sort -n | tail -n 1)
    [ -z "$ram" ] || note "eval: the peer's peak memory over the stages was $ram MiB"
}
