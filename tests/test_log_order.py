"""The order within a log line: people read these lines, too."""

from __future__ import annotations

import json

import pytest

from maildrop import log


def test_a_json_line_begins_with_time_level_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    """When, how bad and what come before the details, and those in the order of the event."""
    log.set_up(form=log.LogFormat.JSON)
    log.relay_held(relay="main", stage="connect", why="refused", hint=None, seconds=1.0, waiting=2)
    line = json.loads(capsys.readouterr().err)
    assert list(line) == ["timestamp", "level", "event", "relay", "stage", "why", "seconds", "waiting"]


def test_a_console_line_has_the_details_in_the_order_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    """The job comes first, not the alphabetically first detail."""
    log.set_up(form=log.LogFormat.CONSOLE)
    log.job_failed(job="invoice", outcome="invalid", reason="no recipients", attempts=0, meta=None)
    line = capsys.readouterr().err
    assert line.index("job=invoice") < line.index("outcome=invalid") < line.index("attempts=0")
