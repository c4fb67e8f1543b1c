"""Text files: declared character sets, line ends, and the exact place of what does not decode."""

from __future__ import annotations

import encodings
import encodings.aliases
import pkgutil
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.mail.charset import CharsetError, charset_fault, decode_text, plain_ascii

# The chapter "Standard Encodings" of Python's documentation lists all modules but these.
NOT_CHARSETS = {
    "aliases",
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "idna",
    "mbcs",
    "oem",
    "punycode",
    "quopri_codec",
    "raw_unicode_escape",
    "rot_13",
    "undefined",
    "unicode_escape",
    "uu_codec",
    "zlib_codec",
}
MODULES = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"_win_cp_codecs"}
CODECS = sorted(MODULES - NOT_CHARSETS)
EBCDIC = ["cp037", "cp1026", "cp1140", "cp1141", "cp273", "cp424", "cp500", "cp875"]
WIDE = {name: f"{name[:6]}_le" for name in CODECS if name.startswith(("utf_16", "utf_32"))}
EVERYTHING = "".join([chr(point) for point in [*range(1, 0xD800), *range(0xE000, 0x10000), 0x1F600, 0x20000]])
EVERYTHING = EVERYTHING.replace("\u3164", "")  # a filler that euc_kr writes and can't read


def lines_of(text: str, charset: str) -> list[str]:
    """Cut a text into its lines, by a pattern of our own."""
    return re.split("\r\n|\r\x85|[\r\n\x85]" if charset in EBCDIC else "\r\n|\r|\n", text)


def place_of_fault(octets: bytes, charset: str) -> tuple[int, int]:
    """Return the line and the octet where decoding is said to stop."""
    with pytest.raises(CharsetError) as refusal:
        decode_text(octets, charset)
    return refusal.value.line, refusal.value.offset


def test_every_text_codec_is_a_charset() -> None:
    """Every text codec that Python has can be declared, transform codecs can't."""
    assert {name for name in MODULES if charset_fault(name)} == NOT_CHARSETS & MODULES
    assert len(CODECS) > 100
    aliases = {alias for alias, name in encodings.aliases.aliases.items() if name in CODECS}
    assert {alias for alias in aliases if charset_fault(alias)} == {"csHPRoman8"}  # which Python can not look up itself


@pytest.mark.parametrize("charset", CODECS)
def test_every_codec_decodes_what_it_can_hold(charset: str) -> None:
    """All the characters of a character set arrive, with the line ends of its family as CRLF."""
    octets = EVERYTHING.encode(charset, "ignore")
    text = octets.decode(charset).removeprefix("\ufeff")
    assert len(text) > 90
    expected = "\r\n".join(lines_of(text, charset))
    assert decode_text(octets, charset) == expected.removesuffix("\r\n") + "\r\n"


@pytest.mark.parametrize("charset", CODECS)
def test_every_codec_tells_where_a_nul_is(charset: str) -> None:
    """A NUL is refused with its line and octet, behind marks, shifts and escapes too."""
    for text in ("", "ab\r\nc\rd", "0123456789\n" * 9000 + "x"):
        octets = (text + "\0yz").encode(charset)
        place = len(lines_of(text, charset)), len(octets) - len("\0yz".encode(WIDE.get(charset, "latin-1")))
        assert place_of_fault(octets, charset) == (place if charset != "utf_7" else (place[0], octets.index(b"+AAA")))


@pytest.mark.parametrize("charset", CODECS)
def test_every_codec_tells_where_it_stops(charset: str) -> None:
    """Up to the octet that is named all is text; a few octets further on nothing could make it text."""
    source = random.Random(charset)
    text = "".join(source.choices(EVERYTHING.encode(charset, "ignore").decode(charset), k=300)) + "ab\ncd\r\n"
    octets = "".join(source.sample(text, k=len(text))).encode(charset, "ignore")
    for _ in range(60):
        position = source.randrange(len(octets))
        damaged = octets[:position] + source.randbytes(source.randrange(3)) + octets[position + source.randrange(3) :]
        try:
            decode_text(damaged, charset)
            continue
        except CharsetError as refusal:
            line, offset = refusal.line, refusal.offset
        before = damaged[:offset].decode(charset)
        assert line == len(lines_of(before, charset))
        if b"\0" not in damaged[offset : offset + 4] and charset != "utf_7":
            with pytest.raises(UnicodeError):
                damaged[: offset + 12].decode(charset)


@pytest.mark.parametrize(
    "name", ["rot13", "hex", "undefined", "", "a\0b", "é", "x" * 70000, "../utf-8", "utf-8\n", "zip"]
)
def test_other_names_are_refused(name: str) -> None:
    """What is no character set is refused without trouble, however it is written."""
    assert charset_fault(name).startswith("is not a known character set")


