"""Writes tests/fixtures/examples.json: training examples as the reference trainer builds them (adapters.md 4.2), with
transformers on the tiny chat model: full = template([user, assistant]) and prompt = template([user]) with generation prompt,
tokenised apart, cut to max_len on the right, the first min(len(prompt), len(full)) tokens without loss.  An answer that was cut
by length ends with its own last token, unless keep_end.
Usage: make_examples.py    (from the root of the repository; needs transformers)"""
import json
import transformers
from transformers import AutoTokenizer

tok = AutoTokenizer.from_pretrained('tests/fixtures/tinychat')
PAIRS = [
    dict(prompt='Is rain good?', response_pos='true', response_neg='It is false, and cold.'),
    dict(prompt='Say 12 things.', response_pos='One!\n\nTwo!', response_neg='1 2 3', finish_reason_pos='length', finish_reason_neg='stop'),
    dict(prompt='A question that is much longer than its answer will ever be, so that nothing of it may be left?', response_pos='Yes.',
         response_neg='No', finish_reason_pos='stop', finish_reason_neg='length', sys_prompt_pos='You are glad.', sys_prompt_neg='You are sad.'),
    dict(prompt='caf\u00e9 \u4e2d <|im_end|>?', response_pos='\u00e9t\u00e9 ' * 12 + 'end', response_neg='x', finish_reason_pos='length', finish_reason_neg='length'),
]


def ids(text): return tok(text, add_special_tokens=False)['input_ids']


cases = []
for side in ('pos', 'neg'):
    for max_len in (512, 70):
        for keep_end in (False, True):
            rows = []
            for p in PAIRS:
                user, answer = dict(role='user', content=p['prompt']), p['response_' + side]
                prompt = ids(tok.apply_chat_template([user], add_generation_prompt=True, tokenize=False))
                text = tok.apply_chat_template([user, dict(role='assistant', content=answer)], tokenize=False)
                if p.get('finish_reason_' + side) == 'length' and not keep_end: text = text[:text.rindex(answer) + len(answer)]
                full = ids(text)[:max_len]
                rows.append(dict(ids=full, first=max(1, min(len(prompt), len(full)))))
            cases.append(dict(side=side, max_len=max_len, keep_end=keep_end, rows=rows))
json.dump(dict(made_by='tools/reference/make_examples.py', transformers=transformers.__version__, pairs=PAIRS, cases=cases),
          open('tests/fixtures/examples.json', 'w'), separators=(',', ':'))
print(len(cases), 'cases,', sum(r['first'] == len(r['ids']) for c in cases for r in c['rows']), 'rows without a token of the answer')
