"""The values of `envelope.toml`, one reader for each kind: addresses, paths, times, relays, files.

Each reader takes the key's path and the value as TOML gave it, notes what is wrong with it in the `Reading`, and
returns what could be read. A string is an address list; a list holds exactly one mailbox in each element.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from maildrop.errors import did_you_mean, printable
from maildrop.mail.address import AddressError, Mailbox, parse_mailbox, parse_mailbox_list, parse_path, same_path
from maildrop.mail.document import Reading
from maildrop.mail.fields import ONE_LINE
from maildrop.mail.rules import file_name_fault, header_fault
from maildrop.schema import Adapter, Duration, ValidationError

_LONGEST = timedelta(days=3650)  # a duration beyond ten years is a mistake, and times have to stay calculable
_CLOSE_ENOUGH = 200  # names compared for "did you mean"; more would take long for many missing files
_INT64 = 1 << 63  # what TOML promises; larger ones could not be written back

_ENVELOPE_ID_OCTETS = 100  # RFC 3461 4.4
_ENVELOPE_ID = re.compile("[ -~]+")
_ENCODED_MARKS = re.compile("[ +=]")

_DURATION: Adapter[float] = Adapter(Duration)


def mailboxes(reading: Reading, key: str, value: Any, *, most: int) -> tuple[Mailbox, ...]:
    """Read an address, a list in one string, a ``{name, address}`` table, or a list of single mailboxes."""
    if value is None:
        return ()
    if isinstance(value, str):
        found = _address_list(reading, key, value)
    elif isinstance(value, dict):
        found = _one(reading, key, value)
    elif not isinstance(value, list):
        reading.add(key, "must be an address in quotes or a list of addresses")
        return ()
    elif len(value) > most:
        reading.add(key, f"has {len(value)} addresses; at most {most} are allowed")
        return ()
    else:
        found = [mailbox for index, item in enumerate(value) for mailbox in _one(reading, f"{key}[{index}]", item)]
    if len(found) > most:
        reading.add(key, f"has {len(found)} addresses; at most {most} are allowed")
        return ()
    return tuple(found)


def mailbox(reading: Reading, key: str, value: Any) -> Mailbox | None:
    """Read exactly one mailbox."""
    if value is None:
        return None
    found = _one(reading, key, value)
    return found[0] if found else None


def _address_list(reading: Reading, key: str, text: str) -> list[Mailbox]:
    try:
        return list(parse_mailbox_list(text))
    except AddressError as error:
        hint = ""
        if "," in text and "has no '@'" in str(error):
            hint = f'a name with a comma or other marks needs double quotes, or a list: {key} = ["Name <user@domain>"]'
        reading.add(key, str(error), hint)
        return []


def _one(reading: Reading, path: str, item: Any) -> list[Mailbox]:
    """Read one mailbox from text or a table; an empty list where that failed."""
    if isinstance(item, dict):
        return _from_table(reading, path, item)
    if not isinstance(item, str):
        reading.add(path, 'must be an address in quotes such as "Name <user@example.com>"')
        return []
    try:
        return [parse_mailbox(item)]
    except AddressError as error:
        reading.add(path, str(error))
        return []


def _from_table(reading: Reading, path: str, table: dict[str, Any]) -> list[Mailbox]:
    strange = [key for key in table if key not in ("name", "address")]
    for key in strange[:10]:  # enough to see the mistake
        reading.add(f"{path}.{printable(key)}", "unknown key", did_you_mean(key, ("name", "address")))
    name, address = table.get("name", ""), table.get("address")
    if not isinstance(name, str):
        reading.add(f"{path}.name", "must be text in quotes")
        return []
    fault = header_fault(name)
    if fault:
        reading.add(f"{path}.name", fault, ONE_LINE)
    if not isinstance(address, str):
        reading.add(f"{path}.address", "is missing" if address is None else "must be text in quotes")
        return []
    try:
        bare = parse_mailbox(address)
    except AddressError as error:
        reading.add(f"{path}.address", str(error))
        return []
    if bare.name:
        reading.add(f"{path}.address", "has a name; expected only the address", "the name goes into name")
    if fault or strange or bare.name:
        return []
    return [Mailbox(name=name.strip(" "), local=bare.local, domain=bare.domain)]


def reverse_path(reading: Reading, value: str | None) -> str | None:
    """Read `return_path` to its wire form; ``""`` is the null path, ``None`` is "not said"."""
    if value is None:
        return None
    try:
        return parse_path(value)
    except AddressError as error:
        reading.add("return_path", str(error))
        return None


def forward_paths(reading: Reading, value: Any, *, most: int) -> tuple[str, ...] | None:
    """Read `recipients`: a list of bare addresses; unique wire forms."""
    if value is None:
        return None
    if not isinstance(value, list):
        reading.add("recipients", 'must be a list of addresses, such as ["user@example.com"]')
        return None
    if len(value) > most:
        reading.add("recipients", f"has {len(value)} addresses; at most {most} are allowed")
        return None
    paths = []
    for index, item in enumerate(value):
        try:
            path = parse_path(item) if isinstance(item, str) else ""
        except AddressError as error:
            reading.add(f"recipients[{index}]", str(error))
            continue
        if not path:
            reading.add(f"recipients[{index}]", 'must be an address in quotes such as "user@example.com"')
        paths.append(path)
    if not paths and "recipients" not in reading.bad:
        reading.add(
            "recipients", "is empty; expected at least one address", "or leave it out: to, cc and bcc count then"
        )
    return unique_paths(paths)


def unique_paths(paths: Collection[str]) -> tuple[str, ...]:
    """Return each path once, in the order and the spelling of its first mention."""
    first: dict[str, str] = {}
    for path in paths:
        first.setdefault(same_path(path), path)
    return tuple(first.values())


def instant(reading: Reading, key: str, value: Any) -> datetime | timedelta | None:
    """Read a TOML date-time, or a duration from the claim."""
    if value is None:
        return None
    if isinstance(value, date | time):
        return moment(reading, key, value)
    try:
        length = timedelta(seconds=_DURATION.validate_python(value))
    except (ValidationError, OverflowError):
        reading.add(key, 'must be a date-time such as 2026-11-23T08:00:00Z or a duration such as "2h" or "5d"')
        return None
    if length > _LONGEST:
        reading.add(key, f"must be at most {_LONGEST.days} days")
        return None
    return length


def moment(reading: Reading, key: str, value: Any) -> datetime | None:
    """Read a TOML date-time; one without an offset is in the machine's time zone."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        hint = "without quotes" if isinstance(value, str) else ""
        reading.add(key, "must be a date-time such as 2026-11-23T08:00:00Z", hint)
        return None
    try:
        aware = value if value.tzinfo is not None else value.astimezone()
        aware.astimezone(UTC)
    except (OverflowError, ValueError, OSError):
        reading.add(key, "is too far away for a date-time")
        return None
    return aware


