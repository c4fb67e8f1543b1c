"""What next, and when: deferrals of jobs and holds of relays, as functions of values.

Knows no clock and no dice: the time and a number between 0 and 1 come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_BROKEN_SESSIONS = 5  # a message that breaks this many sessions waits like a deferral, so that it can't hog a relay

_PROBES = (1.0, 2.0, 4.0)  # seconds before the first probes of a held relay
_PROBE_STEADY = 5.0
_PROBE_STEADY_FOR = 300.0  # after five minutes at the steady rate the wait doubles …
_PROBE_CEILING = 300.0  # … up to this
CONFIGURATION_HOLD_SECONDS = 600.0  # a wrong password does not mend itself, and many tries lock an account


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """``[retry]``: seconds between attempts (the last repeats), when to give up, and the jitter as a fraction."""

    schedule_seconds: tuple[float, ...] = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
    give_up_seconds: float = 5 * 86400.0
    jitter: float = 0.1


def next_attempt(
    settings: RetrySettings, *, attempts: int, claimed: datetime, expires: datetime | None, now: datetime, dice: float
) -> datetime | None:
    """Return when to try again after ``attempts`` counted attempts, or None when it is time to give up.

    ``dice`` is a number from 0 to 1. The job's own ``expires`` wins over ``give_up`` in both directions.
    """
    steps = settings.schedule_seconds
    step = steps[min(max(attempts, 1), len(steps)) - 1]
    when = now + timedelta(seconds=step * (1 + settings.jitter * (2 * dice - 1)))
    end = expires if expires is not None else claimed + timedelta(seconds=settings.give_up_seconds)
    if now >= end:
        return None
    return min(when, end)  # one last attempt at the very end rather than giving up early


def hold_seconds(failures: int) -> float:
    """Return how long a relay is held after ``failures`` (>= 1) failed tries in a row: 1, 2, 4, 5 … 5, 10, 20 … 300."""
    if failures <= len(_PROBES):
        return _PROBES[failures - 1]
    steady = int(_PROBE_STEADY_FOR / _PROBE_STEADY)
    beyond = failures - len(_PROBES) - steady
    if beyond <= 0:
        return _PROBE_STEADY
    return float(min(_PROBE_STEADY * 2.0 ** min(beyond, 10), _PROBE_CEILING))
