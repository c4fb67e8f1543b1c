"""Strings that mail programs have stumbled over, drawn often enough that every message holds some.

All is drawn from the ``random.Random`` that is handed in: hypothesis shrinks its draws, a seed repeats them.
"""

from __future__ import annotations

import re
import unicodedata
from random import Random

PLAIN = ("a", "Invoice", "the", "Q3", "report", "x" * 30, "2026-11-23", "of", "Re:", "[42]", "100%", "it's", "a_b")
TRICKY = (
    "=?utf-8?q?x?=",
    "=?utf-8?q?=0D=0ABcc=3A_evil=40x.example?=",
    "=?us-ascii?b?eA==?=",
    "=?",
    "?=",
    "=?=",
    '"',
    "\\",
    '\\"',
    "(",
    ")",
    ",",
    "<",
    ">",
    ";",
    ":",
    "@",
    "a@x.example,",
    "<b@x.example>",
    "(c)",
    "''",
    "%41",
    "utf-8''x",
    "=41",
    "_",
    "&amp;",
    "  ",
    " " * 9,
    ".",
    "--",
    "[x]",
)
FOREIGN = (
    "é",
    "Müller",
    "naïve",
    "e\u0301",
    "o\u0308\u0323",
    "שלום",
    "مرحبا",
    "\u200f",
    "\u202eabc\u202c",
    "你好世界",
    "株式会社",
    "안녕",
    "ไทย",
    "हिन्दी",
    "😀",
    "👨\u200d👩\u200d👧",
    "🇩🇪",
    "👍🏽",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\ufffd",
    "\ue000",
    "\ud7ff",
    "\U0010fffd",
    "\U0001d518",
    "€",
    "½",
    "ﬁ",
    "İ",
    "ß",
)
_RANGES = ((0x21, 0x7F), (0xA1, 0x180), (0x370, 0x600), (0x900, 0xE00), (0x4E00, 0x9FA5), (0x1F300, 0x1FA00))
_BIDI_OR_PATH = re.compile("[/\\\\\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def drawn(random: Random, chances: int) -> bool:
    """Return True in one of so many cases; shrinks towards False."""
    return random.randrange(chances) == chances - 1


def word(random: Random) -> str:
    """Return a word, plain, tricky or foreign, or some random characters."""
    kind = random.randrange(9)
    if kind < 3:
        return random.choice(PLAIN)
    if kind == 8:  # of any length: what fits a line by one octet, and what does not
        return random.choice(("w", "w", "é", "名", "😀", '"', "=?")) * random.randrange(1, 90)
    if kind < 5:
        return random.choice(TRICKY)
    if kind < 7:
        return random.choice(FOREIGN)
    low, high = random.choice(_RANGES)
    return "".join([chr(code) for code in random.choices(range(low, high), k=random.randrange(1, 6))])


def line(random: Random, *, words: int = 6) -> str:
    """Return a header value without outer blanks: words joined by nothing, a blank, or several."""
    joints = ("", " ", " ", "   ")
    parts: list[str] = []
    for _ in range(random.randrange(words + 1)):
        parts += [word(random), random.choice(joints)]
    if drawn(random, 40):
        parts.append(random.choice((" " * 120 + "z", "y" * 2000, "é" * 700, "名" * 300, "x" * 990, "😀" * 150)))
    return "".join(parts).strip(" ")


def shown_name(random: Random) -> str:
    """Return the name of an attachment: what a header value may hold, less what is a path or turns the direction."""
    if drawn(random, 25):
        return random.choice(("n" * 251 + ".pdf", "名" * 83 + ".pdf", "é" * 125 + ".txt", "%" * 255, "' " * 127 + "'"))
    name = _BIDI_OR_PATH.sub("_", line(random, words=3)).strip(" ")
    while len(name.encode()) > 200:
        name = name[: len(name) // 2].strip(" ")
    shows_nothing = all(unicodedata.category(character) in ("Zs", "Cf") for character in name)
    return "file" if shows_nothing or name in (".", "..") else name


def identifier(random: Random) -> str:
    """Return a message identifier without its brackets."""
    if drawn(random, 20):
        return random.choice(("=?utf-8?q?x?=@x.example", "a" * 880 + "@x.example", '"a,b"@[192.0.2.1]', "a@b@c"))
    left = "".join(random.choices("abcXYZ019.!#$%&'*+-/=?^_`{|}~", k=random.randrange(1, 40)))
    return f"{left}@{random.choice(('x.example', 'mail.gmail.com', 'h'))}"
