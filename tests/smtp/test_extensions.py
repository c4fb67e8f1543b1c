"""`maildrop.smtp.extensions`: what a server can do, read carefully."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.smtp import Extensions, Reply
from maildrop.smtp.extensions import read_extensions


def read(*lines: str) -> Extensions:
    """Read the lines behind the server's name."""
    return read_extensions(Reply(code=250, lines=("PIPELINING.example greets you", *lines)))


def test_the_usual_ones() -> None:
    """Keywords are read in any case; the server's own name is none."""
    extensions = read(
        "size 10240000", "pipelining", "8BitMIME", "SMTPUTF8", "STARTTLS", "AUTH plain LOGIN", "X-EXTRA 1 2"
    )
    assert extensions.size
    assert extensions.size_limit == 10240000
    assert extensions.pipelining
    assert extensions.eightbitmime
    assert extensions.smtputf8
    assert extensions.starttls
    assert extensions.auth == ("PLAIN", "LOGIN")
    assert not read().pipelining


@pytest.mark.parametrize("line", ["SIZE", "SIZE 0", "SIZE -5", "SIZE 1e9", "SIZE ٣", f"SIZE {'9' * 30}"])
def test_size_without_a_limit(line: str) -> None:
    """SIZE without a usable number allows the parameter and sets no limit."""
    assert read(line).size
    assert read(line).size_limit is None


def test_contradictions() -> None:
    """Of several sizes the smallest counts, of several lists of mechanisms all, the old spelling too."""
    extensions = read("SIZE 500", "SIZE 200", "SIZE", "AUTH PLAIN", "AUTH=LOGIN PLAIN")
    assert extensions.size_limit == 200
    assert extensions.auth == ("PLAIN", "LOGIN")


def test_limits() -> None:
    """Of LIMITS each number counts that RFC 9422 allows, the smallest if there are several, and nothing else."""
    extensions = read("LIMITS MAILMAX=20 RCPTMAX=100 X=5", "limits rcptmax=50 RCPTDOMAINMAX=1")
    assert (extensions.most_messages, extensions.most_recipients, extensions.most_domains) == (20, 50, 1)
    assert (read().most_messages, read().most_recipients, read().most_domains) == (None, None, None)


@pytest.mark.parametrize(
    "words", ["RCPTMAX=0", "RCPTMAX=-1", "RCPTMAX", "RCPTMAX=", "RCPTMAX=1e3", "RCPTMAX=9999999", "RCPTMAX=\u0665"]
)
def test_limits_that_are_none(words: str) -> None:
    """A limit of nobody, or of more than six digits, limits nothing: it would stop every mail."""
    assert read(f"LIMITS {words}").most_recipients is None


@pytest.mark.parametrize(
    "line", ["", " ", "\x1bSTARTTLS", "PIPE\x00LINING", "-SIZE", "SIZ\u00c9 5", "PIPELINING\u2028X"]
)
def test_keywords_that_are_none(line: str) -> None:
    """A keyword with other characters than the RFC allows is passed over."""
    assert not {name for name in read(line).names if not name.replace("-", "").isalnum()}


@given(st.lists(st.text(max_size=40), max_size=10))
def test_anything(lines: list[str]) -> None:
    """No reply to EHLO can make the reader fail."""
    assert read(*lines).size_limit != 0
