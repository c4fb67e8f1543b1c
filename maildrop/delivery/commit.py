"""One sync for all that happened in a turn of the loop.

A courier that has just recorded an acceptance asks for the directory that holds the record; at the end of the turn
each directory asked for is synced once, whoever asked, and all who wait are told. So a slow disk costs one wait a
turn, and what a power cut can undo is at most what was accepted in one turn.
"""

from __future__ import annotations

import asyncio

from maildrop.spool.durable import sync_directory


class Commit:
    """Collects directories to sync in this turn; owned by the coordinator's loop."""

    def __init__(self) -> None:
        """Start with nothing to sync."""
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def directory(self, descriptor: int) -> None:
        """Return when the directory behind ``descriptor`` was synced after this call; raises OSError if that failed."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._sync)  # after what is ready in this turn, so that more couriers can join
        waiter = self._waiting.get(descriptor)
        if waiter is None:
            waiter = self._waiting[descriptor] = loop.create_future()
        await asyncio.shield(waiter)

    def _sync(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for descriptor, waiter in waiting.items():
            try:
                sync_directory(descriptor)
            except OSError as error:
                waiter.set_exception(error)
            else:
                waiter.set_result(None)
