"""What a check has found: one line for each step, whether it is fine, and the next thing to try where it is not.

Values only. Which steps there are is known to ``soundness`` (the spool) and ``probe`` (the relays).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

FINE, UNAVAILABLE, TRY_LATER, NOT_PERMITTED, CONFIGURATION = 0, 69, 75, 77, 78  # sysexits(3)
_RANKS = (CONFIGURATION, NOT_PERMITTED, UNAVAILABLE, TRY_LATER)  # the first that occurs is the command's exit code


class Grade(StrEnum):
    """How a step went, as a person sees it: what has failed stands out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One step of a check. ``what`` and ``hint`` are ready to be shown: foreign text in them is made harmless.

    ``code`` is the exit code that a failure stands for; fine steps and warnings have none.
    """

    step: str
    what: str
    grade: Grade = Grade.OK
    hint: str = ""
    code: int = FINE


def warned(step: str, what: str, hint: str = "") -> Finding:
    """Make a finding that a person should know of, and that keeps no mail from going."""
    return Finding(step=step, what=what, grade=Grade.WARN, hint=hint)


def failed(step: str, what: str, hint: str = "", *, code: int) -> Finding:
    """Make a finding that keeps mail from going."""
    return Finding(step=step, what=what, grade=Grade.FAIL, hint=hint, code=code)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code for all of them: configuration before permission before what may pass by itself."""
    codes = {finding.code for finding in findings}
    return next((code for code in _RANKS if code in codes), FINE)
