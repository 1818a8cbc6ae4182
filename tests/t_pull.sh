#!/bin/sh
# ws pull against tests/hub_server.c, a hub on this machine that misbehaves as its address asks.
# Hashes are sha256sum's and git's definition through sha1sum; what was asked for is read from the server's own log.
B=${B:-build/release}
T=$(mktemp -d)
server="" job=""
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; [ -n "$job" ] && kill "$job" 2>/dev/null; rm -rf "$T"' EXIT
for v in HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE \
    HF_HUB_DISABLE_SYMLINKS HF_HUB_DISABLE_IMPLICIT_TOKEN HF_HUB_ETAG_TIMEOUT HF_HUB_DOWNLOAD_TIMEOUT; do unset $v; done
export HF_HOME="$T/home" NO_PROXY='*' no_proxy='*' WS_RETRY_UNIT=0.01
C=$T/cache out=$T/out bad=0 rc=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; tail -n 20 "$out" "$T/err"; tail -n 12 "$T/log"; }
check() { name=$1; shift; if "$@"; then ok "$name"; else no "$name ($*)"; fi; }
# says NAME STATUS TEXT...: the last run ended so, and its messages hold every TEXT
says() {
    name=$1
    [ "$rc" = "$2" ] || { no "$name (exit status $rc)"; return; }
    shift 2
    for t in "$@"; do grep -qF -- "$t" "$T/err" || { no "$name (no '$t')"; return; }; done
    ok "$name"
}

# ---- the models ----
commit=8a1b2c3d4e5f60718293a4b5c6d7e8f901234567
mkdir -p "$T/root/org/name" "$T/root/org/shards" "$T/root/org/two" "$T/root/org/one/sub" "$T/root/org/big" "$T/root/org/bins" "$T/root/org/torn" \
    "$T/root/org/parts" "$T/root/org/halved"
cp tests/fixtures/tinychat/config.json tests/fixtures/tinychat/model.safetensors tests/fixtures/tinychat/tokenizer.json \
    tests/fixtures/tinychat/tokenizer_config.json "$T/root/org/name"
