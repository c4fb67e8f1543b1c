"""The claim: a drop in ``incoming/`` becomes a job in ``active/``, by one rename.

A folder is moved as it is; a bare file goes into a folder made for it. Names that are the daemon's own, planted or
copied along from an older job, are renamed *before* the move, so that nothing in active can pass for our record;
``READY`` is removed *after* it, so that a crash in between does not leave a drop that lost its marker.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat

from maildrop.errors import NotPermitted, printable
from maildrop.spool import durable, volume
from maildrop.spool.files import NEXT_RESULT, OWN_NAMES, RESULT, TRANSCRIPT
from maildrop.spool.layout import Spool, State
from maildrop.spool.readiness import FINISHED_MESSAGE, MARKER, Drop, Kind
from maildrop.spool.tree import OPEN_FOLDER

_HALF_CLAIMED = 0o1700  # the sticky bit tells a folder of ours from an empty one that somebody dropped
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EXDEV, errno.EBUSY})


class CannotClaim(NotPermitted):
    """A drop that the daemon may not move: ``what`` is the reason, ``hint`` has the command that mends it."""


def claim(spool: Spool, drop: Drop) -> str:
    """Move a drop to active and return its job's name there; after a power cut it may be in incoming again.

    Raises FileNotFoundError if it is gone or no longer what it was judged to be, CannotClaim if it may not be moved,
    and OSError for trouble of the disk. When this raises, the drop is where it was.
    """
    try:
        return _claim_folder(spool, drop) if drop.kind is Kind.DIRECTORY else _claim_file(spool, drop)
    except NotADirectoryError:
        raise FileNotFoundError(errno.ENOENT, "it is not a folder any more", drop.name) from None
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        where = f"incoming/{printable(drop.name)}"
        raise CannotClaim(where, f"can't be claimed: {error.strerror}", hint=_mending(spool, drop, error)) from None


def _claim_folder(spool: Spool, drop: Drop) -> str:
    incoming = spool.folder(State.INCOMING)
    folder = os.open(drop.name, OPEN_FOLDER, dir_fd=incoming)
    try:
        found = set(os.listdir(folder))
        for own in found.intersection((RESULT, NEXT_RESULT, TRANSCRIPT)):
            with contextlib.suppress(FileNotFoundError):
                durable.move_unclobbered(folder, own, folder, f"{own}.previous")
        name = durable.move_unclobbered(incoming, drop.name, spool.folder(State.ACTIVE), drop.job)
        if MARKER in found:
            with contextlib.suppress(OSError):  # one that can't be removed is not looked at
                os.unlink(MARKER, dir_fd=folder)
        return name
    finally:
        os.close(folder)


def _claim_file(spool: Spool, drop: Drop) -> str:
    active = spool.folder(State.ACTIVE)
    inner = FINISHED_MESSAGE if drop.kind is Kind.EML else drop.name
    if inner in OWN_NAMES:
        inner = f"{inner}.previous"
    name = durable.make_folder_unclobbered(active, drop.job, _HALF_CLAIMED)
    try:
        folder = os.open(name, OPEN_FOLDER, dir_fd=active)
        try:
            durable.rename_noreplace(spool.folder(State.INCOMING), drop.name, folder, inner)
            _let_producer_read(folder, inner, spool.daemon)
        finally:
            os.close(folder)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell; recovery removes it, too
            os.rmdir(name, dir_fd=active)
        raise
    return name


def _let_producer_read(folder: int, inner: str, daemon: int) -> None:
    """Let the owner of a bare file into the folder around it: that is where the result will be."""
    with contextlib.suppress(OSError):  # it is claimed by now; the result can be read by asking the daemon's user
        owner = os.stat(inner, dir_fd=folder, follow_symlinks=False).st_uid
        if owner != daemon:
            volume.let_read(folder, owner)


def is_half_claimed(folder: int) -> bool:
    """Tell whether a folder in active was made for a bare file that never got there."""
    status = os.fstat(folder)
    ours = stat.S_IMODE(status.st_mode) == _HALF_CLAIMED and status.st_uid in (os.geteuid(), 0)
    return ours and not os.listdir(folder)


def _mending(spool: Spool, drop: Drop, error: OSError) -> str:
    """Return the command that makes the drop claimable, for its owner or root to run."""
    path = f"{spool.path}/{State.INCOMING}/{drop.name}"
    shown = shlex.quote(printable(path))
    if error.errno in (errno.EXDEV, errno.EBUSY):
        return f"it is a mount point; unmount it, or put a copy: cp -r {shown} somewhere, then rename that in"
    if volume.names_user(path, spool.daemon):
        return f"chmod -R g+rwX {shown}"  # the inherited ACL is there; the group bits are its mask
    return f"setfacl -R -m u:{_user_name(spool.daemon)}:rwX {shown}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
