"""Texts in every kind of character set, with every kind of line end, and what has to arrive of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from tests.fuzz.mail import strings
from tests.fuzz.mail.strings import drawn

_EBCDIC = ("cp037", "cp500", "cp273", "cp1140", "cp1141", "cp1026", "cp875")
CHARSETS = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "UTF8"),
    *(
        "cp1252",
        "latin-1",
        "iso8859-15",
        "cp850",
        "cp437",
        "cp1251",
        "koi8-r",
        "mac-roman",
        "cp864",
        "tis-620",
        "ascii",
    ),
    *("shift_jis", "cp932", "euc_jp", "iso2022_jp", "iso2022_jp_2004", "gb18030", "gb2312", "hz", "big5"),
    *("euc_kr", "iso2022_kr", *_EBCDIC),
)
_ENDS = ("\n", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\n\r", " \n", "\t\r\n")
_LINES = (
    ".",
    "..",
    ".hidden",
    "From me",
    ">From you",
    "-- ",
    "> quoted",
    ">> twice",
    " indented",
    "--=_mixed_",
    "--",
    "a=b=3D",
    "=",
    "x" * 76,
    "x" * 77,
    "trailing  ",
    "tab\t",
    "\f",
    "\v",
    "\x1b[1m",
    "\x08",
    "\x7f",
    "\x85",
    "\u2028",
    "Content-Type: text/html",
)
_LONG = ("x" * 997, "x" * 998, "x" * 999, "é" * 500, "long " * 400, "名" * 400)
_EBCDIC_LINE_END = re.compile("\r[\n\x85]?|\n|\x85")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text file: its octets, its character set, and the text that has to arrive."""

    octets: bytes
    charset: str
    expected: str


def normalized(text: str, *, ebcdic: bool = False) -> str:
    """Return a text as it has to arrive: CRLF line ends, the last line's included, no byte order mark."""
    text = text.removeprefix("\ufeff")
    ends = _EBCDIC_LINE_END if ebcdic else re.compile("\r\n?|\n")
    text = ends.sub("\r\n", text)
    return text if not text or text.endswith("\r\n") else text + "\r\n"


def charset(random: Random) -> str:
    """Return the name of a character set, UTF-8 most often."""
    return random.choice(CHARSETS) if random.randrange(2) else "utf-8"


def encoded(text: str, charset_name: str) -> Text:
    """Return what of ``text`` the character set can hold, as a file."""
    ebcdic = charset_name in _EBCDIC
    if charset_name == "cp1141":
        octets = text.replace("¤", "").replace("€", "¤").encode("cp273", "ignore")
        held = octets.decode("cp273").replace("¤", "€")
        return Text(octets=octets, charset=charset_name, expected=normalized(held, ebcdic=True))
    try:
        octets = text.encode(charset_name, "ignore")
        held = octets.decode(charset_name)
    except UnicodeError:
        charset_name, octets, held = "utf-8", text.encode(), text  # what a stateful codec can't repeat
    return Text(octets=octets, charset=charset_name, expected=normalized(held, ebcdic=ebcdic))


def text(random: Random, *, stem: str) -> str:
    """Return a text with any characters but NUL; a boundary of the message may stand in it."""
    parts: list[str] = []
    for _ in range(random.randrange(9)):
        kind = random.randrange(9)
        if kind == 8:  # lines of any length: around the limits of the encodings
            parts += [random.choice("x é=\t") * random.randrange(1, 90), random.choice(("", " ", "\t", "=", "é", "."))]
            parts.append(random.choice(_ENDS))
        elif kind < 4:
            parts += [strings.word(random), " "]
        elif kind < 6:
            parts.append(random.choice(_ENDS))
        else:
            parts += [random.choice(_LINES), random.choice(_ENDS)]
    if drawn(random, 12):
        parts.append(random.choice(_LONG))
    if drawn(random, 60):
        parts += ["\r\n", random.choice(("--", "")), f"=_{random.choice(('mixed', 'alternative'))}_{stem}", "\r\n"]
    if drawn(random, 1000):
        parts += [random.choice(("0123456789", "wörd ", "名前")) * 10_000, "\n"]
    return "".join(parts)
