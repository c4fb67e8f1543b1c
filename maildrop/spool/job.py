"""The life of a job on disk: claimed, recorded, moved, settled. One method, one transition of the package's table.

What is durable, and what each crash leaves behind, is in the package's docstring. The module refuses to know why a job
is settled as it is; it is told, and makes it so. Errors of the disk are OSError and change nothing that is promised.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from maildrop.spool import doubt, durable, record
from maildrop.spool.claim import CannotClaim, claim
from maildrop.spool.files import LEFTOVERS, NEXT_RESULT, RESULT, TRANSCRIPT, JobFolder
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import Outcome, RecordError, Result
from maildrop.spool.tree import OPEN_FOLDER

_PROMPT = timedelta(seconds=1)  # a reply that came sooner leaves the times of the prepared record true

__all__ = ["CannotClaim", "Job", "claim", "home_of", "resume"]


def home_of(outcome: Outcome) -> State:
    """Return the state that a job of this outcome belongs to; whom ``assume-sent`` left in doubt, the caller knows."""
    if outcome in (Outcome.SENT, Outcome.DUPLICATE):
        return State.SENT
    return State.DEFERRED if outcome is Outcome.DEFERRED else State.FAILED


class Job:
    """A job, held by descriptors; use it as a context manager, or close it. ``name`` and ``state`` follow its moves."""

    __slots__ = (
        "_day",
        "_following",
        "_parent",
        "_parent_is_ours",
        "_prepared",
        "_prepared_at",
        "_spool",
        "folder",
        "landing",
        "name",
        "state",
    )

    def __init__(self, spool: Spool, state: State, name: str, folder: JobFolder, parent: int) -> None:
        """Take over ``folder``; ``Job.open`` is the way to get one."""
        self.state = state
        self.name = name
        self.folder = folder
        self.landing = parent
        """The directory whose sync makes the last move or ``accept`` durable."""
        self._spool = spool
        self._parent = parent
        self._parent_is_ours = parent != spool.folder(state)
        self._day = ""  # of what was prepared
        self._prepared_at = datetime.max.replace(tzinfo=UTC)
        self._prepared = -1  # the descriptor of a record that was made by prepare()
        self._following: bool | None = None  # is there a result.next? None: not looked yet

    @classmethod
    def open(cls, spool: Spool, state: State, name: str) -> Job:
        """Open a job by its name, or ``2026-11-23/NAME`` in a day's folder.

        Raises FileNotFoundError, NotADirectoryError for a bare file or a link, or another OSError.
        """
        parent = spool.folder(state)
        day, _, leaf = name.rpartition("/")
        if not day:
            return cls(spool, state, leaf, JobFolder.open(parent, leaf, daemon=spool.daemon), parent)
        parent = os.open(day, OPEN_FOLDER, dir_fd=parent)
        try:
            return cls(spool, state, leaf, JobFolder.open(parent, leaf, daemon=spool.daemon), parent)
        except BaseException:
            os.close(parent)
            raise

    def read_result(self) -> Result | None:
        """Return what is known of the job; None if nothing was recorded yet. Raises RecordError for a torn record.

        In active, recipients that were being sent to when the daemon ended have the status ``in-doubt``.
        """
        current = self._read(RESULT)
        if self.state is State.ACTIVE:
            return doubt.after_crash(current, self._read_following())
        return None if current is None else doubt.with_lost_replies(current)

    def doubt(self) -> tuple[str, ...]:
        """Return the recipients of a job in active that may or may not have the mail: the daemon ended in between."""
        if self.state is not State.ACTIVE:
            return ()
        try:
            current = self._read(RESULT)
        except RecordError:  # torn: the final dot was never sent
            current = None
        return doubt.in_doubt(current, self._read_following())

    def _read(self, name: str) -> Result | None:
        octets = self.folder.read_own(name)
        return None if octets is None else record.load(octets)

    def _read_following(self) -> Result | None:
        """Return ``result.next``; None if there is none, or it is torn: then it was never sent by."""
        try:
            return self._read(NEXT_RESULT)
        except RecordError:
            return None

    def note(self, result: Result) -> None:
        """Record ``result``; the job stays where it is. After a power cut it is the old record or the new one."""
        self._write(result)

    def prepare(self, result: Result, *, completing: bool) -> int:
        """Record the result as it will be if the server says yes; return a descriptor to sync before the final dot.

        The delivered recipients of this transaction have neither code nor text in it. ``completing`` says that there is
        nothing left to do then. One file is made; where a record exists it stays whole.
        """
        if completing:
            self._day = _day(result)
            self._spool.settled_folder(home_of(result.outcome), self._day)  # made now: accept() only renames
        name, octets, folder = RESULT if completing else NEXT_RESULT, record.dump(result), self.folder.descriptor
        self._forget_prepared()
        self._prepared_at = result.finished or result.claimed
        try:
            self._prepared = durable.open_new(folder, name, octets, sync=False)
            to_sync = self._prepared
        except FileExistsError:
            durable.write_atomically(folder, name, octets, sync=True)
            to_sync = folder
        if completing:
            self._discard_following()
        else:
            self._following = True
        return to_sync

    def accept(self, completing_to: State | None) -> None:
        """Let the prepared record count, for the server said yes. One rename, durable after a sync of ``landing``.

        ``completing_to`` is ``home_of`` the prepared outcome, None if what was prepared was not completing.
        """
        if completing_to is None:
            durable.replace(self.folder.descriptor, NEXT_RESULT, RESULT)
            self._following = False
            self.landing = self.folder.descriptor
        else:
            self._move(completing_to, self._spool.settled_folder(completing_to, self._day))

    def finish(self, result: Result) -> None:
        """Add the reply's words to the prepared record of an accepted job. Nothing hangs on it.

        For one recipient they are appended, which costs a tenth of a new file and leaves no torn state; not after a
        slow reply, because the record's times are those of before it.
        """
        answer = record.dump_answer(result)
        prompt = result.finished is not None and result.finished - self._prepared_at < _PROMPT
        if self._prepared >= 0 and answer is not None and prompt:
            durable.append(self._prepared, answer)
            self._forget_prepared()
            return
        sync = not self._spool.orders_replacing_renames
        durable.write_atomically(self.folder.descriptor, RESULT, record.dump(result), sync=sync)

    def _forget_prepared(self) -> None:
        descriptor, self._prepared = self._prepared, -1
        if descriptor >= 0:
            os.close(descriptor)

    def settle(self, result: Result, to: State) -> str:
        """Record ``result`` and move the job to ``to``; return its name there. The move is durable after a sync."""
        target = self._spool.settled_folder(to, _day(result))
        self._write(result)
        self._move(to, target)
        return self.name

    def move(self, to: State) -> str:
        """Move the job as it is; return its name there. Durable after a sync of ``landing``."""
        self._move(to, self._spool.folder(to))
        return self.name

    def defer(self, result: Result) -> str:
        """Record ``result`` and move the job to deferred; return its name there."""
        return self.settle(result, State.DEFERRED)

    def put_in_order(self) -> str:
        """Do for one job found in active what the package's table says; return what was done, ``""`` for nothing."""
        folder = self.folder.descriptor
        for name in LEFTOVERS:
            with contextlib.suppress(OSError):  # what can't be removed is not looked at either
                _unlink(folder, name)
        following = self._read_following()
        if following is None:
            self._discard_following()
        elif not doubt.in_doubt(None, following):
            durable.replace(folder, NEXT_RESULT, RESULT)
            following = None
        try:
            current = self._read(RESULT)
        except RecordError:
            name = durable.move_unclobbered(folder, RESULT, folder, f"{RESULT}.torn")
            return f"its record was being written and is now {name}; nothing was sent"
        if doubt.in_doubt(current, following):
            return "in doubt: the final dot may have been sent when maildropd ended"
        if current is None:
            return ""
        state = home_of(current.outcome)
        self._move(state, self._spool.settled_folder(state, _day(current)))
        return f"moved to {state}, where its result says that it belongs"

    def write_transcript(self, text: str) -> None:
        """Write ``transcript.log``, atomically. Not durable: it is for reading, nothing hangs on it."""
        octets = text.encode("utf-8", "backslashreplace")
        durable.write_atomically(self.folder.descriptor, TRANSCRIPT, octets, sync=False)

    def _write(self, result: Result) -> None:
        self._forget_prepared()
        octets, folder = record.dump(result), self.folder.descriptor
        if self._following is None:
            self._following = _exists(folder, NEXT_RESULT)
        if self._following:
            # The new record takes the place of the prepared one before it counts: at no moment do both speak.
            durable.write_atomically(folder, NEXT_RESULT, octets, sync=True)
            durable.replace(folder, NEXT_RESULT, RESULT)
            self._following = False
        else:
            durable.write_atomically(folder, RESULT, octets, sync=True)

    def _discard_following(self) -> None:
        if self._following is not False:
            _unlink(self.folder.descriptor, NEXT_RESULT)
            self._following = False

    def _move(self, state: State, target: int) -> None:
        self.name = durable.move_unclobbered(self._parent, self.name, target, self.name)
        if self._parent_is_ours:
            os.close(self._parent)
            self._parent_is_ours = False
        self.state, self._parent, self.landing = state, target, target

    def close(self) -> None:
        """Close the job's descriptors, the files opened in it included; a second time does nothing."""
        self.folder.close()
        self._forget_prepared()
        if self._parent_is_ours:
            os.close(self._parent)
            self._parent_is_ours = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def resume(spool: Spool, name: str) -> str:
    """Move a deferred job back to active and return its name there; raises FileNotFoundError if it is gone."""
    return durable.move_unclobbered(spool.folder(State.DEFERRED), name, spool.folder(State.ACTIVE), name)


def _day(result: Result) -> str:
    return (result.finished or result.claimed).astimezone(UTC).date().isoformat()


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _unlink(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
