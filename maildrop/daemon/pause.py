"""Trouble of this machine: disk full, I/O error, out of descriptors. Work pauses, says so once, goes on by itself."""

from __future__ import annotations

from maildrop import log

_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # between looks whether it is over
_HINT = "free space or mend the disk (df -h, df -i, dmesg, ulimit -n); nothing is lost, work goes on by itself"


class Pause:
    """Whether work pauses; times are seconds on the loop's clock."""

    def __init__(self) -> None:
        """Begin without trouble."""
        self.why = ""
        self._times = 0
        self._until = 0.0

    def begin(self, why: str, now: float) -> None:
        """Pause for a while, longer each time in a row."""
        if not self.why:
            log.daemon_paused(why=why, hint=_HINT)
        self.why = why
        if now < self._until:
            return  # the same trouble, met by several couriers at once, is not trouble that lasts
        self._until = now + _SECONDS[min(self._times, len(_SECONDS) - 1)]
        self._times += 1

    def end(self) -> None:
        """Note that something worked again."""
        if self.why:
            log.daemon_resumed()
        self.why, self._times, self._until = "", 0, 0.0

    def until(self, now: float) -> float | None:
        """Return when to try again, or None when work may go on now."""
        return self._until if self.why and now < self._until else None
