"""The values of `envelope.toml` that become header fields as they are: identifiers, lines of text, `[headers]`.

Each reader notes what is wrong in the `Reading` and returns what could be read. A field that is made from a key, or by
others on the way, is refused with the key to use instead.
"""

from __future__ import annotations

from typing import Any

from maildrop.errors import printable
from maildrop.mail.document import Reading
from maildrop.mail.rules import field_name_fault, header_fault, identifier_fault

ONE_LINE = "remove it; a header field is one line of text"

# Header fields that are made from keys, by others on the way, or not at all; with the key to use instead.
_REFUSED = {
    "from": "from",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "subject": "subject",
    "date": "date",
    "message-id": "message_id",
    "sender": "sender",
    "reply-to": "reply_to",
    "return-path": "return_path",
    "received": "",
    "in-reply-to": "in_reply_to",
    "references": "references",
    "importance": "importance",
    "mime-version": "",
    "authentication-results": "",
    "x-sender": "return_path",
    "x-receiver": "recipients",
}
_REFUSED_PREFIXES = {"content-": "attachments, text or html", "resent-": "", "dkim-": "", "arc-": ""}


def identifiers(reading: Reading, key: str, value: Any) -> tuple[str, ...]:
    """Read message identifiers with or without brackets: one string (several apart by blanks) or a list."""
    if value is None:
        return ()
    if not isinstance(value, str | list):
        reading.add(key, "must be a message identifier in quotes or a list of them")
        return ()
    items = value.split(" ") if isinstance(value, str) else value
    found = []
    for index, item in enumerate(items):
        if isinstance(value, str) and not item:
            continue
        path = key if isinstance(value, str) else f"{key}[{index}]"
        if not isinstance(item, str):
            reading.add(path, "must be text in quotes")
            continue
        bare = item.strip(" ")
        bare = bare[1:-1] if bare.startswith("<") and bare.endswith(">") else bare
        fault = identifier_fault(bare)
        if fault:
            reading.add(path, fault)
        found.append(f"<{bare}>")
    if not found and key not in reading.bad and isinstance(value, str):
        reading.add(key, "is empty; expected a message identifier", "or leave it out")
    return tuple(found)


def message_id(reading: Reading, value: str | None) -> str | None:
    """Read the message's own identifier, which has a left and a right side (RFC 5322 3.6.4)."""
    found = identifiers(reading, "message_id", value)
    if len(found) == 1 and "message_id" not in reading.bad and "@" not in found[0][2:-2]:
        reading.add("message_id", "has no '@'; expected an identifier such as <id@host.example>")
    if len(found) > 1:
        reading.add("message_id", "is more than one identifier")
    return found[0] if found else None


def line(reading: Reading, key: str, value: str) -> str:
    """Read the value of a header field; outer blanks are trimmed."""
    fault = header_fault(value)
    if fault:
        reading.add(key, fault, ONE_LINE)
    return value.strip(" ")


def header_fields(reading: Reading, value: Any) -> tuple[tuple[str, str], ...]:
    """Read the table of more header fields; those with a key or a meaning on the way are refused."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        reading.add("headers", "must be a table")
        return ()
    fields = []
    for name, texts in value.items():
        path = f"headers.{printable(name, limit=100)}"
        fault = field_name_fault(name)
        if fault:
            reading.add(path, fault)
            continue
        if _is_refused(reading, path, name.lower()):
            continue
        for index, text in enumerate(texts if isinstance(texts, list) else [texts]):
            place = f"{path}[{index}]" if isinstance(texts, list) else path
            if isinstance(text, str):
                fields.append((name, line(reading, place, text)))
            else:
                reading.add(place, "must be text in quotes or a list of texts")
    return tuple(fields)


def _is_refused(reading: Reading, path: str, name: str) -> bool:
    key = _REFUSED.get(name)
    if key is None:
        key = next((instead for prefix, instead in _REFUSED_PREFIXES.items() if name.startswith(prefix)), None)
    if key is None:
        return False
    reading.add(path, "is not for [headers]", f"use the key {key}" if key else "remove it")
    return True
