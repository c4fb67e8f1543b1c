"""What ``maildropd config`` prints."""

from __future__ import annotations

import tomllib

import pytest

from maildrop.config import describe
from maildrop.config.document import Document
from maildrop.schema import validate

SMALLEST = {"spool": {"path": "/s"}, "relays": {"main": {"host": "h"}}}
ODD = {
    "spool": {"path": "/s", "min_free": 0.0125},
    "intake": {"quiet_seconds": 1.5, "max_message": 1000001, "max_envelope": "3MiB"},
    "relays": {
        "a b": {"host": "h", "idle": 90, "max_message_size": "1GiB", "timeouts": {"quit": 0.25}},
        "second": {"host": "h", "auth": {"user": 'q"', "password_command": ["pass", "show x"]}},
    },
    "routes": [{"sender": "*@x.example", "relays": "second"}],
    "retry": {"schedule": ["1s", "1.5h", 86400], "give_up": "2w"},
}


def document(raw: dict[str, object]) -> Document:
    """Validate a configuration."""
    found = validate(Document, raw, where="maildropd.toml")
    assert isinstance(found, Document), found
    return found


@pytest.mark.parametrize("raw", [SMALLEST, ODD], ids=["smallest", "odd"])
def test_what_is_printed_means_the_same(raw: dict[str, object]) -> None:
    """The printed configuration can be used as one."""
    there = document(raw)
    assert document(tomllib.loads(describe(there))) == there


@pytest.mark.parametrize(
    "line",
    [
        'incomplete_after = "1h"', 'idle = "30s"', 'give_up = "5d"', 'max_message = "50MiB"', 'min_free = "1%"',
        'schedule = ["1m", "2m", "5m", "10m", "30m", "1h", "2h"]', "connections = 8", "jitter = 0.1",
    ],
)  # fmt: skip
def test_figures_are_written_as_a_person_would(line: str) -> None:
    """Nobody has to divide by 86400."""
    assert f"\n{line}" in describe(document(SMALLEST))
