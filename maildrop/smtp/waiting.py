"""One task waiting for the wire: woken by whatever happens there, or by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Lets one task sleep until it is woken or a deadline passes; `maildrop.smtp.session` has one per session."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the sleeper, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def sleep(self, deadline: float, too_late: Callable[[], None]) -> None:
        """Sleep until `wake`, at the latest until ``deadline`` (loop time); then ``too_late`` is called, and wakes."""
        self._waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, too_late)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
