# bench/parts.sh - the parts of bench/run.sh, which reads this file: each measures ours and theirs in turn and adds rows.

site=$(ls -d "$PEERS"/lib/python3*/site-packages 2>/dev/null | head -n 1)

# ---- matrix products: every library that is there, through one small program -------------------------------------------
blas_libraries() {
    for l in ${BLAS:-} "$site"/numpy.libs/libscipy_openblas*.so "$site"/scipy.libs/libscipy_openblas*.so \
        /usr/lib/*/openblas-pthread/libopenblas.so.0 /usr/lib/*/openblas-openmp/libopenblas.so.0 \
        /usr/lib/*/blis-openmp/libblis.so.4 /usr/lib/*/blis-pthread/libblis.so.4 /usr/lib/*/libblis.so.4; do
        [ ! -f "$l" ] || echo "$l"
    done
}
blas_name() {
    case $1 in
    */numpy.libs/*) echo "OpenBLAS of numpy" ;;
    */scipy.libs/*) echo "OpenBLAS of scipy" ;;
    *openblas*) echo "OpenBLAS of the system" ;;
    *blis*) echo BLIS ;;
    *) basename "$1" ;;
    esac
}
# The row of a shape and direction: share of the peak, and against the best library.
gemm_rows() { # OP TYPE M N K LABEL
    ours=$(most "$OUT/gemm.ours" "\"op\": \"$1\", \"type\": \"$2\", \"m\": $3, \"n\": $4, \"k\": $5," gflops)
    top=$(peak 2)
    row "$6" GFLOP/s "$ours" "$top" "peak of multiply-adds" 0.85
    [ "$2" = F32 ] || return 0
    best=
    whose="OpenBLAS, BLIS"
    for f in "$OUT"/gemm.lib*; do
        [ -f "$f" ] || continue
        v=$(most "$f" "\"op\": \"$1\", \"m\": $3, \"n\": $4, \"k\": $5," gflops)
        [ -n "$v" ] && [ "$(calc "$v > ${best:-0}")" = 1 ] && best=$v && whose=$(cat "$f.name")
    done
    row "$6" GFLOP/s "$ours" "$best" "$whose" 1.00
}
part_gemm() {
    # Down the list: SmolLM2's linears, few rows, a 4B model's linears, the square of the issue.  gradient: gx = gy W.
    shapes=512x1536x576,512x576x1536,512x576x576,512x192x576,64x1536x576,256x2560x2560,256x9216x2560,256x2560x9216,256x8192x2560,256x2560x4096,2048x2560x2560
    gradient=512x576x1536,512x1536x576,512x576x576,256x2560x9216,256x9216x2560
    [ "$SIZE" != tiny ] || { shapes=64x576x576,16x192x576 gradient=64x576x576; }
    rm -f "$OUT"/gemm.*
    ${CC:-cc} -O2 -o "$OUT/blas" bench/blas.c -ldl 2>>"$log" || note "gemm: bench/blas.c did not compile, no BLAS beside ours"
    for turn in $(seq $turns); do
        ws bench gemm --compute f32 --json --seconds $seconds --types F32 --shapes $shapes >>"$OUT/gemm.ours"
        ws bench gemm --compute f32 --json --seconds $seconds --types F32 --gradient --shapes $gradient >>"$OUT/gemm.ours"
        i=0
        [ -x "$OUT/blas" ] || continue
        for l in $(blas_libraries); do
            i=$((i + 1))
            blas_name "$l" >"$OUT/gemm.lib$i.name"
            "$OUT/blas" "$l" $seconds $shapes >>"$OUT/gemm.lib$i" 2>>"$log" && "$OUT/blas" "$l" $seconds $gradient nn >>"$OUT/gemm.lib$i" 2>>"$log" ||
                note "gemm: $(blas_name "$l") ($l) does not run here"
        done
    done
    ws bench gemm --compute f32 --json --seconds $(calc "$seconds / 2") --types BF16,Q8_0,Q4_1 --shapes $shapes >>"$OUT/gemm.ours"
    [ -n "$(cat "$OUT"/gemm.lib*.name 2>/dev/null)" ] && note "gemm: beside $(cat "$OUT"/gemm.lib*.name | sort -u | paste -sd, | sed 's/,/, /g')"
    for s in $(echo $shapes | tr ',' ' '); do
        set -- $(echo "$s" | tr 'x' ' ')
        gemm_rows nt F32 "$1" "$2" "$3" "gemm $s"
    done
    for s in $(echo $gradient | tr ',' ' '); do
        set -- $(echo "$s" | tr 'x' ' ')
        gemm_rows nn F32 "$1" "$2" "$3" "gemm of gradients $s"
    done
    for t in BF16 Q8_0 Q4_1; do # the shape that does worst
        worst=$(values "$OUT/gemm.ours" "\"type\": \"$t\"" gflops | sort -g | head -n 1)
        set -- $(grep "\"type\": \"$t\".*\"gflops\": $worst" "$OUT/gemm.ours" | head -n 1 | sed 's/.*"m": \([0-9]*\), "n": \([0-9]*\), "k": \([0-9]*\).*/\1 \2 \3/')
        gemm_rows nt $t "$1" "$2" "$3" "gemm $t weights, worst: $1x$2x$3"
    done
}

