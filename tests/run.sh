#!/bin/sh
# Runs every test of build/$CONFIG: the cmocka programs, then the shell tests (tests/t_*.sh, which print "ok NAME" or
# "not ok NAME" lines and use $WS).  The last line counts them.
set -u
B=${B:-build/release}
WS=$PWD/$B/ws
WS_COMPUTE=${WS_COMPUTE:-f32} # what is compared with other programs and with itself: not what suits the machine
export WS B WS_COMPUTE
pass=0 fail=0 skip=0 bad=""
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for t in "$B"/tests/test_*; do
    [ -x "$t" ] || continue
    case $t in *.d) continue ;; esac
    CMOCKA_MESSAGE_OUTPUT=stdout "$t" >"$log" 2>&1
    rc=$?
    p=$(grep -c '^\[       OK \]' "$log"); f=$(grep -c '^\[  FAILED  \] [a-z_A-Z0-9]*$' "$log"); s=$(grep -c '^\[  SKIPPED \] [a-z_A-Z0-9]*$' "$log")
    [ $rc != 0 ] && [ "$f" = 0 ] && f=1
    [ $rc = 0 ] && [ "$p" = 0 ] && [ "$s" = 0 ] && f=1
    printf '%-40s %d passed, %d failed, %d skipped\n' "$(basename "$t")" "$p" "$f" "$s"
    grep -h '^skip:' "$log" | sort -u
    [ "$f" != 0 ] && { bad="$bad $(basename "$t")"; cat "$log"; }
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
done
for t in tests/t_*.sh; do
    [ -f "$t" ] || continue
    sh "$t" >"$log" 2>&1
    rc=$?
    p=$(grep -c '^ok ' "$log"); f=$(grep -c '^not ok ' "$log"); s=$(grep -c '^skip: ' "$log")
    [ $rc != 0 ] && [ "$f" = 0 ] && f=1
    [ "$p" = 0 ] && [ "$s" = 0 ] && f=1
    printf '%-40s %d passed, %d failed, %d skipped\n' "$(basename "$t")" "$p" "$f" "$s"
    grep -h '^skip:' "$log" | sort -u
    [ "$f" != 0 ] && { bad="$bad $(basename "$t")"; cat "$log"; }
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
done
[ -n "$bad" ] && echo "failed:$bad"
[ "$pass" = 0 ] && fail=$((fail + 1))
echo "$pass passed, $fail failed, $skip skipped"
[ "$fail" = 0 ]
