"""Is a drop complete? Values in, verdict out: the three readiness rules, and what a person is told while none holds.

``judge`` takes what was seen of an entry of ``incoming/`` (``Sight``), what is remembered of it (``Memory``) and, when
it asks for that, the costly evidence (``Proof``). It refuses to know directories, clocks and inotify: ``spool.observe``
looks, ``spool.intake`` remembers and asks.

==========  ==================  ====================================================================================
rule        in mode             ready
==========  ==================  ====================================================================================
rename      auto, rename        it was seen to be renamed in (in mode rename: whatever appears): at once
marker      auto, marker        a file ``READY`` is in it: at once
quiet       auto, quiet         nothing changed for ``quiet_seconds``, what the envelope names is there, nobody writes
==========  ==================  ====================================================================================

An empty folder and one that can't be read are not ready by any rule. What is unchanged and still not a job after
``incomplete_after_seconds`` is overdue: its place is ``failed/``, with the reasons made here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from maildrop.errors import Problem, did_you_mean, printable

MARKER = "READY"
ENVELOPE = "envelope.toml"
FINISHED_MESSAGE = "message.eml"

_EML = ".eml"
_IGNORED_SUFFIXES = (".tmp", ".part", ".filepart", ".partial", ".crdownload")  # FTP, SFTP and browser clients at work
_MEND = "as its owner: chmod -R g+rwX {path}  (where the default ACL of incoming/ applies; chmod -R a+rwX where not)"


class Mode(StrEnum):
    """Which rules may make a drop ready (``intake.mode``)."""

    AUTO = "auto"
    RENAME = "rename"
    MARKER = "marker"
    QUIET = "quiet"


class Kind(StrEnum):
    """What an entry of ``incoming/`` is."""

    DIRECTORY = "directory"
    EML = "eml"
    STRAY = "stray"  # anything else: not a job, and never one


class Lack(StrEnum):
    """What keeps a drop from being ready."""

    SETTLING = "settling"  # it changed less than quiet_seconds ago
    WRITER = "writer"
    STRAY = "stray"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    MARKER = "marker"
    ENVELOPE = "envelope"
    FILES = "files"
    TROUBLE = "trouble"  # the machine's, not the drop's: it can't be looked at just now
    CLAIM = "claim"  # nothing, but it could not be claimed


class Step(StrEnum):
    """What to do with a drop now."""

    READY = "ready"
    WAIT = "wait"
    PROVE = "prove"  # gather the Proof and judge again
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """The table ``[intake]``, as far as completeness goes."""

    mode: Mode = Mode.AUTO
    quiet_seconds: float = 2.0
    rescan_seconds: float = 5.0
    incomplete_after_seconds: float = 3600.0
    eml: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """An entry of ``incoming/`` to be claimed as ``job``; with ``overdue`` problems it is invalid (``failed/``)."""

    name: str
    job: str
    kind: Kind
    overdue: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at an entry showed."""

    kind: Kind
    names: frozenset[str] = frozenset()  # all that is in the folder, relative, with "/"
    files: frozenset[str] = frozenset()  # the regular files among them
    marked: bool = False
    empty: bool = False
    unreadable: str = ""  # which file or folder can't be read, and why
    fingerprint: bytes = b""  # equal while name, size and mtime of every file are
    newest: float = 0.0  # the newest mtime or ctime of all, seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is costly to know: the envelope's files that are not there, and who still writes."""

    missing: frozenset[str] = frozenset()
    writer: str = ""  # a file that a process has open for writing
    unreadable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is kept of an entry between looks; times are our own monotonic seconds."""

    first_seen: float
    changed_at: float
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do, and what the drop lacks while it must wait."""

    step: Step
    lack: Lack | None = None
    details: tuple[str, ...] = ()


_READY = Verdict(step=Step.READY)
_PROVE = Verdict(step=Step.PROVE)


def is_ignored(name: str) -> bool:
    """Tell whether an entry of ``incoming/`` is not looked at: hidden, or still being uploaded under this name."""
    return name.startswith(".") or name.endswith(_IGNORED_SUFFIXES)


def is_eml(name: str) -> bool:
    """Tell whether a bare file of this name is a drop; Windows producers write ``.EML`` as well."""
    return len(name) > len(_EML) and name[-len(_EML) :].lower() == _EML


def entry_name(name: str) -> str:
    """Return how an entry is shown to people."""
    return f"incoming/{printable(name)}"


def job_name(name: str, kind: Kind) -> str:
    """Return the job that an entry becomes: ``NAME.eml`` becomes ``NAME``."""
    return name[: -len(_EML)] if kind is Kind.EML else name


def remember(
    memory: Memory | None, sight: Sight, settings: IntakeSettings, *, lying: bool, now_monotonic: float, now_wall: float
) -> Memory:
    """Return the memory after a look.

    ``lying`` says that the entry was there when we began to look: then its time stamps are the evidence of quiet that
    our own clock can't give, unless one of them is in the future.
    """
    if memory is None:
        quiet_already = lying and sight.newest <= now_wall - settings.quiet_seconds
        changed_at = float("-inf") if quiet_already else now_monotonic
        return Memory(first_seen=now_monotonic, changed_at=changed_at, fingerprint=sight.fingerprint)
    if memory.fingerprint == sight.fingerprint:
        return memory
    return Memory(first_seen=memory.first_seen, changed_at=now_monotonic, fingerprint=sight.fingerprint)


