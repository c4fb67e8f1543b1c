"""Tables in a pipe: one row is one line, however long, so that grep finds whole rows."""

from __future__ import annotations

import pytest

from maildrop.cli.queue import _console, _table


def test_a_row_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is folded or cut off at the 80 columns that a pipe does not have."""
    reason = "refused " * 40
    table = _table("job", "state", "reason")
    table.add_row("j", "failed", reason)
    _console().print(table)
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["j", "failed", *reason.split()]
