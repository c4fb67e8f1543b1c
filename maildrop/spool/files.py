"""The files of a job, opened safely: the only module that opens what a producer made.

Nothing is opened through a link in any component, nor outside of the job's folder; what is opened must be a regular
file with one link that belongs to the job's owner or to the daemon (CVE-2020-8793, CVE-2010-2023 and their kin). The
descriptor that was checked is the one that is read. Producers keep their descriptors after the claim, so a
``FileSource`` also notices what they do with them while it is read.

It refuses to know what the files mean. A file that may not be used raises FileRefused; trouble of the disk is OSError.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from maildrop.errors import printable
from maildrop.mail.part import SourceChanged
from maildrop.spool.durable import is_local_trouble, temporary_name
from maildrop.spool.readiness import FINISHED_MESSAGE, MARKER
from maildrop.spool.tree import OPEN_FILE, OPEN_FOLDER, FileRefused, list_files, open_beneath

RESULT = "result.toml"
NEXT_RESULT = "result.next"
TRANSCRIPT = "transcript.log"
LEFTOVERS = (MARKER, *(temporary_name(name) for name in (RESULT, NEXT_RESULT, TRANSCRIPT)))
"""What may be left directly in a job's folder when the daemon ends at the wrong moment."""

OWN_NAMES = frozenset({RESULT, NEXT_RESULT, TRANSCRIPT, *LEFTOVERS})
"""Names directly in a job's folder that are the daemon's (or ``READY``), not files of the job."""

_PUT_ASIDE = tuple(f"{name}.{why}" for name in (RESULT, NEXT_RESULT, TRANSCRIPT) for why in ("previous", "torn"))
_MAX_OWN_OCTETS = 16 * 1024 * 1024  # a result of 1,000 recipients with the longest replies is a tenth of it


