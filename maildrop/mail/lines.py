"""Line ends of files that are messages already: CRLF, LF and CR in any mix become CRLF (RFC 5321 2.3.8).

`normalized` changes a stream, `scan` tells what a sender has to know of it before the first octet goes out, and
`has_one_line_end` whether a signature can have been made over what will go; all in constant memory and linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SLICE_OCTETS = 128 * 1024  # read at a time

_ASCII = bytes(range(128))
_STUFFED = re.compile(rb"\n\.(?=[^\n])")
_OPEN_END = re.compile(rb"(?:\r\n?|\n)\.?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is in a normalized stream; ``longest`` is the longest line in octets, without its CRLF."""

    size: int
    longest: int
    is_ascii: bool
    octets_beyond_ascii: int
    has_nul: bool
    is_dot_stuffed: bool  # there are lines that begin with a dot, and all of those begin with two
    has_forbidden: bool


def normalized(chunks: Iterable[bytes], *, unstuff: bool = False) -> Iterator[bytes]:
    """Yield the stream with CRLF line ends, the last line's included; ``unstuff`` removes SMTP's leading dots.

    No CRLF is ever cut in two.
    """
    held = b"\n" if unstuff else b""  # a line begins here: its dot is judged like any other
    first = unstuff
    ended = True
    for chunk in chunks:
        data = held + chunk
        keep = _undecided(data, unstuff=unstuff)
        data, held = data[: len(data) - keep], data[len(data) - keep :]
        block = _with_line_feeds(data, unstuff=unstuff)
        if first and block:
            block, first = block[1:], False
        if block:
            ended = block.endswith(b"\n")
            yield block.replace(b"\n", b"\r\n")
    block = _with_line_feeds(held, unstuff=unstuff)[first:]
    if block:
        ended = block.endswith(b"\n")
        yield block.replace(b"\n", b"\r\n")
    if not ended:
        yield b"\r\n"


def scan(chunks: Iterable[bytes], *, forbidden: bytes = b"") -> Scan:
    """Look through a normalized stream once; ``forbidden`` is searched across slices."""
    size = longest = run = dots = pairs = beyond = 0
    has_nul, has_forbidden = False, False
    before = b"\r\n"
    overlap = max(len(forbidden) - 1, 2)
    for chunk in chunks:
        size += len(chunk)
        beyond += octets_beyond_ascii(chunk)
        has_nul = has_nul or b"\0" in chunk
        first, *rest = map(len, chunk.split(b"\r\n"))
        run += first
        longest = max(longest, run)
        if rest:
            run = rest[-1]
            longest = max(longest, *rest)
        dots += (before[-1:] + chunk).count(b"\n.")
        pairs += (before[-2:] + chunk).count(b"\n..")
        has_forbidden = has_forbidden or bool(forbidden and forbidden in before + chunk)
        before = (before + chunk)[-overlap:]
    return Scan(
        size=size,
        longest=longest,
        is_ascii=not beyond,
        octets_beyond_ascii=beyond,
        has_nul=has_nul,
        is_dot_stuffed=0 < dots == pairs,
        has_forbidden=has_forbidden,
    )


def octets_beyond_ascii(content: bytes) -> int:
    """Count the octets from 0x80 on."""
    return 0 if content.isascii() else len(content.translate(None, _ASCII))


def has_one_line_end(chunks: Iterable[bytes]) -> bool:
    """Whether all lines of a stream that is not normalized end alike: CRLF, LF or CR."""
    pairs = feeds = returns = 0
    after_return = False
    for chunk in chunks:
        pairs += chunk.count(b"\r\n") + (after_return and chunk.startswith(b"\n"))
        feeds += chunk.count(b"\n")
        returns += chunk.count(b"\r")
        after_return = chunk.endswith(b"\r")
    return (pairs > 0) + (feeds > pairs) + (returns > pairs) <= 1


def _undecided(data: bytes, *, unstuff: bool) -> int:
    """Return how many of the last octets mean something only together with what follows."""
    if not unstuff:
        return 1 if data.endswith(b"\r") else 0
    match = _OPEN_END.search(data[-3:])
    return len(match.group()) if match else 0


def _with_line_feeds(data: bytes, *, unstuff: bool) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _STUFFED.sub(b"\n", data) if unstuff else data
