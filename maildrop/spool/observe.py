"""What is there to see of an entry of ``incoming/``? Looks, and never opens more than it must.

``glance`` costs one system call and settles most renamed jobs. ``survey`` lists a folder with the status of every file.
``prove`` opens files, through ``spool.files``: it reads what the envelope names, and asks the kernel for a read lease
on each file, which it refuses while any process has that file open for writing. A lease is given to the file's owner or
to CAP_LEASE only, and not by every filesystem: where there is none, the unchanged snapshot has to do.

This module refuses to know what its findings mean; that is ``spool.readiness``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from maildrop.mail.part import SourceChanged
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.files import JobFolder
from maildrop.spool.readiness import ENVELOPE, MARKER, Kind, Proof, Sight, is_eml
from maildrop.spool.tree import FileRefused

NamedFiles = Callable[[bytes], frozenset[str]]

_MAX_FILES = 4096  # entries of one folder that are looked at; far above any job that is not refused for their number
_MAX_DEPTH = 8  # folders in folders, likewise
_MAX_ENVELOPE_OCTETS = 1 << 20  # beyond it nothing is read: it will be refused for its size
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNREADABLE = (errno.EACCES, errno.EPERM)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # removed, or swapped for something else, since it was listed


def status_of(folder: int, name: str) -> os.stat_result | None:
    """Return the status of an entry of the folder itself, never of what it links to; None if it is gone."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def identity_of(status: os.stat_result) -> tuple[int, int, int]:
    """Return what tells two drops of one name apart; the ctime because inode numbers are used again."""
    return status.st_dev, status.st_ino, status.st_ctime_ns


def kind_of(name: str, status: os.stat_result, *, eml: bool) -> Kind:
    """Tell what an entry is; ``eml`` says whether bare ``.eml`` files are drops."""
    if stat.S_ISDIR(status.st_mode):
        return Kind.DIRECTORY
    return Kind.EML if eml and stat.S_ISREG(status.st_mode) and is_eml(name) else Kind.STRAY


def glance(folder: int, name: str, kind: Kind, status: os.stat_result) -> bool:
    """Tell at the cost of one call whether there plainly is a message; False says nothing."""
    if kind is Kind.EML:
        return status.st_size > 0
    if kind is Kind.STRAY:
        return False
    try:
        return status_of(folder, f"{name}/{ENVELOPE}") is not None
    except OSError:  # it can't be read, which survey puts into words
        return False


def survey(folder: int, name: str, kind: Kind, status: os.stat_result) -> Sight:
    """Look at every file of the entry, opening none; raises FileNotFoundError if it is gone."""
    found = _Found()
    found.add("", status)
    if kind is Kind.DIRECTORY:
        found.walk(folder, name, prefix="", depth=_MAX_DEPTH)
    names = frozenset(found.states) - {""}
    return Sight(
        kind=kind,
        names=names,
        files=frozenset(path for path in names if found.states[path][0] == stat.S_IFREG),
        marked=found.states.get(MARKER, (0, 0, 0))[0] == stat.S_IFREG,
        empty=not names - {MARKER} if kind is Kind.DIRECTORY else status.st_size == 0,
        unreadable=found.unreadable,
        fingerprint=found.fingerprint(),
        newest=found.newest,
    )


