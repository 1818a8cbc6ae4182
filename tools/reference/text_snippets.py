"""Small templates, one construct each, for make_text.py.  Every one is rendered by transformers' own Jinja environment with
VARS; where that raises an error, so must the interpreter under test."""

VARS = {
    "messages": [
        {"role": "system", "content": "SYS"},
        {"role": "user", "content": "  Hi \n", "n": 3},
        {"role": "assistant", "content": "Yo 'quoted' \"x\" é 你好 \U0001F600", "tool_calls": []},
    ],
    "d": {"b": 1, "a": [1, 2.5, None, True], "items": "shadowed", "nested": {"k": "v", "e": {}, "l": []}},
    "s": "The quick  brown\tfox\njumps",
    "u": "naïve Straße ÀÉ \u2028 Ω 你好",
    "nums": [3, 1, 2, 10, -5],
    "f": 0.1, "big": 1e16, "small": 0.00001234, "e15": 123456789012345.0, "neg": -2.5, "zero": 0, "one": 1,
    "t": True, "no": False, "none_value": None, "empty": "", "words": ["b", "A", "c", "a", "B"],
    "people": [{"name": "Ann", "age": 30, "x": {"y": 1}}, {"name": "bob", "age": 25, "x": {"y": 2}}, {"name": "Cid", "x": {"y": 1}}],
    "ctl": "a\x00b\x01\x1f\x7f\u0085\u200b\\\"'\r\n\t\b\f/</script>",
}

