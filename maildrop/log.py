"""What the log says: a closed vocabulary of events, one function for each (the only user of structlog).

A function's docstring is its event's meaning; the README's table is checked against ``EVENTS``. Nothing here may
raise into its caller: a full disk or a closed pipe behind the log must not change a job's fate. Foreign
text is made harmless before it is formatted, so that one event is one line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from maildrop.errors import printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

P = ParamSpec("P")


class LogFormat(StrEnum):
    """How a line looks; ``auto`` is console on a terminal, journal under systemd, else JSON."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"
    JOURNAL = "journal"


class LogLevel(StrEnum):
    """The least important events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One word of the vocabulary."""

    name: str
    level: LogLevel
    meaning: str


EVENTS: dict[str, Event] = {}

_RANK = {level: rank for rank, level in enumerate(LogLevel)}
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # syslog(3) levels, as journald reads them from "<N>"


def _harmless(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool | int | type(None)):
        return value
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, list | tuple):
        return [_harmless(part) for part in value]
    if isinstance(value, dict):
        return {printable(str(key)): _harmless(part) for key, part in value.items()}
    return printable(str(value))


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    return {key: _harmless(value) for key, value in event.items()}


def _order(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    """Put first what every event has: people read these lines, too."""
    return {key: event.pop(key) for key in ("timestamp", "level", "event")} | dict(event)


def _journal(render: Callable[..., str], _logger: WrappedLogger, _method: str, event: EventDict) -> str:
    level, name = event.pop("level"), event.pop("event")
    return f"<{_PRIORITY[level]}>{name} " + render(None, "", event)


def set_up(*, form: LogFormat = LogFormat.AUTO, level: LogLevel = LogLevel.INFO) -> None:
    """Write events of at least ``level`` to standard error from now on; to nowhere if there is none."""
    import structlog  # noqa: PLC0415  # 50 ms, which only a process that logs shall pay

    global _logger, _threshold  # noqa: PLW0603  # one log for one process
    _logger, _threshold = None, _RANK[level]
    if sys.stderr is None or sys.stderr.closed:  # Python has none where the process was started without
        return
    if form is LogFormat.AUTO:
        form = LogFormat.CONSOLE if sys.stderr.isatty() else LogFormat.JOURNAL if _under_journald() else LogFormat.JSON
    processors: list[Any] = [_escape, structlog.processors.add_log_level]
    if form is LogFormat.JOURNAL:  # journald stamps the time itself
        logfmt = structlog.processors.LogfmtRenderer(key_order=["job"], drop_missing=True)
        processors += [partial(_journal, logfmt)]
    elif form is LogFormat.JSON:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        processors += [stamp, _order, structlog.processors.JSONRenderer()]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=20, sort_keys=False),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level.value),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    _logger = structlog.get_logger().bind()


_logger: Any = None
_threshold = 0


def _under_journald() -> bool:
    """JOURNAL_STREAM names the device and inode of the stream that goes to the journal (systemd.exec(5))."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _event(name: str, level: LogLevel) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function whose docstring is the meaning of the event ``name``."""

    def make(function: Callable[P, None]) -> Callable[P, None]:
        EVENTS[name] = Event(name=name, level=level, meaning=" ".join((function.__doc__ or "").split()))
        method = level.value

        @wraps(function)
        def emit(*_args: P.args, **fields: P.kwargs) -> None:
            if _logger is None or _RANK[level] < _threshold:
                return
            try:
                getattr(_logger, method)(name, **{key: value for key, value in fields.items() if value is not None})
            except Exception:  # whatever is wrong with the log, the caller's work goes on
                return

        return emit

    return make


@_event("daemon.started", LogLevel.INFO)
def daemon_started(*, version: str, pid: int, spool: str, relays: list[str], config: str) -> None:
    """The daemon owns the spool and has looked at what lies there."""


@_event("daemon.stopping", LogLevel.INFO)
def daemon_stopping(*, signal: str, on_the_wire: int) -> None:
    """A stop was asked for; what is on the wire is finished within the grace time."""


