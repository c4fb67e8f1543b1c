"""Fakes at the seams of the mail package: files in memory, a fixed identity, a whole job in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from maildrop.mail.envelope import Defaults, Limits, Mail, parse_envelope
from maildrop.mail.message import Identity, Message, compose, new_identity
from maildrop.mail.part import Source
from maildrop.mail.pickup import Dialect, Pickup, read_pickup

TOKEN = "0123456789abcdef0123456789abcdef"


@dataclass
class MemorySource:
    """A file of a job that lies in memory; counts the octets of each slice that was asked for."""

    name: str
    content: bytes
    slices: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Octets of the content."""
        return len(self.content)

    def read(self) -> bytes:
        """Return the content."""
        return self.content

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content, noting the length of each slice."""
        for start in range(0, len(self.content), slice_octets):
            piece = self.content[start : start + slice_octets]
            self.slices.append(len(piece))
            yield piece


MakeSource = Callable[..., MemorySource]
Parse = Callable[..., Mail]
Composed = Callable[..., tuple[Message, bytes]]
ReadPickup = Callable[..., Pickup]


@pytest.fixture
def make_source() -> MakeSource:
    """Make a file in memory: name and content."""
    return MemorySource


@pytest.fixture
def identity() -> Identity:
    """Return the same identity in every test."""
    return new_identity(domain="host.example", now=datetime(2026, 11, 23, 8, 0, 0, 120, tzinfo=UTC), token=TOKEN)


@pytest.fixture
def parse() -> Parse:
    """Parse an envelope given as text; files by name only."""

    def parsed(envelope: str, files: tuple[str, ...] = (), **defaults: object) -> Mail:
        chosen = Defaults(**defaults)  # type: ignore[arg-type]
        return parse_envelope(envelope.encode(), files=files, defaults=chosen, limits=Limits())

    return parsed


@pytest.fixture
def composed(identity: Identity) -> Composed:
    """Parse and compose a job of an envelope and files; returns the message and its octets."""

    def whole(
        envelope: str, files: Mapping[str, bytes] | None = None, limits: Limits | None = None
    ) -> tuple[Message, bytes]:
        contents = dict(files or {})
        chosen = limits or Limits()
        mail = parse_envelope(envelope.encode(), files=contents, defaults=Defaults(), limits=chosen)

        def open_source(path: str) -> Source:
            return MemorySource(path, contents[path])

        message = compose(mail.content, identity, open_source=open_source, limits=chosen)
        return message, b"".join(message.chunks())

    return whole


@pytest.fixture
def picked_up(identity: Identity) -> ReadPickup:
    """Read a finished message given as octets."""

    def read(content: bytes, **changes: object) -> Pickup:
        settings: dict[str, object] = {
            "overrides": None,
            "identity": identity,
            "defaults": Defaults(),
            "dialect": Dialect.AUTO,
            "limits": Limits(),
        }
        return read_pickup(MemorySource("message.eml", content), **{**settings, **changes})  # type: ignore[arg-type]

    return read