def test_near_names_are_suggested() -> None:
    """A slip of the pen gets the nearest name."""
    assert charset_fault("shift_jsi").endswith("did you mean 'shift_jis'?")


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("utf-8", b"\xef\xbb\xbfGr\xc3\xbc\xc3\x9fe\n", "Grüße\r\n"),
        ("cp1252", b"\x80 5\r\n", "€ 5\r\n"),
        ("gb18030", "你好\r\n".encode("gb18030"), "你好\r\n"),
        ("Shift_JIS", "表示\n".encode("shift_jis"), "表示\r\n"),
        ("cp850", b"\x81ber\n", "über\r\n"),
        ("utf-16", "\ufeffa\n".encode("utf-16-le"), "a\r\n"),
        ("utf-16-be", "\ufeffa\n".encode("utf-16-be"), "a\r\n"),
        ("cp037", b"\xc8\x89\x15\xd6\x92\x25", "Hi\r\nOk\r\n"),
        ("cp500", b"\xc1\x0d\x25\xc1\x0d\x15\xc1\x0d\xc1", "A\r\nA\r\nA\r\nA\r\n"),
        ("cp1141", b"\x9f\xf5\x15\xc0\x4f\x15", "€5\r\nä!\r\n"),
        ("IBM-1141", b"\x9f", "€\r\n"),
        ("ibm01141", b"\x9f", "€\r\n"),
        ("latin-1", b"a\x85b\n", "a\x85b\r\n"),
        ("utf-8", b"a\rb\nc\r\nd\n\re", "a\r\nb\r\nc\r\nd\r\n\r\ne\r\n"),
        ("utf-8", b"", ""),
        ("utf-8", b"\xef\xbb\xbf", ""),
        ("utf-8", b"\n", "\r\n"),
    ],
)
def test_decodes(charset: str, octets: bytes, text: str) -> None:
    """Text comes out with CRLF line ends, a last one included, without mark; NEL ends lines in EBCDIC only."""
    assert decode_text(octets, charset) == text


def test_cp1141_is_cp273_with_the_euro() -> None:
    """All octets but one mean what they mean in cp273."""
    ours = decode_text(bytes(range(1, 256)), "cp1141")
    theirs = decode_text(bytes(range(1, 256)), "cp273").replace("¤", "€")
    assert ours == theirs


@pytest.mark.parametrize(
    ("charset", "octets", "line", "offset"),
    [
        ("utf-8", b"a\nb\nc\xff", 3, 5),
        ("utf-8", b"\xe2\x82", 1, 0),
        ("ascii", b"abc\r\n\xe9", 2, 5),
        ("cp1252", b"ab\ncd\x81x", 2, 5),
        ("cp1252", b"ab\rcd\x81x", 2, 5),
        ("ascii", b"ab\x85\n\x85", 1, 2),
        ("utf-16-be", b"\x00a\xd8\x00\x00b", 1, 2),
        ("utf-7", b"ok\n\xff", 2, 3),
        ("shift_jis", b"ab\n\x81", 2, 3),
        ("utf-16-le", b"a\0\n\0\x00", 2, 4),
        ("cp037", b"\xc1\x15\x00", 2, 2),
        ("cp1141", b"\xc1\x15\x9f\x00", 2, 3),
        ("utf-8", b"ab\n\0", 2, 3),
        ("utf-8", "äöü\n\0".encode(), 2, 7),
        ("utf-8", b"\xef\xbb\xbfa\0", 1, 4),
        ("utf-16", "\ufeffab\0".encode("utf-16-le"), 1, 6),
        ("utf-7", b"a\n+2AA-", 2, 2),
    ],
)
def test_says_where_it_does_not_decode(charset: str, octets: bytes, line: int, offset: int) -> None:
    """What is not text in the declared set is refused with line and octet offset, NUL and half characters too."""
    assert place_of_fault(octets, charset) == (line, offset)


@pytest.mark.parametrize(
    ("charset", "octets", "line", "offset"),
    [
        ("utf-16", b"a\0b\0\0\0", 1, 4),
        ("utf-32", b"\xff\xfe\0\0a\0\0\0\0\0\0\0", 1, 8),
        ("utf-8-sig", b"a\n\0", 2, 2),
        ("utf-8-sig", b"\xef\xbb\xbfa\n\0", 2, 5),
        ("utf-8-sig", b"\xef\xbb\xbfa\n\xff", 2, 5),
        ("iso2022_jp", b"\x1b$B\x1b(B\x1b$B\x1b(Ba\n\0", 2, 14),
        ("iso2022_jp", b'a\n\x1b$B$"\xe9', 2, 7),
        ("iso2022_jp", b"a\n\x1b$B$", 2, 5),
        ("iso2022_kr", b"\x1b$)Ca\n\x0e\xe9\xe9", 2, 7),
        ("hz", b"~~~{VP~}\n~{~}\0", 2, 13),
        ("hz", b"a\r~x", 2, 2),
        ("utf-7", b"+-+-\n+AGEAYgAA-", 2, 5),
        ("utf-7", b"a" * 65_534 + b"\n+" + b"AGEA" * 90_000 + b"2AA-", 2, 65_535),
        ("utf-7", b"a\n+AGE\xff", 2, 6),
        ("big5hkscs", b"a\n\x88\x62\xff", 2, 4),
        ("shift_jisx0213", b"a\n\x82\xf5\x82", 2, 4),
        ("euc_jis_2004", b"a\n\xa4\xf7\x8f\xa1", 2, 4),
        ("gb18030", b"a\n\x81\x30\x81", 2, 2),
        ("utf-8", b"a\n\xed\xa0\xbd\xed\xb8\x80", 2, 2),
        ("utf-16", b"\xff\xfea\0\n\0\0\xd8b\0", 2, 6),
        ("utf-32-be", b"\0\0\0\n\0\0\xd8\0", 2, 4),
    ],
)
def test_says_where_behind_shifts_and_marks(charset: str, octets: bytes, line: int, offset: int) -> None:
    """Codecs with a state and with optional marks name the octet of the file, not of what they would write."""
    assert place_of_fault(octets, charset) == (line, offset)


