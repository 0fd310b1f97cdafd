"""The 1,000 lines that the tokenizer golden covers: `lines()`.

Fixed lines for the known hard cases, then seeded mixtures of many alphabets, so that every rule of
the pre-tokenizer's regular expression, NFC and special-token splitting is met.
Imported by `golden_parts.py`; not run by itself.
"""

import random

CHECKS = [
    "", "Hello world", "a cat", "cafe\u0301", "caf\u00e9", "一只猫在雪地里", "  two  spaces \n\n end",
    "a red fox sits under a cherry blossom tree", "photo of ohwx man, 85mm f/1.4, it's SHARP",
]

CONTRACTIONS = [
    "it's I'm you're we've they'll he'd don't", "IT'S I'M YOU'RE WE'VE THEY'LL HE'D", "'s 't 're 've 'm 'll 'd",
    "'S'T'RE", "x'sy", "rock'n'roll", "l’été d’or it’s", "''s", "'lla 'ver 'rest", "\u017f'\u017f 'ſ K'm",
]

SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "a<|im_start|>b", "<|im_start|>system\nyou are<|im_end|>",
    "<think>", "</think>", "<think>\n\n</think>\n\n", "<tool_call>{}</tool_call>", "<tool_response>x</tool_response>",
    "<|vision_start|><|image_pad|><|vision_end|>", "<|box_start|>(1,2)<|box_end|>", "<|fim_prefix|>a<|fim_suffix|>b",
    "<|im_start", "|im_start|>", "< |im_start|>", "<|IM_START|>", "<|im_start|><|im_start|>", " <|im_end|> ",
    "\n<|im_end|>\n", "<|repo_name|>r<|file_sep|>f", "<<|endoftext|>>", "<|endoftext|", "<|quad_start|>é<|quad_end|>",
    "<s></s><unk><pad>", "[INST] [trigger] [MASK]", "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n",
]

SPACES = [
    " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", "\n\n\n", " \n", "\n ", " \n ", "\t\t\tx", "x\t\t\t", " x ", "  x  ",
    "x \ny", "x  \n  y", "x\r\n\r\ny", "x\u00a0y", "\u00a0\u00a0", "\u3000全角\u3000", "\u2003em\u2003", "\u200bzero\u200bwidth",
    "\u2028line\u2029para", "\x0bvt\x0cff", "\x85next", "\x1c\x1d\x1e\x1f", "a\u202fb", "\ufeffbom", " \u00a0 \n", "end   ",
    "!\n\n!", "...\r\n...", "?!\n", " ?!\n\n\nx", "a  b   c    d     e", "\u1680ogham\u180emvs", "x\n\t y",
]

CONTROLS = [
    "\x00", "a\x00b", "\x01\x02\x03", "\x07bell", "\x1b[31mred\x1b[0m", "\x7f", "\x80\x9f", "\u200e\u200f\u202a\u202e",
    "\u2066x\u2069", "\ufffd", "\ufffc", "\uffff", "\U0010ffff", "\ue000 private", "\U000f0000", "\u00adsoft\u00adhyphen",
    "\u2060", "\ufe0f", "\U000e0041\U000e007f",
]

NUMBERS = [
    "0", "1234567890", "3.14159", "1,000,000", "-42", "1e-10", "0xDEADBEEF", "2026-11-23T09:38:00Z", "½ ⅔ ¼", "²³¹⁰", "Ⅷ ⅳ",
    "٠١٢٣٤٥٦٧٨٩", "०१२३", "１２３", "一二三", "①②③", "1st 2nd 3rd", "85mm f/1.4 1/250s ISO400", "16:9", "50%", "$9.99", "𝟘𝟙𝟚", "𒐕",
    "v1.2.3-rc.4+5", "192.168.0.1", "1" * 60,
]

