"""When are the deferred jobs due? The folder tells which there are, each job's ``result.toml`` when it is due.

Times are UTC on the wall clock, because they outlive the process; they are compared anew in every turn, so that a
clock that jumps is noticed. A job whose result can't be read is due at once: better early than never.
"""

from __future__ import annotations

import heapq
from datetime import datetime

from maildrop.spool.durable import is_local_trouble
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import RecordError

_READ_IN_ONE_TURN = 200  # results read before replies and drops get their turn again


class Deferred:
    """The due times of the jobs in deferred/."""

    def __init__(self, spool: Spool) -> None:
        """Know nothing until ``look``."""
        self._spool = spool
        self._due: list[tuple[datetime, str]] = []  # a heap; what ``_when`` does not say as well is out of date
        self._when: dict[str, datetime] = {}
        self._known: set[str] = set()
        self._unread: list[str] = []

    def __len__(self) -> int:
        return len(self._known)

    @property
    def unread(self) -> bool:
        """Whether there are jobs whose due time is not known yet."""
        return bool(self._unread)

    def look(self) -> None:
        """List the folder: jobs that a person put there are taken up, jobs that were taken away are forgotten."""
        names = set(self._spool.names(State.DEFERRED))
        self._unread += sorted(names - self._known)
        for gone in self._known - names:
            self._when.pop(gone, None)
        self._known = names

    def read_some(self, now: datetime) -> None:
        """Read the due times of some jobs that were listed."""
        batch, self._unread = self._unread[:_READ_IN_ONE_TURN], self._unread[_READ_IN_ONE_TURN:]
        for index, name in enumerate(batch):
            try:
                with Job.open(self._spool, State.DEFERRED, name) as job:
                    result = job.read_result()
            except (FileNotFoundError, NotADirectoryError):
                self._known.discard(name)
                continue
            except RecordError:
                result = None
            except OSError as error:
                if is_local_trouble(error):
                    self._unread = batch[index:] + self._unread
                    raise
                result = None  # its turn will show what is wrong with it
            self.add(name, result.next_attempt if result is not None and result.next_attempt else now)

    def add(self, name: str, due: datetime) -> None:
        """Note a job that is (or is about to be) in the folder."""
        self._known.add(name)
        self._when[name] = due
        heapq.heappush(self._due, (due, name))

    def next_due(self) -> datetime | None:
        """Return when the next job is due."""
        while self._due and self._when.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take(self, now: datetime, limit: int) -> list[str]:
        """Return the jobs that are due, earliest first; they are no longer known."""
        names: list[str] = []
        while len(names) < limit and (due := self.next_due()) is not None and due <= now:
            _, name = heapq.heappop(self._due)
            self._known.discard(name)
            del self._when[name]
            names.append(name)
        return names
