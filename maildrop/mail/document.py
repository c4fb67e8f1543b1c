"""The keys of `envelope.toml`: their names and shapes, for the daemon and for editors (JSON Schema).

`read_document` finds what is wrong with names and shapes and leaves it out, so that the meaning of the rest can still
be judged: a person gets all problems at once. What an address or a file reference means is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from maildrop.errors import InvalidJob, Problem
from maildrop.mail.model import Limits
from maildrop.schema import Field, Model, TomlError, ValidationError, problems_of, read_toml

ENVELOPE = "envelope.toml"
_MAX_PROBLEMS = 100  # of one file; a person mends these first, and results stay readable
_MAX_UNKNOWN = 25  # unknown keys that get a hint each: finding the nearest known word is not free

M = TypeVar("M", bound=Model)

_STRINGS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_ADDRESS: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "address": {"type": "string"}},
            "required": ["address"],
            "additionalProperties": False,
        },
    ]
}
_ADDRESSES: dict[str, Any] = {"anyOf": [*_ADDRESS["anyOf"], {"type": "array", "items": _ADDRESS}]}
_INSTANT: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*$"}, {"format": "date-time"}]
}


def _any(description: str, shape: dict[str, Any]) -> Any:
    """Make a field whose shape the readers of `keys` judge, in better words than a union of types would."""
    return Field(default=None, description=description, json_schema_extra=shape)


def _later(description: str) -> Any:
    return Field(default=None, description=f"{description} (not available in this version)")


class AttachmentTable(Model):
    """One attachment that needs more than its file name."""

    path: str = Field(description="the file, relative to the job")
    name: str | None = Field(default=None, description="the name that receivers see; default: the file's")
    type: str | None = Field(default=None, description="media type such as application/pdf; default: by the name")
    charset: str | None = Field(default=None, description="character set of a text attachment, declared as it is")
    inline: bool = Field(default=False, description="show it inside the text; a file that the HTML refers to always is")
    content_id: str | None = Field(default=None, description="name of the part for cid: references; default: made")
    description: str = Field(default="", description="Content-Description of the part")


class AlternativeTable(Model):
    """One more form of the body."""

    path: str = Field(description="the file, relative to the job")
    type: str | None = Field(
        default=None, description="media type such as text/calendar; default: by the name; a calendar says its method"
    )
    charset: str | None = Field(default=None, description="character set of a text; default: that of the text files")


class Document(Model):
    """An e-mail job: the envelope beside the body file and the attachments."""

    from_: Any = Field(default=None, alias="from", description="author", json_schema_extra=_ADDRESS)
    to: Any = _any("recipients, in the To field", _ADDRESSES)
    cc: Any = _any("recipients, in the Cc field", _ADDRESSES)
    bcc: Any = _any("recipients that are never written into the message", _ADDRESSES)
    reply_to: Any = _any("where answers go", _ADDRESSES)
    sender: Any = _any("who sends for the author", _ADDRESS)
    return_path: str | None = Field(default=None, description='reverse-path; "" is <>; default: sender or from')
    recipients: Any = _any(
        "forward-paths, if other than to, cc and bcc", {"type": "array", "items": {"type": "string"}}
    )
    subject: str = Field(default="", description="subject line")
    text: str | None = Field(default=None, description="plain text file; default: body.txt if it exists")
    html: str | None = Field(default=None, description="HTML file; default: body.html if it exists")
    charset: str | None = Field(default=None, description="character set of the text files; default: utf-8")
    text_from_html: bool | None = Field(
        default=None, description="make the plain text from HTML that comes alone; default: defaults.text_from_html"
    )
    flowed: bool = Field(default=False, description="the text's lines are paragraphs that a client may wrap (RFC 3676)")
    alternatives: Any = _any("more forms of the body, such as a calendar invitation", {"type": "array"})
    attachments: Any = _any("files to attach; default: every file below attachments/", {"type": "array"})
    headers: Any = _any("more header fields", {"type": "object", "additionalProperties": _STRINGS})
    message_id: str | None = Field(default=None, description="default: made once, at the claim")
    date: Any = _any("default: the time of the claim", {"format": "date-time"})
    in_reply_to: Any = _any("identifier(s) of the message this one answers", _STRINGS)
    references: Any = _any("identifiers of the thread", _STRINGS)
    importance: Literal["high", "normal", "low"] | None = Field(default=None, description="header fields for clients")
    priority: int = Field(default=0, ge=-9, le=9, description="order of work in the daemon, 9 first")
    relay: Any = _any("relay name(s) to use instead of the routes", _STRINGS)
    not_before: Any = _any('earliest time, or duration from the claim such as "2h"', _INSTANT)
    expires: Any = _any('latest time, or duration from the claim such as "5d"', _INSTANT)
    in_doubt: Literal["resend", "hold", "assume-sent"] | None = Field(
        default=None, description="what to do when the line was lost behind the final dot"
    )
    partial: Literal["deliver", "all-or-nothing"] | None = Field(
        default=None, description="whether one refused recipient keeps the mail from the others"
    )
    meta: dict[str, Any] | None = Field(default=None, description="yours: copied into the result and the log")
    notify: list[Literal["failure", "delay", "success", "never"]] | None = Field(
        default=None, description="delivery status notifications to ask the relay for (RFC 3461)"
    )
    envelope_id: str | None = Field(default=None, description="identifier that such notifications come back with")
    return_: Literal["headers", "full"] | None = Field(
        default=None, alias="return", description="what a notification of failure brings back"
    )
    idempotency_key: Any = _later("the same key again sends nothing")
    manifest: Any = _later("size and sha256 of the files")


class Reading:
    """A document being judged: collects problems and shows them in the order of the file."""

    def __init__(self, *, where: str) -> None:
        """Begin without problems; ``where`` is the file's name."""
        self.where = where
        self.document = Document()
        self.bad: set[str] = set()  # top-level keys that are no use any more
        self._order: dict[str, int] = {}
        self._found: list[tuple[int, Problem]] = []
        self._told: set[Problem] = set()

    def load(self, table: dict[str, Any], *, limits: Limits) -> None:
        """Judge names and shapes; keys with a wrong shape are left out of ``document``."""
        self._order = {key: index for index, key in enumerate(table)}
        self.document = self.shaped(Document, self._bounded(table, limits=limits)) or Document()

    def shaped(self, model: type[M], table: Mapping[str, Any], *, path: str = "") -> M | None:
        """Judge the shape of one table at ``path``; wrong keys are noted and left out, None if one is indispensable."""
        try:
            return model.model_validate(table)
        except ValidationError as error:
            wrong = {str(detail["loc"][0]) for detail in error.errors(include_url=False, include_context=False)}
            for problem in problems_of(error, model=model, where=self.where):
                key = problem.where.removeprefix(f"{self.where}: ")
                self.add(f"{path}.{key}" if path else key, problem.what, problem.hint)
        rest = {key: value for key, value in table.items() if key not in wrong}
        is_whole = all(key in rest for key, field in model.model_fields.items() if field.is_required())
        return model.model_validate(rest) if is_whole else None

    def given(self, key: str) -> bool:
        """Whether the file has the key, well or badly."""
        return key in self._order

    def add(self, path: str, what: str, hint: str = "") -> None:
        """Note a problem with the key at ``path``, such as ``attachments[1].name``."""
        key = re.split(r"[.\[]", path, maxsplit=1)[0]
        self.bad.add(key)
        self._note(key, Problem(where=f"{self.where}: {path}", what=what, hint=hint))

    def add_all(self, problems: Iterable[Problem]) -> None:
        """Note problems of other files of the job; they come last."""
        for problem in problems:
            self._note("", problem)

    @property
    def has_problems(self) -> bool:
        """Whether anything was noted."""
        return bool(self._found)

    def raise_problems(self) -> None:
        """Raise InvalidJob if there are problems."""
        if not self._found:
            return
        problems = [problem for _, problem in sorted(self._found, key=lambda found: found[0])]
        left = len(problems) - _MAX_PROBLEMS
        if left > 0:
            more = Problem(where=self.where, what=f"{left} more problem{'s'[: left > 1]}", hint="mend these first")
            problems = [*problems[:_MAX_PROBLEMS], more]
        raise InvalidJob(self.where, problems)

    def _note(self, key: str, problem: Problem) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._found.append((self._order.get(key, len(self._order)), problem))

    def _bounded(self, table: dict[str, Any], *, limits: Limits) -> dict[str, Any]:
        """Leave out what would take long to judge in detail: too many files, too many unknown keys."""
        table = dict(table)
        items: list[Any] = []
        for key in ("alternatives", "attachments"):
            listed = table.get(key)
            if not isinstance(listed, list):
                continue
            if len(listed) > limits.files:
                self.add(key, f"has {len(listed)} files; at most {limits.files} are allowed")
                del table[key]
            else:
                items += listed
        unknown = 0
        for place in (table, *(item for item in items if isinstance(item, dict))):
            strange = [key for key in place if key not in _KNOWN]
            spare = strange[max(0, _MAX_UNKNOWN - unknown) :]
            unknown += len(strange)
            for key in spare:
                del place[key]
        if unknown > _MAX_UNKNOWN:
            self._note("", Problem(where=self.where, what=f"{unknown - _MAX_UNKNOWN} more unknown keys"))
        return table


_KNOWN = frozenset(
    [field.alias or name for name, field in Document.model_fields.items()]
    + list(AttachmentTable.model_fields)
    + list(AlternativeTable.model_fields)
)


def read_document(octets: bytes, *, limits: Limits, where: str = ENVELOPE) -> Reading:
    """Parse the file and judge names and shapes; raises InvalidJob where it is not TOML at all."""
    try:
        table = read_toml(octets, max_octets=limits.envelope_octets)
    except TomlError as error:
        raise InvalidJob(where, [Problem(where=where, what=str(error))]) from None
    reading = Reading(where=where)
    reading.load(table, limits=limits)
    return reading
