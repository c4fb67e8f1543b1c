"""A job while it is being written: what the generators of its parts share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from tests.fuzz.mail.reader import Value


@dataclass(slots=True)
class Draft:
    """The envelope's table, the files and the expected header fields so far; ``stem`` makes boundaries and ids."""

    random: Random
    stem: str
    utf8: bool  # local parts beyond ASCII may be drawn
    domain: str = ""  # the right side of the Message-ID
    table: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    fields: list[tuple[str, Value | datetime]] = field(default_factory=list)
    is_utf8: bool = False  # and have been
