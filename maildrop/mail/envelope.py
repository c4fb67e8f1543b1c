"""`envelope.toml` to a validated `Mail`: every problem at once, each with its key, what is wrong and what was expected.

The job's files are known by name only (a set that the caller lists); what is in them is judged when the message is
composed. Pure: no file, no clock. RFC 5321 and 5322 words throughout.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, TypedDict

from maildrop.mail import fields, jobfiles, keys
from maildrop.mail.address import Mailbox
from maildrop.mail.document import AlternativeTable, AttachmentTable, Document, Reading, read_document
from maildrop.mail.model import (
    Attachment,
    BodyFile,
    Content,
    Defaults,
    Delivery,
    InDoubt,
    Limits,
    Mail,
    Overrides,
    Partial,
)
from maildrop.mail.part import Source
from maildrop.schema import TomlError, read_toml

__all__ = [
    "Attachment",
    "BodyFile",
    "Content",
    "Defaults",
    "Delivery",
    "InDoubt",
    "Limits",
    "Mail",
    "Overrides",
    "Partial",
    "envelope_schema",
    "named_files",
    "parse_envelope",
    "parse_overrides",
]

_LATER = ("idempotency_key", "manifest")
_DELIVERY_KEYS = frozenset(
    {"return_path", "recipients", "relay", "not_before", "expires", "priority", "in_doubt", "partial", "meta"}
    | {"notify", "envelope_id", "return", *_LATER}
)

_NAMING = re.compile(rb"text|html|attachments|alternatives|manifest|\\")  # the keys that name files; or an escaped key


class _Options(TypedDict):
    """The delivery keys that mean the same for composed and finished messages."""

    relays: tuple[str, ...]
    not_before: Any
    expires: Any
    priority: int
    in_doubt: InDoubt | None
    notify: tuple[str, ...]
    envelope_id: str | None
    returned: str | None
    meta: Any


def parse_envelope(
    octets: bytes,
    *,
    files: Collection[str],
    defaults: Defaults,
    limits: Limits,
    open_source: Callable[[str], Source] | None = None,
) -> Mail:
    """Read the envelope of a job whose regular files are ``files`` (relative names). Raises InvalidJob.

    With ``open_source`` the problems of a bad envelope are joined by those of the text files, which otherwise show only
    when the message is composed; a good envelope opens nothing.
    """
    reading = read_document(octets, limits=limits)
    _refuse_later(reading)
    document = reading.document
    author = keys.mailbox(reading, "from", document.from_) or defaults.author
    if author is None and not reading.given("from"):
        reading.add("from", "is missing", 'write from = "Name <user@example.com>", or set defaults.from')
    to = keys.mailboxes(reading, "to", document.to, most=limits.recipients)
    cc = keys.mailboxes(reading, "cc", document.cc, most=limits.recipients)
    bcc = keys.mailboxes(reading, "bcc", document.bcc, most=limits.recipients)
    reply_to = keys.mailboxes(reading, "reply_to", document.reply_to, most=limits.recipients)
    sender = keys.mailbox(reading, "sender", document.sender)
    reverse = keys.reverse_path(reading, document.return_path)
    forward = _forward_paths(reading, (*to, *cc, *bcc), limits=limits)
    options = _options(reading)
    content = _content(reading, files=files, defaults=defaults, limits=limits)
    if open_source is not None and reading.has_problems and "charset" not in reading.bad:
        reading.add_all(jobfiles.problems_of_texts(content, open_source, limits))
    reading.raise_problems()
    assert author is not None  # noqa: S101  (else there was a problem)
    options["in_doubt"] = options["in_doubt"] or defaults.in_doubt
    delivery = Delivery(
        reverse_path=(sender or author).address if reverse is None else reverse,
        forward_paths=forward,
        partial=Partial(document.partial) if document.partial else defaults.partial,
        **options,
    )
    replies = reply_to if reading.given("reply_to") else defaults.reply_to
    return Mail(
        delivery=delivery,
        content=Content(author=author, to=to, cc=cc, reply_to=replies, sender=sender, **content),
    )


def parse_overrides(octets: bytes, *, limits: Limits) -> Overrides:
    """Read the envelope beside a finished message: delivery keys only. Raises InvalidJob."""
    reading = read_document(octets, limits=limits)
    _refuse_later(reading)
    for name, field in Document.model_fields.items():
        key = field.alias or name
        if key not in _DELIVERY_KEYS and reading.given(key):
            reading.add(key, "is not allowed beside message.eml", "the message says it itself; remove the key")
    document = reading.document
    reverse = keys.reverse_path(reading, document.return_path)
    forward = keys.forward_paths(reading, document.recipients, most=limits.recipients)
    options = _options(reading)
    reading.raise_problems()
    return Overrides(
        reverse_path=reverse,
        forward_paths=forward,
        partial=Partial(document.partial) if document.partial else None,
        **options,
    )


def named_files(octets: bytes, *, limits: Limits) -> frozenset[str]:
    """Return the files that the envelope names itself; a document that can't be read names none. Never raises."""
    if _NAMING.search(octets) is None:  # most envelopes; parsing is the dearest part of looking at a drop
        return frozenset()
    try:
        table = read_toml(octets, max_octets=limits.envelope_octets)
    except TomlError:
        return frozenset()
    names: list[object] = [table.get("text"), table.get("html")]
    for key in ("attachments", "alternatives"):
        items = table.get(key)
        entries = items if isinstance(items, list) else []
        names += [item.get("path") if isinstance(item, dict) else item for item in entries]
    manifest = table.get("manifest")
    names.extend(manifest if isinstance(manifest, dict) else ())
    found = set()
    for name in names:
        try:
            found.add(keys.relative_name(name) if isinstance(name, str) else "")
        except ValueError:
            continue
    return frozenset(found - {""})


