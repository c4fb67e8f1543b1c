"""The keys of `envelope.toml` that name files of the job: text, HTML, attachments, and the usual names without keys.

A file is known here by its name only; `problems_of_texts` is the exception, for a person who should hear everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail import fields, keys
from maildrop.mail.charset import charset_fault
from maildrop.mail.document import AttachmentTable, Reading
from maildrop.mail.media import type_fault
from maildrop.mail.model import Attachment, BodyFile, Limits
from maildrop.mail.part import Source, text_part

_FOLDER = "attachments/"


def named(reading: Reading, *, files: Collection[str], charset: str, limits: Limits) -> dict[str, Any]:
    """Read the keys that name files; where they are absent, the usual names count."""
    document = reading.document
    _charset(reading, "charset", charset)
    known = files if isinstance(files, set | frozenset) else frozenset(files)
    return {
        "text": _body(reading, "text", document.text, "body.txt", files=known, charset=charset),
        "html": _body(reading, "html", document.html, "body.html", files=known, charset=charset),
        "attachments": _attachments(reading, document.attachments, files=known, limits=limits),
    }


def problems_of_texts(
    bodies: tuple[BodyFile | None, ...], open_source: Callable[[str], Source], limits: Limits
) -> Iterator[Problem]:
    """Yield what is wrong with the text files themselves: what would stop the message when it is composed."""
    for body in bodies:
        if body is None:
            continue
        try:
            source = open_source(body.path)
            if source.size <= limits.message_octets:
                text_part(source, subtype="plain", charset=body.charset, boundary="-")
        except InvalidJob as refusal:
            yield from refusal.problems


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