CODE = [
    "def f(x):\n    return x**2\n", "for (let i=0;i<10;i++){console.log(i)}", "#include <stdio.h>\nint main(void){return 0;}",
    "SELECT * FROM t WHERE a='b' -- c", "<html><body class=\"x\">&nbsp;</body></html>", "{\"a\": [1, 2.5, null, true]}",
    "a && b || !c ^ ~d", "x->y::z<T>&&", "\\n\\t\\u0041\\", "/usr/local/bin/env python3", "C:\\Users\\x\\file.txt", "https://example.org/?q=a%20b&c=d#e",
    "user@example.org", "(masterpiece:1.2), [blurry], {a|b}", "<lora:x:0.8>", "__init__ _private CONST_NAME camelCase", "`code` **bold** _it_",
    "\t\tif (a) {\r\n\t\t\tb();\r\n\t\t}", "a=b;c+=d;e-=f", "=====-----_____", "((((()))))", "......", "!!!???", "—–‒―", "“”‘’«»‹›", "--w 512 --h 512 --s 9",
]

LANGUAGES = [
    "Der große Bär läuft über die Straße", "Le cœur déçu mais l'âme plutôt naïve", "El pingüino Wenceslao hizo kilómetros", "Zażółć gęślą jaźń",
    "Příliš žluťoučký kůň úpěl ďábelské ódy", "Árvíztűrő tükörfúrógép", "Съешь же ещё этих мягких французских булок", "Щастям б'єш жук їх глицю",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "צורת צילום של חתול ליד הים", "نصٌّ حكيمٌ لهُ سِرٌّ قاطِعٌ", "یک روباه قرمز زیر درخت", "एक लाल लोमड़ी पेड़ के नीचे", "একটি লাল শিয়াল",
    "ஒரு சிவப்பு நரி", "ఒక ఎర్ర నక్క", "สุนัขจิ้งจอกสีแดงใต้ต้นไม้", "ຫມາຈອກສີແດງ", "မြေခွေးနီ", "កញ្ជ្រោងក្រហម", "წითელი მელა", "կարմիր աղվես", "ቀይ ቀበሮ", "赤い狐が桜の木の下に座っている",
    "カタカナとひらがなとｶﾀｶﾅ", "빨간 여우가 벚나무 아래에 앉아 있다", "一张写实的照片，城市夜景，霓虹灯。", "繁體中文：龍鳳呈祥", "Con cáo đỏ dưới gốc cây hoa anh đào", "Kırmızı tilki İstanbul'da ıslak",
    "ᠮᠣᠩᠭᠣᠯ", "ᏣᎳᎩ", "ᚠᚢᚦᚨᚱᚲ", "𐌰𐌱𐌲", "𓀀𓁐𓃰", "བོད་སྐད", "සිංහල", "ꦗꦮ", "𝓯𝓪𝓷𝓬𝔂 𝕥𝕖𝕩𝕥", "ﬁ ﬂ ﬀ ǆ ß ẞ",
]

EMOJI = [
    "🦊", "🦊🌸🌳", "👩‍👩‍👧‍👦 family", "👍🏽", "🏳️‍🌈", "🇫🇷🇯🇵🇧🇷", "1️⃣2️⃣#️⃣", "❤️ ❤", "🧑🏿‍🚀", "text🦊text", "🦊 🦊  🦊", "™️©️®️", "☺︎☺️", "🫠🫨🩷", "😀😀😀😀😀😀😀😀",
]

NORMAL = [
    "e\u0301 \u00e9", "n\u0303o \u00f1o", "A\u030a \u00c5 \u212b", "\u1e9b\u0323", "\u0071\u0307\u0323 q\u0323\u0307", "\u1100\u1161\u11a8 \uac01", "\u0915\u093c \u0958",
    "\u2126 \u03a9 \u212a K", "\ufb1d \u05d9\u05b4", "\u0344 \u0308\u0301", "\u0958\u0959", "\uf900 \u8c48", "\U0001d15e", "a\u0300\u0301\u0302\u0303\u0304", "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031eA\u036b\u0357",
    "\u0301alone", " \u0301", "\u0f73 \u0f75", "\u0cc6\u0cc2\u0cd5", "\u1025\u102e \u1026", "ﬃ", "x\u0338= \u2260", "\u05e9\u05bc\u05c1 \ufb2c", "\u0374 \u02b9", "\u1f71 \u03ac",
]

LONG = [
    "a" * 300, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "supercalifragilisticexpialidocious" * 4,
    "猫" * 120, "ha" * 100, "🦊" * 40, "-" * 150, " " * 100, "\n" * 50, "é" * 80, "xyzzy" * 30, "AbC" * 50, "กขค" * 30, "0" * 100, "!?" * 60,
]