def relays(reading: Reading, value: Any) -> tuple[str, ...]:
    """Read one relay's name or a list of them; whether they exist is the configuration's to say."""
    if value is None:
        return ()
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        reading.add("relay", "must be a relay's name in quotes or a list of names")
        return ()
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name or header_fault(name):
            reading.add(f"relay[{index}]" if isinstance(value, list) else "relay", "must be a relay's name in quotes")
            return ()
    return tuple(dict.fromkeys(names))


def notify(reading: Reading, value: Collection[str] | None) -> tuple[str, ...]:
    """Read `notify`: each condition once; "never" excludes the others (RFC 3461 4.1)."""
    conditions = tuple(dict.fromkeys(value or ()))
    if "never" in conditions and len(conditions) > 1:
        reading.add("notify", "has 'never' beside other conditions", "keep one of the two")
    return conditions


def envelope_id(reading: Reading, value: str | None) -> str | None:
    """Read `envelope_id`: printable ASCII, of which a few marks take three octets on the wire (RFC 3461 4 and 4.4)."""
    if value is None:
        return None
    octets = len(value) + 2 * len(_ENCODED_MARKS.findall(value))
    if not _ENVELOPE_ID.fullmatch(value) or octets > _ENVELOPE_ID_OCTETS:
        what = f"must be 1 to {_ENVELOPE_ID_OCTETS} printable ASCII characters"
        reading.add("envelope_id", what, "your own number for the mail will do")
    return value


def meta(reading: Reading, value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return `meta` as it is, if the result file can hold it."""
    todo: list[Any] = [value or {}]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, int) and not -_INT64 <= item < _INT64:
            reading.add("meta", "has a whole number of more than 64 bits")
            break
    return value or {}


def relative_name(path: str) -> str:
    """Return a file reference in the spelling of the job's listing; raises ValueError with what is wrong."""
    fault = header_fault(path)
    if fault:
        raise ValueError(fault)
    if "\\" in path:
        raise ValueError("contains a backslash; expected / between folder and file")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts:
        raise ValueError("points out of the job; expected a file below the job's folder")
    if not parts:
        raise ValueError("is empty; expected a file name")
    return "/".join(parts)


def file(reading: Reading, path: str, value: str, files: Collection[str]) -> str | None:
    """Read a reference to a file of the job."""
    try:
        name = relative_name(value)
    except ValueError as error:
        reading.add(path, str(error))
        return None
    if name in files:
        return name
    meant = next((f"did you mean '{other}'?" for other in files if other.endswith(f"/{name}")), "")
    if not meant and len(name) <= 255 and len(files) <= _CLOSE_ENOUGH:
        meant = did_you_mean(name, files)
    hint = printable(meant) or "put it into the job's folder, or correct the name"
    reading.add(path, f"file '{printable(name, limit=300)}' is not in the job", hint)
    return None


def shown_name(reading: Reading, path: str, name: str, hint: str = "") -> str:
    """Check the name under which a file is attached."""
    name = name.strip(" ")
    fault = file_name_fault(name)
    if fault:
        reading.add(path, fault, hint)
    return name