echo readme >"$T/root/org/name/README.md"
cp tests/fixtures/io/sharded/* "$T/root/org/shards"
cp tests/fixtures/io/sharded/*.json "$T/root/org/torn"
cp tests/fixtures/io/llama.gguf tests/fixtures/io/qwen2.gguf "$T/root/org/two"
cp tests/fixtures/io/llama.gguf "$T/root/org/one/sub/a b.gguf"
cp tests/fixtures/io/parts/* "$T/root/org/parts"
cp tests/fixtures/io/parts/tiny-0000[12]* "$T/root/org/halved"
cp tests/fixtures/tinychat/config.json "$T/root/org/one"
cp tests/fixtures/tinychat/config.json "$T/root/org/big"
head -c 1500000 /dev/urandom >"$T/root/org/big/model.safetensors"
echo x >"$T/root/org/bins/pytorch_model.bin"
for m in name shards two one big bins torn parts halved; do echo $commit >"$T/root/org/$m/.commit"; done

: >"$T/log"
"$B/tests/hub_server" "$T/root" "$T/log" >"$T/ports" &
server=$!
i=0
while [ ! -s "$T/ports" ] && [ $i -lt 100 ]; do sleep 0.05; i=$((i + 1)); done
read -r hub files <"$T/ports" || { echo "not ok tests/hub_server starts"; exit 1; }

serial=0
# at RULES: the address of the hub for the next runs; counters begin anew
at() { serial=$((serial + 1)); E="http://127.0.0.1:$hub/~$1${1:+,}t=$serial"; }
fresh() { rm -rf "$C" && mkdir "$C" && : >"$T/log"; }
pull() { HF_HUB_CACHE=$C HF_ENDPOINT=$E "$WS" pull "$@" >"$out" 2>"$T/err"; rc=$?; }
M=$C/models--org--name S=$C/models--org--name/snapshots/$commit
sha() { sha256sum "$1" | cut -c1-64; }
same() { cmp -s "$S/config.json" "$T/root/org/name/config.json" && cmp -s "$S/tokenizer.json" "$T/root/org/name/tokenizer.json" &&
    cmp -s "$S/model.safetensors" "$T/root/org/name/model.safetensors"; }
lines() { n=$(grep -c -- "$1" "$T/log"); [ "$n" "$2" "$3" ]; }
whole() { if [ $rc = 0 ] && same; then ok "$1"; else no "$1 (exit status $rc)"; fi; }

# ---- the layout ----
at ""
fresh
pull org/name
check "a model is pulled and its path printed" [ "$rc $(cat "$out")" = "0 $S" ]
check "the files are the hub's" same
check "a file in LFS is named by its SHA-256, and the link is relative" \
    [ "$(readlink "$S/model.safetensors")" = "../../blobs/$(sha "$T/root/org/name/model.safetensors")" ]
git1=$({ printf 'blob %s\0' "$(wc -c <"$T/root/org/name/config.json" | tr -d ' ')"; cat "$T/root/org/name/config.json"; } | sha1sum | cut -c1-40)
check "another file is named by git's hash" [ "$(readlink "$S/config.json")" = "../../blobs/$git1" ]
check "refs/main holds the commit, to the byte" [ "$(cat "$M/refs/main") $(wc -c <"$M/refs/main")" = "$commit 40" ]
check "the cache is tagged" grep -q '^Signature: 8a477f597d28d172789f06886806bc55$' "$C/CACHEDIR.TAG"
check "what the repository lacks is remembered" [ -f "$M/.no_exist/$commit/chat_template.jinja" ]
check "what a model does not need is left" [ ! -e "$S/README.md" ]
check "nothing half done is left" [ -z "$(find "$C" -name '*.incomplete' -o -name '*.tmp*')" ]
says "the size is said" 0 "commit 8a1b2c3d4e5f" "4 files" "to fetch:"
: >"$T/log"
pull org/name
says "a second pull finds everything" 0 "all in the cache"
check "and asks for the list alone" lines . = 1
echo 9999999999999999999999999999999999999999 >"$T/root/org/name/.commit"
: >"$T/log"
pull org/name
check "another commit shares the blobs" [ "$rc $(cat "$M/refs/main")" = "0 9999999999999999999999999999999999999999" ]
check "without fetching them again" lines FILES = 0
echo $commit >"$T/root/org/name/.commit"
printf x >"$M/blobs/$(sha "$T/root/org/name/model.safetensors")"
pull org/name --json
says "a blob of the wrong size is fetched again" 0 "has 1 bytes and should have"
check "and is whole then" same
check "--json tells what was done" [ "$(grep -c -e "\"commit\": \"$commit\"" -e '"files": 4' -e '"files_fetched": 1' "$out")" = 3 ]
fresh
pull org/name@v2
check "id@revision" [ "$rc $(cat "$M/refs/v2")" = "0 $commit" ]
pull org/name --revision refs/pr/1
check "a revision with slashes" [ "$rc $(cat "$M/refs/refs/pr/1")" = "0 $commit" ]
pull org/name --revision $commit
check "a commit needs no ref" [ "$rc $(find "$M/refs" -type f | wc -l)" = "0 2" ]
: >"$T/log"
pull org/name@$commit
check "a commit that is whole needs no question" lines . = 0
fresh
HF_HUB_DISABLE_SYMLINKS=1 pull org/name
check "without symbolic links the files themselves lie in the snapshot" [ "$rc $(find "$C" -type l | wc -l)" = "0 0" ]
check "and are whole" same

# ---- which files ----
fresh
pull org/name --include '*.md' --include 'tok*'
check "--include chooses the files" [ "$rc $(ls "$S" | tr '\n' ' ')" = "0 README.md tokenizer.json tokenizer_config.json " ]
pull org/name --include '*.none'
says "--include that matches nothing is refused" 2 "none of the 5 files of org/name matches"
pull org/shards
check "shards are those of the index" [ "$rc $(find "$C/models--org--shards/snapshots" -name '*.safetensors' | wc -l)" = "0 $(find "$T/root/org/shards" -name '*.safetensors' | wc -l)" ]
pull org/torn
says "an index that names what is not there is refused" 1 "which org/torn does not have"
pull org/bins
says "pickled weights are refused" 1 "unpickling runs code"
pull org/two
says "of several GGUF files one must be named" 2 "org/two has 2 GGUF files" "qwen2.gguf"
pull org/two:none.gguf
says "one that is not there is refused, with what is" 1 "has no file none.gguf" "llama.gguf"
pull org/two:qwen2.gguf
check "one GGUF file by its name" [ "$rc $(cat "$out")" = "0 $C/models--org--two/snapshots/$commit/qwen2.gguf" ]
check "and it alone" [ "$(find "$C/models--org--two/snapshots" -name '*.gguf' | wc -l)" = 1 ]
pull org/one
check "a single GGUF file needs no name; odd names are escaped" cmp -s "$(cat "$out")" tests/fixtures/io/llama.gguf
HF_HUB_CACHE=$C "$WS" inspect --offline "org/one:sub/a b.gguf" >"$out" 2>"$T/err"
check "a GGUF file of the cache has its name, not its hash" grep -q '^name  *a_b$' "$out"

pull org/parts
check "the parts of one GGUF are one model" [ "$rc $(cat "$out")" = "0 $C/models--org--parts/snapshots/$commit/tiny-00001-of-00003.gguf" ]
check "and all of them come" [ "$(find "$C/models--org--parts/snapshots" -name '*.gguf' | wc -l)" = 3 ]
HF_HUB_CACHE=$C "$WS" inspect --offline org/parts >"$out" 2>"$T/err"
check "and are read from the cache as one" grep -q '^family  *qwen35' "$out"
rm "$C/models--org--parts/snapshots/$commit/tiny-00002-of-00003.gguf"
pull org/parts:tiny-00001-of-00003.gguf
check "a part that is gone is fetched again" [ "$rc $(find "$C/models--org--parts/snapshots" -name '*.gguf' | wc -l)" = "0 3" ]
pull org/halved:tiny-00001-of-00003.gguf
says "a part that the hub lacks is told" 1 "org/halved has tiny-00001-of-00003.gguf, but not tiny-00003-of-00003.gguf"

# ---- tokens ----
at auth=1
fresh
HF_TOKEN=hf_test_token pull org/name -v
whole "a token opens a private model"
check "the hub sees it" lines 'HUB.*token=0' = 0
check "the host of the files does not" lines 'FILES.*token=1' = 0
check "nobody reads it" [ -z "$(grep -l hf_test_token "$out" "$T/err")" ]
fresh
mkdir -p "$HF_HOME"
printf ' hf_test_token\n' >"$HF_HOME/token"
pull org/name
whole "the token file serves too"
HF_TOKEN=hf_other pull org/name@v2
says "HF_TOKEN wins over the file, and a wrong one is told" 1 "does not accept the token in HF_TOKEN for org/name"
rm "$HF_HOME/token"
at ""
fresh
HF_HUB_DISABLE_IMPLICIT_TOKEN=1 HF_TOKEN=hf_test_token pull org/name
check "no token where none is needed, when asked so" lines 'token=1' = 0
at auth=1
HF_HUB_DISABLE_IMPLICIT_TOKEN=1 HF_TOKEN=hf_test_token pull org/name@v2
check "and one where it is" lines 'token=1' -gt 0
fresh
pull org/name
says "401 without a token" 1 "to nobody without a token" "set HF_TOKEN" "$HF_HOME/token"
HF_TOKEN="hf_x
Evil: yes" pull org/name
says "a token of two lines is refused" 2 "the token in HF_TOKEN is more than one word"
at gated=1
pull org/name
says "gated, without a token" 1 "accept its conditions at http://127.0.0.1" "HF_TOKEN"
HF_TOKEN=hf_test_token pull org/name
says "gated, and not yet allowed" 1 "has no access yet"
at forbid=1,echo=1
HF_TOKEN=hf_test_token pull org/name -v
says "403" 1 "refuses org/name" "the hub says: you sent Bearer ***"
check "a hub that repeats the token does not bring it into a message" [ -z "$(grep -l hf_test_token "$out" "$T/err")" ]
at ""
pull org/nothing
says "404 is 401 without a token" 1 "the name is wrong"
HF_TOKEN=hf_test_token pull org/nothing
says "404 with one" 1 "has no model org/nothing"
pull org/name@v3
says "an unknown revision" 1 "org/name has no revision 'v3'"
at away=1
fresh
HF_TOKEN=hf_test_token pull org/name
whole "a list on another host is read"
check "without showing it the token" lines 'FILES.*token=1' = 0
at moved=1
fresh
pull old/name
check "a renamed model is followed" [ "$rc $(cat "$C/models--old--name/refs/main")" = "0 $commit" ]

# ---- patience ----
at fail=503,failn=3
fresh
pull org/name
whole "503 passes"
at fail=429,failn=1,retry=1
fresh
t0=$(date +%s%N)
pull org/name
whole "429 passes"
check "after the time that Retry-After asks for" [ $((($(date +%s%N) - t0) / 1000000)) -ge 1000 ]
at fail=429,failn=1,retry=100000
pull org/name@v2
says "a wait of days is not waited for" 1 "asks to come back in 100000 s"
at fail=500,failn=100
fresh
pull org/name
says "500 for ever is told" 1 "status 500" "tried 6 times" "goes on"
at drop=2
pull org/name
whole "connections that close without an answer pass"
at files=500,filesn=2
fresh
pull org/name
whole "500 of the file host passes"
E=http://127.0.0.1:1
pull org/name
says "without a network the cache serves" 0 "going on with what the cache has"
check "with its path" [ "$(cat "$out")" = "$S" ]
fresh
pull org/name
says "an empty cache does not" 1 "tried 3 times"

# ---- broken transfers ----
at cut=20000,cutn=2
fresh
pull org/name
whole "a transfer that breaks twice is whole in the end"
check "resumed at the byte" lines 'FILES.*from=40000' = 1
at cut=20000,cutn=1,norange=1
fresh
pull org/name
whole "a server without ranges starts over"
at uses=1,cut=20000,cutn=1
fresh
pull org/name
whole "an expired link is asked for again"
check "and the bytes go on" lines 'FILES.*from=20000' = 2
at files=403,filesn=100
fresh
pull org/name
says "a link that never works is told" 1 "answers with status 403, to a fresh link too"
at stall=1000
fresh
HF_HUB_DOWNLOAD_TIMEOUT=1 pull org/name
whole "a transfer that hangs is taken up again"
check "where it hung" lines 'FILES.*from=1000 ' = 1
at flip=1
fresh
pull org/name
whole "a wrong byte is found and fetched again"
says "which is said" 0 "SHA-256 is" "fetching it once more"
at flip=100
fresh
pull org/name
says "a file that stays wrong is refused" 1 "model.safetensors: its SHA-256 is" "nothing of it is kept"
check "and nothing of it is kept" [ -z "$(find "$C" -name "*$(sha "$T/root/org/name/model.safetensors")*" ! -name '*.lock')" ]
check "no ref names the broken snapshot" [ ! -e "$M/refs/main" ]
at short=1
pull org/name
says "a file that ends early is told" 1 "the server ends the file after" "tried 6 times"
at long=1
fresh
pull org/name
says "a file that does not end is refused" 1 "sends more than the"
at nosize=1
fresh
pull org/name
whole "a hub that lists no sizes"
at nosize=1,nolength=1
fresh
pull org/name
whole "a hub that tells no size at all"
says "which is said" 0 "files of unknown size"
at nosize=1,nolength=1,cut=20000,cutn=1
fresh
pull org/name
whole "and whose connection breaks: the hash finds it"
says "and says so" 0 "its SHA-256 is" "fetching it once more"

# ---- ill will ----
at evil=1
fresh
pull org/name
says "a name that leads out of the cache is refused" 1 "would lead out of the cache"
at evil=2
pull org/name
says "so is such a hash" 1 "its ETag is no name that a file may have"
at evil=3
pull org/name
says "and such a commit" 1 "names no commit"
check "nothing lies outside" [ -z "$(find "$T" -name 'evil*')" ]
pull ../name
says "an id that leads out is none" 2 "is no model id"
pull org/name@../../x
says "nor is such a revision" 2 "is no model id"
pull org/name --revision ../x
says "by option neither" 2 "is no branch, tag or commit"

# ---- disks ----
at huge=1
pull org/name
says "a full disk is seen ahead" 1 "are to be fetched, and" "are free in" "HF_HUB_CACHE"
at ""
fresh
(trap '' XFSZ; ulimit -f 1000; HF_HUB_CACHE=$C HF_ENDPOINT=$E exec "$WS" pull org/big >"$out" 2>"$T/err")
rc=$?
says "a write that fails is told" 1 "model.safetensors: writing to" "failed" "goes on from there"
: >"$T/log"
pull org/big
check "and what was written is kept" lines 'FILES.*from=512000 ' = 1
check "up to the last byte" cmp -s "$T/root/org/big/model.safetensors" "$C/models--org--big/snapshots/$commit/model.safetensors"

# ---- kills, interrupts, company ----
begin() { # begin BYTES_A_SECOND: starts a slow pull in the background and waits until some of it is there
    fresh
    at slow=$1
    HF_HUB_CACHE=$C HF_ENDPOINT=$E "$WS" pull org/big >"$out" 2>"$T/err" &
    job=$!
    i=0
    while [ $i -lt 100 ]; do
        part=$(find "$C" -name '*.incomplete' -size +60k 2>/dev/null)
        [ -n "$part" ] && break
        sleep 0.05
        i=$((i + 1))
    done
}
big() { cmp -s "$T/root/org/big/model.safetensors" "$C/models--org--big/snapshots/$commit/model.safetensors"; }
begin 300000
kill -9 $job
wait $job 2>/dev/null
check "SIGKILL leaves what came" [ -n "$part" ]
: >"$T/log"
at ""
pull org/big
check "the next pull goes on from it" grep -q 'FILES.*from=[1-9]' "$T/log"
check "and ends whole" big
begin 300000
kill -9 $job
wait $job 2>/dev/null
dd if=/dev/zero of="$part" bs=1000 count=1 seek=1 conv=notrunc 2>/dev/null
at ""
pull org/big
says "damage in what was there is found" 0 "fetching it once more"
check "and mended" big
begin 300000
kill -INT $job
wait $job
rc=$?
job=""
says "Ctrl-C is exit status 130 and says what stays" 130 "interrupted by signal 2" "have arrived and stay"
begin 800000
HF_HUB_CACHE=$C HF_ENDPOINT=$E "$WS" pull org/big >"$T/out2" 2>"$T/err2"
rc2=$?
wait $job
rc=$?
job=""
check "of two pulls one waits" grep -q "another process is fetching model.safetensors" "$T/err2"
check "both succeed" [ "$rc $rc2" = "0 0" ]
check "and the file is fetched once" lines 'FILES' = 1

# ---- without a network, by wish ----
at ""
fresh
pull org/name --offline
says "--offline refuses what is not there" 1 "not whole in the Hugging Face cache" "forbids the network"
HF_HUB_OFFLINE=1 pull org/name
says "so does HF_HUB_OFFLINE" 1 "forbids the network"
check "neither asks anybody" lines . = 0
pull org/name
: >"$T/log"
pull org/name --offline
check "--offline finds what is there" [ "$rc $(cat "$out")" = "0 $S" ]
rm "$S/model.safetensors"
pull org/name --offline
says "a snapshot without its weights is not whole" 1 "not whole"
check "still nobody is asked" lines . = 0

# ---- --model ----
model() { HF_HUB_CACHE=$C HF_ENDPOINT=$E "$WS" "$@" >"$out" 2>"$T/err"; rc=$?; }
fresh
model tokenize --offline --model org/name --text "a b"
says "--model with --offline refuses a model that is not cached" 1 "\`ws pull org/name\`"
model tokenize --model org/name --text "a b"
says "--model pulls a model that is not cached, and says so" 0 "org/name is not whole in the cache; pulling it" "to fetch:"
check "and goes on with it" grep -q '[0-9]' "$out"
: >"$T/log"
model tokenize --model org/name --text "a b"
check "the next time it asks nobody" lines . = 0
model tokenize --model org/name@v2 --text "a b"
check "another revision is another model" lines 'HUB.*revision/v2' = 1
: >"$T/log"
model inspect tests/no-such-model
says "a mistyped path is no hub id" 1 "no-such-model"
model inspect name
says "neither is a bare name" 1 "ws pull name"
check "nobody is asked about them" lines . = 0
model inspect org/two:llama.gguf
check "--model takes one GGUF of a repository" grep -q '^name  *llama$' "$out"
pull org/two:qwen2.gguf
model inspect org/two
says "of two that are cached one must be named" 2 "org/two:FILE.gguf"
at fail=500,failn=100
fresh
model inspect org/name
says "a pull that fails is the verb's error" 1 "ws inspect: " "status 500"

# ---- usage ----
pull
says "no model is exit status 2" 2 "give a model"
pull org/name org/name
says "so are two" 2 "one model at a time"
pull org/name@main --revision v2
says "and two revisions" 2 "name two revisions"
pull org/name --endpoint ftp://x
says "and an endpoint that is none" 2 "--endpoint is no address of a hub"
pull org/two:llama.gguf --include '*'
says "and a file with a pattern" 2 "names one already"
WS_RETRY_UNIT=soon pull org/name
says "and a variable that is no number" 2 "WS_RETRY_UNIT='soon'"
exit $bad
