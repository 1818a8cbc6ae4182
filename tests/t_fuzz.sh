#!/bin/sh
# Every libFuzzer target that is built (make check builds them where clang is) runs for a few seconds from the fixtures of
# its kind and finds nothing; `make fuzz` goes on for longer.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
n=0
for t in tests/fuzz/fuzz_*.c; do
    name=$(basename "$t" .c)
    [ -x "build/fuzz/tests/fuzz/$name" ] || continue
    n=$((n + 1))
    if FUZZ_SECONDS=3 sh tests/fuzz/run.sh "$name" >"$log" 2>&1; then
        echo "ok $name finds nothing in 3 seconds"
    else
        echo "not ok $name finds nothing in 3 seconds"
        tail -n 40 "$log"
    fi
done
[ "$n" != 0 ] || echo "skip: the libFuzzer targets are not built; make fuzz installs clang and builds them"
