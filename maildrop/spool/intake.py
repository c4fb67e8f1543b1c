"""What is ready to be claimed? The coordinator's view of ``incoming/``.

The one-level listing is the truth; events only say when to look, except that a rename seen is a drop seen to be whole.
So everything works without events, merely later: on network filesystems, after an overflow, with a dead reader thread,
and when the folder is replaced, which each scan notices.

Of a backlog only the names are kept. Looks are taken in turns (``spool.backlog``) and rationed, so much in
one call of ``take``. What is in a drop, and when it is complete, this module refuses to know; ``spool.examine`` does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from maildrop.errors import Problem, printable
from maildrop.spool.backlog import Arrival, Backlog, Observed
from maildrop.spool.examine import Examiner, Finding
from maildrop.spool.layout import Spool, State
from maildrop.spool.observe import NamedFiles, identity_of, status_of
from maildrop.spool.readiness import (
    Drop,
    IntakeSettings,
    Kind,
    Lack,
    Mode,
    Step,
    entry_name,
    is_ignored,
    job_name,
    problems,
)
from maildrop.spool.watch import Seen, Watcher

__all__ = ["Drop", "Intake", "IntakeSettings", "Kind", "Mode"]

_TAKE_COST = 2000  # files looked at in one ``take``: some 20 ms, then the sessions have their turn
_LONGEST_BLOCK_SECONDS = 60.0  # between two tries to claim what could not be claimed; a mended job waits no longer
_WATCH_AGAIN_SECONDS = 60.0  # between two tries to get inotify back

_GONE = (errno.ENOENT, errno.ENOTDIR)  # or swapped for something else: the next scan knows


@dataclass(slots=True, kw_only=True)
class _Handed:
    """A drop that was handed out: which one it was, to tell it from a later one of its name."""

    identity: tuple[int, int, int]
    observed: Observed
    at: float


class Intake:
    """Watches ``incoming/`` and hands out what is ready. One thread calls it; only ``wake`` is called from another.

    ``wake`` is called when ``take`` should be; it must be safe to call from any thread. ``named_files`` tells which
    files an envelope names; it never raises. ``notices`` holds what is worth one log line, until the caller empties it.
    """

    def __init__(
        self, spool: Spool, settings: IntakeSettings, wake: Callable[[], None], named_files: NamedFiles
    ) -> None:
        self.notices: list[Problem] = []
        self._spool = spool
        self._settings = settings
        self._examiner = Examiner(settings, named_files, leases=not spool.network)
        self._watcher = Watcher(wake)
        self._watching = False
        self._watch_again_at = float("-inf")
        self._said: set[str] = set()
        self._backlog = Backlog()
        self._handed: dict[str, _Handed] = {}
        self._listed_once = False
        self._wall_minus_monotonic = 0.0
        self._now = 0.0

    @property
    def waiting(self) -> int:
        """How many names were not looked at yet."""
        return self._backlog.waiting

    @property
    def settling(self) -> int:
        """How many drops changed a moment ago: what they are is not known before they are quiet."""
        return self._count(Lack.SETTLING)

    @property
    def blocked(self) -> int:
        """How many drops are ready and could not be claimed."""
        return self._count(Lack.CLAIM)

    @property
    def incomplete(self) -> int:
        """How many drops are quiet and still not ready."""
        return sum(1 for _ in self._backlog.observed) - self.settling - self.blocked

    def _count(self, lack: Lack) -> int:
        return sum(1 for observed in self._backlog.observed if observed.lack is lack)

    def start(self) -> None:
        """Watch from the next scan on."""
        self._watching = True

    def stop(self) -> None:
        """End the watching; ``scan`` and ``take`` go on working."""
        self._watching = False
        self._watcher.stop()

    def scan(self, now_monotonic: float, now_wall: float) -> None:
        """List ``incoming/``, after making sure that it is the folder we hold and watch.

        Costs one listing, and a status call for each drop that was handed out and is still there. Raises OSError, or
        what ``Spool.remake_incoming`` raises, if there is no folder to list.
        """
        self._now = now_monotonic
        self._follow()
        notes = self._watcher.drain()  # before the listing: what they tell of is in it, or gone again
        if notes.rescan:
            self._backlog.doubt()
        self._absorb(notes.names)
        listed = {name for name in os.listdir(self._folder) if not is_ignored(name)}
        self._backlog.forget([name for name in self._backlog if name not in listed])
        self._handed = {name: handed for name, handed in self._handed.items() if name in listed}
        for name in list(self._handed):
            self._compare(name, Arrival.LISTED)
        if not self._listed_once:
            self._wall_minus_monotonic = now_wall - now_monotonic
        arrival = Arrival.LISTED if self._listed_once else Arrival.LYING
        for name in sorted(name for name in listed if name not in self._backlog and name not in self._handed):
            self._backlog.add(name, arrival)
        self._listed_once = True

    def take(self, limit: int, now_monotonic: float, now_wall: float) -> list[Drop]:
        """Return at most ``limit`` drops that are ready; claim them before the next call.

        Each is handed out once, unless it is given back, or is still there ``rescan_seconds`` later: then its claim
        came to nothing and nobody said so.

        Looks at what events told of and at what is due, but only at so much that it takes some 20 ms; ``next_look``
        tells when to call again. Scans by itself where events were lost.
        """
        self._now = now_monotonic
        notes = self._watcher.drain()
        if notes.rescan:
            self._backlog.doubt()
            self.scan(now_monotonic, now_wall)
        else:
            self._absorb(notes.names)
        drops: list[Drop] = []
        cost = 0
        while len(drops) < limit and cost < _TAKE_COST:
            observed = self._backlog.next(now_monotonic)
            if observed is None:
                break
            drop, looked_at = self._look(observed)
            cost += looked_at
            if drop is not None:
                drops.append(drop)
        return drops

    def next_look(self, now_monotonic: float) -> float | None:
        """Return the monotonic time at which ``take`` may have something new even if no event comes; None: never."""
        return self._backlog.next_look(now_monotonic)

    def give_back(self, name: str, reason: str) -> None:
        """Take back a drop that could not be claimed; ``reason`` is said once, and it is handed out again later.

        Later is ``rescan_seconds``, twice as long each further time, up to a minute.
        """
        handed = self._handed.pop(name, None)
        if handed is None:
            return
        observed = handed.observed
        observed.lack = Lack.CLAIM
        observed.refusals += 1
        if reason != observed.refusal:
            observed.refusal = reason
            self.notices.append(Problem(where=entry_name(name), what=printable(reason)))
        rescan_seconds = self._settings.rescan_seconds
        doubled = rescan_seconds * 2.0 ** min(observed.refusals - 1, 16)
        self._backlog.observe(observed, self._now + max(rescan_seconds, min(doubled, _LONGEST_BLOCK_SECONDS)))

    @property
    def _folder(self) -> int:
        return self._spool.folder(State.INCOMING)

    def _follow(self) -> None:
        """Make sure that the folder we hold is the one that producers find, and that it is watched.

        Device and inode are compared, for no event tells reliably that a folder was replaced, or mounted over.
        """
        held = os.fstat(self._folder)
        if self._spool.incoming_identity() != (held.st_dev, held.st_ino):
            self._watcher.stop()
            self._spool.remake_incoming()
            self._watch_again_at = float("-inf")
            self._backlog = Backlog()
            self._handed.clear()
            self._listed_once = False
        if self._watching and not self._watcher.alive and self._now >= self._watch_again_at:
            self._backlog.doubt()
            self._watch()

    def _watch(self) -> None:
        trouble = self._watcher.follow(self._folder)
        if trouble:
            self._watch_again_at = self._now + _WATCH_AGAIN_SECONDS
            hint = "raise fs.inotify.max_user_instances and max_user_watches (sysctl) if that is the limit reached"
            self._say_polling(f"no events can be had ({trouble})", hint)
        elif self._spool.network:
            self._say_polling(f"{self._spool.filesystem} does not tell what other machines do", "")

    def _say_polling(self, why: str, hint: str) -> None:
        """Say once that the periodic scan must do without events."""
        if why not in self._said:
            self._said.add(why)
            what = f"{why}; it is looked at every {self._settings.rescan_seconds:g} seconds"
            self.notices.append(Problem(where=State.INCOMING, what=what, hint=hint))

    def _absorb(self, names: Mapping[str, Seen]) -> None:
        """Apply what events told of names."""
        for name, seen in names.items():
            if is_ignored(name):
                continue
            arrival = Arrival.RENAMED if seen is Seen.RENAMED else Arrival.LISTED
            if name in self._handed:
                self._compare(name, arrival)
            elif name not in self._backlog or seen is Seen.CREATED:
                self._backlog.add(name, arrival)
            else:
                self._backlog.hurry(name, self._now, renamed=seen is Seen.RENAMED)

    def _compare(self, name: str, arrival: Arrival) -> None:
        """See whether a drop that was handed out is still that one, or a new one of the same name."""
        handed = self._handed[name]
        try:
            status = status_of(self._folder, name)
        except OSError:  # the next look will put it into words
            status = None
        is_same = status is not None and identity_of(status) == handed.identity
        if is_same and self._now < handed.at + self._settings.rescan_seconds:
            return
        del self._handed[name]
        if is_same:
            self._backlog.observe(handed.observed, self._now)
        elif status is not None:
            # The event may be a late one about the drop handed out, unless that one's rename was already seen.
            seen_before = handed.observed.arrival is Arrival.RENAMED
            self._backlog.add(name, arrival if seen_before else Arrival.LISTED)

    def _look(self, observed: Observed) -> tuple[Drop | None, int]:
        """Look at one name: hand it out, or observe it further; also return the number of files looked at."""
        try:
            found = self._examiner.look(self._folder, observed, self._now, self._now + self._wall_minus_monotonic)
        except OSError as error:
            if error.errno not in _GONE:
                observed.lack = Lack.TROUBLE
                what = f"can't be looked at: {error.strerror}"
                self._announce(observed, (Problem(where=entry_name(observed.name), what=what),))
                self._backlog.observe(observed, self._now + self._settings.rescan_seconds)
            return None, 1
        return (None, 1) if found is None else (self._act(observed, found), found.cost)

    def _act(self, observed: Observed, found: Finding) -> Drop | None:
        if found.verdict.step is Step.READY:
            return self._hand_out(observed, found, ())
        if found.verdict.step is Step.OVERDUE:
            waited = self._settings.incomplete_after_seconds
            overdue = problems(observed.name, found.sight, found.verdict, waited_seconds=waited)
            return self._hand_out(observed, found, overdue)
        observed.lack = found.verdict.lack
        if observed.lack is not Lack.SETTLING:
            self._announce(observed, problems(observed.name, found.sight, found.verdict))
        self._backlog.observe(observed, self._next_look_at(observed))
        return None

    def _hand_out(self, observed: Observed, found: Finding, overdue: tuple[Problem, ...]) -> Drop:
        self._handed[observed.name] = _Handed(identity=identity_of(found.status), observed=observed, at=self._now)
        job = job_name(observed.name, found.kind)
        return Drop(name=observed.name, job=job, kind=found.kind, overdue=overdue)

    def _next_look_at(self, observed: Observed) -> float:
        """Return when the drop can be ready or overdue at the earliest, or has earned another look anyway."""
        memory = observed.memory
        if memory is None:
            return self._now
        settings = self._settings
        age_seconds = self._now - memory.first_seen
        pause_seconds = self._backlog.pause_seconds(age_seconds, settings.rescan_seconds)
        quiet_at = memory.changed_at + settings.quiet_seconds
        return min(self._now + pause_seconds, quiet_at) if quiet_at > self._now else self._now + pause_seconds

    def _announce(self, observed: Observed, found: tuple[Problem, ...]) -> None:
        """Say once what keeps a drop waiting."""
        if not observed.announced:
            observed.announced = True
            self.notices.extend(found)
