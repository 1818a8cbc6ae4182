#!/bin/sh
# ws tokenize, detokenize and render on the real model: exact bytes on stdout, exit status 0, 1 or 2.
set -u
M=${WS_TEST_MODEL:-}
[ -n "$M" ] || { echo "skip: WS_TEST_MODEL is not set, so the text verbs are not run on a real model"; exit 0; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
bad=0
check() { # name expected-file actual-file
    if cmp -s "$2" "$3"; then echo "ok $1"; else echo "not ok $1"; diff "$2" "$3" | head -5; bad=1; fi
}
status() { # name expected-status command...
    name=$1 want=$2; shift 2
    "$@" >"$T/out" 2>"$T/err"; got=$?
    if [ $got = "$want" ] && [ ! -s "$T/out" ] && [ -s "$T/err" ]; then echo "ok $name"; else echo "not ok $name (status $got)"; head -3 "$T/out" "$T/err"; bad=1; fi
}
echo "81 256 33 216 33 34" >"$T/want"
"$WS" tokenize --model "$M" --text "a  1 12" >"$T/got"
check tokenize_text "$T/want" "$T/got"
printf 'abc123  45\n<|im_start|>\n' >"$T/lines.txt"
printf '25276 33 34 35 256 36 37\n1\n' >"$T/want"
"$WS" tokenize --model "$M" --file "$T/lines.txt" >"$T/got"
check tokenize_lines "$T/want" "$T/got"
printf '["abc123  45", "", "<|im_start|>"]' >"$T/texts.json"
printf '25276 33 34 35 256 36 37\n\n1\n' >"$T/want"
"$WS" tokenize --model "$M" --file "$T/texts.json" --add-special >"$T/got"
check tokenize_array "$T/want" "$T/got"
printf 'abc123  45' >"$T/want"
"$WS" detokenize --model "$M" --ids "25276 33 34 35 256 36 37" >"$T/got"
check detokenize "$T/want" "$T/got"
printf '<|im_start|>a' >"$T/want"
"$WS" detokenize --model "$M" --ids "1,81" >"$T/got"
check detokenize_commas "$T/want" "$T/got"
printf 'a' >"$T/want"
"$WS" detokenize --model "$M" --ids "1 81 2" --skip-special >"$T/got"
check detokenize_skip_special "$T/want" "$T/got"
echo '[{"role": "user", "content": "Hi"}]' >"$T/hi.json"
sys='<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n'
printf "$sys<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" >"$T/want"
"$WS" render --model "$M" --messages "$T/hi.json" --generation-prompt >"$T/got"
check render_generation_prompt "$T/want" "$T/got"
echo '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}' >"$T/yo.json"
printf "$sys<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo" >"$T/want"
"$WS" render --model "$M" --messages "$T/yo.json" --continue-final >"$T/got"
check render_continue_final "$T/want" "$T/got"
printf '<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n' >"$T/want"
echo '[{"role": "system", "content": ""}, {"role": "user", "content": "Hi"}]' >"$T/empty.json"
"$WS" render --model "$M" --messages "$T/empty.json" >"$T/got"
check render_empty_system "$T/want" "$T/got"
printf '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n' >"$T/want"
"$WS" render --model "$M" --template tests/fixtures/text/reason.jinja --messages "$T/hi.json" --generation-prompt --thinking off >"$T/got"
check render_thinking_off "$T/want" "$T/got"
status tokenize_without_text_is_usage 2 "$WS" tokenize --model "$M"
status tokenize_unknown_option_is_usage 2 "$WS" tokenize --model "$M" --text a --nope
status tokenize_missing_file_fails 1 "$WS" tokenize --model "$M" --file "$T/none.txt"
status detokenize_wrong_ids_is_usage 2 "$WS" detokenize --model "$M" --ids "1 x"
status detokenize_unknown_id_fails 1 "$WS" detokenize --model "$M" --ids 999999
status render_thinking_maybe_is_usage 2 "$WS" render --model "$M" --messages "$T/hi.json" --thinking maybe
echo '[{"role": "user"' >"$T/broken.json"
status render_broken_json_fails 1 "$WS" render --model "$M" --messages "$T/broken.json"
echo '{% frobnicate %}' >"$T/bad.jinja"
status render_unknown_construct_fails 1 "$WS" render --model "$M" --messages "$T/hi.json" --template "$T/bad.jinja"
grep -q "line 1: the tag 'frobnicate' is not supported" "$T/err" && echo "ok render_error_names_line_and_tag" || { echo "not ok render_error_names_line_and_tag"; bad=1; }
exit $bad
