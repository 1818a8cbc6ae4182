#!/bin/sh
# examples/embed.c builds against include/ws.h and libws.a alone, and at strength 0 answers as the base model does.
set -eu
model=tests/fixtures/tiny-chat
[ -f $model/config.json ] || { echo "not ok the fixture $model is missing"; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
${CC:-gcc} -std=c11 -Wall -Wextra -Werror -Iinclude examples/embed.c "$B"/libws.a \
    $(pkg-config --libs jansson libpcre2-8 libutf8proc cairo libcrypto) ${EMBED_FLAGS:-} -lgomp -lm -o "$dir"/embed
echo "ok examples/embed.c builds with ws.h and libws.a alone"
if "$dir"/embed $model "$dir"/missing.safetensors 1 hi 2>"$dir"/err; then echo "not ok a missing steering file must fail"; exit 1; fi
grep -q missing.safetensors "$dir"/err && echo "ok a missing steering file is named in the error"