@dataclass(slots=True)
class _Found:
    """What a walk has found: type, size and mtime of everything by its path."""

    states: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    newest: float = 0.0
    unreadable: str = ""

    def add(self, path: str, status: os.stat_result) -> None:
        """Take in one file or folder. A folder's size is the filesystem's affair."""
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        self.states[path] = (stat.S_IFMT(status.st_mode), size, status.st_mtime_ns)
        self.newest = max(self.newest, status.st_mtime, status.st_ctime)  # ctime: a copy may carry its old mtime along

    def walk(self, parent: int, name: str, *, prefix: str, depth: int) -> None:
        """Take in all that is in a folder; what can't be read is noted. Raises FileNotFoundError if it is gone."""
        try:
            folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except OSError as error:
            self._trouble(error, prefix.rstrip("/") or ".")
            return
        try:
            self._walk_open(folder, prefix=prefix, depth=depth)
        except OSError as error:
            self._trouble(error, prefix.rstrip("/") or ".")
        finally:
            os.close(folder)

    def _walk_open(self, folder: int, *, prefix: str, depth: int) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(self.states) > _MAX_FILES:
                    return
                status = status_of(folder, entry.name)
                if status is None:
                    continue  # removed meanwhile: the next look finds another fingerprint
                self.add(prefix + entry.name, status)
                if depth and stat.S_ISDIR(status.st_mode):
                    self.walk(folder, entry.name, prefix=f"{prefix}{entry.name}/", depth=depth - 1)

    def _trouble(self, error: OSError, path: str) -> None:
        if is_local_trouble(error):
            raise error
        if error.errno not in _GONE:
            self.unreadable = self.unreadable or f"{path}: {error.strerror}"
        elif path == ".":
            raise FileNotFoundError(error.errno, error.strerror) from error

    def fingerprint(self) -> bytes:
        """Return what is equal as long as all names, types, sizes and mtimes are; small, for a thousand may be kept."""
        text = repr(sorted(self.states.items()))
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def prove(
    folder: int, name: str, sight: Sight, status: os.stat_result, named_files: NamedFiles, *, leases: bool
) -> Proof:
    """Open the files of a quiet drop to learn which that the envelope names are missing, and whether anybody writes.

    ``leases`` is False where a refused lease proves nothing. Raises FileNotFoundError if the drop is gone, and OSError
    for trouble of the disk.
    """
    if sight.kind is Kind.EML:  # its folder is incoming/ itself
        daemon = os.geteuid()
        with JobFolder(os.dup(folder), owner=status.st_uid, daemon=daemon, device=status.st_dev) as around:
            return _prove_files(around, (name,), leases=leases)
    with JobFolder.open(folder, name) as job:
        try:
            missing = _missing(job, sight, named_files)
        except FileRefused as refusal:
            missing = frozenset()  # a link, say: no reason to wait, the job's verdict will name it
            if _errno(refusal) in _UNREADABLE:
                return Proof(unreadable=_why(ENVELOPE, refusal))
        proof = _prove_files(job, sorted(sight.files), leases=leases)
        return Proof(missing=missing, writer=proof.writer, unreadable=proof.unreadable)


def _missing(job: JobFolder, sight: Sight, named_files: NamedFiles) -> frozenset[str]:
    """Return the files that the envelope names and that may still come."""
    if ENVELOPE not in sight.files or len(sight.names) >= _MAX_FILES:
        return frozenset()
    envelope = job.open_file(ENVELOPE)
    if envelope.size > _MAX_ENVELOPE_OCTETS:
        return frozenset()
    try:
        named = named_files(envelope.read())
    except SourceChanged:
        return frozenset({ENVELOPE})  # it is being written just now
    return frozenset(path for path in named - sight.names if _may_come(path))


def _may_come(path: str) -> bool:
    """Tell whether a file of this path can ever be in the job; waiting for ``../x`` would only hide the mistake."""
    parts = path.split("/")
    return "\0" not in path and len(parts) <= _MAX_DEPTH and not any(part in ("", ".", "..") for part in parts)


def _prove_files(job: JobFolder, paths: Sequence[str], *, leases: bool) -> Proof:
    """Open each file once, to see whether it can be read and whether a process has it open for writing."""
    for path in paths:
        try:
            source = job.open_file(path)
        except FileRefused as refusal:
            if _errno(refusal) in _UNREADABLE:
                return Proof(unreadable=_why(path, refusal))
            if _errno(refusal) == errno.EAGAIN:  # a writer's own lease: a file server holds it for its client
                return Proof(writer=path)
            continue  # it will be refused whenever the job is judged
        try:
            if leases and has_writer(source.fileno()):
                return Proof(writer=path)
        finally:
            source.close()
    return Proof()


def has_writer(descriptor: int) -> bool:
    """Tell whether any process has the file open for writing; False too where the kernel won't say."""
    # A producer that opens the file while we hold the lease makes the kernel send us a signal, and the default one,
    # SIGIO, ends the process. SIGURG is ignored unless somebody handles it.
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # else EACCES (not our file, no CAP_LEASE), EINVAL, ENOLCK (no leases here)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _errno(refusal: FileRefused) -> int | None:
    """Return the kernel's reason, where it was the kernel that refused."""
    return refusal.__context__.errno if isinstance(refusal.__context__, OSError) else None


def _why(path: str, refusal: FileRefused) -> str:
    return f"{path}: {os.strerror(_errno(refusal) or errno.EACCES)}"