def envelope_schema() -> dict[str, Any]:
    """Return the JSON Schema of `envelope.toml`, for editors that complete and check."""
    schema = Document.model_json_schema(by_alias=True, mode="validation")
    table = AttachmentTable.model_json_schema(mode="validation")
    schema["properties"]["attachments"]["items"] = {"anyOf": [{"type": "string"}, table]}
    schema["properties"]["alternatives"]["items"] = AlternativeTable.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "maildrop envelope.toml"}


def _refuse_later(reading: Reading) -> None:
    for key in _LATER:
        if reading.given(key):
            reading.add(key, "is not available in this version", "remove the key")


def _forward_paths(reading: Reading, addressees: tuple[Mailbox, ...], *, limits: Limits) -> tuple[str, ...]:
    """Return `recipients`, else everybody in to, cc and bcc; at least one, each once."""
    paths = keys.forward_paths(reading, reading.document.recipients, most=limits.recipients)
    if paths is None:
        paths = keys.unique_paths([mailbox.address for mailbox in addressees])
        if len(paths) > limits.recipients:
            reading.add("to", f"has {len(paths)} recipients with cc and bcc; at most {limits.recipients} are allowed")
    if not paths and not reading.bad & {"to", "cc", "bcc", "recipients"}:
        reading.add("to", "there are no recipients", "write to, cc or bcc = ...")
    return paths


def _content(reading: Reading, *, files: Collection[str], defaults: Defaults, limits: Limits) -> dict[str, Any]:
    """Read what the message says but for the people in it."""
    document = reading.document
    return {
        "subject": fields.line(reading, "subject", document.subject),
        **jobfiles.named(reading, files=files, charset=document.charset or defaults.charset, limits=limits),
        "headers": fields.header_fields(reading, document.headers),
        "message_id": fields.message_id(reading, document.message_id),
        "date": keys.moment(reading, "date", document.date),
        "in_reply_to": fields.identifiers(reading, "in_reply_to", document.in_reply_to),
        "references": fields.identifiers(reading, "references", document.references),
        "importance": document.importance,
        "flowed": document.flowed,
        "text_from_html": defaults.text_from_html if document.text_from_html is None else document.text_from_html,
    }


def _options(reading: Reading) -> _Options:
    document = reading.document
    not_before = keys.instant(reading, "not_before", document.not_before)
    expires = keys.instant(reading, "expires", document.expires)
    if not_before is not None and type(not_before) is type(expires) and expires <= not_before:  # type: ignore[operator]
        reading.add("expires", "is not later than not_before")
    return {
        "relays": keys.relays(reading, document.relay),
        "not_before": not_before,
        "expires": expires,
        "priority": document.priority,
        "in_doubt": InDoubt(document.in_doubt) if document.in_doubt else None,
        "notify": keys.notify(reading, document.notify),
        "envelope_id": keys.envelope_id(reading, document.envelope_id),
        "returned": document.return_,
        "meta": keys.meta(reading, document.meta),
    }
