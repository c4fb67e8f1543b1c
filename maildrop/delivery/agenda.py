"""Whose turn is it? Claimed jobs that wait for a relay, in order of priority and arrival.

Pure bookkeeping: jobs that may take the same relays stand in one line, so choosing costs a look at each line's head
however many jobs wait. A route is final: the first relay of it that is not held is the one, and where that one is
busy the job waits. A held relay whose time has come gets one job, though others of the route are well: else nobody
would ever find out that it works again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from maildrop.delivery.health import Health
from maildrop.delivery.load import Loaded
from maildrop.delivery.relay import Relay
from maildrop.delivery.route import Leg, Way

Line = tuple[Way, ...]  # the ways of the legs that a job still has


@dataclass(slots=True, kw_only=True)
class Work:
    """A claimed job. ``loaded`` is empty while it waits for a held relay, so that a long wait holds no descriptors."""

    name: str
    claimed: datetime
    token: str  # random; part of a Message-ID that the envelope does not give
    sequence: int = 0
    priority: int = 0
    broken: int = 0  # sessions that this message broke
    loaded: Loaded | None = None
    legs: tuple[Leg, ...] = field(default=())
    visited: set[str] = field(default_factory=set)  # recipients that had their try in this round, loaded or not

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: the highest priority first, then the earliest."""
        return (-self.priority, self.sequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A job, the leg to carry now, and the relay that takes it."""

    work: Work
    leg: Leg
    relay: Relay


class Agenda:
    """The lines of waiting jobs."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: dict[Line, list[tuple[tuple[int, int], Work]]] = {}
        self._next = 0

    def add(self, work: Work, *, front: bool = False) -> None:
        """Put a job in its line: at the end of its priority, or where it was before it was handed out."""
        if not front:
            self._next += 1
            work.sequence = self._next
        line = tuple(leg.way for leg in work.legs)
        heapq.heappush(self._lines.setdefault(line, []), (work.order, work))

    def take(self, relays: Mapping[str, Relay], now: float) -> Turn | None:
        """Return the next job that can be carried now, or None."""
        best: tuple[tuple[int, int], Line, int, Relay] | None = None
        for line, waiting in self._lines.items():
            if waiting and (best is None or waiting[0][0] < best[0]):
                for index, way in enumerate(line):
                    relay = choose(way, relays, now)
                    if relay is not None:
                        best = (waiting[0][0], line, index, relay)
                        break
        if best is None:
            return None
        _, line, index, relay = best
        _, work = heapq.heappop(self._lines[line])
        if not self._lines[line]:
            del self._lines[line]
        return Turn(work=work, leg=work.legs[index], relay=relay)

    def waiting(self, relay: Relay | None = None) -> int:
        """Return how many jobs wait, for one relay or in all."""
        return sum(
            len(waiting)
            for line, waiting in self._lines.items()
            if relay is None or any(relay.name in names and relay.domain in (None, domain) for names, domain in line)
        )

    def parked(self, relays: Mapping[str, Relay]) -> int:
        """Return how many jobs wait only for held relays."""
        return sum(len(waiting) for line, waiting in self._lines.items() if _is_parked(line, relays))

    def works(self) -> Iterator[Work]:
        """Yield every waiting job, in no order."""
        for waiting in self._lines.values():
            yield from (work for _, work in waiting)

    def parked_works(self, relays: Mapping[str, Relay]) -> Iterator[Work]:
        """Yield the jobs that wait only for held relays."""
        for line, waiting in self._lines.items():
            if _is_parked(line, relays):
                yield from (work for _, work in waiting)

    def clear(self) -> list[Work]:
        """Take out every job, in order; for a new configuration, whose routes may differ."""
        works = sorted((entry for waiting in self._lines.values() for entry in waiting), key=lambda entry: entry[0])
        self._lines.clear()
        return [work for _, work in works]


def choose(way: Way, relays: Mapping[str, Relay], now: float) -> Relay | None:
    """Return the relay of a route that takes a job now: the first not held, unless an earlier one may be probed."""
    names, domain = way
    for relay in (relays[name].towards(domain) for name in names if name in relays):
        if relay.free(now):
            return relay
        if relay.health is not Health.HELD:
            return None  # it is only busy: its turn comes
    return None


def _is_parked(line: Line, relays: Mapping[str, Relay]) -> bool:
    return all(
        relays[name].towards(domain).health is Health.HELD for names, domain in line for name in names if name in relays
    )
