"""How failures are worded, and how foreign text is made harmless."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop import errors
from maildrop.errors import (
    CannotCreate,
    ConfigurationError,
    InvalidJob,
    MaildropError,
    NotPermitted,
    Problem,
    RelayUnavailable,
    TryLater,
    UsageError,
    did_you_mean,
    printable,
)

NASTY = {
    "CR": ("a\rb", "a\\x0db"),
    "LF": ("a\nb", "a\\x0ab"),
    "NUL": ("a\0b", "a\\x00b"),
    "ESC": ("a\x1b[2Jb", "a\\x1b[2Jb"),
    "DEL": ("a\x7fb", "a\\x7fb"),
    "NEL": ("a\x85b", "a\\x85b"),
    "CSI": ("a\x9bb", "a\\x9bb"),
    "line separator": ("a\u2028b", "a\\u2028b"),
    "paragraph separator": ("a\u2029b", "a\\u2029b"),
    "right-to-left override": ("a\u202eb", "a\\u202eb"),
    "isolate": ("a\u2066b", "a\\u2066b"),
    "arabic letter mark": ("a\u061cb", "a\\u061cb"),
    "zero width": ("a\u200bb", "a\\u200bb"),
    "byte order mark": ("a\ufeffb", "a\\ufeffb"),
    "octet of a file name": ("a\udcffb", "a\\xffb"),
    "lone surrogate": ("a\ud800b", "a\\ud800b"),
}


@pytest.mark.parametrize(("text", "shown"), NASTY.values(), ids=NASTY.keys())
def test_unprintable_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    """What could move a cursor, split a line or turn it around is shown by its number."""
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "Müller, 李 & Σ", "a\\b", "emoji 🙂"])
def test_printable_text_stays(text: str) -> None:
    """Letters of any script and backslashes stay as they are."""
    assert printable(text) == text


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x10FFFF), max_size=60))
def test_what_is_printable_can_be_encoded_and_is_one_line(text: str) -> None:
    """Whatever comes in, what comes out is UTF-8, one line, and free of control characters."""
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(character) == "Cc" for character in shown)


def test_long_text_is_cut_before_it_is_escaped() -> None:
    """Megabytes from a hostile server become at most the limit, marked as cut."""
    assert printable("x" * 2000) == "x" * 1023 + "…"
    assert printable("\n" * 100, limit=5) == "\\x0a" * 4 + "…"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("subjekt", ["subject", "sender"], "did you mean 'subject'?"),
        ("zzz", ["subject"], ""),
        ("x", [], ""),
    ],
)
def test_did_you_mean(word: str, known: list[str], hint: str) -> None:
    """The closest known word is offered, and nothing where none is close."""
    assert did_you_mean(word, known) == hint


def test_a_problem_reads_where_what_hint() -> None:
    """A problem is one sentence with its place in front and the way out behind, if there is one."""
    assert str(Problem(where="a.toml: key", what="is missing", hint="add it")) == "a.toml: key: is missing; add it"
    assert str(Problem(where="a.toml: key", what="is missing")) == "a.toml: key: is missing"


def test_an_error_reads_like_its_problem() -> None:
    """An exception's text is its place, what is wrong, and the next step."""
    error = UsageError("--wait", "'x' is not a number", hint="for example --wait 30")
    assert str(error) == "--wait: 'x' is not a number; for example --wait 30"
    assert (error.where, error.what, error.hint) == ("--wait", "'x' is not a number", "for example --wait 30")


@pytest.mark.parametrize("kind", [InvalidJob, ConfigurationError])
def test_several_problems_are_all_told(kind: type[InvalidJob | ConfigurationError]) -> None:
    """Errors that carry problems show each on a line of its own."""
    first, second = Problem(where="a", what="b"), Problem(where="c", what="d", hint="e")
    error = kind("file", [first, second])
    assert str(error) == "a: b\nc: d; e"
    assert error.problems == (first, second)
    assert error.what == "2 problems"
    assert kind("file", [first]).what == "1 problem"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (MaildropError, 70),
        (UsageError, 64),
        (InvalidJob, 65),
        (RelayUnavailable, 69),
        (CannotCreate, 73),
        (TryLater, 75),
        (NotPermitted, 77),
        (ConfigurationError, 78),
    ],
)
def test_exit_codes_are_those_of_sysexits(kind: type[MaildropError], code: int) -> None:
    """Each kind of error ends the command with its own code of sysexits(3)."""
    assert kind.exit_code == code


def test_the_pattern_knows_every_c0_and_c1_control() -> None:
    """None of the 65 control characters of Latin-1 slips through."""
    controls = [chr(point) for point in range(256) if unicodedata.category(chr(point)) == "Cc"]
    assert len(controls) == 65
    assert all(re.fullmatch(r"\\x[0-9a-f]{2}", printable(control)) for control in controls)
    assert errors.printable("\t") == "\\x09"