WORDS = "a the photo of red fox ohwx man woman portrait cinematic lighting 85mm bokeh ultra-detailed SHARP Focus watercolor sks style, in on under neon city rain night's".split()


def _alphabets() -> list[list[str]]:
    spans = [(0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x17F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x45F), (0x5D0, 0x5EA), (0x620, 0x652), (0x900, 0x97F),
             (0xE01, 0xE4E), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x2190, 0x21FF), (0x3040, 0x30FF), (0x4E00, 0x4FFF),
             (0xAC00, 0xAD00), (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x1F300, 0x1F64F), (0x20000, 0x20100), (0, 0x1F)]
    return [[chr(c) for c in range(a, b + 1)] for a, b in spans]


def lines(count: int = 1000) -> list[str]:
    """Exactly `count` distinct lines, the same on every machine."""
    out = dict.fromkeys(CHECKS + CONTRACTIONS + SPECIALS + SPACES + CONTROLS + NUMBERS + CODE + LANGUAGES + EMOJI + NORMAL + LONG)
    fixed = list(out)
    alphabets = _alphabets()
    rng = random.Random(20261123)
    while len(out) < count:
        kind = rng.randrange(4)
        if kind == 0:  # a prompt of ordinary words
            line = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 30)))
        elif kind == 1:  # runs from one to four alphabets
            line = "".join("".join(rng.choices(rng.choice(alphabets), k=rng.randrange(1, 9))) for _ in range(rng.randrange(1, 5)))
        elif kind == 2:  # fixed lines joined by a separator
            line = rng.choice(["", " ", "  ", "\n", ", ", "\r\n ", "'", "\u0301"]).join(rng.sample(fixed, rng.randrange(2, 4)))
            line = line[:160]
        else:  # anything beside anything
            line = "".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randrange(1, 25)))
        out[line] = None
    return list(out)[:count]


PROMPTS = [
    "", " ", "a cat", "a red fox sits under a cherry blossom tree", "photo of ohwx man, 85mm f/1.4, it's SHARP", "  leading and trailing  ",
    "\n\nnewlines first\n\n", "tabs\tand\r\nCRLF", "一只猫在雪地里", "猫 and cat and 🦊", "رجل يقرأ كتابا", "赤い狐が桜の木の下に座っている", "빨간 여우",
    "cafe\u0301 cre\u0300me", "<think>plan</think> a cat", "a<|im_end|>\n<|im_start|>system\nb", "<|endoftext|>", "</think>", "{{ messages }} {% raw %}", "a\x00b",
    "user\nassistant", "🏳️‍🌈 flag, 👩‍👩‍👧‍👦", "1234567890 " * 5, "[trigger] portrait", "(a:1.2) --w 512", "a" * 200,
    "word " * 480, "word " * 506, "word " * 600, "一只红狐狸坐在樱花树下。" * 90,
]

# First and last code points of marks and letter parts that Unicode got after version 9.
NEWER_MARKS = """
7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1add 1ae0-1aeb 1df6-1dfa a82c 105c9 105d2 105da 105e4 10d24-10d27
10d69-10d6d 10eab-10eac 10efa-10efb 10efd-10eff 10f46-10f50 10f82-10f85 11070 1133b 11382-11385 1138b 1138e 11390-11391
113b8 113bb 113c2 113c5 113c7-113c9 113ce-113d0 1145e 11839-1183a 11930 11935 11938 1193d-1193e 11943 119e0 11a34 11a47
11a99 11d42 11d44-11d45 11d97 11f41-11f42 1611e-16129 1612f 16d63 16d67-16d6a 16ff0-16ff1 1e08f 1e130-1e136 1e2ae
1e2ec-1e2ef 1e4ec-1e4ef 1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5
"""


def mark_lines() -> list[str]:
    """Each newer mark between marks that a newer Unicode would move past it, and twice in a row."""
    out = []
    for span in NEWER_MARKS.split():
        first, _, last = span.partition("-")
        out += [f"a\u0345{chr(c)}\u0334\u0301 {chr(c)}{chr(c)}\u0307e" for c in range(int(first, 16), int(last or first, 16) + 1)]
    return out
