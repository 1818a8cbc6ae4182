#!/bin/sh
# A file includes only headers of its own folder and of folders above it in the data's path (docs/design.md).
order="base io kernel linalg ops text family model adapter data train generate delta steer calibrate export eval report run cmd"
rank() { n=0; for d in $order; do n=$((n + 1)); [ "$d" = "$1" ] && { echo $n; return; }; done; echo 0; }
bad=0
for d in $order; do
    r=$(rank "$d")
    for f in src/"$d"/*.c src/"$d"/*.h; do
        [ -f "$f" ] || continue
        for inc in $(sed -n 's/^#include "\([a-z0-9]*\)\/[^"]*".*/\1/p' "$f" | sort -u); do
            i=$(rank "$inc")
            if [ "$i" = 0 ] || [ "$i" -gt "$r" ]; then
                echo "not ok $f includes $inc/, which is not above $d/"
                bad=1
            fi
        done
    done
done
for d in src/*/; do
    [ "$(rank "$(basename "$d")")" = 0 ] && { echo "not ok $d is no room of the house"; bad=1; }
done
[ $bad = 0 ] && echo "ok every include points up the path"
exit $bad