# ---- few rows: weights larger than every cache, against reading memory --------------------------------------------------
part_few() {
    shapes=1x$few,2x$few,4x$few
    for turn in $(seq $turns); do ws bench gemm --compute f32 --json --seconds $seconds --types BF16,Q8_0 --shapes $shapes >>"$OUT/few.ours.new"; done
    mv "$OUT/few.ours.new" "$OUT/few.ours"
    for t in BF16 Q8_0; do
        for m in 1 2 4; do row "gemm $t ${m}x$few" GB/s "$(most "$OUT/few.ours" "\"type\": \"$t\", \"m\": $m," gbs)" "$(peak 4)" "reading memory" 0.80; done
    done
}

# ---- a model's work beside llama.cpp -----------------------------------------------------------------------------------
# The model in each weight type: its own, and what a script makes of it once.
types=
stem=$(basename "$MODEL" .gguf)
own=${stem##*.} stem=${stem%.*}
variant() { [ "$1" = "$own" ] && echo "$MODEL" || echo "$CACHE/$stem.$1.gguf"; }
find_types() {
    case $MODEL in
    *.gguf)
        if [ "$SIZE" != tiny ] && has gguf numpy; then "$PEERS/bin/python" bench/gguf_variants.py "$MODEL" "$CACHE" F32 BF16 Q8_0 >>"$log" 2>&1; fi
        types=
        for t in F32 BF16 Q8_0 $own; do [ ! -f "$(variant "$t")" ] || case " $types " in *" $t "*) ;; *) types="$types $t" ;; esac; done ;;
    *) types=$own ;;
    esac
    [ "$SIZE" != tiny ] || types=$own
}
floor_of() { # TYPE FLOAT Q8_0 Q4_1: which floor holds for a type
    case $1 in F32 | F16 | BF16) echo "$2" ;; Q8_0) echo "${low:-$3}" ;; *) echo "${low:-$4}" ;; esac
}
# beside WHAT LABEL FLOORS OURS... : ours (a `ws bench` subject with options) and llama.cpp with WHAT, for every type.
beside() {
    what=$1 label=$2 floors=$3 subject=$4
    shift 4
    find_types
    for t in $types; do
        rm -f "$OUT/$part.ours" "$OUT/$part.llama"
        for turn in $(seq $turns); do
            ws bench "$subject" --model "$(variant "$t")" --json --rounds $rounds "$@" >>"$OUT/$part.ours"
            case $(variant "$t") in *.gguf) ;; *) continue ;; esac
            if [ -n "$llama" ] && PEERS=$llama has llama_cpp; then
                "$llama/bin/python" bench/llama.py "$(variant "$t")" --threads "$THREADS" --rounds $rounds $what >>"$OUT/$part.llama" 2>>"$log" ||
                    note "$part: llama.cpp failed on $t, see $log"
            fi
        done
        touch "$OUT/$part.llama"
        theirs=$(most "$OUT/$part.llama" "" tokens_per_second)
        row "$label $t" tok/s "$(most "$OUT/$part.ours" "\"subject\": \"$subject\"" tokens_per_second)" "$theirs" "llama.cpp$(values "$OUT/$part.llama" "" setting | tail -n 1 | sed 's/^/, /')" "$(floor_of "$t" $floors)"
    done
    [ ! -s "$OUT/$part.llama" ] || note "$part: llama.cpp says $(most "$OUT/$part.llama" "" system)"
}
part_prefill() { beside "--prefill $prefill" "prefill $prefill" "1.20 2.50 5.00" prefill --tokens $prefill; }
part_decode() {
    [ "$SIZE" = tiny ] && set -- 4 16 4 || set -- 32 64 32
    beside "--decode $1:$2:$3" "decode of $1 rows" "1.20 1.20 1.20" decode --rows "$1" --context "$2" --tokens "$3"
}
part_single() {
    [ "$SIZE" = tiny ] && set -- 16 8 || set -- 64 64
    beside "--decode 1:$1:$2" "single stream decode" "1.10 1.40 1.40" decode --rows 1 --context "$1" --tokens "$2"
}

# What a dW of rank 64 at every linear costs: the same steps with and without, one after the other.
part_steered() {
    find_types
    for t in $types; do
        for r in 32 1; do
            [ "$SIZE" = tiny ] && set -- 16 4 || set -- 64 32
            rm -f "$OUT/steered.ours"
            for turn in $(seq $turns); do ws bench decode --model "$(variant "$t")" --json --rounds $rounds --rank 64 --rows $r --context "$1" --tokens "$2" >>"$OUT/steered.ours"; done
            row "decode of $r rows $t with a dW of rank 64" tok/s "$(values "$OUT/steered.ours" '"subject": "decode"' tokens_per_second | awk 'NR % 2 == 0' | sort -g | tail -n 1)" \
                "$(values "$OUT/steered.ours" '"subject": "decode"' tokens_per_second | awk 'NR % 2' | sort -g | tail -n 1)" "without it (cost at most 15 %)" 0.87
        done
    done
}

