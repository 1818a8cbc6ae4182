#!/bin/sh
# make bench: every stage of the chain, ours and - with PEERS=DIR, a virtual environment that has torch, transformers, peft
# and gguf - transformers + PEFT on the same model, sizes and threads, one after the other on an otherwise idle machine.
#
#     make bench                              ours alone
#     make bench PEERS=~/venv                 beside the peer in fp32, the ratio in the last column
#     make bench PEERS=~/venv SIZE=small      a quarter of the rows, prompts and vignettes
#     make bench PEERS=~/venv SIZE=tiny       a minute, to see that it works
#
# MODEL=FILE.gguf takes another model.  Seconds are wall time of the whole stage, tokens per second count the tokens that
# were generated (data), trained on (train, both sides), scored (calibrate, eval).  `x` is the peer's time over ours for the
# same work: where the two did not process the same number of tokens, the time for one token is compared.
set -eu
B=${B:-build/release}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ws
MODEL=${MODEL:-$CACHE/SmolLM2-135M-Instruct.Q4_1.gguf}
DTYPE=${DTYPE:-f32}
OUT=${BENCH_OUT:-out/bench}
[ -f "$MODEL" ] || { echo "bench: $MODEL is missing; make demo fetches it, or give MODEL=FILE" >&2; exit 1; }
case ${SIZE:-demo} in
demo) topics=20 personas=5 samples=2 tokens=96 prompts=50 kltokens=50 vignettes=140 ;;
small) topics=10 personas=5 samples=1 tokens=96 prompts=26 kltokens=25 vignettes=35 ;;
tiny) topics=2 personas=1 samples=2 tokens=8 prompts=4 kltokens=8 vignettes=3 ;;
*) echo "bench: SIZE is demo, small or tiny" >&2; exit 2 ;;
esac
rm -rf "$OUT"
mkdir -p "$OUT"
mkdir "$OUT/vignettes"
for f in other_violate self_violate; do head -n $vignettes "data/vignettes/$f.jsonl" >"$OUT/vignettes/$f.jsonl"; done
now() { date +%s.%N; }
since() { echo "$(now) $1" | awk '{printf "%.2f", $1 - $2}'; }
log=$OUT/log
"$B/ws" bench machine | tee "$OUT/machine.txt"

echo "ws: data" >&2
t=$(now)
"$B/ws" data --model "$MODEL" --behavior enthusiasm --topics $topics --personas $personas --samples $samples \
    --max-new-tokens $tokens --heldout 0 --seed 42 --out "$OUT/data" -v 2>>"$log" >/dev/null
data_s=$(since $t)
data_n=$(sed 's/.*"n_tokens_pos": \([0-9]*\), "n_tokens_neg": \([0-9]*\).*/\1 \2/' "$OUT/data/pairs.jsonl" | awk '{n += $1 + $2} END {print n}')

echo "ws: train, both sides" >&2
t=$(now)
for side in pos neg; do
    "$B/ws" train --model "$MODEL" --pairs "$OUT/data/pairs.jsonl" --side $side --seed 42 --out "$OUT/$side" -v 2>>"$log" >/dev/null
done
train_s=$(since $t)
train_n=$(awk -F, 'FNR == 1 {for (i = 1; i <= NF; i++) if ($i == "tokens") c = i; next} {n += $c} END {print n}' "$OUT/pos/log.csv" "$OUT/neg/log.csv")
"$B/ws" diff --model "$MODEL" "$OUT/pos" "$OUT/neg" --out "$OUT/dw.safetensors" 2>>"$log" >/dev/null

echo "ws: calibrate, both signs" >&2
t=$(now)
"$B/ws" calibrate --model "$MODEL" --steer "$OUT/dw.safetensors" --n $prompts --tokens $kltokens --audit 0 --seed 42 \
    --out "$OUT/kl" -v 2>>"$log" >/dev/null
cal_s=$(since $t)
cal_n=$(awk -F, 'FNR == 1 {for (i = 1; i <= NF; i++) if ($i == "n") c = i; next} {n += $c} END {print n}' "$OUT/kl/root_history.csv")
probes=$(($(wc -l <"$OUT/kl/root_history.csv") - 1))

echo "ws: eval, vignettes at three strengths" >&2
t=$(now)
"$B/ws" eval --model "$MODEL" --steer "$OUT/dw.safetensors" --calibration "$OUT/kl" --readout vignettes --behavior enthusiasm \
    --vignettes "$OUT/vignettes" \
    --out "$OUT/eval" -v 2>>"$log" >/dev/null
eval_s=$(since $t)
peak=$(sed -n 's/.*peak memory \([0-9]*\) MiB.*/\1/p' "$log" | sort -n | tail -1)

if [ -z "${PEERS:-}" ]; then
    printf '%-10s %10s %12s\n' stage seconds tokens/s
    awk -v d="$data_s $data_n" -v t="$train_s $train_n" -v c="$cal_s $cal_n" -v e="$eval_s" 'BEGIN {
        split(d, a); printf "%-10s %10.1f %12.1f\n", "data", a[1], a[2] / a[1]
        split(t, a); printf "%-10s %10.1f %12.1f\n", "train", a[1], a[2] / a[1]
        split(c, a); printf "%-10s %10.1f %12.1f\n", "calibrate", a[1], a[2] / a[1]
        printf "%-10s %10.1f\n", "eval", e }'
    echo "peak memory $peak MiB; PEERS=DIR puts transformers + PEFT beside it"
    exit 0
fi

echo "transformers + PEFT, $DTYPE" >&2
"$PEERS/bin/python" -W ignore bench/peer.py "$MODEL" "$OUT/peer" --dtype "$DTYPE" --topics $topics --personas $personas \
    --samples $samples --tokens $tokens --kl-prompts $prompts --kl-tokens $kltokens --vignettes $vignettes --seed 42 >"$OUT/peer.txt" 2>>"$log"
tail -1 "$OUT/peer.txt" >"$OUT/peer.json"
"$PEERS/bin/python" - "$OUT/peer.json" "$peak" "$probes" data "$data_s" "$data_n" train "$train_s" "$train_n" calibrate "$cal_s" "$cal_n" eval "$eval_s" "" <<'P'
import json, sys
peer = json.load(open(sys.argv[1]))
peak, probes, rest = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
print("%-10s %12s %12s %12s %12s %8s" % ("stage", "ws s", "ws tok/s", "peer s", "peer tok/s", "x"))
ours_total = peer_total = 0.0
for i in range(0, len(rest), 3):
    name, seconds, tokens = rest[i], float(rest[i + 1]), rest[i + 2]
    p = peer["stages"][name]
    ours_total, peer_total = ours_total + seconds, peer_total + p["seconds"]
    if tokens and p["tokens"] and name != "eval":
        rate = int(tokens) / seconds
        print("%-10s %12.1f %12.1f %12.1f %12.1f %8.2f" % (name, seconds, rate, p["seconds"], p["per_second"], rate / p["per_second"]))
    else:
        print("%-10s %12.1f %12s %12.1f %12s %8.2f" % (name, seconds, "", p["seconds"], "", p["seconds"] / seconds))
print("%-10s %12.1f %12s %12.1f %12s %8.2f" % ("total", ours_total, "", peer_total, "", peer_total / ours_total))
print("peak memory: ws %d MiB, peer %d MiB; probes of alpha: ws %d, peer %d; peer dtype %s, threads %d" %
      (peak, peer["peak_mib"], probes, sum(peer["probes"]), peer["dtype"], peer["threads"]))
P
