"""Lines of text for comparing tokenizers: words, code, many scripts, emoji, combining marks, numbers, white space, control
characters, special tokens inside.  The same seed gives the same lines."""
import random
import unicodedata

WORDS = ("the of and to in is that it was for on are with as his they at be this from have or by one had not but what all were when we there can an your which "
         "their said if do will each about how up out them then she many some so these would other into has more her two like him see time could no make than "
         "first been its who now people my made over did down only way find use may water long little very after words called just where most know "
         "antidisestablishmentarianism supercalifragilistic naïve café résumé Übergröße œuvre").split()
CODE = ["for (int i = 0; i < n; i++) { sum += a[i]; }", "def f(x, *, y=None):\n    return x if y is None else y", "#include <stdio.h>\n\nint main(void)\n{\n\treturn 0;\n}",
        "SELECT * FROM t WHERE a >= 10 AND b != 'x';", "<div class=\"a-b\">&nbsp;</div>", "{\"k\": [1, 2.5e-3, null, true]}", "a->b::c<d>(e&&f||!g)", "x = y ** 2 // 3 % 4 ^ ~5", "\\frac{a}{b} $\\alpha$",
        "https://example.org/a/b?c=d&e=%20#f", "C:\\Users\\x\\y.txt", "git commit -m \"fix: don't\" && echo $?"]
RANGES = [(0x21, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x587), (0x5D0, 0x5EA), (0x610, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF), (0xB80, 0xBFF),
          (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x214F), (0x2150, 0x218B), (0x2190, 0x21FF), (0x2460, 0x24FF),
          (0x2600, 0x27BF), (0x3000, 0x303F), (0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFB00, 0xFB4F), (0xFE00, 0xFE0F), (0xFF01, 0xFFEF), (0x10330, 0x1034A),
          (0x1D400, 0x1D7FF), (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1F9FF), (0x20000, 0x2A6DF)]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\x0b", "\x0c", "\u1680", "\u180e", "\u200b", "\ufeff", "\x1c", "\x1f"]
NUMBERS = ["0", "7", "42", "123", "1234", "1234567", "3.14159", "1e-9", "٣٤٥", "१२३", "Ⅷ", "½", "²", "①②", "１２", "𝟘𝟙", "一二三"]
SHORT = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'Re", "'\u017f", "'x", "’s", "don't", "WE'RE", "I'LL", "it's", "o'clock"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "<|begin_of_text|>", "<|eot_id|>", "<|im_start", "im_end|>", "<|im_start|><|im_end|>", "<think", "<|start_header_id|>"]
CLUSTERS = ["👨‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "e\u0301", "a\u0323\u0302", "\u1112\u1161\u11ab", "한글", "नमस्ते", "ก็ดี", "Z̷̬̈a̸̛l̵g̶o", "ﬁ", "Å", "Å", "ｱﾞ", "\u0958", "ᾳ", "ǆ", "क्षि", "مرحبا", "שלום", "你好，世界", "ありがとう", "\u0344"]


def known(ch):  # assigned in Unicode 14, which is what PCRE2 10.42 and this Python know
    return unicodedata.category(ch) not in ("Cn", "Cs")


def excluded():  # code points that RANGES would reach but that are left out
    return sum(1 for a, b in RANGES for c in range(a, b + 1) if not known(chr(c)))


def char(r):
    while True:
        a, b = r.choice(RANGES)
        ch = chr(r.randint(a, b))
        if known(ch):
            return ch


def piece(r):
    k = r.randrange(14)
    if k < 4:
        w = r.choice(WORDS)
        return r.choice([w, w, w.capitalize(), w.upper()])
    if k == 4:
        return r.choice(CODE)
    if k == 5:
        return r.choice(NUMBERS)
    if k == 6:
        return r.choice(SHORT)
    if k == 7:
        return r.choice(CLUSTERS)
    if k == 8:
        return "".join(char(r) for _ in range(r.randint(1, 6)))
    if k == 9:
        return "".join(r.choice(SPACES) for _ in range(r.randint(1, 4)))
    if k == 10:
        return r.choice(SPECIAL)
    if k == 11:
        return "".join(r.choice("!?.,;:-_()[]{}<>|/\\@#$%^&*+=~`\"'…—–«»") for _ in range(r.randint(1, 5)))
    if k == 12:
        return str(r.randint(0, 10 ** r.randint(1, 12)))
    return chr(r.choice([1, 2, 7, 8, 27, 31, 127, 0x80, 0x9F, 0xAD, 0x200D, 0xFFFD, 0xE000, 0x10FFFD, 0xFDD0]))


def lines(seed, n):
    r = random.Random(seed)
    fixed = ["", " ", "  ", "\n", "a  1 12", "abc123  45", "Hello, world!", "I'll don't WE'RE", "  two spaces\n\n\nx", "naïve café cafe\u0301", "你好，世界", "\tif (x==1) {\r\n  y\n}\n",
             "<|im_start|>user\nHi<|im_end|>\n", "<think>\n\n</think>\n\n", "a b  c   d", "हिन्दी नमस्ते", "ก็ดี", "Hello! 毕老师！1 + 1 = 2", "a" * 500, " " * 300, "ab" * 200, "1" * 100, "\u017f's '\u017f 'S", "x\u180ey \u180e z"]
    out = list(fixed)
    while len(out) < n:
        m = r.choice([1, 2, 3, 5, 8, 13])
        out.append("".join(piece(r) + r.choice([" ", " ", " ", "", "", "  ", "\n"]) for _ in range(m)))
    return out[:n]
