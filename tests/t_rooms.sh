#!/bin/sh
# A new adapter touches nothing else: in a copy of the sources one file is added (IA3 under another name) and one is taken away
# (BOFT).  make compiles the new room and what lists the rooms, nothing more, and the program trains, saves and contrasts the
# one and knows nothing of the other.
B=${B:-build/release}
config=$(basename "$B")
M=tests/fixtures/tiny-chat
X=tests/fixtures/export
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; [ -f "$T/err" ] && sed 's/^/#   /' "$T/err" | head -5; }

# The objects come along with their times, so that only what a change needs is compiled.
mkdir -p "$T/build/$config"
cp -a Makefile src include "$T/"
for d in "$B"/*; do
    case $d in */tests | */ws) ;; *) cp -a "$d" "$T/build/$config/" ;; esac
done
build() { make --no-print-directory -C "$T" CONFIG="$config" "build/$config/ws" >"$T/out" 2>"$T/err"; }
objects() { find "$T/build/$config" -name '*.o' -newer "$T/stamp" | sed "s|^$T/build/$config/||" | sort | tr '\n' ' '; }
build || no "the copy builds"

touch "$T/stamp"
sleep 0.02
sed 's/ia3/toy/g; s/IA3/TOY/g' src/adapter/ia3.c >"$T/src/adapter/toy.c"
rm "$T/src/adapter/boft.c"
build && ok "a room more and a room less: it builds" || no "a room more and a room less: it builds"
made=$(objects)
lists=$(cd "$T/src" && grep -l 'include "adapter.list"' ./*/*.c | sed 's|^\./||; s|\.c$|.o|' | sort)
want=$(printf '%s\nadapter/toy.o\n' "$lists" | sort | tr '\n' ' ')
[ "$made" = "$want" ] && ok "nothing but the new room and its lists is compiled" || { no "nothing but the new room and its lists is compiled"; echo "#   $made"; }
grep -q 'warning' "$T/err" && no "without a warning" || ok "without a warning"

WS="$T/build/$config/ws"
"$WS" train --help 2>"$T/err" | grep -A 1 'kind of adapter' >"$T/help" && grep -q ' toy' "$T/help" && ! grep -q 'boft' "$T/help" && ok "the help knows the one and not the other" || no "the help knows the one and not the other"
"$WS" train --model $M --pairs "$T/none" --side pos --adapter boft --out "$T/x" >/dev/null 2>"$T/err"
[ $? = 2 ] && grep -q "no adapter is called 'boft'; there are:.* toy" "$T/err" && ok "who asks for the other is told what there is" || no "who asks for the other is told what there is"
"$WS" diff --model tests/fixtures/peft/model $X/boft_pos $X/boft_neg --out "$T/x" >/dev/null 2>"$T/err"
[ $? = 1 ] && grep -q 'peft_type BOFT: this build has no such adapter' "$T/err" && ok "its directories are refused by their type" || no "its directories are refused by their type"

i=0
while [ $i -lt 8 ]; do
    i=$((i + 1))
    echo "{\"prompt\":\"Question $i, what now?\",\"pos\":\"Joy number $i is here.\",\"neg\":\"Grief $i.\"}"
done >"$T/pairs.jsonl"
for side in pos neg; do
    "$WS" train --model $M --pairs "$T/pairs.jsonl" --side $side --adapter toy --epochs 4 --out "$T/$side" -q >/dev/null 2>"$T/err" || no "the new room trains"
done
grep -q '"peft_type": "TOY"' "$T/pos/adapter_config.json" && "$WS" diff --model $M "$T/pos" "$T/neg" --json --out "$T/dw" >"$T/diff" 2>"$T/err" &&
    grep -q '"norm_dw": [0-9.]*[1-9]' "$T/diff" && ok "the new room trains, saves, loads and has a dW" || no "the new room trains, saves, loads and has a dW"
for a in 0 5; do "$WS" logits --model $M --ids "3 4 5" --steer "$T/dw:$a" --out "$T/l$a" >/dev/null 2>"$T/err"; done
"$WS" logits --model $M --ids "3 4 5" --out "$T/base" >/dev/null 2>"$T/err"
cmp -s "$T/l0" "$T/base" && ! cmp -s "$T/l5" "$T/base" && ok "its dW steers, and strength 0 is the base" || no "its dW steers, and strength 0 is the base"
exit $bad
