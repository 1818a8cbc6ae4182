# bench/parts.sh - the parts of bench/run.sh, which reads this file: each measures ours and theirs in turn and adds rows.

site=$(ls -d "$PEERS"/lib/python3*/site-packages 2>/dev/null | head -n 1)

# ---- matrix products: every library that is there, through one small program -------------------------------------------
blas_libraries() {
    for l in ${BLAS:-} "$site"/numpy.libs/libscipy_openblas*.so "$site"/scipy.libs/libscipy_openblas*.so \
        /usr/lib/*/openblas-pthread/libopenblas.so.0 /usr/lib/*/openblas-openmp/libopenblas.so.0 \
        /usr/lib/*/blis-openmp/libblis.so.4 /usr/lib/*/blis-pthread/libblis.so.4 /usr/lib/*/libblis.so.4; do
        [ ! -f "$l" ] || readlink -f "$l"
    done | awk '!seen[$0]++'
}
# Which kernels a library takes, with a setting.
blas_core() { env ${2:-} OPENBLAS_VERBOSE=2 BLIS_ARCH_DEBUG=1 "$OUT/blas" "$1" 0.001 256x256x256 2>&1 | sed -n "s/^Core: //p; s/.*sub-configuration '\(.*\)'.*/\1/p" | tail -n 1; }
# The settings that a library is measured in (- is none): its own choice and, as both misjudge CPUs younger than they are, the
# widest kernels that they have; with AVX2 alone Haswell's.  BLIS takes a name or, by version, a number: each is tried until the
# library says that it obeys.
blas_settings() {
    own=$(blas_core "$1")
    if [ "$wide" != 1 ] || [ -z "$own" ]; then echo -; return; fi
    key=OPENBLAS_CORETYPE names=SkylakeX want='skx\|skylakex\|cooperlake\|sapphirerapids'
    case $1 in *blis*) key=BLIS_ARCH_TYPE names="skx 0 1" ;; esac
    if [ -n "${ISA:-}" ]; then
        want=haswell
        [ $key = BLIS_ARCH_TYPE ] && names="haswell 3 4" || names=Haswell
    else
        echo -
        ! echo "$own" | grep -qix "$want" || return 0
    fi
    for n in $names; do
        if blas_core "$1" "$key=$n" | grep -qix "$want"; then echo "$key=$n"; return; fi
    done
}
blas_name() {
    case $1 in
    */numpy.libs/*) echo "numpy OpenBLAS" ;;
    */scipy.libs/*) echo "scipy OpenBLAS" ;;
    *openblas*) echo "system OpenBLAS" ;;
    *blis*) echo BLIS ;;
    *) basename "$1" ;;
    esac
}
# Down the list: SmolLM2's linears, few rows, a 4B model's linears, the square of the issue.  gradient: gx = gy W.
shapes=512x1536x576,512x576x1536,512x576x576,512x192x576,64x1536x576,256x2560x2560,256x9216x2560,256x2560x9216,256x8192x2560,256x2560x4096,2048x2560x2560
gradient=512x576x1536,512x1536x576,512x576x576,256x2560x9216,256x9216x2560
[ "$SIZE" != tiny ] || { shapes=64x576x576,16x192x576 gradient=64x576x576; }
# The row of a shape and direction: share of the peak, and against the best of the peer's files, PART.lib*.
gemm_rows() { # OP TYPE M N K LABEL PEAK FLOOR PEERS FLOOR
    ours=$(most "$OUT/$part.ours" "\"op\": \"$1\", \"type\": \"$2\", \"m\": $3, \"n\": $4, \"k\": $5," gflops)
    [ "$7" = bf16 ] && top="peak of bf16 products" || top="peak of multiply-adds"
    row "$6" GFLOP/s "$ours" "$(peak "$7")" "$top" "$8"
    [ -n "${9:-}" ] || return 0
    best= whose=$9
    for f in "$OUT/$part".lib*; do
        [ -f "$f" ] || continue
        v=$(most "$f" "\"op\": \"$1\", \"m\": $3, \"n\": $4, \"k\": $5," gflops)
        [ -n "$v" ] && [ "$(calc "$v > ${best:-0}")" = 1 ] && best=$v && whose=$(cat "$f.name")
    done
    row "$6" GFLOP/s "$ours" "$best" "$whose" "${10}"
}
# all_rows TYPE WORST PEAK FLOOR PEERS FLOOR: every shape of TYPE's weights; of the types WORST only the shape that does worst.
all_rows() {
    for s in $(echo $shapes | tr ',' ' '); do gemm_rows nt "$1" $(echo "$s" | tr 'x' ' ') "$part $s" "$3" "$4" "$5" "$6"; done
    for s in $(echo $gradient | tr ',' ' '); do gemm_rows nn "$1" $(echo "$s" | tr 'x' ' ') "$part of gradients $s" "$3" "$4" "$5" "$6"; done
    for t in $2; do
        worst=$(values "$OUT/$part.ours" "\"type\": \"$t\"" gflops | sort -g | head -n 1)
        mnk=$(grep "\"type\": \"$t\".*\"gflops\": $worst" "$OUT/$part.ours" | head -n 1 | sed 's/.*"m": \([0-9]*\), "n": \([0-9]*\), "k": \([0-9]*\).*/\1 \2 \3/')
        gemm_rows nt "$t" $mnk "$part $t weights, worst: $(echo "$mnk" | tr ' ' 'x')" "$3" "$4"
    done
}
part_gemm() {
    rm -f "$OUT"/gemm.*
    ${CC:-cc} -O2 -o "$OUT/blas" bench/blas.c -ldl 2>>"$log" || note "gemm: bench/blas.c did not compile, no BLAS beside ours"
    if [ -x "$OUT/blas" ]; then
        for l in $(blas_libraries); do
            found=$(blas_settings "$l")
            [ -n "$found" ] || note "gemm: $(blas_name "$l") ($l) does not take the setting that is asked for, so it is left out"
            for v in $found; do echo "$l $v"; done
        done >"$OUT/gemm.measured"
    else : >"$OUT/gemm.measured"; fi
    for turn in $(seq $turns); do
        ws bench gemm --compute f32 --json --seconds $seconds --types F32 --shapes $shapes >>"$OUT/gemm.ours"
        ws bench gemm --compute f32 --json --seconds $seconds --types F32 --gradient --shapes $gradient >>"$OUT/gemm.ours"
        i=0
        while read -r l v; do
            i=$((i + 1))
            [ "$v" != - ] || v=
            [ -s "$OUT/gemm.lib$i.name" ] || echo "$(blas_name "$l"), $(blas_core "$l" "$v")" | sed 's/, $//' >"$OUT/gemm.lib$i.name"
            { env $v "$OUT/blas" "$l" $seconds $shapes && env $v "$OUT/blas" "$l" $seconds $gradient nn; } >>"$OUT/gemm.lib$i" 2>>"$log" ||
                note "gemm: $(blas_name "$l") ($l) does not run here"
        done <"$OUT/gemm.measured"
    done
    ws bench gemm --compute f32 --json --seconds $(calc "$seconds / 2") --types BF16,Q8_0,Q4_1 --shapes $shapes >>"$OUT/gemm.ours"
    [ ! -s "$OUT/gemm.measured" ] || note "gemm: beside $(cat "$OUT"/gemm.lib*.name | sort -u | paste -sd';' | sed 's/;/; /g')"
    all_rows F32 "BF16 Q8_0 Q4_1" fma 0.85 "OpenBLAS, BLIS" 1.00
}
# The same in bf16, where the kernels have products of bf16 pairs; the peer is oneDNN, through torch.
part_bf16() {
    rm -f "$OUT"/bf16.*
    [ "$pairs" = 1 ] || { note "bf16: the kernels $set_of have no products of bf16 pairs"; return 0; }
    for turn in $(seq $turns); do
        ws bench gemm --compute bf16 --json --seconds $seconds --types BF16 --shapes $shapes >>"$OUT/bf16.ours"
        ws bench gemm --compute bf16 --json --seconds $seconds --types BF16 --gradient --shapes $gradient >>"$OUT/bf16.ours"
        has torch || continue
        echo "oneDNN${ONEDNN_MAX_CPU_ISA:+, $ONEDNN_MAX_CPU_ISA}" >"$OUT/bf16.lib1.name"
        {
            "$PEERS/bin/python" -W ignore bench/linear.py $shapes --seconds $seconds --threads "$THREADS" &&
                "$PEERS/bin/python" -W ignore bench/linear.py $gradient --gradient --seconds $seconds --threads "$THREADS"
        } >>"$OUT/bf16.lib1" 2>>"$log" || note "bf16: torch failed, see $log"
    done
    ws bench gemm --compute bf16 --json --seconds $(calc "$seconds / 2") --types F32,Q8_0,Q4_1 --shapes $shapes >>"$OUT/bf16.ours"
    all_rows BF16 "F32 Q8_0 Q4_1" bf16 0.80 oneDNN 0.95
}

