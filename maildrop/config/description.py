"""The configuration in force as commented TOML, written as a person would: "1h", "50MiB", "1%".

What it prints can be read again and means the same. It holds no secrets, only the places that they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, get_args

from maildrop.config.document import Document
from maildrop.config.relay_table import RelayTable
from maildrop.config.values import Fraction, Octets
from maildrop.schema import Duration, Model, toml_string

_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def describe(document: Document) -> str:
    """Return the effective configuration as commented TOML."""
    lines: list[str] = []
    for name in ("spool", "intake", "defaults"):
        lines += _table(name, getattr(document, name))
    if document.dkim is not None:
        lines += _table("dkim", document.dkim)
    for name, relay in document.relays.items():
        lines += _table(f"relays.{_key(name)}", relay)
    for route in document.routes:
        lines += _table("[routes]", route)
    for name in ("retry", "settle", "log"):
        lines += _table(name, getattr(document, name))
    return "\n".join(lines).strip() + "\n"


def _table(name: str, table: Model) -> list[str]:
    lines = ["", f"[{name}]"]
    below: list[str] = []
    implied, filled = _of_relay(table) if isinstance(table, RelayTable) else ({}, frozenset())
    for key, field in type(table).model_fields.items():
        value, shown = getattr(table, key), field.alias or key
        remark = f"  # {field.description}" if field.description else ""
        if key in filled:
            remark = f"{remark or '  #'} (by the preset)"
        if isinstance(value, Model):
            below += _table(f"{name}.{shown}", value)
        elif value is None:
            lines.append(f"# {shown} = {implied.get(key, '…')}{remark}")
        else:
            lines.append(f"{shown} = {_value(value, _number_of(field.annotation, field.metadata))}{remark}")
    return lines + below


def _of_relay(table: RelayTable) -> tuple[dict[str, str], frozenset[str]]:
    """Return what goes without saying, and the keys that the preset has filled."""
    implied = {"tls": toml_string(table.security)}
    if table.socket is None:
        implied["port"] = str(table.number)
    return implied, table.from_preset


def _number_of(annotation: Any, metadata: list[Any]) -> Callable[[float], str]:
    """Return how a key's numbers are written: its type says what they count."""
    arguments = get_args(annotation)
    marks = [*metadata, *(mark for argument in arguments for mark in getattr(argument, "__metadata__", ()))]
    return next((write for mark, write in _WRITERS if mark in marks), str)


def _span(seconds: float) -> str:
    return _in_units(seconds, _SPANS)


def _size(octets: float) -> str:
    return _in_units(octets, _SIZES)


def _share(part: float) -> str:
    percent = round(part * 100, 6)
    return toml_string(f"{percent:g}%") if percent / 100 == part else str(part)


def _in_units(number: float, units: tuple[tuple[int, str], ...]) -> str:
    """Write it in the largest unit that it is a whole number of, else as it is."""
    for size, unit in units:
        if number >= size and number % size == 0:
            return toml_string(f"{number / size:.0f}{unit}")
    return str(number)


# A type that reads units is known by the validator that does it.
_WRITERS: tuple[tuple[object, Callable[[float], str]], ...] = tuple(
    (getattr(kind, "__metadata__")[0], write)  # noqa: B009  # type checkers take these for plain numbers
    for kind, write in ((Duration, _span), (Octets, _size), (Fraction, _share))
)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else toml_string(name)


def _value(value: Any, number: Callable[[float], str]) -> str:
    if isinstance(value, StrEnum):
        return toml_string(value.value)
    if isinstance(value, list):
        return "[" + ", ".join(_value(part, number) for part in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return toml_string(value) if isinstance(value, str) else number(value)
