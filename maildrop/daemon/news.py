"""What the running daemon shows: one line for systemd, and the bulletin for ``maildropd status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from maildrop.delivery.relay import Relay
from maildrop.spool import bulletin
from maildrop.spool.layout import Spool
from maildrop.status.view import relays_now, stamp
from maildrop.systemd import Systemd

_POST_SECONDS = 1.0  # at most one bulletin in this time


class News:
    """Tells what changed, at most once a second."""

    def __init__(self, spool: Spool, systemd: Systemd, *, now: Callable[[], datetime]) -> None:
        """Remember since when the daemon runs."""
        self._spool = spool
        self._systemd = systemd
        self._now = now
        self._since = stamp(now())
        self._posted: object = None
        self._next_post = 0.0

    def tell(
        self, *, relays: Mapping[str, Relay], numbers: Mapping[str, int], counts: Counter[str], paused: str, now: float
    ) -> None:
        """Show the state of this moment; ``now`` is the loop's clock."""
        held = [f"{relay.name} {relay.state} ({relay.hold_state.why})" for relay in relays.values() if relay.hold_state]
        line = ", ".join(f"{number} {what}" for what, number in numbers.items())
        line += f"; {counts['sent']} sent, {counts['failed']} failed since the start"
        self._systemd.status("; ".join([f"paused: {paused}"] if paused else [line, *held]))
        if now < self._next_post:
            return
        news = {
            "since": self._since,
            "paused": paused or None,
            "incomplete": numbers["incomplete"],
            "relays": relays_now(relays.values(), loop_now=now, now=self._now()),
        }
        if news != self._posted:
            bulletin.post(self._spool, news)
            self._posted = news
            self._next_post = now + _POST_SECONDS
