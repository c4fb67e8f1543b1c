"""Octets of a text file to text, by the character set that was declared; nothing is guessed.

Every text codec of Python counts, plus cp1141 (cp273 with the euro sign), which Python lacks. In EBCDIC code pages NEL
(0x15) ends a line too. Transform codecs (``rot13``, ``hex``) and Python's own notations (``unicode_escape``, ``idna``,
``punycode``) are not character sets.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from encodings.aliases import aliases
from functools import lru_cache

from maildrop.errors import did_you_mean

_NOT_CHARSETS = frozenset({"undefined", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "mbcs", "oem"})
_TRANSFORMS = frozenset({"base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"})
_CP1141 = frozenset({"cp1141", "ibm1141", "cp01141", "ibm01141", "ccsid01141", "csibm01141", "1141"})
_NAME_LENGTH = 40  # no character set has a longer name (IANA's own limit)
_EURO_OCTET = 0x9F  # where cp273 has the currency sign
# Codecs that drop a byte order mark, and the marks; without one they expect the machine's order.
_WITH_MARK: dict[str, tuple[bytes, ...]] = {
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}
_BLOCK_OCTETS = 64 * 1024  # looked through at a time for the place of a character
_ASCII_SUPERSETS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "iso8859-2", "cp1250"})

_NAME = re.compile(rf"[\w.:+\-]{{1,{_NAME_LENGTH}}}", re.ASCII)  # it may become a parameter of a header field
_ASCII_TEXT = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])


class CharsetError(ValueError):
    """The octets are not text in the declared character set; ``line`` counts from 1, ``offset`` (octets) from 0."""

    def __init__(self, what: str, *, line: int, offset: int, hint: str = "") -> None:
        """Say what is wrong at which place of the file, and the way out."""
        super().__init__(what)
        self.line = line
        self.offset = offset
        self.hint = hint or "set charset to what the file is written in, or convert it"


def charset_fault(name: str) -> str:
    """Say why ``name`` is not a character set (with the nearest one that is), or return an empty string."""
    if decoder(name) is not None:
        return ""
    meant = did_you_mean(name.lower(), _known_names()) if len(name) <= _NAME_LENGTH else ""
    return "is not a known character set" + (f"; {meant}" if meant else "")


def mime_name(charset: str) -> str:
    """Return the name that other programs know a character set by (IANA), where Python's own is another."""
    low = charset.lower()
    if re.fullmatch(r"cp125[0-8]", low):
        return f"windows-{low[2:]}"
    return f"IBM0{low[2:]}" if re.fullmatch(r"cp114[01]", low) else charset


def decode_text(octets: bytes, charset: str) -> str:
    """Return the text with CRLF line ends, a final one included, without byte order mark. Raises CharsetError."""
    decode = decoder(charset)
    if decode is None:
        raise CharsetError(charset_fault(charset), line=1, offset=0)
    try:
        text = decode(octets)
    except UnicodeDecodeError as error:
        mark = len(octets) - len(error.object)  # utf-8-sig counts from behind its mark
        start = error.start + mark
        line = _line(charset, decode, octets[:start])
        wrong = octets[start : max(error.end + mark, start + 1)][:8].hex(" ")
        what = f"octet {start} (hex {wrong}) is not {charset}" if wrong else f"the text is cut off; not {charset}"
        raise CharsetError(what, line=line, offset=start) from None
    except UnicodeError as error:  # codecs that do not say where
        raise CharsetError(f"is not {charset}: {error}", line=1, offset=0) from None
    if "\0" in text:
        line, offset = _place(text, text.index("\0"), octets, charset)
        hint = "a text has no NUL; attach it instead"
        raise CharsetError(f"octet {offset} is NUL", line=line, offset=offset, hint=hint)
    _refuse_surrogates(text, octets, charset)
    text = _with_line_feeds(text.removeprefix("\ufeff"), charset).replace("\n", "\r\n")
    return text if not text or text.endswith("\n") else text + "\r\n"


def plain_ascii(octets: bytes, charset: str) -> bytes | None:
    """Return plain ASCII in a superset of ASCII with CRLF line ends, or None: the fast way past decoding."""
    if not octets.isascii() or not _is_ascii_superset(charset) or octets.translate(None, _ASCII_TEXT):
        return None
    if b"\r" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    octets = octets.replace(b"\n", b"\r\n")
    return octets if not octets or octets.endswith(b"\n") else octets + b"\r\n"