SNIPPETS = r"""
{{ 1 }}{{ 2.0 }}{{ 'a' }}{{ "b" }}{{ true }}{{ None }}{{ none }}{{ False }}
{{ f }} {{ big }} {{ small }} {{ e15 }} {{ neg }} {{ 1e300 * 1e10 }} {{ 1/3 }} {{ 100.0 }} {{ 1e22 }} {{ 5e-324 }} {{ 123456789.123456789 }}
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 // 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}
{{ 1 + 2 * 3 - 4 / 2 }} {{ (1 + 2) * 3 }} {{ 1 - -1 }} {{ +5 }} {{ 'a' * 3 }} {{ [1] * 2 }} {{ [1] + [2, 3] }} {{ (1, 2) + (3,) }}
{{ 1 / 0 }}
{{ 1 % 0 }}
{{ 'a' + 1 }}
{{ 1 + none }}
{{ 'a' ~ 1 ~ none ~ true ~ 2.5 ~ [1, 'x'] ~ missing }}
{{ d }} {{ d.nested }} {{ words }} {{ (1,) }} {{ () }} {{ (1, 'a') }}
{{ [u, ctl] }}
{{ {'it\'s': "q\"q", 1: none, none: [], true: {}} }}
{{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 'a' }} {{ [1] == [1] }} {{ (1,) == [1] }} {{ none == false }} {{ {'a': 1} == {'a': 1.0} }} {{ missing == missing2 }} {{ missing == none }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 <= 1.0 >= 1 }} {{ 'A' > 'a' }} {{ 'ab' < 'abc' }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ missing < 1 }}
{{ 1 in nums }} {{ 3 in nums }} {{ 'a' in 'cat' }} {{ '' in 'cat' }} {{ 'role' in messages[0] }} {{ 'x' not in d }} {{ 1 in missing }} {{ not 1 in nums }} {{ true in [1] }}
{{ 1 in 'a' }}
{{ 1 in 5 }}
{{ not true }} {{ not none }} {{ not '' and not [] and not {} and not 0 }} {{ true and 'x' }} {{ '' or 'y' }} {{ none or 0 or [] }} {{ 1 and 2 or 3 }} {{ not not 1 }}
{{ 'a' if t else 'b' }} {{ 'a' if no else 'b' }} {{ 'a' if no }}| {{ 'a' if no else 'b' if no else 'c' }} {{ ('a' if t) ~ 'z' }}
{{ missing }}|{{ messages[9] }}|{{ messages[0].nothing }}|{{ d['zzz'] }}|{{ none_value.x }}|{{ (1).x }}|{{ messages[0][1] }}
{{ missing.x }}
{{ missing['x'] }}
{{ missing() }}
{{ missing + 'a' }}
{{ d.zzz.y }}
{{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 7) }} {{ d['items'] }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }} {{ d.nested.items()|list|length }}
{{ d.b }} {{ d.a[1] }} {{ d['a'][-1] }} {{ d.a.0 }} {{ d.nested['k'] }} {{ messages[-1].role }} {{ messages[0]['role'][0] }} {{ 'abc'[-1] }} {{ 'abc'[5] }}|
{{ s[1:4] }} {{ s[:3] }} {{ s[-3:] }} {{ s[::-1] }} {{ s[::2] }} {{ s[5:1] }}| {{ s[5:1:-1] }} {{ u[1:3] }} {{ u[-2:] }} {{ u[::-1] }} {{ u[2] }}
{{ nums[1:] }} {{ nums[:-1] }} {{ nums[::-1] }} {{ nums[10:] }} {{ nums[-2:] }} {{ nums[::2] }} {{ nums[3:0:-1] }} {{ (1, 2, 3)[1:] }} {{ nums[:none] }} {{ nums[-100:100] }} {{ nums[100::-1] }} {{ nums[-100:-200:-1] }}
{{ nums[::0] }}
{{ nums['a':] }}
{{ 5[0] }}|{{ true[0] }}|{{ none_value['x'] }}
{{ one[1:] }}
{{ none_value[1:] }}
{{ d[1:] }}
{{ d.items()[0] }}
{{ range(9)[2:5]|list }} {{ (s|list)[:2] }} {{ missing|reverse|list }}
{{ missing|int }}
{{ missing|float }}
{{ one.x }}{{ one['x'] }}{{ s.x }}{{ s['x'] }}{{ nums['x'] }}{{ nums.x }}
{{ words|groupby('x') }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ "it's a 2nd-rate x_y".title() }} {{ "it's a 2nd-rate x_y (b) [c] <d>"|title }} {{ u|upper }} {{ u|lower }} {{ u.title() }} {{ u|capitalize }}
{{ s.split() }} {{ s.split(' ') }} {{ s.split(' ', 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'a,b,,c'.split(',') }} {{ '  a  b '.split(none, 1) }} {{ 'a,b'.rsplit(',') }} {{ 'x</think>y</think>z'.split('</think>')[-1] }}
{{ 'a'.split('') }}
{{ '  a '.strip() }}|{{ '  a '.lstrip() }}|{{ '  a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\n\na\n'.lstrip('\n') }}|{{ 'abcba'.strip('ab') }}|{{ '\u2028a\x1c\u3000'.strip() }}|{{ 'éaé'.strip('é') }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ ''.startswith('') }} {{ 'abc'.startswith('abcd') }}
{{ 'abc'.startswith(1) }}
{{ 'a-b-c'.replace('-', '+') }} {{ 'a-b-c'.replace('-', '', 1) }} {{ 'abc'|replace('b', 'X') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ 'ab'.replace('', '.') }} {{ 'é你'.replace('', '.') }} {{ 12|replace('1', 'x') }}
{{ 'banana'.find('an') }} {{ 'banana'.rfind('an') }} {{ 'x'.find('y') }} {{ 'é你b'.find('b') }} {{ 'banana'.count('an') }} {{ 'banana'.index('n') }} {{ 'aaa'.count('aa') }} {{ 'aaa'.rfind('aa') }} {{ 'é'.count('') }}
{{ 'x'.index('y') }}
{{ ', '.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ ''.join([]) }} {{ [1, none, 'a']|join(', ') }} {{ words|join }} {{ people|join(', ', attribute='name') }} {{ people|map(attribute='age')|join('|') }}
{{ ', '.join([1]) }}
{{ 'a1'.isdigit() }} {{ '12'.isdigit() }} {{ 'ab'.isalpha() }} {{ ' \t'.isspace() }} {{ 'a1'.isalnum() }} {{ ''.isdigit() }} {{ 'é你'.isalpha() }}
{{ 'a\nb\r\nc\rd'.splitlines() }} {{ ''.splitlines() }} {{ 'a\n'.splitlines() }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ 'x'.removesuffix('') }}
{{ d|tojson }}
{{ d|tojson(indent=2) }}
{{ d|tojson(indent=4) }} {{ []|tojson(indent=2) }} {{ {}|tojson(indent=2) }}
{{ d|tojson(indent=none) }} {{ d.a|tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ u|tojson(ensure_ascii=true) }} {{ messages[2].content|tojson(ensure_ascii=true) }}
{{ ctl|tojson }} {{ u|tojson }} {{ messages|tojson }}
{{ [f, big, small, 1.0, 1e22, -0.0]|tojson }} {{ 'a'|tojson }} {{ 1|tojson }} {{ true|tojson }} {{ none|tojson }} {{ (1, 2)|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}
{{ missing|tojson }}
{{ range(3)|list|tojson }} {{ ctl|tojson(ensure_ascii=true) }} {{ nums|tojson(indent='\t') }} {{ nums|tojson(indent=0) }}
{{ s|length }} {{ u|length }} {{ nums|length }} {{ d|length }} {{ missing|length }} {{ ''|count }} {{ (1, 2)|length }}
{{ 5|length }}
{{ none|length }}
{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ 5|trim }}|{{ none|trim }}|{{ missing|trim }}|{{ '\n a \t'|trim }}
{{ 5|string }} {{ none|string }} {{ [1]|string }} {{ 'a'|safe }} {{ missing|string }}| {{ 1.0|string + 'x' }}
{{ missing|default('x') }} {{ ''|default('x') }}| {{ ''|default('x', true) }} {{ none|d('y') }} {{ none|default('y', boolean=true) }} {{ missing|default }}| {{ 0|default(5, true) }}
{{ nums|first }} {{ nums|last }} {{ []|first }}| {{ 'abc'|first }} {{ 'abc'|last }} {{ d|first }} {{ nums|sort }} {{ nums|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute='name')|map(attribute='name')|list }}
{{ nums|reverse|list }} {{ 'abc'|reverse }} {{ nums|min }} {{ nums|max }} {{ nums|sum }} {{ people|map(attribute='x.y')|sum }} {{ people|sum(attribute='x.y', start=10) }} {{ words|unique|list }} {{ words|min }} {{ words|max }} {{ []|sum }} {{ []|max }}|
{{ nums|select('odd')|list }} {{ nums|reject('odd')|list }} {{ nums|select('gt', 2)|list }} {{ [0, 1, '', 'a']|select|list }} {{ people|selectattr('age')|map(attribute='name')|list }} {{ people|selectattr('age', 'defined')|list|length }} {{ people|rejectattr('x.y', 'eq', 1)|map(attribute='name')|list }} {{ people|selectattr('name', 'equalto', 'bob')|list }}
{{ words|map('upper')|list }} {{ nums|map('string')|join('-') }} {{ words|map('replace', 'a', 'z')|list }} {{ people|map(attribute='age', default=0)|list }} {{ [[1, 2], [3]]|map('length')|list }} {{ [' a ']|map('trim')|list }}
{{ nums|select('nope')|list }}
{{ 5|nosuchfilter }}
{{ 5 is nosuchtest }}
{{ d|dictsort }} {{ {'b': 1, 'A': 0}|dictsort(by='value') }} {{ {'b': 1, 'A': 0}|dictsort(true) }} {{ d|items|list }} {{ {}|items|list }} {{ missing|items|list }}
{{ 5|items|list }}
{{ '3'|int }} {{ '3.7'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ 3.9|int }} {{ -3.9|int }} {{ true|int }} {{ none|int }} {{ ' 42 '|int }} {{ '1e3'|int }} {{ '3'|float }} {{ 'x'|float }} {{ 2|float }} {{ 'x'|float(1.5) }} {{ -3|abs }} {{ -2.5|abs }} {{ (-3)|abs }}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ 'a\n'|indent }}|
{{ '<a href="x">\'&'|e }} {{ '<b>' }} {{ 5|escape }}
{{ 1 is defined }} {{ missing is defined }} {{ missing is undefined }} {{ none is none }} {{ missing is none }} {{ d.zzz is defined }} {{ d.b is not none }}
{{ 's' is string }} {{ 1 is string }} {{ 1 is number }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is integer }} {{ true is number }} {{ true is boolean }} {{ 1 is boolean }}
{{ d is mapping }} {{ nums is mapping }} {{ nums is sequence }} {{ 's' is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ missing is sequence }} {{ nums is iterable }} {{ 's' is iterable }} {{ d is iterable }} {{ 1 is iterable }} {{ missing is iterable }} {{ none is iterable }} {{ d.items() is iterable }}
{{ true is true }} {{ 1 is true }} {{ false is false }} {{ 0 is false }} {{ none is false }} {{ missing is false }} {{ missing is true }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 1 is eq 1 }} {{ 1 is equalto(1.0) }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is ge 2 }} {{ 1 is in [1, 2] }} {{ 3 is not in [1, 2] }} {{ none is sameas none }} {{ true is sameas true }} {{ 'AB' is upper }} {{ 'ab' is lower }} {{ 'Ab' is upper }} {{ range is callable }} {{ 5 is callable }} {{ 'upper' is filter }}
{{ 3 is not odd and 1 }} {{ 3 is odd or no }} {{ nums|length is odd }} {{ -3|abs is odd }} {{ not missing is defined }}
{% if missing %}a{% elif d %}b{% else %}c{% endif %}{% if no %}x{% endif %}{% if no %}x{% elif zero %}y{% else %}z{% endif %}
{% for x in nums %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}{% for x in [] %}a{% else %}empty{% endfor %}{% for x in missing %}a{% else %}none{% endfor %}
{% for x in nums %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for x in nums %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 2) }} {% endfor %}
{% for k in d %}{{ k }} {% endfor %}{% for k, v in d.nested.items() %}{{ k }}={{ v }} {% endfor %}{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for c in 'aé你' %}{{ c }}.{% endfor %}
{% for x in nums if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}no{% endfor %}{% for x in nums if x > 100 %}{{ x }}{% else %}no{% endfor %}
{% for x in 1, 2, 3 %}{{ x }}{% endfor %}{% for x in (1, 2) %}{{ x }}{% endfor %}{% for a, b in [[1, 2], 'xy'] %}{{ a }}{{ b }}{% endfor %}
{% for a, b in [1] %}{{ a }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for x in 5 %}{{ x }}{% endfor %}
{% for x in none %}{{ x }}{% endfor %}
{% for x in nums %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 10 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [1, 2] %}{% for y in [1, 2, 3] %}{% if y == 2 %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}{% set x, y = 1, 'b' %}{{ x }}{{ y }}{% set a = 1, 2 %}{{ a }}{% set (p, q) = [3, 4] %}{{ p + q }}
{% set ns = namespace(n=0, l=[]) %}{% for i in nums %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.l }}{{ ns.zzz is defined }}{% set ns.new = 'x' %}{{ ns.new }}{% set ns2 = namespace({'a': 1}, b=2) %}{{ ns2.a }}{{ ns2.b }}
{% set d.x = 1 %}
{% set ns = namespace() %}{% set ns._x = 1 %}
{% set x %}a {{ 1 + 1 }} b{% endset %}{{ x }}{{ x|length }}{% set y | upper | trim %}  abc {% endset %}{{ y }}|
{% macro m(a, b='B', c=missing) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=1, a=2) }}{{ m() }}{{ m(1, c=3)|upper }}{{ m('x')|trim|length }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro fact(n) %}{{ 1 if n < 2 else n * (fact(n - 1)|int) }}{% endmacro %}{{ fact(5) }}
{% macro outer() %}{% macro inner(x) %}<{{ x }}>{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer() }}{{ outer.name }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{% set g = 5 %}{% macro h() %}{{ g }}{% endmacro %}{{ h() }}{% set g = 6 %}{{ h() }}
{% macro w(x) %}({{ caller(x) }}){% endmacro %}{% call(y) w(3) %}{{ y * 2 }}!{% endcall %}{% macro v() %}[{{ caller() }}]{% endmacro %}{% call v() %}in{% endcall %}
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}|{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}|
{% filter upper %}abc {{ 'd' }}{% endfilter %}{% filter replace('a', 'b')|trim %} aa {% endfilter %}|
{% raw %}{{ not }} {% if %}{% endraw %}{{ 1 }}{%- raw -%}  x {{ {%- endraw -%}  y
a {# comment #} b {#- x -#} c {# multi
line #}d
{% generation %}text {{ 1 }}{% endgeneration %} after
{{ raise_exception('no ' ~ 1) }}
{{ namespace(a=1).a }} {{ dict(a=1, b=2) }} {{ range(3)|list }} {{ range(1, 10, 3)|list }} {{ range(3, 0, -1)|list }} {{ range(0)|list }} {{ 2 in range(3) }} {{ range(5)[-1] }} {{ range(5)|length }}
{{ range(1000000)|list }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner('|') %}{{ j() }}x{{ j() }}y{{ j() }}z
{{ "a" "b" 'c' }} {{ 'tab\tnl\nq\'s \\ \x41 \u00e9 \U0001F600 \q' }} {{ '{{ x }} %}' }} {{ "}}" }} {{ {'a': {'b': 1}}['a']['b'] }}
{{ 1_000 }} {{ 1.5e3 }} {{ 1e2 }} {{ 10.0 / 4 }} {{ 6 / 3 }}
{{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ 1, 2 }} {{ [] }} {{ {} }}
{{ messages[1:]|length }} {{ messages[::-1][0].role }} {{ (messages|length - 1) - 1 }} {{ messages|map(attribute='role')|list }} {{ messages|selectattr('role', 'eq', 'user')|first }}
{{ messages[2].tool_calls is defined and messages[2].tool_calls is not none }} {{ 'tool_calls' in messages[2] }} {{ messages[2].tool_calls|length }}
{{ words.index('c') }} {{ nums.count(3) }} {{ words.append('x') }}
{{ nums.index(99) }}
{{ none.upper() }}
{{ 'a'.nosuch() }}
{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%A %B %j') }}
{{ loop }}|{{ loop is defined }}
{% for x in [1] %}{{ loop.nosuch }}{% endfor %}
{{ bos_token }}{{ eos_token }}{{ bos_token is defined }}{{ pad_token is defined }}{{ tools is none }}{{ tools is defined }}{{ add_generation_prompt }}
{{ (nums|list)[0] }} {{ nums|list|first }} {{ -nums|first }} {{ (nums|first) * 2 }} {{ not nums|first }} {{ 'a' ~ 'b'|upper }} {{ ('a' ~ 'b')|upper }} {{ 2 * 3|string }}
{{ -nums[0] }} {{ - 3 ** 2 }} {{ (-3) ** 2 }} {{ 1 - 1 - 1 }} {{ 8 / 2 / 2 }} {{ 2 ** 2 ** 0 }} {{ 10 - 2 ~ 'x' }} {{ 1 ~ 2 + 3 }} {{ 1 + 2 ~ 3 }}
{{ t == true and not no != false }} {{ 1 if 0 or 1 and 0 else 2 }} {{ 1 in [1] == true }} {{ (1 in [1]) == true }} {{ not 1 == 2 }} {{ 5 is odd is defined }}
{% if (messages[0]['role'] == 'user') != (0 % 2 == 0) %}x{% else %}y{% endif %}{% if messages and messages[0].role == 'system' %}s{% endif %}
{% unknown %}
{% if t %}
{% endif %}
{% for x in nums %}{{ x }}
{{ 1 +
{{ 'abc }}
{{ }}
{% %}
{{ a b }}
{{ (1 }}
{{ 1) }}
{% set %}
{% set x = %}
{% include 'x' %}
{% else %}
{% if t %}{% endfor %}
{% break %}
{{ 1 ** -1 }} {{ 0.1 + 0.2 }} {{ 1e16 + 1 }} {{ 3 * 0.1 }} {{ 1e-5 }} {{ 0.0001 }} {{ 1.0e15 }} {{ 12345678901234567.0 }} {{ -0.0 }} {{ 2.5 // 1 }} {{ 1 // 0.3 }}
{{ {'a': 1}.a }} {{ [1, 2][1] }} {{ 'abc'|list }} {{ d|list }} {{ {'x': 1}|string }} {{ [none, true]|string }} {{ [['a']]|string }}
{{ 'x' is in 'xyz' }} {{ 'k' in d.nested }} {{ d.nested.k in ['v'] }} {{ ['a'] in [['a']] }} {{ 'a' in ('a', 'b') }} {{ 'a' not in () }}
{{ s|replace('quick', 'slow')|upper|trim|length }} {{ s|title|lower|first }} {{ (s|upper).lower() }} {{ s.split()[0].upper() }} {{ s.strip().split('\n')|last }}
{{ people|map(attribute='nope')|list }} {{ people|map(attribute='name')|map('lower')|sort|join(',') }} {{ people|selectattr('age', 'gt', 26)|list|length }}
{{ missing|upper }}|{{ missing|list }}|{{ missing|join(',') }}|{{ missing|first }}|{{ missing|default(d)|length }}
{{ missing ~ 'x' }}|{{ [missing] }}|{{ missing or 'x' }}|{{ 'x' if missing is not defined }}
{{ d.nested.e }}{{ d.nested.l }}{{ d.nested.zz }}{{ d.a[7] }}{{ d['a']['x'] }}{{ d.a.x }}
"""

