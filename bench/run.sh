#!/bin/sh
# make bench: this program beside its peers, on the same model, token counts and threads, in turn within one run; one table.
#
#     make bench                              ours alone, with the floors that are shares of this machine
#     make bench PEERS=~/venv                 beside transformers + PEFT, llama.cpp (llama-cpp-python), numpy's OpenBLAS and
#                                             oneDNN (torch), as far as that virtual environment has them
#     make bench PEERS=~/venv SIZE=small      shorter: a quarter of the rows, prompts and vignettes
#     make bench TURNS=6                      more turns of each side, where others use the machine too
#     make bench SIZE=tiny                    a minute, only to see that it works; figures mean nothing
#     make bench ONLY=decode,single           some parts: gemm bf16 few prefill decode single steered threads big data train
#                                             calibrate eval; the parts of the chain go on from what an earlier run left
#     make bench ISA=avx2 LLAMA_AVX2=~/venv2  on a machine with AVX-512: AVX2 alone on both sides; ~/venv2 has llama-cpp-python
#                                             built without AVX-512
#
# Every side may use whatever the CPU has.  The peers' own switches pass through (ONEDNN_MAX_CPU_ISA and the like), and so does
# WS_KERNELS.  llama.cpp built by gcc 12 for a CPU with AMX dies on quantised weights: the compiler's _tile_loadconfig says that
# it reads 8 of the 64 bytes, so the rest is never written; a volatile asm that takes `tc`, before it in ggml-cpu/amx/mmq.cpp,
# mends it (https://github.com/ggml-org/llama.cpp/pull/26954).
#
# MODEL=FILE.gguf takes another model, BIG=DIR the random 4B checkpoint (made by SIZE=demo, 8.7 GiB), THREADS=N other threads,
# BLAS="LIB.so ..." more libraries than those found, TABLE=FILE.md a copy of the table as Markdown.  Best of several turns on
# both sides; `ratio` is ours over theirs in speed (theirs over ours in seconds and memory), and `floor` its least value.
set -eu
B=${B:-build/release}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ws
MODEL=${MODEL:-$CACHE/SmolLM2-135M-Instruct.Q4_1.gguf}
BIG=${BIG:-$CACHE/qwen3.5-4b-random}
OUT=${BENCH_OUT:-out/bench}
SIZE=${SIZE:-demo}
PEERS=${PEERS:-}
cores=$(nproc)
THREADS=${THREADS:-$((cores < 2 ? cores : 2))}
[ -e "$MODEL" ] || { echo "bench: $MODEL is missing; make demo fetches it, or give MODEL=FILE" >&2; exit 1; }
[ -z "$PEERS" ] || [ -x "$PEERS/bin/python" ] || { echo "bench: PEERS=$PEERS is no virtual environment: it has no bin/python" >&2; exit 2; }
case $SIZE in
demo) seconds=0.4 turns=2 rounds=3 prefill=512 few=98304x2560 bigrows=4 topics=20 personas=5 samples=2 tokens=96 prompts=50 kltokens=50 vignettes=140 ;;
small) seconds=0.3 turns=1 rounds=2 prefill=512 few=98304x2560 bigrows=1 topics=10 personas=5 samples=1 tokens=96 prompts=26 kltokens=25 vignettes=35 ;;
tiny) seconds=0.02 turns=1 rounds=1 prefill=32 few=2048x576 bigrows=1 topics=2 personas=1 samples=2 tokens=8 prompts=4 kltokens=8 vignettes=3 ;;
*) echo "bench: SIZE is demo, small or tiny" >&2; exit 2 ;;
esac
turns=${TURNS:-$turns}
every="gemm bf16 few prefill decode single steered threads big data train calibrate eval"
parts=$every
[ -z "${ONLY:-}" ] || parts=$(echo "$ONLY" | tr ',' ' ')
for p in $parts; do
    case " $every " in *" $p "*) ;; *) echo "bench: ONLY=$p: there are $every" >&2; exit 2 ;; esac
done

# AVX2 alone: our own switch and the peers', where the machine has more.  Those of OpenBLAS and BLIS are chosen for each library
# (parts.sh).
wide=$(grep -c -m 1 avx512f /proc/cpuinfo || true)
llama=$PEERS
case ${ISA:-} in
'') ;;
avx2)
    export WS_KERNELS=avx2
    if [ "$wide" = 1 ]; then
        export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
        llama=${LLAMA_AVX2:-}
    fi ;;
*) echo "bench: ISA is avx2, or nothing" >&2; exit 2 ;;
esac
export OMP_NUM_THREADS=$THREADS OPENBLAS_NUM_THREADS=$THREADS BLIS_NUM_THREADS=$THREADS