@pytest.mark.parametrize("charset", EBCDIC)
def test_line_ends_of_ebcdic(charset: str) -> None:
    """NEL, LF, CR and their pairs end one line each in every EBCDIC code page; the place of a fault counts them."""
    assert decode_text(b"\xc1\x15\xc1\x25\xc1\x0d\xc1\x0d\x25\xc1\x0d\x15\xc1", charset) == "A\r\n" * 6
    assert decode_text(b"\x15\x15\x0d\x0d\x15", charset) == "\r\n" * 4
    assert place_of_fault(b"\xc1\x15\xc1\x0d\x15\xc1\x00", charset) == (3, 6)


@pytest.mark.parametrize(
    "charset", ["utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_be", "utf_7", "gb18030"]
)
def test_byte_order_marks_vanish(charset: str) -> None:
    """A mark at the very front is removed once, elsewhere it is a character."""
    marked = "\ufeffä\ufeff\n".encode(charset)
    if charset in ("utf_16", "utf_32"):  # these codecs wrote one already
        marked = "ä\ufeff\n".encode(charset)
    assert decode_text(marked, charset) == "ä\ufeff\r\n"


def test_controls_are_carried() -> None:
    """Every control but NUL and line ends arrives, in every place."""
    controls = "".join([chr(point) for point in [*range(1, 10), 11, 12, *range(14, 32), *range(0x7F, 0xA0)]])
    assert decode_text(controls.encode(), "utf-8") == controls + "\r\n"


@pytest.mark.parametrize("charset", ["utf-8", "utf-7", "iso2022_jp", "hz", "gb18030", "cp037", "cp1141", "utf-16"])
def test_large_texts_take_linear_time(charset: str) -> None:
    """5 MB are decoded, and refused for their last octet, in a few passes."""
    unit = "Zeile 0123456789\r" if charset in ("cp037", "cp1141") else "表示 0123456789\r"
    octets = (unit * (5_000_000 // len(unit))).encode("cp273" if charset == "cp1141" else charset)
    began = time.process_time()
    assert len(decode_text(octets, charset)) > 5_000_000
    for tail in ("\0".encode("utf-16-le" if charset == "utf-16" else "latin-1"), b"\xff", b"+2AA-"):
        line = 1
        try:
            decode_text(octets + tail, charset)
        except CharsetError as refusal:
            line = refusal.line
        assert line in (1, 5_000_000 // len(unit) + 1)
    assert time.process_time() - began < 8  # quadratic would be hours


@pytest.mark.parametrize("octets", [b"\x1b", b"a\0", b"\xc3\xa4", b"\x7f", b"\x0c"])
def test_the_fast_way_takes_only_plain_text(octets: bytes) -> None:
    """Controls and octets beyond ASCII go the slow way."""
    assert plain_ascii(octets, "utf-8") is None


@given(st.text(alphabet="ab \t\r\n", max_size=30))
def test_the_fast_way_is_the_slow_way(text: str) -> None:
    """Both ways give the same text."""
    octets = text.encode()
    assert plain_ascii(octets, "utf-8") == decode_text(octets, "utf-8").encode()
    assert plain_ascii(octets, "utf-16") is None


@given(
    st.sampled_from(["utf-8", "utf-16", "utf-7", "gb18030", "cp1141", "cp037", "iso2022_jp"]), st.binary(max_size=60)
)
def test_octets_never_surprise(charset: str, octets: bytes) -> None:
    """Any octets are text that UTF-8 can carry, or refused with a place inside the file."""
    line, offset = 1, 0
    try:
        decode_text(octets, charset).encode()
    except CharsetError as refusal:
        line, offset = refusal.line, refusal.offset
    assert 1 <= line <= len(octets) + 1
    assert 0 <= offset <= len(octets)
