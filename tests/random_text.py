"""Text that no one would write: what ids and words must be right for all the same."""

import random

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    " \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000",
    "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~",
    "äöüßéèñçøÅŒſſ",
    "中文字符测试汉語日本ひらカタ한국",
    "👩🏽‍👧🇪🇺✨\u200d\ufe0f",
    "\u0301\u0302\u0e34\u093f\u05b0",
    "٣٤५६Ⅷ½²",
]
PIECES = [
    "'s",
    "'LL",
    " don't",
    "<|endoftext|>",
    "<|unk|>",
    "</s>",
    "  ",
    "\n\n\n",
    "\r\n",
    " the",
    "\0",
    "\ufeff",
    "[SEP]",
]


def random_text(rng: random.Random) -> str:
    """Runs of like characters, odd pieces and arbitrary code points."""
    parts = []
    for _ in range(rng.randrange(1, 30)):
        match rng.randrange(4):
            case 0:
                parts.append(rng.choice(PIECES))
            case 1:
                code = rng.randrange(0x110000 - 0x800)
                parts.append(chr(code if code < 0xD800 else code + 0x800))
            case 2:
                parts.append(rng.choice(rng.choice(ALPHABETS)) * rng.randrange(1, 40))
            case _:
                alphabet = rng.choice(ALPHABETS)
                parts.append("".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 12))))
    return "".join(parts)


def random_texts(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return ["", *(random_text(rng) for _ in range(n))]


LONG_RUNS = ["a" * 50_000, " " * 50_000 + "x", "\n" * 20_000, "ab" * 20_000, "'" * 20_000, "中" * 10_000, " \t" * 9_999]
