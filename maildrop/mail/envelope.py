"""`envelope.toml` to a validated `Mail`: every problem at once, each with its key, what is wrong and what was expected.

The job's files are known by name only (a set that the caller lists); what is in them is judged when the message is
composed. Pure: no file, no clock. RFC 5321 and 5322 words throughout.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypedDict

from maildrop.errors import printable
from maildrop.mail import fields, keys
from maildrop.mail.address import Mailbox
from maildrop.mail.charset import charset_fault
from maildrop.mail.document import AttachmentTable, Document, Reading, read_document
from maildrop.mail.media import type_fault
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

_FOLDER = "attachments/"
_LATER = ("alternatives", "notify", "envelope_id", "return", "idempotency_key", "manifest")
_DELIVERY_KEYS = frozenset(
    {"return_path", "recipients", "relay", "not_before", "expires", "priority", "in_doubt", "partial", "meta", *_LATER}
)


class _Options(TypedDict):
    """The delivery keys that mean the same for composed and finished messages."""

    relays: tuple[str, ...]
    not_before: Any
    expires: Any
    priority: int
    in_doubt: InDoubt | None
    meta: Any


def parse_envelope(octets: bytes, *, files: Collection[str], defaults: Defaults, limits: Limits) -> Mail:
    """Read the envelope of a job whose regular files are ``files`` (relative names). Raises InvalidJob."""
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
    content: dict[str, Any] = {
        "subject": fields.line(reading, "subject", document.subject),
        **_files(reading, files=files, charset=document.charset or defaults.charset, limits=limits),
        "headers": fields.header_fields(reading, document.headers),
        "message_id": fields.message_id(reading, document.message_id),
        "date": keys.moment(reading, "date", document.date),
        "in_reply_to": fields.identifiers(reading, "in_reply_to", document.in_reply_to),
        "references": fields.identifiers(reading, "references", document.references),
        "importance": document.importance,
    }
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
        "meta": keys.meta(reading, document.meta),
    }


def _files(reading: Reading, *, files: Collection[str], charset: str, limits: Limits) -> dict[str, Any]:
    """Read the keys that name files; where they are absent, the usual names count."""
    document = reading.document
    _charset(reading, "charset", charset)
    known = files if isinstance(files, set | frozenset) else frozenset(files)
    return {
        "text": _body(reading, "text", document.text, "body.txt", files=known, charset=charset),
        "html": _body(reading, "html", document.html, "body.html", files=known, charset=charset),
        "attachments": _attachments(reading, document.attachments, files=known, limits=limits),
    }


def _body(
    reading: Reading, key: str, value: str | None, usual: str, *, files: Collection[str], charset: str
) -> BodyFile | None:
    path = usual if usual in files else None
    if reading.given(key):
        path = keys.file(reading, key, value, files) if value is not None else None
    return BodyFile(path=path, charset=charset) if path is not None else None


def _attachments(reading: Reading, value: Any, *, files: Collection[str], limits: Limits) -> tuple[Attachment, ...]:
    """Read the list of files to attach; without it, every file below `attachments/`."""
    if value is not None and not isinstance(value, list):
        reading.add("attachments", "must be a list of file names or tables")
        return ()
    if reading.given("attachments"):
        found = (_attachment(reading, f"attachments[{index}]", item, files) for index, item in enumerate(value or ()))
        return tuple(attachment for attachment in found if attachment is not None)
    paths = sorted(path for path in files if path.startswith(_FOLDER) and "/." not in path)
    if len(paths) > limits.files:
        reading.add("attachments", f"the folder has {len(paths)} files; at most {limits.files} are allowed")
        return ()
    hint = 'rename the file, or list it with another name: attachments = [{path = "…", name = "…"}]'
    return tuple(
        Attachment(path=path, name=keys.shown_name(reading, printable(path), path.rpartition("/")[2], hint), type=None)
        for path in paths
    )


def _attachment(reading: Reading, place: str, item: Any, files: Collection[str]) -> Attachment | None:
    """Read a file name, or a table with more about the file."""
    if isinstance(item, str):
        return _attached(reading, place, AttachmentTable(path=item), files)
    if not isinstance(item, dict):
        reading.add(place, "must be a file name in quotes or a table with path")
        return None
    table = reading.shaped(AttachmentTable, item, path=place)
    if table is None:
        return None
    if table.inline:
        reading.add(f"{place}.inline", "is not available in this version", "remove the key")
    if table.content_id is not None:
        reading.add(f"{place}.content_id", "is not available in this version", "remove the key")
    if table.type is not None and type_fault(table.type):
        reading.add(f"{place}.type", f"'{printable(table.type, limit=80)}' {type_fault(table.type)}")
    if table.charset is not None:
        _charset(reading, f"{place}.charset", table.charset)
    return _attached(reading, place, table, files)


def _attached(reading: Reading, place: str, table: AttachmentTable, files: Collection[str]) -> Attachment | None:
    description = fields.line(reading, f"{place}.description", table.description)
    path = keys.file(reading, place, table.path, files)
    if path is None:
        return None
    if table.name is not None:
        name = keys.shown_name(reading, f"{place}.name", table.name)
    else:
        name = keys.shown_name(reading, place, path.rpartition("/")[2], 'write {path = "…", name = "…"}')
    return Attachment(path=path, name=name, type=table.type, charset=table.charset, description=description)


def _charset(reading: Reading, path: str, charset: str) -> None:
    fault = charset_fault(charset)
    if fault:
        what, _, hint = fault.partition("; ")
        reading.add(path, f"'{printable(charset, limit=60)}' {what}", hint)
