"""Text files: declared character sets, line ends, and the exact place of what does not decode."""

from __future__ import annotations

import encodings
import pkgutil

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


def test_every_text_codec_is_a_charset() -> None:
    """Every text codec that Python has can be declared, transform codecs can't."""
    names = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {"_win_cp_codecs"}
    assert {name for name in names if charset_fault(name)} == NOT_CHARSETS & names


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
    with pytest.raises(CharsetError) as refusal:
        decode_text(octets, charset)
    assert (refusal.value.line, refusal.value.offset) == (line, offset)


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
