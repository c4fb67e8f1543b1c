"""Line ends of finished messages, wherever the slices are cut."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from maildrop.mail.lines import has_one_line_end, normalized, scan

octets = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"bc", b"\0", b"\xff"]), max_size=40).map(b"".join)


def plain(content: bytes) -> bytes:
    """Say the same with one regular expression over the whole."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


def unstuffed(content: bytes) -> bytes:
    """Remove the first dot of each line that has more than it."""
    lines = plain(content).split(b"\r\n")
    return b"\r\n".join([line[1:] if line.startswith(b".") and line != b"." else line for line in lines])


def cut(content: bytes, size: int) -> list[bytes]:
    """Cut into slices."""
    return [content[start : start + size] for start in range(0, len(content), size)]


@given(octets, st.integers(1, 5))
def test_line_ends_become_crlf(content: bytes, size: int) -> None:
    """CRLF, LF and CR in any mix become CRLF, also at the borders of slices, and the last line gets one."""
    assert b"".join(normalized(cut(content, size))) == plain(content)


@given(octets, st.integers(1, 5))
def test_dots_are_unstuffed(content: bytes, size: int) -> None:
    """A leading dot goes if anything follows it in its line, wherever the slices are cut."""
    assert b"".join(normalized(cut(content, size), unstuff=True)) == unstuffed(content)


@given(octets, st.integers(1, 5))
def test_scan_sees_what_is_there(content: bytes, size: int) -> None:
    """Size, longest line, NUL, octets beyond ASCII, dots and the forbidden text do not depend on the slices."""
    found = scan(normalized(cut(content, size)), forbidden=b"abc")
    whole = plain(content)
    lines = whole.split(b"\r\n")
    dotted = [line for line in lines if line.startswith(b".")]
    assert found.size == len(whole)
    assert found.longest == max(map(len, lines))
    assert found.is_ascii is whole.isascii()
    assert found.octets_beyond_ascii == whole.count(b"\xff")
    assert found.has_nul is (b"\0" in whole)
    assert found.has_forbidden is (b"abc" in whole)
    assert found.is_dot_stuffed is (bool(dotted) and all(line.startswith(b"..") for line in dotted))


@given(octets, st.integers(1, 5))
def test_kinds_of_line_ends_are_counted(content: bytes, size: int) -> None:
    """Whether all lines end alike does not depend on the slices."""
    kinds = set(re.findall(rb"\r\n|\r|\n", content))
    assert has_one_line_end(cut(content, size)) is (len(kinds) <= 1)