# ---- the second thread --------------------------------------------------------------------------------------------------
part_threads() {
    [ "$THREADS" -gt 1 ] || { note "threads: only one"; return 0; }
    find_types
    first=$(echo $types | cut -d' ' -f1)
    rm -f "$OUT"/threads.[1-9]*
    gemm=512x1536x576
    [ "$SIZE" != tiny ] || gemm=64x576x576
    for turn in $(seq $turns); do
        for n in 1 $THREADS; do
            f=$OUT/threads.$n
            {
                OMP_NUM_THREADS=$n "$B/ws" bench gemm --json -q --threads "$n" --seconds $seconds --types F32 --shapes $gemm
                "$B/ws" bench gemm --json -q --threads "$n" --seconds $seconds --types BF16 --shapes "1x$few"
                "$B/ws" bench prefill --json -q --threads "$n" --model "$(variant "$first")" --tokens $prefill --rounds $rounds
                "$B/ws" bench decode --json -q --threads "$n" --model "$(variant "$first")" --rows 1 --context 16 --tokens 16 --rounds $rounds
            } >>"$f" 2>>"$log"
        done
    done
    peaks >/dev/null
    gain() { calc "$(most "$OUT/threads.$THREADS" "$1" "$2") / $(most "$OUT/threads.1" "$1" "$2")"; }
    fma=$(calc "$(peak 2) / $(peak 1)") read=$(calc "$(peak 4) / $(peak 3)")
    row "$THREADS threads: gemm $gemm" x "$(gain '"type": "F32"' gflops)" "$fma" "multiply-adds" 0.90
    row "$THREADS threads: prefill $prefill $first" x "$(gain '"subject": "prefill"' tokens_per_second)" "$fma" "multiply-adds" 0.90
    row "$THREADS threads: gemm BF16 1x$few" x "$(gain '"type": "BF16"' gbs)" "$read" "reading memory" 0.90
    row "$THREADS threads: single stream decode $first" x "$(gain '"subject": "decode"' tokens_per_second)" "$read" "reading memory" 0.90
}

# ---- the shapes of a 4B model, random weights ---------------------------------------------------------------------------
part_big() {
    big=$BIG
    if [ "$SIZE" = tiny ]; then
        big=$OUT/tiny-model
        [ -f "$big/config.json" ] || ws bench make-checkpoint --like tiny-qwen3 "$big" >>"$log"
    elif [ ! -f "$big/config.json" ]; then
        [ "$SIZE" = demo ] || { note "big: $big is not there; SIZE=demo makes it (8.7 GiB), or give BIG=DIR"; return 0; }
        ws bench make-checkpoint --like qwen3.5-4b "$big" >>"$log"
    fi
    name=4B
    [ "$SIZE" != tiny ] || name="tiny model"
    rm -f "$OUT/big.ours"
    for what in ${BIG_WORK:-prefill decode steered train}; do
        case $what in
        prefill) ws bench prefill --json --model "$big" --tokens $prefill --rounds 1 ;;
        decode) ws bench decode --json --model "$big" --rows 1 --context 16 --tokens 8 --rounds 1 ;;
        steered) ws bench decode --json --model "$big" --rows 1 --context 16 --tokens 8 --rounds 1 --rank 64 ;;
        train) ws bench train --json --model "$big" --rows $bigrows --tokens $prefill --rounds 1 ;;
        esac >"$OUT/big.$what"
    done
    share() { # FILE SUBJECT KEY FULL-KEY UNIT LABEL WHOSE FLOOR
        [ -f "$OUT/big.$1" ] || return 0
        row "$name $6" "$5" "$(most "$OUT/big.$1" "\"subject\": \"$2\"" "$3")" "$(most "$OUT/big.$1" "\"subject\": \"$2\"" "$4")" "$7" "$8"
    }
    share train train model_gflops peak_gflops GFLOP/s "training $bigrows x $prefill" "peak of multiply-adds" 0.65
    share prefill prefill model_gflops peak_gflops GFLOP/s "prefill $prefill" "peak of multiply-adds" 0.65
    share decode decode weight_gbs read_gbs GB/s "single stream decode" "reading memory" 0.75
    [ ! -f "$OUT/big.steered" ] || row "$name single stream decode with a dW of rank 64" tok/s \
        "$(values "$OUT/big.steered" '"subject": "decode"' tokens_per_second | tail -n 1)" \
        "$(values "$OUT/big.steered" '"subject": "decode"' tokens_per_second | head -n 1)" "without it (cost at most 15 %)" 0.87
}
