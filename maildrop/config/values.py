"""The kinds of values that a person writes in ``maildropd.toml``: sizes, shares, paths, hosts, commands, lists.

Each is judged where it is written, in words of its own. Knows no table.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any

from maildrop.delivery.rate import parse_rate
from maildrop.schema import BeforeValidator, Duration, Field, WithJsonSchema, invalid, number_or_text


def _octets(value: object) -> object:
    """Read ``"50MiB"`` or a number of octets."""
    if not isinstance(value, str):
        return value
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        number = value.strip().removesuffix(unit).strip()
        if value.strip().endswith(unit) and number.isdecimal():
            return int(number) * factor
    raise invalid('is not a size; expected a number of octets or text such as "64KiB", "50MiB"')


def _fraction(value: object) -> object:
    """Read ``"1%"`` or a fraction from 0 to 1."""
    if isinstance(value, str):
        number = value.strip().removesuffix("%")
        if value.strip().endswith("%") and number.replace(".", "", 1).isdecimal():
            return float(number) / 100
        raise invalid('is not a share; expected text such as "1%" or a fraction such as 0.01')
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _path(value: object) -> object:
    """Read the name of a file or folder: no name that a person means has a control character."""
    if isinstance(value, str) and not (value and value.isprintable()):
        raise invalid("is not a path: it is empty or has a control character")
    return value


def _absolute(value: object) -> object:
    if isinstance(value, str) and not value.startswith("/"):
        raise invalid("must be an absolute path, such as /var/spool/maildropd")
    return _path(value)


def _name(value: object) -> object:
    """Read a host's name or address: it becomes part of commands and header fields."""
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise invalid('is not a host name or address; expected one such as "mail.example.com" or "192.0.2.7"')
    return value


def _selector(value: object) -> object:
    """Read the name of a key in the DNS (RFC 6376 3.1)."""
    if isinstance(value, str) and not _SELECTOR.fullmatch(value):
        raise invalid('is not a selector; expected letters, digits, hyphens and dots, such as "mail2026"')
    return value


def _command(value: object) -> object:
    """Read a program and its arguments, as one text or as a list."""
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError:
        raise invalid("has a quote that is not closed") from None
    if isinstance(words, list) and not (words and all(word and "\0" not in word for word in map(str, words[:1]))):
        raise invalid("names no program")
    return value


def _plain(value: object) -> object:
    """Read text on one line: control characters separate the fields of what is said with a user's name."""
    if isinstance(value, str) and not value.isprintable():
        raise invalid("has a control character")
    return value


def _pin(value: object) -> object:
    """Read the SHA-256 of a public key."""
    if isinstance(value, str):
        try:
            pin_octets(value)
        except ValueError:
            raise invalid(
                "is not the SHA-256 of a public key; expected 64 hex digits or 44 characters of base64"
            ) from None
    return value


def pin_octets(text: str) -> bytes:
    """Return what ``pin_sha256`` writes in hex or in base64, as openssl and curl print it; raises ValueError."""
    bare = text.strip().removeprefix("sha256//").replace(":", "")
    octets = bytes.fromhex(bare) if len(bare) == 64 else base64.b64decode(bare, validate=True)
    if len(octets) != 32:
        raise ValueError("not 32 octets")
    return octets


def _rate(value: object) -> object:
    """Read ``"30/min"``."""
    if isinstance(value, str):
        try:
            parse_rate(value)
        except ValueError as error:
            raise invalid(str(error)) from None
    return value


def _texts(value: object) -> object:
    """Read one text or a list of texts."""
    return [value] if isinstance(value, str) else value


_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?|\[?[0-9A-Fa-f:.]{2,45}\]?")
_SELECTOR = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62}){0,3}")

Path = Annotated[str, BeforeValidator(_path)]
AbsolutePath = Annotated[str, BeforeValidator(_absolute)]
HostName = Annotated[str, BeforeValidator(_name)]
Wait = Annotated[Duration, Field(gt=0)]  # without a pause a deferred job would keep a relay busy for nothing
Octets = Annotated[int, BeforeValidator(_octets), Field(ge=1), number_or_text("[0-9]+ *[KMG]iB", minimum=1)]
Fraction = Annotated[
    float, BeforeValidator(_fraction), Field(ge=0, lt=1), number_or_text(r"[0-9]+(\.[0-9]+)?%", minimum=0)
]
_LIST: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
Texts = Annotated[list[str], BeforeValidator(_texts), WithJsonSchema({"anyOf": [{"type": "string"}, _LIST]})]
Pins = Annotated[
    list[Annotated[str, BeforeValidator(_pin)]],
    BeforeValidator(_texts),
    WithJsonSchema({"anyOf": [{"type": "string"}, _LIST]}),
]
RateText = Annotated[str, BeforeValidator(_rate)]
Selector = Annotated[str, BeforeValidator(_selector)]
Command = Annotated[str | list[str], BeforeValidator(_command)]
PlainText = Annotated[str, BeforeValidator(_plain)]
Loose = Field(strict=False)  # enumerations are written as text

ReportProblem = Callable[..., None]  # (key, what is wrong, what to do)
