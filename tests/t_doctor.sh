#!/bin/sh
# ws doctor and --profile.
out=$(mktemp)
dir=$(mktemp -d)
trap 'rm -rf "$out" "$dir"' EXIT
bad=0
ok() { echo "ok $1"; }
no() { echo "not ok $1"; bad=1; cat "$out"; }

HF_HOME=$dir/hf HF_TOKEN=hf_secret "$WS" doctor >"$out" 2>&1 && grep -q "^kernel set     $("$WS" bench machine | sed -n 's/^kernel set //p') " "$out" &&
    grep -q "^model cache    $dir/hf/hub (not there yet" "$out" && grep -q '^hub token      set in HF_TOKEN' "$out" &&
    ! grep -q hf_secret "$out" && ok "doctor tells kernels and folders, and no token" || no "doctor"
WS_KERNELS=ref "$WS" doctor >"$out" 2>&1 && grep -q 'WS_KERNELS=ref forces a slower kernel set' "$out" || grep -q '^instructions   none' "$out" &&
    ok "a forced slow kernel set is complained about" || no "forced kernels"
"$WS" doctor --json --offline --threads 1 2>/dev/null >"$out" && grep -q '"network": "forbidden' "$out" && grep -q '"usable": true' "$out" &&
    ok "doctor as JSON" || no "doctor --json"
mkdir "$dir/bin" && cp "$WS" "$dir/bin/ws" && ( cd "$dir" && ./bin/ws doctor ) >"$out" 2>&1
[ $? = 1 ] && grep -q 'prompts.jsonl' "$out" && ok "missing data files are exit status 1" || no "missing data"

rows=tests/fixtures/tinychat
printf '{"messages":[{"role":"user","content":"a b"}]}\n' >"$dir/p.jsonl"
"$WS" generate --model $rows --prompts "$dir/p.jsonl" --max-new-tokens 4 >"$dir/a" 2>/dev/null
"$WS" generate --model $rows --prompts "$dir/p.jsonl" --max-new-tokens 4 --profile >"$dir/b" 2>"$out" && cmp -s "$dir/a" "$dir/b" &&
    grep -q '^generate  *calls' "$out" && grep -q '^sampling  *4 ' "$out" && grep -q '^the whole stage .* 100.0%' "$out" &&
    ok "--profile adds a table and changes nothing" || no "--profile"
exit $bad
