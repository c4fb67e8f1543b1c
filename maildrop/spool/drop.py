"""Dropping a job as a good producer does: built in ``tmp/``, synced, renamed into ``incoming/``.

The rename is the rename rule's evidence that the job is whole. Works for any user who may write to the spool; nothing
of the spool's state is read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from maildrop.errors import CannotCreate, printable
from maildrop.spool import durable
from maildrop.spool.founding import STAGING, State
from maildrop.spool.tree import OPEN_FOLDER

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o660  # the inherited ACL's mask is taken from it: the daemon must be able to read, whatever our umask
_FOLDER_MODE = 0o770


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file of the job: its name relative to the job, and where its octets come from."""

    name: str
    content: bytes | BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A job that was dropped: its name, and a descriptor of its folder that stays good wherever the job moves."""

    name: str
    folder: int

    def whereabouts(self) -> tuple[str, bytes | None]:
        """Return the folder's current path and the content of its ``result.toml``, None where there is none."""
        path = os.readlink(f"/proc/self/fd/{self.folder}")
        try:
            descriptor = os.open("result.toml", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder)
        except FileNotFoundError:
            return path, None
        with os.fdopen(descriptor, "rb") as file:
            return path, file.read()


def drop(spool_path: str, name: str, pieces: list[Piece]) -> Dropped:
    """Make a job of these files in ``incoming/``. The whole job is durable on return; the caller closes its ``folder``.

    The name is ``name``, or ``name.2`` … if that lies in ``incoming/`` already. Raises CannotCreate, and leaves
    nothing behind.
    """
    try:
        with _folders(spool_path) as (staging, incoming):
            built = durable.make_folder_unclobbered(staging, f".{name}", _FOLDER_MODE)
            folder = os.open(built, OPEN_FOLDER, dir_fd=staging)
            try:
                _fill(folder, pieces)
                final = durable.move_unclobbered(staging, built, incoming, name)
            except BaseException:
                os.close(folder)
                shutil.rmtree(built, dir_fd=staging, ignore_errors=True)
                raise
            durable.sync_directory(incoming)
            return Dropped(name=final, folder=folder)
    except OSError as error:
        what = f"can't make the job: {error.strerror}"
        hint = "may you write to its incoming/ and tmp/? is the disk full?"
        raise CannotCreate(printable(spool_path), what, hint=hint) from None


@contextlib.contextmanager
def _folders(spool_path: str) -> Iterator[tuple[int, int]]:
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for name in (STAGING, State.INCOMING.value):
            descriptor = os.open(os.path.join(spool_path, name), OPEN_FOLDER)
            stack.callback(os.close, descriptor)
            found.append(descriptor)
        yield found[0], found[1]


def _fill(folder: int, pieces: list[Piece]) -> None:
    os.fchmod(folder, _FOLDER_MODE)
    below: set[str] = set()
    for piece in pieces:
        above = piece.name.rpartition("/")[0]
        if above and above not in below:
            os.mkdir(above, _FOLDER_MODE, dir_fd=folder)
            os.chmod(above, _FOLDER_MODE, dir_fd=folder)
            below.add(above)
        _write(folder, piece)
    for name in below:
        _sync_below(folder, name)
    durable.sync_directory(folder)


def _sync_below(folder: int, name: str) -> None:
    descriptor = os.open(name, OPEN_FOLDER, dir_fd=folder)
    try:
        durable.sync_directory(descriptor)
    finally:
        os.close(descriptor)


def _write(folder: int, piece: Piece) -> None:
    descriptor = os.open(piece.name, _NEW, _MODE, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, _MODE)
        if isinstance(piece.content, bytes):
            file.write(piece.content)
        else:
            shutil.copyfileobj(piece.content, file, 1 << 20)
        file.flush()
        durable.sync_file(descriptor)
