"""What a check has found, for a person or for a program; and who is waited for, meanwhile, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import click

from maildrop.cli.common import print_json
from maildrop.status.findings import Finding, Grade, exit_code

_STEP_COLUMNS = 13
_INDENT = " " * (8 + _STEP_COLUMNS)
_COLORS = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "red"}
_SILENT_SECONDS = 0.5  # what is quick needs no progress


class Report:
    """Findings under their headings: printed as they come, or all together as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: list[tuple[str, str, Finding]] = []

    def add(self, kind: str, name: str, findings: Sequence[Finding]) -> None:
        """Add what was found of one thing."""
        self._rows += [(kind, name, finding) for finding in findings]
        if self._as_json:
            return
        click.secho(f"{kind} {name}", bold=True)
        for finding in findings:
            word = click.style(f"{finding.grade:4}", fg=_COLORS[finding.grade])
            click.echo(f"  {word}  {finding.step + '  ':{_STEP_COLUMNS}}{finding.what}")
            if finding.hint:
                click.echo(f"{_INDENT}-> {finding.hint}")

    def end(self) -> int:
        """Say what it comes to, and return the exit code."""
        code = exit_code(finding for _, _, finding in self._rows)
        if self._as_json:
            print_json({"exit_code": code, "findings": [_row(*row) for row in self._rows]})
            return code
        words = ((Grade.FAIL, "fault"), (Grade.WARN, "warning"))
        told = [f"{count} {word}{'s'[: count > 1]}" for grade, word in words if (count := self._count(grade))]
        click.echo(f"\n{' and '.join(told) or 'all fine'}")
        return code

    def _count(self, grade: Grade) -> int:
        return sum(finding.grade is grade for _, _, finding in self._rows)


def _row(kind: str, name: str, finding: Finding) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "step": finding.step,
        "grade": finding.grade.value.lower(),
        "what": finding.what,
        "hint": finding.hint or None,
    }


class Waiting:
    """A line on a terminal that says which relays are waited for, and at which step; gone when it is over."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._since = time.monotonic()
        self._shown = False

    def tell(self, relays: Mapping[str, str]) -> None:
        """Show where each relay is."""
        seconds = time.monotonic() - self._since
        if self._quiet or seconds < _SILENT_SECONDS:
            return
        self._shown = True
        places = ", ".join(f"{name} ({stage})" for name, stage in relays.items())
        click.echo(f"\r\x1b[K{seconds:.0f} s: waiting for {places}", err=True, nl=False)

    def clear(self) -> None:
        """Make room for something else."""
        if self._shown:
            self._shown = False
            click.echo("\r\x1b[K", err=True, nl=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
