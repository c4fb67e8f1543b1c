"""How does a message travel? Behind DATA dot-stuffed and ended by a line with a single dot, behind BDAT as it is.

The line state is kept across pieces, so a dot at the very border of two of them is stuffed too. Refuses octets in which
CR and LF do not come as pairs: servers disagree about what such a line end means, and a second message can be smuggled
through the gap (CVE-2023-51764, -51765, -51766). Knows nothing of MIME or header fields. RFC 5321 section 4.5.2,
RFC 3030 section 2.
"""

from __future__ import annotations

from collections.abc import Iterator


class StrayLineEnd(ValueError):
    """A message holds a CR without LF or an LF without CR; sending it would not be safe."""


class DataWriter:
    """Turns the octets of one message into what goes over the wire; ``octets`` counts the message, before stuffing."""

    __slots__ = ("_after_cr", "_at_line_start", "octets")

    def __init__(self) -> None:
        self.octets = 0
        self._at_line_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """Return ``chunk`` as it is to be sent; raises `StrayLineEnd`."""
        if not chunk:
            return b""
        ends_in_cr = chunk.endswith(b"\r")
        pairs = chunk.count(b"\r\n")
        paired = chunk.count(b"\r") == pairs + ends_in_cr and chunk.count(b"\n") == pairs + self._after_cr
        if not paired or (self._after_cr and not chunk.startswith(b"\n")):
            raise StrayLineEnd(f"a CR or LF of its own between octets {self.octets} and {self.octets + len(chunk)}")
        self.octets += len(chunk)
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        elif self._after_cr and stuffed.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        self._at_line_start = chunk.endswith(b"\r\n") or (self._after_cr and chunk == b"\n")
        self._after_cr = ends_in_cr
        return stuffed

    @property
    def terminator(self) -> bytes:
        """Return the octets that end the message and hand it over; raises `StrayLineEnd` after a lone CR."""
        if self._after_cr:
            raise StrayLineEnd(f"a CR of its own as octet {self.octets}, the last one")
        return b".\r\n" if self._at_line_start else b"\r\n.\r\n"


class ChunkWriter:
    """Counts the octets of a message that travels behind BDAT, as it is (RFC 3030 section 2).

    Line ends are watched over like those of `DataWriter`, for the servers behind this one.
    """

    __slots__ = ("_size", "_watch")

    def __init__(self, size_octets: int) -> None:
        """``size_octets`` is what BDAT announces."""
        self._size = size_octets
        self._watch = DataWriter()

    @property
    def octets(self) -> int:
        """Octets of the message so far."""
        return self._watch.octets

    def feed(self, chunk: bytes) -> bytes:
        """Return ``chunk``; raises `StrayLineEnd`, and ValueError where there is more than was announced."""
        self._watch.feed(chunk)
        if self.octets > self._size:
            raise ValueError(f"the message is longer than the {self._size} octets that were announced")
        return chunk

    @property
    def terminator(self) -> bytes:
        """Return nothing: the last octet ends it. Raises `StrayLineEnd`, and ValueError if octets are missing."""
        if self.octets < self._size:
            raise ValueError(f"the message is {self.octets} octets long, but {self._size} were announced")
        return self._watch.terminator[:0]


def slices(octets: bytes, size_octets: int) -> Iterator[bytes]:
    """Cut ``octets`` into pieces of at most ``size_octets``; a small piece comes back uncopied."""
    if len(octets) <= size_octets:
        if octets:
            yield octets
        return
    view = memoryview(octets)
    for start in range(0, len(octets), size_octets):
        yield bytes(view[start : start + size_octets])