# White space control: (template) lines cannot hold newlines, so these are Python strings.
WHITESPACE = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \n  b\n  {% endif %}\nc", "  {% if true %}x{% endif %}\n", "a {%- if true -%} b {%- endif -%} c",
    "  {{ 1 }}\n  {{ 2 }}\n", "{{ 1 -}}\n  x", "x\n  {{- 1 }}", "x  \n {%- set a = 1 %}\n  y", "  {%+ if true %}x{%+ endif %}\n", "{% if true +%}\nx{% endif %}",
    "x\n{# c #}\ny\n", "x\n  {# c #}\n  y", "x {#- c -#} y", "a\r\nb\rc\n", "a\n\n", "a\n\n\n", "\n\na", "\t{% set x = 1 %}\t\ny", "{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\n",
    "{% for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}\n", "x\n \t {% raw %}  \n  {{ y }}\n  {% endraw %}\nz", "{%- raw %} a {% endraw -%} \n b", "a{# x #}  \n  {# y #}\nb",
    "é\u00a0{%- if true %}x{% endif %}", "é\u2003{{- 1 -}}\u2003z", "a\n\u00a0{% if true %}b{% endif %}", "{{ 'a\n' }}{% if true %}\n\nb{% endif %}", "{{ '\n' }}\n{% if true %}{% endif %}\n\nx",
    "a\n    {%- if true %}\n    b\n    {%- else %}\n    c\n    {%- endif %}\n    d", "{{ {'a': 1}['a'] -}} }}", "{%- set x -%}  v  {%- endset -%}\n[{{ x }}]", "a  {%- endfor %}", "}} %} #}", "{ { % x", "",
    "\n", "x", "{{ 1 }}\n", "{% if true %}x{% endif %}\n\n", " {# a #} {# b #} \n c", "a\n {% if true -%}  \n  b {% endif %}", "{#\n a #}\n\nb", "{% set x = 1 -%}\n\n\n  {{ x }}", "a {#+ x +#}\n b",
]
