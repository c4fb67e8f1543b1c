"""Making records durable beside the loop: many couriers, few waits.

Couriers hand in descriptors and wait. A thread syncs them in batches, each descriptor once, whoever asked; the loop
goes on meanwhile, and what comes in forms the next batch. So a slow disk costs one wait a batch instead of one a job,
and what a power cut can undo stays bounded by the number of sessions: a courier whose record is not durable yet
begins nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from maildrop.spool.durable import sync

_Waiters = list[asyncio.Future[None]]


class Commit:
    """Syncs descriptors; its methods belong to the coordinator's loop."""

    def __init__(self) -> None:
        """Start with nothing to sync; the thread begins with the first batch."""
        self._thread = ThreadPoolExecutor(1, "commit")
        self._waiting: dict[int, _Waiters] = {}
        self._busy = False

    async def sync(self, descriptor: int) -> None:
        """Return when what was done to the file or directory before this call is durable; raises OSError if it is not.

        The descriptor has to stay open until then.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and not self._busy:
            loop.call_soon(self._begin)  # after what is ready in this turn, so that more couriers can join
        waiter = loop.create_future()
        self._waiting.setdefault(descriptor, []).append(waiter)
        await waiter

    def _begin(self) -> None:
        batch, self._waiting, self._busy = self._waiting, {}, True
        done = asyncio.get_running_loop().run_in_executor(self._thread, _sync_each, list(batch))
        done.add_done_callback(partial(self._tell, batch))

    def _tell(self, batch: Mapping[int, _Waiters], done: asyncio.Future[list[OSError | None]]) -> None:
        self._busy = False
        for waiters, error in zip(batch.values(), done.result(), strict=True):
            for waiter in waiters:
                if waiter.done():  # its courier was cancelled
                    continue
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
        if self._waiting:
            self._begin()

    def close(self) -> None:
        """Wait for what is under way, and let go; nobody may ask any more."""
        self._thread.shutdown()


def _sync_each(descriptors: Sequence[int]) -> list[OSError | None]:
    errors: list[OSError | None] = []
    for descriptor in descriptors:
        try:
            sync(descriptor)
        except OSError as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors
