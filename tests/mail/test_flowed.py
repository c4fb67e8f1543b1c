from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.mail.flowed import flowed


def joined(text: str) -> list[tuple[int, str]]:
    """Read format=flowed as RFC 3676 4 tells a receiver to: paragraphs with their depth of quoting."""
    paragraphs: list[tuple[int, str]] = []
    is_open = False
    for line in text.split("\r\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ")
        is_signature = line[depth:] == "-- "
        if is_signature:
            content = "-- "
        if is_open and paragraphs[-1][0] == depth and not is_signature:
            paragraphs[-1] = (depth, paragraphs[-1][1] + content)
        else:
            paragraphs.append((depth, content))
        is_open = content.endswith(" ") and not is_signature
    return [(depth, content if content == "-- " else content.rstrip(" ")) for depth, content in paragraphs]


def lines_of(text: str) -> list[tuple[int, str]]:
    """Say what the receiver should read: each line of the file with its quote marks taken as marks."""
    found = []
    for line in text.split("\r\n"):
        depth = len(line) - len(line.lstrip(">"))
        content = line[depth:].removeprefix(" ") if depth else line
        found.append((depth, content if line == "-- " else content.rstrip(" ")))
    return found


def test_a_long_paragraph_is_cut_at_blanks() -> None:
    """A line of more than 72 characters becomes lines that end in a blank, the last one aside."""
    text = "word " * 40 + "end"
    lines = flowed(text).split("\r\n")
    assert len(lines) > 2
    assert all(len(line) <= 72 and line.endswith(" ") for line in lines[:-1])
    assert "".join(lines) == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("trailing  ", "trailing"),
        (" indented", "  indented"),
        ("From me", " From me"),
        ("Frommage", "Frommage"),
        ("> quoted", "> quoted"),
        (">>deep", ">> deep"),
        (">", ">"),
        ("-- ", "-- "),
        ("--", "--"),
        ("x" * 100, "x" * 100),
        ("   ", ""),
    ],
)
def test_what_a_reader_would_take_for_a_mark_is_protected(line: str, expected: str) -> None:
    """Space-stuffing, quote marks and the signature line are those of RFC 3676 4.3 to 4.5."""
    assert flowed(line) == expected


PIECES = st.sampled_from([*"ab>- ", "From ", "word ", "-- ", "xxxxxxxxxxxx", "  "])
LINE = st.lists(PIECES, max_size=60).map("".join)


@settings(max_examples=500, deadline=None)
@given(st.lists(LINE, max_size=6).map("\r\n".join))
def test_a_receiver_reads_the_lines_of_the_file(text: str) -> None:
    """Joined as RFC 3676 says, the flowed text has the same paragraphs at the same depth of quoting."""
    assert joined(flowed(text)) == lines_of(text)
