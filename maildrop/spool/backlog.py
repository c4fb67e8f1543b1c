"""Whose turn is it to be looked at? The names in ``incoming/`` that are not settled, in a fair order.

A name is *waiting* until its first look, and costs no more than the name until then; afterwards it is *observed*, with
what is remembered and the time of its next look. Turns alternate between the two, so that neither a hundred thousand
new names nor a thousand jobs that never become complete can starve the other.

Values only: no directory, no clock, no inotify. Times are monotonic seconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from maildrop.spool.readiness import Lack, Memory

_FIRST_LOOK_AGAIN_SECONDS = 0.1  # a producer that makes a folder, fills it and writes READY is done about then
_LOOKS_PER_SECOND = 500.0  # at most, on average, for all that is observed: some 2 % of a core


class Arrival(Enum):
    """How a name came to our notice."""

    LISTED = auto()
    LYING = auto()  # listed by the first scan of the folder: it was there before we looked
    RENAMED = auto()  # seen to be renamed into the folder


@dataclass(slots=True, kw_only=True)
class Observed:
    """A name that was looked at and is not settled."""

    name: str
    arrival: Arrival
    memory: Memory | None = None
    lack: Lack | None = None
    look_at: float = 0.0
    announced: bool = False  # what it lacks was said once
    refusals: int = 0  # times that it was ready and could not be claimed
    refusal: str = ""


class Backlog:
    """The unsettled names of one folder."""

    def __init__(self) -> None:
        self._waiting: dict[str, Arrival] = {}
        self._queue: deque[str] = deque()  # the order of _waiting; may hold names that have left it
        self._observed: dict[str, Observed] = {}
        self._agenda: list[tuple[float, str]] = []  # a heap; may hold times that were changed since
        self._waiting_first = True

    def __contains__(self, name: object) -> bool:
        return name in self._waiting or name in self._observed

    def __iter__(self) -> Iterator[str]:
        yield from self._waiting
        yield from self._observed

    @property
    def waiting(self) -> int:
        """How many names were not looked at yet."""
        return len(self._waiting)

    @property
    def observed(self) -> Iterable[Observed]:
        """The names that were looked at."""
        return self._observed.values()

    def add(self, name: str, arrival: Arrival) -> None:
        """Put a name at the end of those waiting, as something new: what was remembered of it is forgotten."""
        self._observed.pop(name, None)
        if name not in self._waiting:
            self._queue.append(name)
        self._waiting[name] = arrival

    def hurry(self, name: str, now_monotonic: float, *, renamed: bool) -> None:
        """Look at a known name now; ``renamed`` is evidence for its next look."""
        if name in self._waiting:
            if renamed:
                self._waiting[name] = Arrival.RENAMED
            return
        observed = self._observed[name]
        if renamed:
            observed.arrival = Arrival.RENAMED
        if not observed.refusals or renamed:  # what can't be claimed waits for its time
            self._schedule(observed, min(observed.look_at, now_monotonic))

    def doubt(self) -> None:
        """Forget who was seen to be renamed: events were lost, and the names may stand for something else by now."""
        for name, arrival in self._waiting.items():
            if arrival is Arrival.RENAMED:
                self._waiting[name] = Arrival.LISTED
        for observed in self._observed.values():
            observed.arrival = Arrival.LISTED

    def forget(self, names: Iterable[str]) -> None:
        """Drop names that are gone."""
        for name in names:
            self._waiting.pop(name, None)
            self._observed.pop(name, None)

    def next(self, now_monotonic: float) -> Observed | None:
        """Take out the name whose turn it is, or None if no look is due."""
        due = self._first_look_at() <= now_monotonic
        if self._waiting and (self._waiting_first or not due):
            self._waiting_first = False
            name = self._queue.popleft()
            while name not in self._waiting:
                name = self._queue.popleft()
            return Observed(name=name, arrival=self._waiting.pop(name))
        self._waiting_first = True
        return self._observed.pop(heapq.heappop(self._agenda)[1]) if due else None

    def observe(self, observed: Observed, look_at: float) -> None:
        """Take a name back until its next look."""
        self._observed[observed.name] = observed
        self._schedule(observed, look_at)

    def next_look(self, now_monotonic: float) -> float | None:
        """Return when ``next`` will have something, or None if nothing is unsettled."""
        if self._waiting:
            return now_monotonic
        first = self._first_look_at()
        return first if first != float("inf") else None

    def pause_seconds(self, age_seconds: float, rescan_seconds: float) -> float:
        """Return how long to leave alone what was first seen so long ago: short for what is new, and never a burden."""
        longest = max(rescan_seconds, len(self._observed) / _LOOKS_PER_SECOND)
        return min(max(age_seconds, _FIRST_LOOK_AGAIN_SECONDS), longest)

    def _schedule(self, observed: Observed, look_at: float) -> None:
        observed.look_at = look_at
        heapq.heappush(self._agenda, (look_at, observed.name))
        if len(self._agenda) > 2 * len(self._observed) + 64:
            self._agenda = [(item.look_at, item.name) for item in self._observed.values()]
            heapq.heapify(self._agenda)

    def _first_look_at(self) -> float:
        """Return the time of the earliest look; discards what was rescheduled or is gone."""
        while self._agenda:
            look_at, name = self._agenda[0]
            observed = self._observed.get(name)
            if observed is not None and observed.look_at == look_at:
                return look_at
            heapq.heappop(self._agenda)
        return float("inf")