def judge(
    sight: Sight,
    memory: Memory,
    settings: IntakeSettings,
    *,
    renamed: bool,
    now_monotonic: float,
    proof: Proof | None = None,
) -> Verdict:
    """Decide about one drop. PROVE is returned only while ``proof`` is None."""
    has_content = sight.kind is not Kind.STRAY and not sight.empty and not sight.unreadable
    if has_content and is_announced(settings.mode, renamed=renamed, marked=sight.marked):
        return _READY
    if now_monotonic < memory.changed_at + settings.quiet_seconds:
        return Verdict(step=Step.WAIT, lack=Lack.SETTLING)
    lack, details = _lack(sight, settings.mode)
    if lack is None:
        if proof is None:
            return _PROVE
        lack, details = _unproven(proof)
    if lack is None:
        return _READY
    overdue_at = max(memory.first_seen, memory.changed_at) + settings.incomplete_after_seconds
    overdue = lack is not Lack.WRITER and now_monotonic >= overdue_at
    return Verdict(step=Step.OVERDUE if overdue else Step.WAIT, lack=lack, details=details)


def is_announced(mode: Mode, *, renamed: bool, marked: bool) -> bool:
    """Tell whether the producer has said that the drop is whole, by the rename or the marker rule."""
    match mode:
        case Mode.AUTO:
            return renamed or marked
        case Mode.RENAME:
            return True
        case Mode.MARKER:
            return marked
        case Mode.QUIET:
            return False


def _lack(sight: Sight, mode: Mode) -> tuple[Lack | None, tuple[str, ...]]:
    """Return what a quiet drop visibly lacks."""
    if sight.kind is Kind.STRAY:
        return Lack.STRAY, ()
    if sight.unreadable:
        return Lack.UNREADABLE, (sight.unreadable,)
    if sight.empty:
        return Lack.EMPTY, ()
    if mode is Mode.MARKER:
        return Lack.MARKER, ()
    if sight.kind is Kind.DIRECTORY and sight.names.isdisjoint((ENVELOPE, FINISHED_MESSAGE)):
        return Lack.ENVELOPE, ()
    return None, ()


def _unproven(proof: Proof) -> tuple[Lack | None, tuple[str, ...]]:
    """Return what the costly evidence shows; a writer comes before what is missing, for it may be writing that."""
    if proof.writer:
        return Lack.WRITER, (proof.writer,)
    if proof.unreadable:
        return Lack.UNREADABLE, (proof.unreadable,)
    if proof.missing:
        return Lack.FILES, tuple(sorted(proof.missing))
    return None, ()


def problems(name: str, sight: Sight, verdict: Verdict, *, waited_seconds: float = 0.0) -> tuple[Problem, ...]:
    """Word what a drop lacks, for the log when it is first seen, and for ``result.toml`` when it is overdue."""
    waited = f" after {span(waited_seconds)} without a change" if waited_seconds else ""
    entry = entry_name(name)
    if verdict.lack is Lack.FILES:
        where = ENVELOPE if waited else f"{entry}/{ENVELOPE}"  # a result lies in the job, the log line does not
        return tuple(_missing(path, sight.names, waited, where=where) for path in verdict.details)
    what, hint = _wording(entry, sight, verdict)
    return (Problem(where=entry, what=what + waited, hint=hint),)


def _wording(entry: str, sight: Sight, verdict: Verdict) -> tuple[str, str]:
    """Return what is wrong, and the way out."""
    detail = printable(verdict.details[0]) if verdict.details else ""
    bare = sight.kind is Kind.EML
    table: dict[Lack | None, tuple[str, str]] = {
        Lack.STRAY: (
            "is not a job",
            f"a job is a folder with {ENVELOPE} or {FINISHED_MESSAGE}, or a file NAME.eml: put it into a folder",
        ),
        Lack.UNREADABLE: (f"can't be read by maildropd: {detail}", _MEND.format(path=f"'{entry}'")),
        Lack.EMPTY: (f"is an empty {'file' if bare else 'folder'}", "write the message into it and drop it again"),
        Lack.MARKER: (
            f"{'a bare .eml file' if bare else 'the folder'} does not hold the marker {MARKER}",
            "put it into a folder with a file of that name" if bare else "make a file of that name when all is written",
        ),
        Lack.ENVELOPE: (
            f"holds neither {ENVELOPE} nor {FINISHED_MESSAGE}",
            did_you_mean(ENVELOPE, _shown(sight.names)),
        ),
        Lack.WRITER: (
            f"a process still has '{detail}' open for writing",
            "it is taken when that process closes the file",
        ),
    }
    return table.get(verdict.lack, ("changed a moment ago", "it is taken when it stays as it is"))


def _missing(path: str, names: Collection[str], waited: str, *, where: str) -> Problem:
    hint = did_you_mean(printable(path), _shown(names))
    return Problem(where=where, what=f"file '{printable(path)}' is not in the job" + waited, hint=hint)


def _shown(names: Collection[str]) -> list[str]:
    return sorted(printable(name) for name in names)


def span(seconds: float) -> str:
    """Return a duration as a person says it: ``90 s``, ``5 min``, ``1 h``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size < size / 100:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"
