"""The folders of a spool: opened, checked, held by descriptors, and owned by one daemon at a time.

It refuses to know what lies in them. ``spool.founding`` makes them and says with which modes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from enum import StrEnum
from types import TracebackType
from typing import Self

from maildrop.errors import ConfigurationError, MaildropError, NotPermitted, Problem, TryLater, printable
from maildrop.spool import days, founding, volume
from maildrop.spool.founding import State, init
from maildrop.spool.tree import OPEN_FOLDER

__all__ = ["Settling", "Spool", "State", "init"]

_PID_FILE = ".owner"  # in active/, where producers can't write
_OPEN_PID = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK_TRIES = 5  # a look by Spool.owner() holds the lock for microseconds
_LOCK_PAUSE_SECONDS = 0.01
_DAYS_KEPT_OPEN = 4  # two states, before and after midnight


class Settling(StrEnum):
    """How ``sent/`` and ``failed/`` are laid out (``settle.layout``)."""

    FLAT = "flat"
    DAILY = "daily"


class Spool:
    """An open spool: a descriptor for each folder, all on one filesystem. Use it as a context manager, or close it."""

    def __init__(self, path: str, root: int, *, volatile: bool, layout: Settling) -> None:
        """Take over the descriptor ``root``; ``Spool.open`` is the way to get one."""
        status = os.fstat(root)
        self.path = path
        self.layout = layout
        self.filesystem = volume.filesystem_type(root)
        self.device = status.st_dev
        self.daemon = os.geteuid()  # the uid that owns active/, once that is open
        self._volatile = volatile
        self._root = root
        self._folders: dict[State, int] = {}
        self._days: dict[tuple[State, str], int] = {}
        self._is_owner = False

    @classmethod
    def open(cls, path: str, *, volatile: bool = False, layout: Settling = Settling.FLAT) -> Spool:
        """Open an existing spool; missing folders are made as ``init`` would.

        Raises ConfigurationError with everything that is unsafe, or if there is no spool; NotPermitted if we may not.
        """
        try:
            real = os.path.realpath(path, strict=True)
            root = os.open(real, OPEN_FOLDER)
        except PermissionError as error:
            raise _not_permitted(path, error) from None
        except OSError as error:
            raise _no_spool(path, error.strerror or "can't be opened") from None
        spool = cls(real, root, volatile=volatile, layout=layout)
        try:
            spool._open_folders()
        except BaseException:
            spool.close()
            raise
        return spool

    @property
    def network(self) -> bool:
        """Whether others may change files without the kernel telling us: then polling carries everything."""
        return volume.is_network(self.filesystem)

    @property
    def orders_replacing_renames(self) -> bool:
        """Whether a rewritten file needs no sync to be whole, old or new, after a power cut."""
        return volume.orders_replacing_renames(self.filesystem)

    def folder(self, state: State) -> int:
        """Return the directory descriptor of a state's folder; the number stays the same while the spool is open."""
        return self._folders[state]

    def names(self, state: State) -> Iterator[str]:
        """Yield the names of a state's jobs, unsorted, in a form that ``Job.open`` takes."""
        return days.names_in(self._folders[state], state)

    def settled_folder(self, state: State, day: str) -> int:
        """Return the descriptor of the directory that settled jobs of this day go to, made if it is missing.

        ``day`` is a UTC date such as ``2026-11-23``; in the flat layout it is the state's own folder. Raises OSError.
        """
        if self.layout is Settling.FLAT or state not in days.SETTLED:
            return self._folders[state]
        descriptor = self._days.get((state, day))
        if descriptor is None:
            descriptor = days.open_day(self._folders[state], day)
            if len(self._days) >= _DAYS_KEPT_OPEN:
                os.close(self._days.pop(min(self._days, key=lambda key: key[1])))
            self._days[state, day] = descriptor
        return descriptor

    def _open_folders(self) -> None:
        problems = []
        if not founding.is_spool(self._root):
            raise _no_spool(self.path, "is not a spool: it has none of the folders")
        for name in founding.FOLDERS:
            try:
                descriptor = founding.open_or_make(self._root, name)
            except PermissionError as error:
                raise _not_permitted(f"{self.path}/{name}", error) from None
            except NotADirectoryError:
                problems.append(
                    self._problem(name, "is not a folder, or is a link", "remove it; links are not followed")
                )
                continue
            if name == founding.STAGING:
                problems += self._faults(name, os.fstat(descriptor))
                os.close(descriptor)
                continue
            self._folders[State(name)] = descriptor
            problems += self._faults(name, os.fstat(descriptor))
        problems += self._faults_of_all()
        if problems:
            raise ConfigurationError(self.path, problems)
        self.daemon = os.fstat(self._folders[State.ACTIVE]).st_uid

    def _faults_of_all(self) -> list[Problem]:
        problems = self._faults("", os.fstat(self._root))
        if volume.is_volatile(self.filesystem) and not self._volatile:
            what = f"is on {self.filesystem}: mail that waits here is lost at the next reboot"
            problems.append(self._problem("", what, "choose another path, or set spool.volatile = true"))
        return problems

    def _faults(self, name: str, status: os.stat_result) -> list[Problem]:
        """Return what is unsafe about one folder; an empty name is the spool's own."""
        problems = []
        if status.st_dev != self.device:
            hint = "all folders are moved between by rename: keep them on one filesystem"
            problems.append(self._problem(name, "is on another filesystem than the spool", hint))
        mode = stat.S_IMODE(status.st_mode)
        if name in (State.INCOMING, founding.STAGING, ""):
            if mode & 0o002 and not mode & stat.S_ISVTX:
                what = f"is writable for everybody and not sticky (mode {mode:04o}): users can take each other's jobs"
                problems.append(self._problem(name, what, f"chmod +t {self.path}/{name}"))
        elif mode & 0o022:
            what = f"is writable for others (mode {mode:04o}); only maildropd may write there"
            problems.append(self._problem(name, what, f"chmod go-w {self.path}/{name}"))
        return problems

    def _problem(self, name: str, what: str, hint: str) -> Problem:
        return Problem(where=printable(f"{self.path}/{name}".rstrip("/")), what=what, hint=hint)

    def remake_incoming(self) -> None:
        """Open ``incoming/`` anew after it was replaced, or make it if it is gone. ``folder()`` keeps its number.

        Raises ConfigurationError if what is there now is unsafe, NotPermitted or OSError if it can't be made.
        """
        name = State.INCOMING.value
        try:
            descriptor = founding.open_or_make(self._root, name)
        except PermissionError as error:
            raise _not_permitted(f"{self.path}/{name}", error) from None
        try:
            problems = self._faults(name, os.fstat(descriptor))
            if problems:
                raise ConfigurationError(self.path, problems)
            os.dup2(descriptor, self._folders[State.INCOMING], inheritable=False)
        finally:
            os.close(descriptor)

    def incoming_identity(self) -> tuple[int, int] | None:
        """Return (st_dev, st_ino) of what is called ``incoming`` now, None if nothing is."""
        try:
            status = os.stat(State.INCOMING.value, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def free_fraction(self) -> float:
        """Return the free part of the disk, 0 to 1, in octets or inodes, whichever is scarcer."""
        status = os.fstatvfs(self._root)
        fractions = [
            available / total
            for available, total in ((status.f_bavail, status.f_blocks), (status.f_favail, status.f_files))
            if total
        ]
        return min(fractions, default=1.0)

    def lock(self) -> None:
        """Become the one owner of the spool until it is closed or we die; raises TryLater naming the pid that is."""
        for _ in range(_LOCK_TRIES):
            if self._try_lock(fcntl.LOCK_EX):
                self._is_owner = True
                self._write_pid()
                return
            pid = self._read_pid()
            if pid is not None and _is_alive(pid):
                break
            time.sleep(_LOCK_PAUSE_SECONDS)  # somebody is just looking, or just starting
        who = f"pid {pid}" if pid is not None else "another process"
        raise TryLater(printable(self.path), f"the spool is in use by maildropd, {who}", hint="stop that one first")

    def owner(self) -> int | None:
        """Return the pid of the daemon that owns the spool, 0 if it did not say; None if no daemon runs."""
        if self._is_owner:
            return os.getpid()
        if self._try_lock(fcntl.LOCK_SH):
            fcntl.flock(self._folders[State.ACTIVE], fcntl.LOCK_UN)
            return None
        return self._read_pid() or 0

    def _try_lock(self, kind: int) -> bool:
        """Lock the directory active/ itself: producers can't replace it, and the kernel forgets a dead owner."""
        try:
            fcntl.flock(self._folders[State.ACTIVE], kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            what = f"can't be locked: {error.strerror}; two daemons could own it"
            problem = self._problem(State.ACTIVE, what, "put the spool on a filesystem that has locks")
            raise ConfigurationError(self.path, [problem]) from None
        return True

    def _write_pid(self) -> None:
        descriptor = os.open(_PID_FILE, _OPEN_PID, 0o600, dir_fd=self._folders[State.ACTIVE])
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        finally:
            os.close(descriptor)

    def _read_pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(
                _PID_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folders[State.ACTIVE]
            )
            try:
                return int(os.read(descriptor, 20))
            finally:
                os.close(descriptor)
        return None

    def close(self) -> None:
        """Close every descriptor and give up the lock; a second time does nothing."""
        for descriptor in (*self._folders.values(), *self._days.values()):
            os.close(descriptor)
        self._folders.clear()
        self._days.clear()
        root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _no_spool(path: str, what: str) -> ConfigurationError:
    shown = printable(path)
    return ConfigurationError(shown, [Problem(where=shown, what=what, hint=f"make a spool: maildropd init {shown}")])


def _not_permitted(path: str, error: OSError) -> MaildropError:
    hint = "run it as the user that owns the spool, or mend the spool: maildropd init"
    return NotPermitted(printable(path), error.strerror or "permission denied", hint=hint)
