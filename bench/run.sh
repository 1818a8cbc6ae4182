#!/bin/sh
# make bench: this program beside its peers, on the same model, token counts and threads, in turn within one run; one table.
#
#     make bench                              ours alone, with the floors that are shares of this machine
#     make bench PEERS=~/venv                 beside transformers + PEFT, llama.cpp (llama-cpp-python), numpy's OpenBLAS and
#                                             oneDNN (torch), as far as that virtual environment has them
#     make bench PEERS=~/venv SIZE=small      shorter: a quarter of the rows, prompts and vignettes
#     make bench SIZE=tiny                    a minute, only to see that it works; figures mean nothing
#     make bench ONLY=decode,single           some parts: gemm few prefill decode single big data train calibrate eval
#                                             threads steered; the parts of the chain go on from what an earlier run left
#     make bench ISA=avx2 LLAMA_AVX2=~/venv2  on a machine with AVX-512: AVX2 alone on both sides; ~/venv2 has llama-cpp-python
#                                             built without AVX-512
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
every="gemm few prefill decode single steered threads big data train calibrate eval"
parts=$every
[ -z "${ONLY:-}" ] || parts=$(echo "$ONLY" | tr ',' ' ')
for p in $parts; do
    case " $every " in *" $p "*) ;; *) echo "bench: ONLY=$p: there are $every" >&2; exit 2 ;; esac
done

# AVX2 alone: our own switch and the peers', where the machine has more.
wide=$(grep -c -m 1 avx512f /proc/cpuinfo || true)
llama=$PEERS
case ${ISA:-} in
'') ;;
avx2)
    export WS_KERNELS=avx2
    if [ "$wide" = 1 ]; then
        export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 DNNL_MAX_CPU_ISA=AVX2 OPENBLAS_CORETYPE=Haswell BLIS_ARCH_TYPE=3 MKL_ENABLE_INSTRUCTIONS=AVX2
        llama=${LLAMA_AVX2:-}
    fi ;;
*) echo "bench: ISA is avx2, or nothing" >&2; exit 2 ;;
esac
export OMP_NUM_THREADS=$THREADS OPENBLAS_NUM_THREADS=$THREADS BLIS_NUM_THREADS=$THREADS

set_of=$("$B/ws" bench machine -q | sed -n 's/^kernel set //p')
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
# The machine's peaks: multiply-adds of one thread and of all, reading likewise; each is the best that this part saw.
peaks() { ws bench machine --json | sed 's/.*"fma_gflops": \[\([^,]*\), \([^]]*\)\], "read_gbs": \[\([^,]*\), \([^]]*\)\].*/\1 \2 \3 \4/' | tee -a "$OUT/machine.$part"; }
peak() { { awk -v c="$1" '{print $c}' "$OUT/machine.$part"; [ "$1" != 2 ] || [ ! -f "$OUT/$part.ours" ] || values "$OUT/$part.ours" '"op"' peak; } | sort -g | tail -n 1; }

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
    # A machine that others used meanwhile is told: its peak before and after differ.
    {
        paste -d' ' "$OUT/before" "$OUT/after" | awk -v p="$part" '{
            d = $2 > $6 ? $2 / $6 : $6 / $2
            printf "%s: peaks before %.0f and %.0f GFLOP/s, %.1f and %.1f GB/s (one thread, all); after %.0f and %.0f, %.1f and %.1f%s\n",
                p, $1, $2, $3, $4, $5, $6, $7, $8, (d > 1.1 ? "; DISTURBED, these figures mean little" : "") }'
        [ ! -f "$OUT/notes.$part" ] || cat "$OUT/notes.$part"
    } >"$OUT/peaks.$part"
    touch "$OUT/rows.$part"
done

table() { for p in $2; do [ ! -f "$OUT/rows.$p" ] || cat "$OUT/rows.$p"; done | awk -F '\t' -v form="$1" -f bench/table.awk; }
machine() {
    echo "$(date +%Y-%m-%d), $(basename "$MODEL"), SIZE=$SIZE: $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1), kernel set $set_of, $THREADS of $cores threads"
    for p in $1; do [ ! -f "$OUT/peaks.$p" ] || cat "$OUT/peaks.$p"; done
}
for form in md csv; do table $form "$every" >"$OUT/table.$form"; done
machine "$every" >"$OUT/machine.txt"
machine "$parts"
table text "$parts"
[ -z "${TABLE:-}" ] || cp "$OUT/table.md" "$TABLE"