@_event("daemon.stopped", LogLevel.INFO)
def daemon_stopped(*, sent: int, failed: int, waiting: int) -> None:
    """The daemon let go of the spool."""


@_event("daemon.recovered", LogLevel.WARNING)
def daemon_recovered(*, what: str) -> None:
    """Something that an earlier, interrupted run left was put in order."""


@_event("daemon.paused", LogLevel.ERROR)
def daemon_paused(*, why: str, hint: str) -> None:
    """Trouble of this machine (disk full, I/O error, out of descriptors); no job is blamed; tried again by itself."""


@_event("daemon.resumed", LogLevel.WARNING)
def daemon_resumed() -> None:
    """The trouble of this machine is over."""


@_event("config.reloaded", LogLevel.INFO)
def config_reloaded(*, config: str) -> None:
    """SIGHUP: the new configuration is in force."""


@_event("config.refused", LogLevel.ERROR)
def config_refused(*, config: str, problems: list[str]) -> None:
    """SIGHUP: the new configuration is wrong; the old one stays in force."""


@_event("intake.notice", LogLevel.WARNING)
def intake_notice(*, what: str) -> None:
    """Something about incoming/: a drop that is not complete, can't be claimed, or a folder that can't be watched."""


@_event("job.claimed", LogLevel.DEBUG)
def job_claimed(*, job: str) -> None:
    """A complete drop was moved from incoming/ to active/."""


@_event("job.sent", LogLevel.INFO)
def job_sent(
    *, job: str, relay: str, message_id: str, size: int, recipients: int, attempts: int, seconds: float, reply: str,
    possible_duplicate: bool | None, meta: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Every recipient was delivered to the relay; the job is in sent/."""


@_event("job.deferred", LogLevel.WARNING)
def job_deferred(*, job: str, relay: str | None, reason: str, attempts: int, next_attempt: str) -> None:
    """Some recipients have to wait until next_attempt; the job is in deferred/."""


@_event("job.failed", LogLevel.ERROR)
def job_failed(*, job: str, outcome: str, reason: str, attempts: int, meta: dict[str, Any] | None) -> None:
    """The job is in failed/ and needs a person; reason says why."""


@_event("job.doubt", LogLevel.WARNING)
def job_doubt(*, job: str, relay: str | None, reason: str, policy: str) -> None:
    """The session or the daemon ended between the final dot and the recorded reply; in_doubt says what happens now."""


@_event("job.interrupted", LogLevel.INFO)
def job_interrupted(*, job: str, relay: str, stage: str, reason: str) -> None:
    """A session was lost before the end of the message; the job goes to the front again, no attempt is counted."""


@_event("job.error", LogLevel.ERROR)
def job_error(*, job: str, error: str) -> None:
    """A fault of maildropd itself while it worked on this job; the job is tried again later. Please report it."""


@_event("relay.held", LogLevel.ERROR)
def relay_held(*, relay: str, stage: str, why: str, hint: str | None, seconds: float, waiting: int) -> None:
    """The relay can't be used; its jobs wait, none fails, no attempt is counted; it is tried again after `seconds`."""


@_event("relay.notice", LogLevel.WARNING)
def relay_notice(*, relay: str, what: str) -> None:
    """Mails still go through this relay, but a person should do something before they don't."""


@_event("relay.certificate", LogLevel.WARNING)
def relay_certificate(*, relay: str, expires: str, days: int) -> None:
    """The server's certificate ends within 30 days, after which the relay can't be used; told once a day."""


@_event("relay.degraded", LogLevel.ERROR)
def relay_degraded(*, relay: str, instead: str, why: str) -> None:
    """Jobs whose route names this relay first go to a later one because it is held; told once, at the first of them."""


@_event("relay.restored", LogLevel.WARNING)
def relay_restored(*, relay: str, instead: str, jobs: int, degraded_seconds: float) -> None:
    """A degraded relay works again and gets its jobs; `jobs` were handed to a later one meanwhile."""


@_event("relay.healthy", LogLevel.WARNING)
def relay_healthy(*, relay: str, held_seconds: float) -> None:
    """A held relay works again."""