@lru_cache(maxsize=256)
def decoder(charset: str) -> Callable[[bytes], str] | None:
    """Return the strict decoder, which raises UnicodeError, or None where ``charset`` is no character set."""
    if re.sub(r"[^a-z0-9]", "", charset.lower()) in _CP1141:
        return _decode_cp1141
    if _NAME.fullmatch(charset) is None:
        return None
    try:
        name = codecs.lookup(charset).name
        b" ".decode(name)  # refuses transform codecs, which have no public mark
    except UnicodeError:  # a codec of wider units
        pass
    except (LookupError, ValueError):
        return None
    if name.replace("-", "_") in _NOT_CHARSETS:
        return None
    return lambda octets: octets.decode(name)


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    refused = _NOT_CHARSETS | _TRANSFORMS
    names = {name for pair in aliases.items() for name in pair if pair[1] not in refused}
    return frozenset(names | {"cp1141"})


@lru_cache(maxsize=1)
def _cp1141_table() -> str:
    table = bytes(range(256)).decode("cp273")
    return table[:_EURO_OCTET] + "€" + table[_EURO_OCTET + 1 :]


def _decode_cp1141(octets: bytes) -> str:
    return codecs.charmap_decode(octets, "strict", _cp1141_table())[0]


@lru_cache(maxsize=256)
def _is_ebcdic(charset: str) -> bool:
    """Whether NEL and the letters stand where EBCDIC has them."""
    decode = decoder(charset)
    try:
        return decode is not None and decode(b"\x15\xc1") == "\x85A"
    except UnicodeError:
        return False


@lru_cache(maxsize=256)
def _is_ascii_superset(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in _ASCII_SUPERSETS
    except (LookupError, ValueError):
        return False


def _with_line_feeds(text: str, charset: str) -> str:
    """Return the text with every line end as one LF; passes over the whole are quicker than a pattern."""
    text = text.replace("\r\n", "\n")
    if _is_ebcdic(charset):
        text = text.replace("\r\x85", "\n").replace("\x85", "\n")
    return text.replace("\r", "\n")


def _line(charset: str, decode: Callable[[bytes], str], before: bytes) -> int:
    """Return the number of the line that begins or goes on behind the octets ``before``."""
    try:
        text = decode(before)
    except UnicodeError:
        text = before.decode("latin-1")
    return _with_line_feeds(text, charset).count("\n") + 1


def _place(text: str, index: int, octets: bytes, charset: str) -> tuple[int, int]:
    """Return the line (from 1) and the octet offset (from 0) of the character ``text[index]``."""
    line = _with_line_feeds(text[:index], charset).count("\n") + 1
    if decoder(charset) is _decode_cp1141:
        return line, index  # one octet a character
    name = codecs.lookup(charset).name
    if not name.startswith(("utf-16", "utf-32")):
        return line, _offset(index, octets, name)
    marks = _WITH_MARK.get(name, ())
    before = len(text[:index].encode(f"{name[:6]}-le"))
    return line, before + (len(marks[0]) if octets.startswith(marks) else 0)


def _offset(index: int, octets: bytes, name: str) -> int:
    """Return where character number ``index`` begins, or the shift sequence of UTF-7 that it is part of.

    The octets are decoded again in blocks: encoding the text before would give other marks, shifts and escapes.
    """
    reader = codecs.getincrementaldecoder(name)()
    start, state = 0, reader.getstate()
    for start in range(0, len(octets), _BLOCK_OCTETS):
        state = reader.getstate()
        count = len(reader.decode(octets[start : start + _BLOCK_OCTETS]))
        if count > index:
            break
        index -= count

    def characters(length: int) -> int:
        reader.setstate(state)
        return len(reader.decode(octets[start : start + length]))

    lengths = range(_BLOCK_OCTETS + 1)
    end = bisect_right(lengths, index, key=characters)
    if name != "utf-7":
        return start + end - 1
    begin = bisect_left(lengths, characters(end - 1), key=characters)
    return start + begin if begin else start - len(state[0])


def _refuse_surrogates(text: str, octets: bytes, charset: str) -> None:
    """Refuse half characters, which UTF-7 lets through and UTF-8 can't carry."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line, offset = _place(text, error.start, octets, charset)
        raise CharsetError(f"octet {offset} begins half a character", line=line, offset=offset) from None
