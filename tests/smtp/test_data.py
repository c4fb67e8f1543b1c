"""`maildrop.smtp.data`: dot-stuffing at every border of two chunks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.smtp.data import DataWriter, StrayLineEnd, slices

MESSAGES = [
    b".\r\n", b"..\r\n", b".a\r\n.b\r\n..c\r\n", b"a.\r\nb.c\r\n", b"\r\n.\r\n", b"\r\n\r\n.\r\n.\r\n",
    b"a\r\n.", b".", b"a", b"", b"...\r\n\r\n...",
]  # fmt: skip


def on_the_wire(*chunks: bytes) -> bytes:
    """Send the chunks as one message."""
    writer = DataWriter()
    return b"".join(writer.feed(chunk) for chunk in chunks) + writer.terminator


def unstuffed(wire: bytes) -> bytes:
    """Read the message as a receiver does, strictly (RFC 5321 section 4.5.2)."""
    message, end, rest = wire.partition(b"\r\n.\r\n") if wire != b".\r\n" else (b"", b"", b"")
    assert rest == b"", "the message ended too early"
    lines = (message + (b"\r\n" if end else b"")).split(b"\r\n")
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


@pytest.mark.parametrize("message", MESSAGES)
def test_every_border(message: bytes) -> None:
    """However a message is cut in three, the same octets go out, and the receiver reads the message."""
    whole = on_the_wire(message)
    expected = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    assert unstuffed(whole) == expected
    for a, b in itertools.combinations_with_replacement(range(len(message) + 1), 2):
        assert on_the_wire(message[:a], message[a:b], message[b:]) == whole
    assert on_the_wire(*(bytes((octet,)) for octet in message)) == whole


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r\n.", b".\r\n", b"\r", b"\n"]), max_size=20))
def test_what_is_sent_is_what_is_read(pieces: list[bytes]) -> None:
    """Any pieces either arrive as they are, or are refused because a CR or LF stands alone."""
    message = b"".join(pieces)
    stray = b"\r" in message.replace(b"\r\n", b"") or b"\n" in message.replace(b"\r\n", b"")
    if stray:
        with pytest.raises(StrayLineEnd):
            on_the_wire(*pieces)
    else:
        wire = on_the_wire(*pieces)
        assert unstuffed(wire).removesuffix(b"\r\n") == message.removesuffix(b"\r\n")
        assert wire == on_the_wire(message)


@pytest.mark.parametrize(
    "smuggled",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r\n.\n",
        b"\r\r\n.\r\r\n",
        b"\n\r.\r\n",
        b"\r\n\x00.\r",
    ],
)
def test_smuggling(smuggled: bytes) -> None:
    """None of the ends of data that some server believes in can be sent from within a message."""
    with pytest.raises(StrayLineEnd):
        on_the_wire(b"a\r\nb" + smuggled + b"MAIL FROM:<evil@example.org>\r\n")


def test_octets_are_counted_before_stuffing() -> None:
    """The count is that of the message, as SIZE announces it."""
    writer = DataWriter()
    writer.feed(b".a\r\n")
    writer.feed(b".b\r\n")
    assert writer.octets == 8


def test_slices() -> None:
    """Large pieces are cut, small ones are handed on uncopied, empty ones vanish."""
    octets = bytes(range(10))
    assert list(slices(octets, 4)) == [octets[:4], octets[4:8], octets[8:]]
    assert next(slices(octets, 10)) is octets
    assert list(slices(b"", 4)) == []
