"""``result.toml``: what became of a job, for people, for scripts, and for ourselves after a restart.

The last line is a mark without which a file is torn: TOML cut off between two tables is still TOML, with recipients
missing. Text that a producer or a server wrote is made printable, so the file may be shown on any terminal; ``[meta]``
keeps its exact values, with TOML escapes for what is not printable. Times are UTC with milliseconds. This is the only
user of tomli_w.

The module refuses to know where the record lies and what to do about it; it reads and writes octets.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import tomli_w

from maildrop.errors import MaildropError, Problem, printable

_END = b"# end of record\n"
_OPEN = b"# the relay's answer:\n"  # ends a prepared record, to which ``dump_answer`` is appended
_TO_ESCAPE = re.compile(r'[\x00-\x1f\x7f"\\]')
_UNPRINTABLE = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


class Outcome(StrEnum):
    """What a job has come to."""

    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    PARTIAL = "partial"
    IN_DOUBT = "in-doubt"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    EXPIRED = "expired"
    CANCELED = "canceled"


class Status(StrEnum):
    """What a recipient has come to."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    IN_DOUBT = "in-doubt"
    PENDING = "pending"


class RecordError(MaildropError):
    """The octets are not a whole record of ours (EX_DATAERR)."""

    exit_code = 65


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientResult:
    """The last word about one recipient. ``delivered`` with neither code nor text was prepared before the reply."""

    address: str
    status: Status
    relay: str | None = None
    stage: str | None = None
    code: int | None = None
    enhanced: str | None = None
    text: str | None = None
    queue_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """One attempt that was counted."""

    number: int
    started: datetime
    seconds: float
    relay: str
    peer: str | None = None
    tls: str | None = None
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The record of a job. Times are aware; ``digest`` is of the whole message, so that each retry is the same mail."""

    job: str
    outcome: Outcome
    reason: str
    message_id: str | None = None
    size: int | None = None
    digest: str | None = None
    claimed: datetime
    finished: datetime | None = None
    possible_duplicate: bool = False
    in_doubt: str | None = None  # the policy that decided about recipients in doubt: hold, assume-sent
    next_attempt: datetime | None = None
    recipients: tuple[RecipientResult, ...] = ()
    attempts: tuple[AttemptResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def _quoted(text: str) -> str:
    """Return a TOML string. tomli_w looks at each character; most of ours have nothing to escape."""
    return f'"{text}"' if _TO_ESCAPE.search(text) is None else tomli_w.dumps({"": text})[5:-1]


def _foreign(text: str) -> str:
    return _quoted(printable(text))


def _stamp(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time of a record needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _flag(value: object) -> str:
    return "true" if value else "false"


def _seconds(value: float) -> str:
    return str(round(float(value), 3))


def _exactly(kind: type[Any]) -> Callable[[Any], Any]:
    def read(value: object) -> object:
        if type(value) is not kind:  # a bool is an int as well
            raise ValueError(f"{value!r} is not {kind.__name__}")
        return value

    return read


def _time(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{value!r} is not a time with a time zone")
    return value.astimezone(UTC)


_text = _exactly(str)
_EXACT = (_quoted, _text)  # checked when the envelope was read, and wanted back as it was
_FOREIGN = (_foreign, _text)
_NUMBER = (str, _exactly(int))
_SECONDS = (_seconds, _exactly(float))
_FLAG = (_flag, _exactly(bool))
_TIME = (_stamp, _time)

_Shape = Mapping[str, tuple[Callable[[Any], str], Callable[[Any], Any]]]

# The tables in the order of their keys, each key with how it is written and how it is read. None is not written.
_RESULT: _Shape = {
    "job": _FOREIGN,
    "outcome": (_quoted, Outcome),
    "reason": _FOREIGN,
    "message_id": _EXACT,
    "size": _NUMBER,
    "digest": _EXACT,
    "claimed": _TIME,
    "finished": _TIME,
    "possible_duplicate": _FLAG,
    "in_doubt": _EXACT,
    "next_attempt": _TIME,
}
_RECIPIENT: _Shape = {
    "address": _EXACT,
    "status": (_quoted, Status),
    "relay": _FOREIGN,
    "stage": _FOREIGN,
    "code": _NUMBER,
    "enhanced": _FOREIGN,
    "text": _FOREIGN,
    "queue_id": _FOREIGN,
}
_ANSWER: _Shape = {key: _RECIPIENT[key] for key in ("code", "enhanced", "text", "queue_id")}
_ATTEMPT: _Shape = {
    "number": _NUMBER,
    "started": _TIME,
    "seconds": _SECONDS,
    "relay": _FOREIGN,
    "peer": _FOREIGN,
    "tls": _FOREIGN,
    "result": _FOREIGN,
}
_PROBLEM: _Shape = {"where": _FOREIGN, "what": _FOREIGN, "hint": _FOREIGN}


def dump(result: Result) -> bytes:
    """Return the record as TOML. Times are cut to milliseconds, foreign text is made printable and shortened."""
    parts = [_written(result, _RESULT)]
    _add_rows(parts, "attempts", result.attempts, _ATTEMPT)
    _add_rows(parts, "problems", result.problems, _PROBLEM)
    if result.meta:
        parts += ("\n", tomli_w.dumps({"meta": result.meta}))
    _add_rows(parts, "recipients", result.recipients, _RECIPIENT)  # last, so that ``dump_answer`` can follow
    prepared = any(
        one.status is Status.DELIVERED and one.code is None and one.text is None for one in result.recipients[-1:]
    )
    return _encoded("".join(parts)) + (_OPEN if prepared else _END)


def dump_answer(result: Result) -> bytes | None:
    """Return what appended to the prepared record makes it this one, the reply's words; None if it has to be rewritten.

    A prepared record with the answer torn off is still the prepared record: ``load`` reads up to the last end mark.
    """
    if len(result.recipients) != 1 or result.recipients[0].code is None:
        return None
    return _encoded(_written(result.recipients[0], _ANSWER)) + _END


def _add_rows(parts: list[str], name: str, rows: Iterable[object], shape: _Shape) -> None:
    for row in rows:
        parts += (f"\n[[{name}]]\n", _written(row, shape))


def _encoded(text: str) -> bytes:
    if not text.isascii():
        text = _UNPRINTABLE.sub(_toml_escape, text)
    return text.encode()


def _written(row: object, shape: _Shape) -> str:
    lines = []
    for key, (write, _) in shape.items():
        value = getattr(row, key)
        if value is not None and (value != "" or key != "hint"):  # not every problem has a way out
            lines.append(f"{key} = {write(value)}\n")
    return "".join(lines)


def _toml_escape(match: re.Match[str]) -> str:
    r"""Write an unprintable character of a TOML string as ``\uNNNN``; surrogates, which TOML can't hold, as text."""
    point = ord(match.group())
    if 0xD800 <= point <= 0xDFFF:
        return "\\" + printable(match.group())
    return f"\\u{point:04x}"


def load(octets: bytes) -> Result:
    """Read a record; raises RecordError for anything torn or foreign, nothing else. Unknown keys are passed over."""
    if not octets.endswith((_END, _END[:-1], _OPEN)):
        octets, mark, _ = octets.rpartition(_OPEN)  # an answer that was cut off while it was appended
        if not mark:
            raise RecordError("result.toml", "is torn: its last line is missing")
    try:
        document = tomllib.loads(octets.decode())
        return Result(
            **_read(document, _RESULT),
            recipients=tuple(RecipientResult(**_read(row, _RECIPIENT)) for row in document.get("recipients", ())),
            attempts=tuple(AttemptResult(**_read(row, _ATTEMPT)) for row in document.get("attempts", ())),
            problems=tuple(Problem(**_read(row, _PROBLEM)) for row in document.get("problems", ())),
            meta=_exactly(dict)(document.get("meta", {})),
        )
    except (ValueError, TypeError, RecursionError, OverflowError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise RecordError("result.toml", f"is not a record: {printable(str(error))}") from None


def _read(table: object, shape: _Shape) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise TypeError(f"{table!r} is not a table")
    return {key: read(table[key]) for key, (_, read) in shape.items() if key in table}
