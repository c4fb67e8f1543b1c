"""What all real servers have in common, whatever their make.

Each delivers for the same people of example.org, refuses everybody else, takes at most ``SIZE_LIMIT_OCTETS``, and never
sends a mail anywhere. Only ``smtp-sink`` is less choosy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.real.mailbox import Mailbox, Maildirs
from tests.e2e.real.system import System
from tests.e2e.waiting import wait_for

PEOPLE = ("anna@example.org", "bert@example.org", "carla@example.org", "dora@example.org")
ABROAD = "jürgen@example.org"  # needs SMTPUTF8
NOBODY = "nobody@example.org"
UNKNOWN_SENDER = "reports@unknown.example"
USER, PASSWORD = "reports@example.com", "Käse für 2 €, bitte"
SIZE_LIMIT_OCTETS = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RealServer:
    """``relay`` is what a relay's table says to reach it; ``mailbox`` is where its mails arrive."""

    name: str
    relay: Mapping[str, Any]
    mailbox: Mailbox
    log: Path | None = None
    session: str = ""  # a regular expression: one match in the log for each session that begins
    extensions: frozenset[str] = frozenset()  # those that decide what it can take
    choosy: bool = True  # it refuses whom it does not know

    def logged(self, expression: str) -> list[str]:
        """Return what matches in its log so far."""
        if self.log is None or not self.log.exists():
            return []
        return re.findall(expression, self.log.read_text("utf-8", "replace"))


def looked_at(server: RealServer) -> RealServer:
    """Return the server when its log tells of whoever looked whether it is ready: later ones are the tests'."""
    wait_for(lambda: server.logged(server.session), f"{server.name} logs who connected")
    return server


def maildirs(system: System, name: str, *, owner: str = "vmail") -> Maildirs:
    """Make the folder that a server's Maildirs are made in."""
    system.folder(f"/var/mail/{name}", owner)
    return Maildirs(system.inside(f"/var/mail/{name}"))
