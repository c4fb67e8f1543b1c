"""The keys of `envelope.toml` that name files of the job: text, HTML, alternatives, attachments; and the usual names.

A file is known here by its name only; `problems_of_texts` is the exception, for a person who should hear everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail import calendar, fields, keys
from maildrop.mail.charset import charset_fault
from maildrop.mail.document import AlternativeTable, AttachmentTable, Reading
from maildrop.mail.media import type_fault, type_of
from maildrop.mail.model import Alternative, Attachment, BodyFile, Limits
from maildrop.mail.part import Source, is_text, read_text

_FOLDER = "attachments/"
_CONTENT_ID = re.compile(r"[\w!#$%&'*+/=?^`{|}~.-]{1,200}(?:@[\w.-]{1,200})?", re.ASCII)  # RFC 2392, RFC 5322 3.6.4
_METHOD = re.compile(r"method\s*=\s*\"?([A-Za-z0-9-]{1,40})\"?", re.ASCII | re.IGNORECASE)  # RFC 5545 8.1


def named(reading: Reading, *, files: Collection[str], charset: str, limits: Limits) -> dict[str, Any]:
    """Read the keys that name files; where they are absent, the usual names count."""
    document = reading.document
    _charset(reading, "charset", charset)
    known = files if isinstance(files, set | frozenset) else frozenset(files)
    text = _body(reading, "text", document.text, "body.txt", files=known, charset=charset)
    html = _body(reading, "html", document.html, "body.html", files=known, charset=charset)
    alternatives = _alternatives(reading, document.alternatives, files=known, charset=charset)
    forms = {form.path for form in (text, html, *alternatives) if form is not None}
    return {
        "text": text,
        "html": html,
        "alternatives": alternatives,
        "attachments": _attachments(reading, document.attachments, files=known, limits=limits),
        "companions": frozenset(known - forms) if html is not None else frozenset(),
    }


def problems_of_texts(
    content: Mapping[str, Any], open_source: Callable[[str], Source], limits: Limits
) -> Iterator[Problem]:
    """Yield what is wrong with the text files themselves: what would stop the message when it is composed."""
    more = [form for form in content["alternatives"] if is_text(form.type)]
    for form in (content["text"], content["html"], *more):
        if form is None:
            continue
        try:
            source = open_source(form.path)
            if source.size <= limits.message_octets:
                read_text(source, form.charset)
        except InvalidJob as refusal:
            yield from refusal.problems


def _body(
    reading: Reading, key: str, value: str | None, usual: str, *, files: Collection[str], charset: str
) -> BodyFile | None:
    path = usual if usual in files else None
    if reading.given(key):
        path = keys.file(reading, key, value, files) if value is not None else None
    return BodyFile(path=path, charset=charset) if path is not None else None


def _alternatives(reading: Reading, value: Any, *, files: Collection[str], charset: str) -> tuple[Alternative, ...]:
    """Read the list of more forms."""
    if value is not None and not isinstance(value, list):
        reading.add("alternatives", 'must be a list of tables such as [{path = "invite.ics"}]')
        return ()
    found = (_alternative(reading, f"alternatives[{i}]", item, files, charset) for i, item in enumerate(value or ()))
    return tuple(alternative for alternative in found if alternative is not None)


def _alternative(reading: Reading, place: str, item: Any, files: Collection[str], charset: str) -> Alternative | None:
    if not isinstance(item, dict):
        reading.add(place, 'must be a table such as {path = "invite.ics", type = "text/calendar"}')
        return None
    table = reading.shaped(AlternativeTable, item, path=place)
    if table is None:
        return None
    if table.charset is not None:
        _charset(reading, f"{place}.charset", table.charset)
    path = keys.file(reading, place, table.path, files)
    said = table.type if table.type is not None else type_of(table.path)
    media_type, _, parameters = (part.strip(" ") for part in said.partition(";"))
    fault = type_fault(media_type)
    if media_type.lower().startswith("message/"):
        fault = "can't be a form of the text; attach it instead"
    method = _METHOD.fullmatch(parameters) if media_type.lower() == calendar.MEDIA_TYPE else None
    if fault or (parameters and method is None):
        what = fault or "has a parameter; the only one is the method of text/calendar"
        hint = "" if fault else 'the character set has a key of its own: charset = "…"'
        reading.add(f"{place}.type", f"'{printable(said, limit=80)}' {what}", hint)
    if path is None:
        return None
    return Alternative(
        path=path, type=media_type, charset=table.charset or charset, method=method[1].upper() if method else None
    )


def _attachments(reading: Reading, value: Any, *, files: Collection[str], limits: Limits) -> tuple[Attachment, ...]:
    """Read the list of files to attach; without it, every file below `attachments/`."""
    if value is not None and not isinstance(value, list):
        reading.add("attachments", "must be a list of file names or tables")
        return ()
    if reading.given("attachments"):
        found = (_attachment(reading, f"attachments[{index}]", item, files) for index, item in enumerate(value or ()))
        attachments = tuple(attachment for attachment in found if attachment is not None)
        _refuse_twins(reading, attachments)
        return attachments
    paths = sorted(path for path in files if path.startswith(_FOLDER) and "/." not in path)
    if len(paths) > limits.files:
        reading.add("attachments", f"the folder has {len(paths)} files; at most {limits.files} are allowed")
        return ()
    hint = 'rename the file, or list it with another name: attachments = [{path = "…", name = "…"}]'
    return tuple(
        Attachment(path=path, name=keys.shown_name(reading, printable(path), path.rpartition("/")[2], hint))
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
    return Attachment(
        path=path,
        name=name,
        type=table.type,
        charset=table.charset,
        description=description,
        inline=table.inline,
        content_id=_content_id(reading, f"{place}.content_id", table.content_id),
    )


def _content_id(reading: Reading, place: str, value: str | None) -> str | None:
    """Read a Content-ID; it is kept without angle brackets, as ``cid:`` references name it (RFC 2392)."""
    if value is None:
        return None
    bare = value.strip(" ").removeprefix("<").removesuffix(">")
    if not _CONTENT_ID.fullmatch(bare) or "=?" in bare:
        what = "is not a content_id; expected letters, digits and marks such as . - _ without blanks"
        reading.add(place, what, 'such as "logo" or "logo@example.com"')
    return bare


def _refuse_twins(reading: Reading, attachments: tuple[Attachment, ...]) -> None:
    """Two parts of one Content-ID would be one picture shown twice."""
    seen: dict[str, str] = {}
    for attachment in attachments:
        if attachment.content_id is None:
            continue
        first = seen.setdefault(attachment.content_id, attachment.path)
        if first != attachment.path:
            what = f"two files have the content_id '{attachment.content_id}'"
            reading.add("attachments", what, "give each its own")


def _charset(reading: Reading, path: str, charset: str) -> None:
    fault = charset_fault(charset)
    if fault:
        what, _, hint = fault.partition("; ")
        reading.add(path, f"'{printable(charset, limit=60)}' {what}", hint)
