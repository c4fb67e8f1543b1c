"""What has arrived at a real server: one arrival for each mail and recipient, and which octets of it are ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from tests.e2e.servers import SmtpSink
from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

# What servers write above a mail that they take: RFC 5321 section 4.4, and habits about final delivery.
TRACE = ("Received", "Return-Path", "Delivered-To", "X-Original-To", "Envelope-To", "Delivery-Date")
_RECIPIENT = ("Delivered-To", "Envelope-To")
_HEAD_OCTETS = 16 * 1024
_FIELD = re.compile(rb"[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A mail that came for a recipient; ``job`` is its ``X-Job``."""

    job: str
    recipient: str
    read: Callable[[], bytes]  # large mails are not kept in memory

    def split(self) -> tuple[dict[str, str], bytes]:
        """Return the fields that the server wrote above the mail, and the mail itself; line ends are LF."""
        octets = self.read().replace(b"\r\n", b"\n")
        fields: dict[str, str] = {}
        start = 0
        for name, value, end in _fields(octets):
            if name not in TRACE:
                break
            fields.setdefault(name, value)
            start = end
        return fields, octets[start:]


def _fields(octets: bytes) -> Iterator[tuple[str, str, int]]:
    """Give name, value and end of each header field."""
    end = 0
    while match := _FIELD.match(octets, end):
        name, _, value = match[0].decode("utf-8", "replace").partition(":")
        end = match.end()
        yield name.title(), " ".join(value.split()), end


class Mailbox(Protocol):
    """Where the mails of a server arrive."""

    def arrivals(self, jobs: Collection[str]) -> list[Arrival]:
        """Return what has come so far of these jobs."""


def wait_arrivals(
    mailbox: Mailbox, jobs: Collection[str], count: int, *, seconds: float = DEADLINE_SECONDS
) -> Sequence[Arrival]:
    """Return the arrivals of these jobs as soon as there are ``count``: servers deliver after they have said yes."""

    def look() -> list[Arrival]:
        found = mailbox.arrivals(jobs)
        return found if len(found) >= count else []

    found = wait_for(look, f"{count} mails of {len(jobs)} jobs arrive", seconds=seconds)
    assert len(found) == count
    return found


class Maildirs:
    """The Maildirs in a folder: the mails tell who they are for, or else the Maildir's name, a local part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, Arrival] = {}

    def arrivals(self, jobs: Collection[str]) -> list[Arrival]:
        """Return what has come so far of these jobs."""
        for path in self.files():
            if path not in self._seen:
                self._seen[path] = _read(path)
        return [one for one in self._seen.values() if one.job in jobs]

    def files(self) -> list[Path]:
        """Return every file of a mail."""
        return list(self._folder.glob("*/new/*"))


def _read(path: Path) -> Arrival:
    with path.open("rb") as file:
        head = file.read(_HEAD_OCTETS).replace(b"\r\n", b"\n")
    header = {name: value for name, value, _ in _fields(head)}
    # Dovecot gives recipients who share a file no field of their own.
    own = f"{path.parents[1].name}@example.org"
    recipient = next((header[name] for name in _RECIPIENT if name in header), own)
    return Arrival(job=header.get("X-Job", ""), recipient=recipient.strip("<>"), read=path.read_bytes)


class SinkDumps:
    """What ``smtp-sink`` has dumped; to be asked when the mails are known to be there: its dumps grow visibly."""

    def __init__(self, sink: SmtpSink) -> None:
        self._sink = sink

    def arrivals(self, jobs: Collection[str]) -> list[Arrival]:
        """Return what has come so far of these jobs."""
        return [
            Arrival(job=mail.job, recipient=recipient, read=partial(bytes, mail.octets))
            for mail in self._sink.mails()
            if mail.job in jobs
            for recipient in mail.recipients
        ]
