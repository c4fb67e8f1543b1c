"""Out of descriptors: what the daemon holds itself is let go, and several troubles at once are one."""

from __future__ import annotations

from maildrop.daemon.pause import Pause


def test_trouble_of_many_couriers_at_once_is_one_trouble() -> None:
    """Twenty couriers that meet the same trouble in the same moment pause the work for a second, not for thirty."""
    pause = Pause()
    for _ in range(20):
        pause.begin("Too many open files", 100.0)
    assert pause.until(100.5) == 101.0
    assert pause.until(101.0) is None
    pause.begin("Too many open files", 101.0)
    assert pause.until(101.0) == 103.0
