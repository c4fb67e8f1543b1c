"""`maildrop.smtp.reply`: every reader is tried whole, octet by octet, and with octets left over."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.smtp.reply import LINE_KEPT_OCTETS, REPLY_KEPT_OCTETS, Reply, ReplyError, ReplyReader

GOOD = [
    (b"250 ok\r\n", Reply(code=250, lines=("ok",))),
    (b"250\r\n", Reply(code=250, lines=("",))),
    (b"250 \r\n", Reply(code=250, lines=("",))),
    (b"250 bare line feed\n", Reply(code=250, lines=("bare line feed",))),
    (b"250-mx\r\n250-SIZE 10\r\n250 PIPELINING\r\n", Reply(code=250, lines=("mx", "SIZE 10", "PIPELINING"))),
    (b"550-\r\n550\r\n", Reply(code=550, lines=("", ""))),
    (b"354 \xc3\xa4 \xff\x00\r\n", Reply(code=354, lines=("ä \\xff\x00",))),
    (b"250 a\rb\r\n", Reply(code=250, lines=("a\rb",))),
]
BAD = [
    b"+25 ok\r\n", b" 25 ok\r\n", b"2_0 ok\r\n", b"-50 ok\r\n", b"2500 ok\r\n", b"25\r\n", b"\r\n", b"ok\r\n",
    b"150 ok\r\n", b"620 ok\r\n", b"250_ok\r\n", b"250\tok\r\n", "२५० ok\r\n".encode(),
    b"250-a\r\n550 b\r\n", b"250-a\r\n250\xa0b\r\n",
]  # fmt: skip


@pytest.mark.parametrize(("octets", "expected"), GOOD)
def test_whole(octets: bytes, expected: Reply) -> None:
    """A reply that arrives in one piece is read, and nothing is left."""
    reader = ReplyReader()
    assert reader.feed(octets) == [expected]
    assert not reader.pending


@pytest.mark.parametrize(("octets", "expected"), GOOD)
def test_octet_by_octet(octets: bytes, expected: Reply) -> None:
    """A reply that drips in is read with its last octet and not before."""
    reader = ReplyReader()
    for octet in octets[:-1]:
        assert reader.feed(bytes((octet,))) == []
        assert reader.pending
    assert reader.feed(octets[-1:]) == [expected]
    assert not reader.pending


@pytest.mark.parametrize(("octets", "expected"), GOOD)
def test_octets_left_over(octets: bytes, expected: Reply) -> None:
    """What follows a reply is kept for the next one, and is visible as pending."""
    reader = ReplyReader()
    assert reader.feed(octets + b"25") == [expected]
    assert reader.pending
    assert reader.feed(b"1 next\r\n") == [Reply(code=251, lines=("next",))]


@given(st.lists(st.sampled_from(GOOD), max_size=5), st.lists(st.integers(0, 200), max_size=10))
def test_any_pieces(replies: list[tuple[bytes, Reply]], cuts: list[int]) -> None:
    """However the octets are cut, the same replies come out."""
    octets = b"".join(each for each, _ in replies)
    borders = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    reader = ReplyReader()
    read = [reply for a, b in pairwise(borders) for reply in reader.feed(octets[a:b])]
    assert read == [reply for _, reply in replies]


@pytest.mark.parametrize("octets", BAD)
def test_nonsense(octets: bytes) -> None:
    """What is not exactly a reply raises, and the reader stays broken."""
    reader = ReplyReader()
    with pytest.raises(ReplyError):
        reader.feed(octets)
    assert reader.pending
    with pytest.raises(ReplyError):
        reader.feed(b"250 ok\r\n")


def test_a_reply_before_nonsense_counts() -> None:
    """A whole reply is not lost because nonsense follows in the same segment."""
    reader = ReplyReader()
    assert reader.feed(b"250 ok\r\n#!?\r\n") == [Reply(code=250, lines=("ok",))]
    assert reader.error is not None
    with pytest.raises(ReplyError):
        reader.feed(b"250 ok\r\n")


def test_a_long_line_is_cut() -> None:
    """A line of any length costs no more memory than is kept of it, and its code stays valid."""
    reader = ReplyReader()
    assert reader.feed(b"250 ") == []
    for _ in range(32):
        assert reader.feed(b"x" * 32768) == []
    (reply,) = reader.feed(b"\r\n")
    assert reply.code == 250
    assert len(reply.lines[0]) == LINE_KEPT_OCTETS - 4


@pytest.mark.parametrize(
    "piece", [b"250-x\r\n" * 1000, b"250-" + b"x" * 2000 + b"\r\n", b"x" * 4096, b"250-\r\n" * 1000]
)
def test_an_endless_reply_ends(piece: bytes) -> None:
    """A reply that never ends raises before it has cost more than a few megabytes of memory."""
    reader = ReplyReader()

    def flow() -> None:
        for _ in range(5000):
            reader.feed(piece)

    tracemalloc.start()
    try:
        with pytest.raises(ReplyError):
            flow()
        assert tracemalloc.get_traced_memory()[1] < 64 * REPLY_KEPT_OCTETS
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "code", "enhanced"),
    [
        ("2.1.5 ok", 250, "2.1.5"),
        ("5.7.139 no", 535, "5.7.139"),
        ("4.3.0", 451, "4.3.0"),
        ("2.1.5ok", 250, None),
        ("5.1.1 no", 250, None),
        ("3.1.1 no", 354, None),
        ("2.1 ok", 250, None),
        ("ok 2.1.5", 250, None),
        ("", 250, None),
    ],
)
def test_enhanced(text: str, code: int, enhanced: str | None) -> None:
    """An enhanced status code is taken where it stands first and agrees with the reply code."""
    assert Reply(code=code, lines=(text,)).enhanced == enhanced


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("2.0.0 <anna@example.org> 1epVMmLsJWdLAwAA4wxQ:R4 Saved", "1epVMmLsJWdLAwAA4wxQ:R4"),
        ("2.0.0 Ok: queued as 4F2xYz", "4F2xYz"),
        ("OK id=1rABcd-0005Gh-2J", "1rABcd-0005Gh-2J"),
        ("2.6.0 <x@y> [InternalId=123456789, Hostname=a.example] 9 bytes in 0.1, 2 KB/sec Queued mail for delivery",
         "123456789"),
        ("ok 1700000000 qp 4711", "4711"),
        ("Message Queued (1B2C3D4E-1111-2222.1)", "1B2C3D4E-1111-2222.1"),
        ("2.0.0 3a2f1b0c Message accepted for delivery", "3a2f1b0c"),
        ("2.0.0 OK  1700000000 a1-20020a05600c00b0sm12 - gsmtp", "a1-20020a05600c00b0sm12"),
        ("Ok 0100018c1a2b3c4d-5e6f7a8b-000000", "0100018c1a2b3c4d-5e6f7a8b-000000"),
        ("2.0.0 Ok", None),
        ("thank you for the mail", None),
    ],
)  # fmt: skip
def test_queue_id(text: str, queue_id: str | None) -> None:
    """The queue id is found in the wordings of the usual servers, and never in a refusal."""
    assert Reply(code=250, lines=(text,)).queue_id == queue_id
    assert Reply(code=451, lines=(text,)).queue_id is None


@pytest.mark.parametrize("code", [530, 534, 535, 538])
def test_configuration(code: int) -> None:
    """The codes that ask for other credentials or TLS are known as configuration, whatever command they answer."""
    assert Reply(code=code, lines=("",)).is_configuration
    assert not Reply(code=code + 20, lines=("",)).is_configuration


def test_text_is_bounded() -> None:
    """The text of a reply is its lines in one, cut to a bounded length."""
    assert Reply(code=250, lines=("a", "b")).text == "a b"
    assert str(Reply(code=250, lines=("a", "b"))) == "250 a b"
    assert len(Reply(code=250, lines=("x" * 2000, "y" * 2000)).text) == 1024
