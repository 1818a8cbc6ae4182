#!/bin/sh
# make bench at its smallest: every part that needs no other program prints rows, each has a figure of ours, and each share a peak.
set -u
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
B=${B:-build/release}
B=$B MODEL=tests/fixtures/tiny-chat SIZE=tiny ONLY=gemm,bf16,few THREADS=1 PEERS= BENCH_OUT=$T/out sh bench/run.sh >"$T/table" 2>"$T/err"
rc=$?
grep -q 'floors met' "$T/table" && [ $rc = 0 ] && echo "ok bench prints its table" || echo "not ok bench prints its table: $(tail -n 1 "$T/err")"
awk -F'\t' '$4 == "" || $4 + 0 <= 0 { bad = bad " " $2 } END { exit bad != "" }' "$T"/out/rows.* && echo "ok every row has a figure of ours" || echo "not ok every row has a figure of ours: $(cat "$T"/out/rows.*)"
awk -F'\t' '/peak of|reading memory/ { n++; if ($5 + 0 < 0.5) bad = bad " " $2 } END { exit bad != "" || !n }' "$T"/out/rows.* && echo "ok every share has a peak" || echo "not ok every share has a peak: $(cat "$T"/out/rows.*)"
