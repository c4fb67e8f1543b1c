"""One task waiting for the wire: woken by whatever happens there, or by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Lets one task sleep until it is woken or a deadline passes; `maildrop.smtp.session` has one per session.

    The timer is left running when a sleep ends early, and set anew only when it rings: a message that goes well has
    half a dozen deadlines, minutes away, of which none is ever met.
    """

    __slots__ = ("_deadline", "_loop", "_timer", "_too_late", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._too_late: Callable[[], None] = self.wake

    def wake(self) -> None:
        """Wake the sleeper, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def sleep(self, deadline: float, too_late: Callable[[], None]) -> None:
        """Sleep until `wake`, at the latest until ``deadline`` (loop time); then ``too_late`` is called, and wakes."""
        self._waiter = self._loop.create_future()
        self._deadline, self._too_late = deadline, too_late
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._ring)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        else:
            self._too_late()

    def stop(self) -> None:
        """Let go of the timer; nobody sleeps any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