machine=$("$B/ws" bench machine --json -q)
set_of=$(echo "$machine" | sed 's/.*"kernels": "\([^"]*\)".*/\1/')
# Parts that were measured alone stand in one table with the others of their kind.
kind="$SIZE $set_of $THREADS $(basename "$MODEL")"
[ -n "${ONLY:-}" ] || rm -rf "$OUT"
mkdir -p "$OUT"
[ "$(cat "$OUT/kind" 2>/dev/null)" = "$kind" ] || rm -f "$OUT"/rows* "$OUT"/peaks.*
echo "$kind" >"$OUT/kind"
log=$OUT/log
now() { date +%s.%N; }
since() { echo "$(now) $1" | awk '{printf "%.2f", $1 - $2}'; }
# Values of a key in lines of JSON that hold a text: all, and the largest or smallest.
values() { { grep -hF -- "$2" "$1" || true; } 2>/dev/null | sed -n 's/.*"'"$3"'": "\{0,1\}\([^",}]*\).*/\1/p'; }
most() { values "$1" "$2" "$3" | sort -g | tail -n 1; }
least() { values "$1" "$2" "$3" | sort -g | head -n 1; }
calc() { awk "BEGIN { printf \"%.6g\", ($1) }"; }
has() { [ -n "$PEERS" ] && "$PEERS/bin/python" -c "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))" "$@" 2>/dev/null; }
say() { echo "bench: $*" >&2; }
note() { say "$*"; echo "$*" >>"$OUT/notes.$part"; }
# row BENCH UNIT OURS THEIRS WHOSE FLOOR: one line of the table; without THEIRS it is not compared.
row() { printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$part" "$1" "$2" "$3" "$4" "$5" "$6" >>"$OUT/rows.$part"; }
ws() { "$B/ws" "$@" --threads "$THREADS" -q 2>>"$log"; }
# The machine's peaks, for one thread and for all: multiply-adds of fp32, products of bf16 pairs (0: the kernels have none),
# reading.  A line for each look; what counts is the best that this part saw.
peaks() {
    ws bench machine --json >"$OUT/machine.json"
    for key in fma_gflops bf16_gflops read_gbs; do
        v=$(sed -n 's/.*"'$key'": \[\([^]]*\)\].*/\1/p' "$OUT/machine.json" | tr -d ,)
        echo "${v:-0 0}"
    done | paste -sd' ' | tee -a "$OUT/machine.$part"
}
# peak fma1|fma|bf161|bf16|read1|read: GFLOP/s or GB/s; products on all threads are also seen by `ws bench gemm`.
peak() {
    {
        awk -v c="$1" 'BEGIN {split("fma1 fma bf161 bf16 read1 read", names); for (i in names) at[names[i]] = i} {print $at[c]}' "$OUT/machine.$part"
        [ ! -f "$OUT/$part.ours" ] || case $1 in fma) values "$OUT/$part.ours" '"compute": "f32"' peak ;; bf16) values "$OUT/$part.ours" '"compute": "bf16"' peak ;; esac
    } | sort -g | tail -n 1
}
# What --compute auto takes, and the peak that its rows are a share of.
pairs=$(echo "$machine" | grep -c bf16_gflops || true)
compute=$(ws bench gemm --json --seconds 0.01 --types F32 --shapes 64x32x32 | sed -n 's/.*"compute": "\([^"]*\)".*/\1/p')
case $compute$pairs in
bf161) multiply=bf16 multiply_name="peak of bf16 products" ;;
*) multiply=fma multiply_name="peak of multiply-adds" ;;
esac

# Floors against llama.cpp's quantised types are lower where neither side has more than AVX2.
case $set_of in amx | avx512*) low= ;; *) low=1.2 ;; esac
. bench/parts.sh
. bench/chain.sh

for part in $parts; do
    say "$part"
    rm -f "$OUT/rows.$part" "$OUT/machine.$part" "$OUT/notes.$part"
    peaks >"$OUT/before"
    "part_$part"
    peaks >"$OUT/after"
    # A machine that others used meanwhile is told: a peak of all threads before and after differs.
    {
        paste -d' ' "$OUT/before" "$OUT/after" | awk -v p="$part" '
            function moved(i) { return $i + 0 <= 0 ? 1 : $i > $(i + 6) ? $i / $(i + 6) : $(i + 6) / $i }
            function pairs(i) { return $i + 0 > 0 ? sprintf("bf16 %.0f and %.0f, ", $i, $(i + 1)) : "" }
            function seen(i) {
                return sprintf("%.0f and %.0f GFLOP/s, %s%.1f and %.1f GB/s", $i, $(i + 1), pairs(i + 2), $(i + 4), $(i + 5))
            }
            {
                if (moved(2) > 1.1) what = what ", multiply-adds"
                if (moved(4) > 1.1) what = what ", bf16"
                if (moved(6) > 1.1) what = what ", memory"
                printf "%s: peaks before %s (one thread, all); after %s%s\n", p, seen(1), seen(7), what == "" ? "" : "; DISTURBED (" substr(what, 3) "), these figures mean little"
            }'
        [ ! -f "$OUT/notes.$part" ] || cat "$OUT/notes.$part"
    } >"$OUT/peaks.$part"
    touch "$OUT/rows.$part"
done

table() { for p in $2; do [ ! -f "$OUT/rows.$p" ] || cat "$OUT/rows.$p"; done | awk -F '\t' -v form="$1" -f bench/table.awk; }
machine() {
    echo "$(date +%Y-%m-%d), $(basename "$MODEL"), SIZE=$SIZE: $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), kernel set $set_of, products in $compute unless a row says more, $THREADS of $cores threads"
    for p in $1; do [ ! -f "$OUT/peaks.$p" ] || cat "$OUT/peaks.$p"; done
}
for form in md csv; do table $form "$every" >"$OUT/table.$form"; done
machine "$every" >"$OUT/machine.txt"
machine "$parts"
table text "$parts"
[ -z "${TABLE:-}" ] || cp "$OUT/table.md" "$TABLE"
