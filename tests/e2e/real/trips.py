"""A job's whole way: dropped, sent by a real daemon, found at the server; and the jobs that make it."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.e2e.daemons import Daemon
from tests.e2e.real.mailbox import wait_arrivals
from tests.e2e.real.servers import PEOPLE, RealServer
from tests.e2e.spools import SpoolFolder, body_of, small_job

CONNECTIONS = 3
MEGABYTE = 1_000_000


class PostOffice:
    """Spools, each with a daemon that runs and sends to a real server."""

    def __init__(self, factory: Callable[..., SpoolFolder], start: Callable[..., Daemon]) -> None:
        self._factory = factory
        self._start = start

    def open(
        self, server: RealServer, relay: Mapping[str, Any] | None = None, **tables: Any
    ) -> tuple[SpoolFolder, Daemon]:
        """Open one; ``relay`` are more keys of the relay's table."""
        spool = self._factory(0, relays={"sink": dict(server.relay) | dict(relay or {})}, **tables)
        return spool, self._start(spool).wait_started()


class Branches:
    """One spool and daemon for each server, shared by the tests: starting them anew would take most of the time."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self._new_folder = new_folder
        self._open: dict[str, tuple[SpoolFolder, Daemon]] = {}

    def at(self, server: RealServer) -> SpoolFolder:
        """Return the spool whose daemon sends to this server over ``CONNECTIONS`` at most."""
        if server.name not in self._open:
            spool = SpoolFolder(self._new_folder())
            spool.configure(0, relays={"sink": dict(server.relay) | {"connections": CONNECTIONS}})
            self._open[server.name] = spool, Daemon(spool).wait_started()
        return self._open[server.name][0]

    def close(self) -> None:
        """End all; none of the daemons has stumbled."""
        for spool, daemon in self._open.values():
            daemon.end()
            sys.stdout.writelines([f"spool: {spool.path}\n", *(f"{event}\n" for event in daemon.events[-40:])])
        for _, daemon in self._open.values():
            assert daemon.noise == [], "the daemon wrote what is no event"
            assert daemon.found("job.error") == []


def job_for(name: str, recipients: Sequence[str] = PEOPLE[:1], **keys: Any) -> dict[str, str | bytes]:
    """Return the files of a small job."""
    return small_job(name, to=list(recipients), **keys)


@cache
def large_attachment(octets: int) -> bytes:
    """Return what no compression or table of known files makes smaller: the same each time."""
    return random.Random(octets).randbytes(octets)


def awkward_message(name: str, recipient: str) -> bytes:
    """Return a finished message of legal lines that careless programs spoil: 8-bit, dots, blanks, great length."""
    lines = [
        f"From: Scanner <{PEOPLE[0]}>",
        f"To: {recipient}",
        f"Subject: Job {name}",
        f"X-Job: {name}",
        "Date: Mon, 23 Nov 2026 08:00:00 +0000",
        f"Message-ID: <{name}@example.com>",
        "X-Folded: one",
        "\ttwo   ",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        ".",
        "..",
        "...three dots",
        "From the beginning of a line",
        ">From behind a mark",
        "blanks at the end \t ",
        "Grüße, 你好, 🙂",
        "x" * 998,
        "." + "y" * 997,
        "tab\tand form feed\f",
        "",
        "",
        body_of(name).rstrip(),
        "",
        "",
    ]
    return "\r\n".join("\r\n".join(lines).splitlines()).encode() + b"\r\n\r\n"


def rendered(spool: SpoolFolder, name: str, state: str = "sent") -> bytes:
    """Return the message of a settled job as ``maildropd render`` gives it."""
    place = spool.folder / f"{name}.eml"
    spool.command("render", f"{state}/{name}", "-o", str(place))
    return place.read_bytes()


def assert_arrived(server: RealServer, name: str, message: bytes, recipients: Sequence[str]) -> None:
    """Assert that the job came once for each of these recipients, octet for octet, below what servers write on top."""
    found = wait_arrivals(server.mailbox, {name}, len(recipients))
    assert sorted(one.recipient for one in found) == sorted(recipients)
    expected = message.replace(b"\r\n", b"\n")
    for one in found:
        fields, octets = one.split()
        assert octets == expected, f"{one.recipient} got other octets"
        assert "Received" in fields or not server.choosy
