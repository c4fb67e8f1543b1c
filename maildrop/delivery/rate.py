"""May another transaction begin now? A relay's rate, kept in every window and not only on average. Pure: time comes in.

``"30/min"`` means that no span of sixty seconds, wherever it starts, sees more than thirty transactions begin, on all
connections together. A turn is promised first (when a job is handed out) and taken when MAIL is sent: what was promised
counts as if it began now, so that a connection that takes long to open can't bunch transactions up. What another run
sent before the start is not known; therefore the first window is not spent in one burst but evenly.
"""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass

_UNITS = {
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
}
_RATE = re.compile(r"\s*([0-9]{1,6})\s*/\s*([a-z]+)\s*")
_MOST = 100_000  # each is remembered for as long as the window; a quicker relay needs no rate
_SPREAD_SECONDS = 600.0  # a window of hours is spread for this long only: a day's quota spread evenly helps nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``count`` transactions in any window of ``seconds``."""

    count: int
    seconds: float


def parse_rate(text: str) -> Rate:
    """Read ``"30/min"``; raises ValueError with the predicate of a sentence about the key."""
    match = _RATE.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise ValueError('is not a rate; expected a number and "/s", "/min", "/h" or "/day", such as "30/min"')
    count = int(match[1])
    if not 1 <= count <= _MOST:
        raise ValueError(f"must be from 1 to {_MOST} in one window; for more leave the rate out")
    return Rate(count=count, seconds=_UNITS[match[2]])


class Limiter:
    """What began in the last window, and who was promised a turn; times are seconds on one monotonic clock."""

    def __init__(self, rate: Rate) -> None:
        """Begin with nothing; ``start`` tells since when that is known."""
        self.rate = rate  # may be replaced: what has begun still counts
        self._begun: deque[float] = deque()
        self._promised: set[str] = set()
        self._spread_until: float | None = None

    def start(self, now: float) -> None:
        """Note when counting began, the first time; what an earlier run did shortly before is not known."""
        if self._spread_until is None:
            self._spread_until = now + min(self.rate.seconds, _SPREAD_SECONDS)

    def allows(self, now: float) -> bool:
        """Tell whether one more turn may be promised or taken now."""
        self.start(now)
        while self._begun and now > self._begun[0] + self.rate.seconds:
            self._begun.popleft()
        if len(self._begun) + len(self._promised) >= self.rate.count:
            return False
        return not self._is_spread(now) or (not self._promised and now >= self._paced())

    def next_free(self, now: float) -> float | None:
        """Return when a turn comes free by itself; None if one is now, or if that is up to those with a promise."""
        if self.allows(now):
            return None
        too_many = len(self._begun) + len(self._promised) - self.rate.count
        if too_many >= len(self._begun) or (self._is_spread(now) and self._promised):
            return None
        window = math.nextafter(self._begun[too_many] + self.rate.seconds, math.inf) if too_many >= 0 else now
        return max(window, self._paced()) if self._is_spread(now) else window

    def promise(self, job: str) -> None:
        """Keep a turn for a job that was handed out, until it is taken or let go."""
        self._promised.add(job)

    def let_go(self, job: str) -> None:
        """Give the turn back that a job was promised, if it has not taken it."""
        self._promised.discard(job)

    def take(self, job: str, now: float) -> bool:
        """Begin a transaction now, by the turn that was promised to the job or by another; False if there is none."""
        if job not in self._promised and not self.allows(now):
            return False
        self._promised.discard(job)
        self._begun.append(now)
        return True

    def _is_spread(self, now: float) -> bool:
        return self._spread_until is not None and now < self._spread_until

    def _paced(self) -> float:
        return self._begun[-1] + self.rate.seconds / self.rate.count if self._begun else -math.inf
