"""How a failure is worded, and how foreign text is made harmless before a person or a log sees it.

Every error that reaches a person reads *where: what is wrong; what was expected; next step*. The exit codes are
those of sysexits(3). This module knows no other module of the package.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

_TEXT_LIMIT = 1024  # characters of foreign text shown in one place; a hostile server may send megabytes

# C0, DEL, C1, line and paragraph separators, bidirectional controls, zero-width marks, surrogates: none may reach a
# terminal, a log line or a result (log injection, "Trojan Source").
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def _escaped(match: re.Match[str]) -> str:
    point = ord(match.group())
    if 0xDC80 <= point <= 0xDCFF:  # surrogateescape: an octet of a file name that is not UTF-8
        return f"\\x{point - 0xDC00:02x}"
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def printable(text: str, *, limit: int = _TEXT_LIMIT) -> str:
    r"""Return ``text`` as it may be shown: controls as ``\xNN`` or ``\uNNNN``, cut to ``limit`` characters."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'X'?`` for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a job or a configuration: where, what, and the way out."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.hint}" if self.hint else "")


class MaildropError(Exception):
    """A failure worth a sentence to a person; ``exit_code`` is the command's (sysexits)."""

    exit_code: ClassVar[int] = 70

    def __init__(self, where: str, what: str, *, hint: str = "") -> None:
        """Say where it happened, what is wrong and was expected, and the next thing to try."""
        super().__init__(where, what, hint)
        self.where = where
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return str(Problem(where=self.where, what=self.what, hint=self.hint))


class UsageError(MaildropError):
    """The command's words are off, or name something unknown (EX_USAGE)."""

    exit_code = 64


class _WithProblems(MaildropError):
    """Several problems found together; the text lists them all."""

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        """Take at least one problem."""
        count = len(problems)
        super().__init__(where, f"{count} problem{'' if count == 1 else 's'}")
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class InvalidJob(_WithProblems):
    """A job that can never be sent as it is; carries every problem, not the first (EX_DATAERR)."""

    exit_code = 65


class ConfigurationError(_WithProblems):
    """The configuration is wrong; carries every problem with file and key (EX_CONFIG)."""

    exit_code = 78


class RelayUnavailable(MaildropError):
    """A relay can't be used now (EX_UNAVAILABLE)."""

    exit_code = 69


class CannotCreate(MaildropError):
    """Something could not be made on disk (EX_CANTCREAT)."""

    exit_code = 73


class TryLater(MaildropError):
    """Not now, but later: a spool in use, a full disk (EX_TEMPFAIL)."""

    exit_code = 75


class NotPermitted(MaildropError):
    """The operating system or the policy says no (EX_NOPERM)."""

    exit_code = 77
