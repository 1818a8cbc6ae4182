#!/bin/sh
# run.sh TARGET: fuzzes for $FUZZ_SECONDS (default 60), starting from the small fixtures of the target's kind (and from what
# earlier runs found, kept in build/fuzz/corpus/TARGET).  An input that breaks something is left in build/fuzz/crash-TARGET-*.
set -eu
target=$1
bin=build/fuzz/tests/fuzz/$target
corpus=build/fuzz/corpus/$target
mkdir -p "$corpus"
case $target in
*safetensors) pattern='*.safetensors' ;;
*gguf) pattern='*.gguf' ;;
*tokenizer*) pattern='*tokenizer*.json' ;;
*template* | *jinja*) pattern='*.jinja' ;;
*) pattern='*.json' ;;
esac
seeds=build/fuzz/seeds/$target
rm -rf "$seeds"
mkdir -p "$seeds"
n=0
# found by name below tests/fixtures; copied under numbers, because names repeat
for f in $(find tests/fixtures -name "$pattern" -size -200k | sort); do
    n=$((n + 1))
    cp "$f" "$seeds/$n"
done
dict=tests/fuzz/$target.dict
[ -f "$dict" ] && dict=-dict=$dict || dict=
echo "$target: $n seeds, ${FUZZ_SECONDS:-60} s"
# shellcheck disable=SC2086
exec "$bin" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="build/fuzz/crash-$target-" $dict "$corpus" "$seeds"
