#!/bin/sh
# examples/embed.c builds against include/ws.h and libws.a alone; its middle answer (strength 0) is the base model's.
set -eu
model=tests/fixtures/tinychat
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
case $B in *debug*) flags="-fsanitize=address,undefined" ;; *) flags="" ;; esac
${CC:-gcc} -std=c11 -Wall -Wextra -Werror $flags -Iinclude examples/embed.c "$B"/libws.a \
    $(pkg-config --libs jansson libpcre2-8 libutf8proc cairo libcrypto lapacke openblas) -lgomp -pthread -lm -o "$dir"/embed
echo "ok examples/embed.c builds with ws.h and libws.a alone"
"$dir"/embed $model "$dir"/missing.safetensors 1 hi 2>"$dir"/err && { echo "not ok a missing steering file must fail"; exit 1; }
grep -q missing.safetensors "$dir"/err && echo "ok a missing steering file is named in the error"
# Answers come in the order in which they finish; each begins with its strength.
answer() { awk -v s="--- strength $1 " 'index($0, "--- strength ") == 1 {on = index($0, s) == 1; next} on' "$2"; }
"$dir"/embed $model $model/adapter 3 "Tell me about rain." >"$dir"/weak
"$dir"/embed $model $model/adapter 40 "Tell me about rain." >"$dir"/strong
answer +0 "$dir"/weak >"$dir"/a
answer +0 "$dir"/strong >"$dir"/b
[ -s "$dir"/a ] && cmp -s "$dir"/a "$dir"/b && echo "ok strength 0 answers alike beside weak and strong steering" || { echo "not ok strength 0 differs"; exit 1; }
answer +40 "$dir"/strong >"$dir"/c
cmp -s "$dir"/b "$dir"/c && { echo "not ok strength 40 changes nothing"; exit 1; }
echo "ok strength 40 answers differently"
