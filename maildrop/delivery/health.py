"""How a relay does: healthy or held, since when and why, where its jobs go meanwhile. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_WARNED_BEFORE = timedelta(days=30)  # the end of a certificate: who renews by hand needs weeks


class Health(StrEnum):
    """What ``status`` shows for a relay."""

    HEALTHY = "healthy"
    HELD = "held"
    DEGRADED = "degraded"  # held, and its jobs go to a later relay of their route


@dataclass(slots=True, kw_only=True)
class Hold:
    """Why a relay is held, since when, until when (seconds on the loop's clock), and how often it failed in a row."""

    stage: str
    why: str
    hint: str
    since: float
    until: float
    failures: int
    configuration: bool = False


@dataclass(slots=True, kw_only=True)
class Detour:
    """Jobs go to the relay ``instead`` because this one is held: since when (on the loop's clock), and how many."""

    instead: str
    since: float
    jobs: int = 0


def is_ending(expires: datetime, now: datetime) -> bool:
    """Tell whether a certificate ends so soon that a person should see to it."""
    return expires - now < _WARNED_BEFORE
