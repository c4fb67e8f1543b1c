"""Making records durable beside the loop: many couriers, few waits.

Couriers hand in descriptors and wait. What comes in during one turn of the loop is handed to the kernel together, each
descriptor once, whoever asked; the loop goes on meanwhile. What a power cut can undo stays bounded by the number of
sessions: a courier whose record is not durable yet begins nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from maildrop.spool.aio import Syncer, open_syncer
from maildrop.spool.durable import sync

_THREADS = 4  # where the kernel does not do it; concurrent syncs share the journal's commits


class Commit:
    """Syncs descriptors; its methods belong to the coordinator's loop."""

    def __init__(self, probe: int) -> None:
        """Take any descriptor of the spool, to find out how it can be synced."""
        self._syncer: Syncer | None = open_syncer(probe)
        self._threads = None if self._syncer is not None else ThreadPoolExecutor(_THREADS, "commit")
        self._listening: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}  # descriptor: who waits for its sync to begin
        self._begun: dict[int, asyncio.Future[None]] = {}  # tag: who waits for its end
        self._next_tag = 1

    async def sync(self, descriptor: int) -> None:
        """Return when what was done to the file or directory before this call is durable; raises OSError if it is not.

        The descriptor has to stay open until then.
        """
        loop = asyncio.get_running_loop()
        waiter = self._waiting.get(descriptor)
        if waiter is None:
            if not self._waiting:
                loop.call_soon(self._begin)  # after what is ready in this turn, so that more couriers can join
            waiter = self._waiting[descriptor] = loop.create_future()
        await asyncio.shield(waiter)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if self._syncer is None:
            self._begin_in_threads(waiting)
        else:
            self._begin_in_kernel(self._syncer, waiting)

    def _begin_in_kernel(self, syncer: Syncer, waiting: Mapping[int, asyncio.Future[None]]) -> None:
        loop = asyncio.get_running_loop()
        if self._listening is not loop:
            self._listening = loop
            loop.add_reader(syncer.fileno(), self._harvest, syncer)
        tagged = list(enumerate(waiting.items(), self._next_tag))
        try:
            taken = syncer.submit([(tag, descriptor) for tag, (descriptor, _) in tagged])
        except OSError as error:  # it speaks of the first; the others have their own chance
            tagged[0][1][1].set_exception(error)
            taken, tagged = 0, tagged[1:]
            if tagged:
                loop.call_soon(self._begin)
        self._next_tag += taken
        for tag, (_, waiter) in tagged[:taken]:
            self._begun[tag] = waiter
        self._waiting.update(entry for _, entry in tagged[taken:])  # too many in flight: with the next that end

    def _harvest(self, syncer: Syncer) -> None:
        for tag, error in syncer.finished():
            waiter = self._begun.pop(tag, None)  # the probe has nobody
            if waiter is not None:
                _tell(waiter, error)
        if self._waiting:
            self._begin()

    def _begin_in_threads(self, waiting: Mapping[int, asyncio.Future[None]]) -> None:
        loop = asyncio.get_running_loop()
        for descriptor, waiter in waiting.items():
            done = loop.run_in_executor(self._threads, sync, descriptor)
            done.add_done_callback(partial(_tell_done, waiter))

    def close(self) -> None:
        """Wait for what is under way, and let go; nobody may ask any more."""
        if self._syncer is not None:
            if self._listening is not None and not self._listening.is_closed():
                self._listening.remove_reader(self._syncer.fileno())
            self._syncer.close()
        if self._threads is not None:
            self._threads.shutdown()


def _tell_done(waiter: asyncio.Future[None], done: asyncio.Future[None]) -> None:
    error = done.exception()
    _tell(waiter, error if isinstance(error, OSError) else None)


def _tell(waiter: asyncio.Future[None], error: OSError | None) -> None:
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
