#!/bin/sh
# Formatting, static analysis, the include rule.  Fails on the first kind of finding.
set -eu
files=$(git ls-files 'src/*.c' 'src/*.h' 'include/*.h' 'tests/*.c' 'tests/*.h' 'examples/*.c' 'bench/*.c')
clang-format --dry-run -Werror $files
sh tests/t_layers.sh
flags="-std=c11 -D_GNU_SOURCE -Isrc -Iinclude -Itests -Ibuild/release/gen $(pkg-config --cflags jansson libpcre2-8 libutf8proc cairo libcrypto libcurl lapacke openblas)"
for f in $(git ls-files 'src/*.c' | grep -v '^src/kernel/avx'); do
    clang-tidy --quiet "$f" -- $flags
done
