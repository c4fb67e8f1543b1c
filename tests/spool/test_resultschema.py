"""The schema of results is that of the records."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest

from maildrop.errors import Problem
from maildrop.spool.record import AttemptResult, Outcome, RecipientResult, Result, Status, dump
from maildrop.spool.resultschema import result_schema

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
FULL = Result(
    job="invoice", outcome=Outcome.PARTIAL, reason="why", message_id="<a@b>", size=1, digest="sha256:0", claimed=NOW,
    finished=NOW, next_attempt=NOW, possible_duplicate=True, meta={"document": 7},
    recipients=(
        RecipientResult(
            address="a@example.org", status=Status.DELIVERED, relay="main", stage="data-end", code=250,
            enhanced="2.0.0", text="Ok", queue_id="4F2x",
        ),
    ),
    attempts=(
        AttemptResult(number=1, started=NOW, seconds=0.5, relay="main", peer="h [::1]:25", tls="TLSv1.3", result="x"),
    ),
    problems=(Problem(where="w", what="x", hint="y"),),
)  # fmt: skip
SMALL = Result(job="invoice", outcome=Outcome.SENT, reason="why", claimed=NOW)


def check(value: Any, schema: dict[str, Any]) -> None:
    """Compare a parsed record with a schema of the few words that ours has."""
    if "enum" in schema:
        assert value in schema["enum"]
    elif schema["type"] == "object" and "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for key, part in value.items():
            check(part, schema["properties"][key])
    elif schema["type"] == "array":
        for part in value:
            check(part, schema["items"])
    else:
        kinds: dict[str, Any] = {
            "string": (str, datetime),
            "integer": int,
            "number": (int, float),
            "boolean": bool,
            "object": dict,
        }
        assert isinstance(value, kinds[schema["type"]])


@pytest.mark.parametrize("result", [FULL, SMALL], ids=["full", "small"])
def test_what_is_written_fits_the_schema(result: Result) -> None:
    """Every key of a record is in the schema with its type, and what is required is always written."""
    check(tomllib.loads(dump(result).decode()), result_schema())


def test_every_outcome_is_named() -> None:
    """A program that reads results sees in the schema which outcomes there are."""
    assert result_schema()["properties"]["outcome"]["enum"] == [outcome.value for outcome in Outcome]