# ---- few rows: weights larger than every cache, against reading memory --------------------------------------------------
part_few() {
    rows=1x$few,2x$few,4x$few
    for turn in $(seq $turns); do ws bench gemm --json --seconds $seconds --types BF16,Q8_0 --shapes $rows >>"$OUT/few.ours.new"; done
    mv "$OUT/few.ours.new" "$OUT/few.ours"
    for t in BF16 Q8_0; do
        for m in 1 2 4; do row "gemm $t ${m}x$few" GB/s "$(most "$OUT/few.ours" "\"type\": \"$t\", \"m\": $m," gbs)" "$(peak read)" "reading memory" 0.80; done
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
    multiplied=$(calc "$(peak $multiply) / $(peak ${multiply}1)") read=$(calc "$(peak read) / $(peak read1)")
    row "$THREADS threads: gemm $gemm" x "$(gain '"type": "F32"' gflops)" "$multiplied" "$multiply_name" 0.90
    row "$THREADS threads: prefill $prefill $first" x "$(gain '"subject": "prefill"' tokens_per_second)" "$multiplied" "$multiply_name" 0.90
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
    share train train model_gflops peak_gflops GFLOP/s "training $bigrows x $prefill" "$multiply_name" 0.65
    share prefill prefill model_gflops peak_gflops GFLOP/s "prefill $prefill" "$multiply_name" 0.65
    share decode decode weight_gbs read_gbs GB/s "single stream decode" "reading memory" 0.75
    [ ! -f "$OUT/big.steered" ] || row "$name single stream decode with a dW of rank 64" tok/s \
        "$(values "$OUT/big.steered" '"subject": "decode"' tokens_per_second | tail -n 1)" \
        "$(values "$OUT/big.steered" '"subject": "decode"' tokens_per_second | head -n 1)" "without it (cost at most 15 %)" 0.87
}
