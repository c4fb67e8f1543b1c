"""Waiting for a condition with a deadline, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 60.0  # generous: the machine may be busy with other things
_LOOK_SECONDS = 0.01


def wait_for(condition: Callable[[], T | None], what: str, *, seconds: float = DEADLINE_SECONDS) -> T:
    """Return the condition's value as soon as it is true; fails with ``what`` if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(_LOOK_SECONDS)
    return found
