#!/bin/sh
# deps.sh [PACKAGE...]: installs the Debian packages that are missing, and those named; says what.  Root, or sudo.
set -eu
want="gcc make pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libcairo2-dev libssl-dev libcurl4-openssl-dev liblapacke-dev libopenblas-openmp-dev ca-certificates libcmocka-dev"
command -v pip3 >/dev/null 2>&1 || command -v pip >/dev/null 2>&1 || want="$want python3-pip"
command -v unzip >/dev/null 2>&1 || want="$want unzip"
want="$want $*"
missing=""
for p in $want; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' && continue
    case $p in
    gcc | make | clang) command -v "$p" >/dev/null 2>&1 && continue ;;
    pkg-config) command -v pkg-config >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing $p"
done
[ -z "$missing" ] && exit 0
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "deps: missing:$missing - install them as root: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "deps: installing$missing" >&2
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
