"""A producer's directory tree: open a file below a folder, and list what is there, without following any link.

It refuses to know whose the files are and what they mean; ``spool.files`` judges what was opened. A file that can't be
used raises FileRefused; trouble of the disk is OSError.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.spool.durable import is_local_trouble

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not hang us

_MAX_DEPTH = 8  # folders in folders; deeper ones are a mistake or an attack
_MEND = "as its owner: chmod -R g+rwX (where the default ACL of incoming/ applies; chmod -R a+rwX where not)"

_SYS_OPENAT2 = 437  # the same number on every architecture
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    """The kernel's ``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(OPEN_FILE, 0, _RESOLVE)


class FileRefused(InvalidJob):
    """A file of the job that can't be used: it is missing, unreadable, not a regular file, or not the producer's."""

    def __init__(self, name: str, what: str, *, hint: str = "") -> None:
        """Say which file (relative to the job), what is wrong with it, and the way out."""
        shown = printable(name)
        super().__init__(shown, [Problem(where=shown, what=what, hint=hint)])


def open_beneath(folder: int, relative: str) -> int:
    """Open ``relative`` for reading without following a link in any component; return the descriptor.

    One system call where the kernel has openat2. Raises FileRefused, or OSError for trouble of the disk.
    """
    parts = relative.split("/")
    if "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise FileRefused(relative, "is not the path of a file inside the job", hint="write 'name' or 'folder/name'")
    try:
        return _open(folder, relative, parts)
    except OSError as error:
        if is_local_trouble(error):
            raise
        raise _refusal(relative, error) from None


def _open(folder: int, relative: str, parts: list[str]) -> int:
    if len(parts) == 1:
        return os.open(relative, OPEN_FILE, dir_fd=folder)  # O_NOFOLLOW guards the only component
    path = os.fsencode(relative)
    descriptor: int = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2), ctypes.c_int(folder), path, ctypes.byref(_HOW), ctypes.c_size_t(24)
    )
    if descriptor >= 0:
        return descriptor
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM, errno.EAGAIN):  # an old kernel, a seccomp filter, a race: step by step
        return _open_stepwise(folder, parts)
    raise OSError(number, os.strerror(number), relative)


def _open_stepwise(folder: int, parts: list[str]) -> int:
    current = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(part, OPEN_FOLDER, dir_fd=current)
            os.close(current)
            current = below
        return os.open(parts[-1], OPEN_FILE, dir_fd=current)
    finally:
        os.close(current)


def _refusal(relative: str, error: OSError) -> FileRefused:
    """Word the kernel's refusal to open."""
    match error.errno:
        case errno.ENOENT:
            return FileRefused(relative, "is not in the job")
        case errno.EACCES | errno.EPERM:
            return FileRefused(relative, "can't be read by maildropd", hint=_MEND)
        case errno.ELOOP | errno.ENOTDIR | errno.EXDEV:
            hint = "put a copy of the content into the job"
            return FileRefused(relative, "is a link or leads through one, or out of the job", hint=hint)
        case errno.EAGAIN:
            return FileRefused(relative, "is kept from being read by another process (a lease)", hint="close it there")
        case _:
            return FileRefused(relative, f"can't be opened: {error.strerror}")


def list_files(folder: int, *, limit: int, is_left_out: Callable[[str], bool]) -> list[str]:
    """Return the relative names of everything below ``folder`` that is not a directory, unsorted.

    ``is_left_out`` is asked about names directly in it. Raises FileRefused for more than ``limit`` entries or for a
    folder that can't be read, OSError for trouble of the disk.
    """
    listing = _Listing(limit)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_left_out(entry.name):
                listing.add(folder, "", entry)
    return listing.found


class _Listing:
    """Counts every entry, folders too, so that a job of a million empty folders ends."""

    def __init__(self, limit: int) -> None:
        self.found: list[str] = []
        self._limit = limit
        self._count = 0

    def add(self, parent: int, prefix: str, entry: os.DirEntry[str]) -> None:
        relative = prefix + entry.name
        self._count += 1
        if self._count > self._limit:
            what = f"the job has more than {self._limit} files and folders"
            raise FileRefused(relative, what, hint="send an archive instead")
        if not entry.is_dir(follow_symlinks=False):
            self.found.append(relative)
        elif relative.count("/") + 1 > _MAX_DEPTH:
            what = f"folders are more than {_MAX_DEPTH} levels deep"
            raise FileRefused(relative, what, hint="send an archive instead")
        else:
            self._add_folder(parent, relative, entry.name)

    def _add_folder(self, parent: int, relative: str, name: str) -> None:
        try:
            descriptor = os.open(name, OPEN_FOLDER, dir_fd=parent)
        except OSError as error:
            if is_local_trouble(error):
                raise
            raise _refusal(relative, error) from None
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self.add(descriptor, f"{relative}/", entry)
        finally:
            os.close(descriptor)
