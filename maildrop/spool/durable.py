"""Rename, link, sync: the only module that does, so that what decides over a lost job stands in one place.

Each function says what is durable when it returns. Renames never overwrite unless the name says ``replace``. Errors are
``OSError`` as the kernel gave them; ``is_local_trouble`` tells those that are this machine's fault from the rest. The
module refuses to know what a job or a record is.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os

MAX_NAME_OCTETS = 255  # NAME_MAX of every Linux filesystem that we know

_RENAME_NOREPLACE = 1
_TRIES = 100  # names tried before giving up; each failure means that somebody took the name in between
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RECORD_MODE = 0o644  # inside a folder that only producer and daemon enter: the producer shall read the answer

_LOCAL_TROUBLE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.EROFS,
        errno.ESTALE,
        errno.ENOMEM,
        errno.ENOTCONN,  # a FUSE filesystem whose server died
    }
)
_NO_SUCH_CALL = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)  # glibc 2.28, musl 1.2.6
if _renameat2 is not None:
    _renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    _renameat2.restype = ctypes.c_int


def is_local_trouble(error: OSError) -> bool:
    """Tell whether the disk or the process's limits are to blame: pause, and blame no job.

    For errors of this package only: on a socket some of these numbers mean something else.
    """
    return error.errno in _LOCAL_TROUBLE


def rename_noreplace(source_folder: int, source: str, target_folder: int, target: str) -> None:
    """Rename, or raise FileExistsError if the target exists in any form. Durable after a sync of the target folder."""
    if _renameat2 is None:
        _rename_checked(source_folder, source, target_folder, target)
        return
    source_octets, target_octets = os.fsencode(source), os.fsencode(target)
    if b"\0" in source_octets or b"\0" in target_octets:
        raise ValueError("a NUL in a file name")  # C would cut the name there and rename something else
    if _renameat2(source_folder, source_octets, target_folder, target_octets, _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _NO_SUCH_CALL:
        raise OSError(number, os.strerror(number), source, None, target)
    _rename_checked(source_folder, source, target_folder, target)


def _rename_checked(source_folder: int, source: str, target_folder: int, target: str) -> None:
    """Rename where the filesystem has no RENAME_NOREPLACE: only maildropd writes to the folders that we move into."""
    if _exists(target_folder, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
    try:
        os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder)
    except OSError:
        # NFS: the server did it, its answer was lost, and the repeated request failed.
        if not _exists(target_folder, target) or _exists(source_folder, source):
            raise


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def move_unclobbered(source_folder: int, source: str, target_folder: int, target: str) -> str:
    """Move under ``target``, or ``target.2``, ``target.3`` … where that is taken; return the name that it got."""
    name = target
    for _ in range(_TRIES):
        try:
            rename_noreplace(source_folder, source, target_folder, name)
        except FileExistsError:
            name = _first_free(target_folder, target)
        else:
            return name
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def make_folder_unclobbered(parent: int, name: str, mode: int) -> str:
    """Make a folder of that name or ``NAME.2`` …; return the name. Durable after a sync of the parent."""
    free = name
    for _ in range(_TRIES):
        try:
            os.mkdir(free, mode, dir_fd=parent)
        except FileExistsError:
            free = _first_free(parent, name)
        else:
            return free
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), free)


def _first_free(folder: int, name: str) -> str:
    """Return the first of NAME.2, NAME.3 … that is free; looks at few of them however many there are."""
    free = 2
    while _exists(folder, numbered(name, free)):
        free *= 2
    taken = free // 2
    while free - taken > 1:
        middle = (free + taken) // 2
        if _exists(folder, numbered(name, middle)):
            taken = middle
        else:
            free = middle
    return numbered(name, free)


def numbered(name: str, number: int) -> str:
    """Return ``name.number``, the name shortened so that it fits 255 octets without splitting a UTF-8 character."""
    octets, suffix = os.fsencode(name), b".%d" % number
    room = MAX_NAME_OCTETS - len(suffix)
    if len(octets) > room:
        for cut in range(room, room - 4, -1):
            if octets[cut] & 0xC0 != 0x80:  # what would be cut off begins a character
                room = cut
                break
        octets = octets[:room]
    return os.fsdecode(octets + suffix)


def replace(folder: int, source: str, target: str) -> None:
    """Rename within a folder over whatever ``target`` is. Durable after a sync of the folder.

    A directory in the way (only a producer can have made it) is renamed to ``target.previous`` first.
    """
    try:
        os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)
    except IsADirectoryError:
        move_unclobbered(folder, target, folder, f"{target}.previous")
        os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)


def write_new(folder: int, name: str, octets: bytes, *, sync: bool, mode: int = _RECORD_MODE) -> None:
    """Write a file that must not exist yet, else FileExistsError; with ``sync`` name and content are durable.

    Killed in between it leaves a torn file, for which the reader must be made. Fails without leaving a file.
    """
    os.close(open_new(folder, name, octets, sync=sync, mode=mode))


def open_new(folder: int, name: str, octets: bytes, *, sync: bool, mode: int = _RECORD_MODE) -> int:
    """Write a new file as ``write_new`` does, and return its descriptor, at the end of the file, for ``append``."""
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
    try:
        os.fchmod(descriptor, mode)  # umask and default ACL would hide it from the producer
        _write_all(descriptor, octets)
        if sync:
            os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.close(descriptor)
            os.unlink(name, dir_fd=folder)
        raise
    return descriptor


def append(descriptor: int, octets: bytes) -> None:
    """Add octets to the end of a file that ``open_new`` made. Not durable: after a power cut they may be cut off."""
    _write_all(descriptor, octets)


def _write_all(descriptor: int, octets: bytes) -> None:
    written = os.write(descriptor, octets)
    while written < len(octets):
        written += os.write(descriptor, octets[written:])


def write_atomically(folder: int, name: str, octets: bytes, *, sync: bool, mode: int = _RECORD_MODE) -> None:
    """Write a file so that its readers see the old content or the new one, never a mix, also if we are killed.

    With ``sync`` the content is on disk before the rename, which itself is durable after a sync of the folder. Without
    it a power cut may leave an empty file where the filesystem does not order data before a replacing rename (ext4
    and btrfs do, xfs does not).
    """
    temporary = temporary_name(name)
    try:
        write_new(folder, temporary, octets, sync=sync, mode=mode)
    except FileExistsError:  # left over when we were killed, or planted
        _clear_away(folder, temporary)
        write_new(folder, temporary, octets, sync=sync, mode=mode)
    try:
        replace(folder, temporary, name)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def _clear_away(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        move_unclobbered(folder, name, folder, f"{name}.previous")


def temporary_name(name: str) -> str:
    """Return the name under which ``write_atomically`` builds a file before the rename."""
    return f".{name}.tmp"


def sync(descriptor: int) -> None:
    """Make durable what was done to a file (content, size, the name of a new one) or a directory (its names)."""
    os.fsync(descriptor)


def sync_file(descriptor: int) -> None:
    """Make a file's content durable, and the name of a new one. After an error the data may be gone: write it anew."""
    os.fsync(descriptor)


def sync_directory(descriptor: int) -> None:
    """Make all renames into this directory durable."""
    os.fsync(descriptor)