class FileSource:
    """An open file of a job, as ``mail.part.Source``: what is read is what was checked when it was opened."""

    __slots__ = ("_descriptor", "_stamp", "name", "size")

    def __init__(self, name: str, descriptor: int, status: os.stat_result) -> None:
        """Take over ``descriptor``, whose fstat is ``status``."""
        self.name = name
        self.size = status.st_size
        self._descriptor = descriptor
        self._stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def fileno(self) -> int:
        """Return the descriptor, which stays this object's."""
        return self._descriptor

    def read(self) -> bytes:
        """Return the whole content (look at ``size`` first); raises SourceChanged if it is not what it was."""
        content = self._read_at(0, self.size)
        self._check()
        return content

    def chunks(self, slice_octets: int) -> Iterator[bytes]:
        """Yield the content from the start, every slice full but the last.

        Raises SourceChanged before the last slice is handed out if the file changed since it was opened.
        """
        for offset in range(0, self.size, slice_octets):
            length = min(slice_octets, self.size - offset)
            content = self._read_at(offset, length)
            if offset + length == self.size:
                self._check()
            yield content

    def _read_at(self, offset: int, length: int) -> bytes:
        content = os.pread(self._descriptor, length, offset)
        while len(content) < length:  # a network filesystem may give less than there is
            more = os.pread(self._descriptor, length - len(content), offset + len(content))
            if not more:
                raise self._changed(f"it ended after {offset + len(content)} octets instead of {self.size}")
            content += more
        return content

    def _check(self) -> None:
        status = os.fstat(self._descriptor)
        if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) != self._stamp:
            raise self._changed(f"it had {self.size} octets and has {status.st_size}, or was written to")

    def _changed(self, how: str) -> SourceChanged:
        hint = "drop the job again when its files are finished"
        return SourceChanged(printable(self.name), f"the file was changed while it was being read: {how}", hint=hint)

    def close(self) -> None:
        """Close the descriptor; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class JobFolder:
    """A job's folder, held by a descriptor: whatever happens to names, this is the folder that was judged."""

    __slots__ = ("_daemon", "_device", "_sources", "descriptor", "owner")

    def __init__(self, descriptor: int, *, owner: int, daemon: int, device: int) -> None:
        """Take over ``descriptor``; ``owner`` and ``daemon`` are uids, ``device`` is the folder's st_dev."""
        self.descriptor = descriptor
        self.owner = owner
        self._daemon = daemon
        self._device = device
        self._sources: list[FileSource] = []

    @classmethod
    def open(cls, parent: int, name: str, *, daemon: int | None = None) -> JobFolder:
        """Open the folder ``name`` in the directory ``parent``; ``daemon`` is the daemon's uid, by default ours.

        Raises OSError: NotADirectoryError for anything but a directory, a link to one included.
        """
        descriptor = os.open(name, OPEN_FOLDER, dir_fd=parent)
        try:
            status = os.fstat(descriptor)
            trusted = os.geteuid() if daemon is None else daemon
            owner = _owner(descriptor, status, trusted)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, owner=owner, daemon=trusted, device=status.st_dev)

    def open_file(self, relative: str) -> FileSource:
        """Open a file of the job for reading; it is closed with the folder.

        Raises FileRefused (an InvalidJob) if it is missing or may not be used, OSError for trouble of the disk.
        """
        descriptor = open_beneath(self.descriptor, relative)
        try:
            status = os.fstat(descriptor)
            self._judge(relative, status)
        except BaseException:
            os.close(descriptor)
            raise
        source = FileSource(relative, descriptor, status)
        self._sources.append(source)
        return source

    def _judge(self, relative: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise FileRefused(relative, "is not a regular file", hint="put a copy of the content into the job")
        if status.st_nlink != 1:
            raise FileRefused(relative, f"has {status.st_nlink} links; only files with one are sent", hint="copy it")
        if status.st_uid not in (self.owner, self._daemon):
            what = f"belongs to uid {status.st_uid}, the job to uid {self.owner}"
            raise FileRefused(relative, what, hint="copy it as the owner of the job")
        if status.st_dev != self._device:
            raise FileRefused(relative, "is on another filesystem than the job", hint="copy it into the job")

    def read_own(self, name: str) -> bytes | None:
        """Return the content of one of the daemon's own files; None if there is none, or a producer planted it."""
        try:
            descriptor = os.open(name, OPEN_FILE, dir_fd=self.descriptor)
        except OSError as error:
            if is_local_trouble(error):
                raise
            return None  # not there, or a link, a socket, a file that we could never have made
        try:
            status = os.fstat(descriptor)
            ours = status.st_uid in (self._daemon, 0) and status.st_nlink == 1  # root: a person with the command
            if not ours or not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_OWN_OCTETS:
                return None
            return os.pread(descriptor, status.st_size, 0)
        finally:
            os.close(descriptor)

    def walk(self, limit: int = 1000) -> tuple[str, ...]:
        """Return the names of all files of the job, relative and sorted; ``envelope.toml`` is one of them.

        Left out: the daemon's own names. What is not a regular file is listed as well, so that using it is refused
        rather than forgotten. Raises FileRefused for more than ``limit`` entries, or a folder that can't be read.
        """
        return tuple(sorted(list_files(self.descriptor, limit=limit, is_left_out=_is_own)))

    def changed_since(self, moment: float) -> tuple[str, ...]:
        """Return the files whose content or rights were changed after ``moment`` (seconds since 1970).

        By ctime, which no producer can set back. A file that is gone since can't be named.
        """
        found: list[str] = []
        for name in self.walk():
            with contextlib.suppress(OSError):
                status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
                if status.st_ctime > moment:
                    found.append(name)
        return tuple(found)

    def close(self) -> None:
        """Close the folder and every file opened in it; a second time does nothing."""
        for source in self._sources:
            source.close()
        self._sources.clear()
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_own(name: str) -> bool:
    return name in OWN_NAMES or name.startswith(_PUT_ASIDE)


def _owner(descriptor: int, status: os.stat_result, daemon: int) -> int:
    """Return whose job it is: the folder's owner; but the daemon made the folder around a bare file that was dropped.

    Nobody else can have put a file into a folder of the daemon's that only it may write to.
    """
    if status.st_uid not in (daemon, 0) or status.st_mode & 0o022:
        return status.st_uid
    try:
        return os.stat(FINISHED_MESSAGE, dir_fd=descriptor, follow_symlinks=False).st_uid
    except FileNotFoundError:
        return status.st_uid
