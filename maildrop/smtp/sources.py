"""Where a password comes from when it may change: read once, and again after a server has refused it.

A `CredentialsSource` for secrets that lie somewhere. It refuses to know where: fetching and looking are passed in, and
what blocks (a file, a command) is done in a thread. RFC 4954; `maildrop.smtp.oauth` is the source of tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from maildrop.smtp.credentials import Credentials

T = TypeVar("T")


class Together(Generic[T]):
    """Does a thing once for all who ask for it at the same time; each of them gets its result, or its exception."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    async def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Wait for what is being done, or do it; it goes on if the one who waits is cancelled."""
        if self._task is None:
            self._task = asyncio.create_task(make())
            self._task.add_done_callback(self._done)
        return await asyncio.shield(self._task)

    def _done(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if not task.cancelled():
            task.exception()  # nobody may be left to hear it, which is no fault


class RereadCredentials:
    """Credentials that are fetched anew for the next session after a server has refused them."""

    def __init__(
        self, known: Credentials, *, place: object, fetch: Callable[[], Credentials], stamp: Callable[[], object]
    ) -> None:
        """``known`` were fetched before. ``fetch`` may block and raise `CredentialsUnavailable`.

        ``place`` compares equal if the secret comes from there again; ``stamp`` costs at most a system call and changes
        when the secret is replaced (None where that can't be told).
        """
        self._known = known
        self._place = place
        self._fetch = fetch
        self._stamp = stamp
        self._seen = stamp()
        self._stale = False
        self._together: Together[None] = Together()

    async def credentials(self) -> Credentials:
        """Return those that are known, or fetch them again if they were refused."""
        if self._stale:
            await self._together.run(self._read_again)
        return self._known

    def refused(self, credentials: Credentials) -> bool:
        """Forget them; return whether others are there already."""
        if credentials != self._known:
            return True
        self._stale = True
        return self.changed()

    def changed(self) -> bool:
        """Return whether the secret has been replaced since it was read and refused."""
        return self._stale and self._stamp() != self._seen

    async def _read_again(self) -> None:
        self._seen = self._stamp()  # before reading: a change in between is seen as one
        self._known = await asyncio.to_thread(self._fetch)
        self._stale = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RereadCredentials):
            return NotImplemented
        return self._place == other._place and self._known == other._known

    def __hash__(self) -> int:
        return hash(RereadCredentials)
