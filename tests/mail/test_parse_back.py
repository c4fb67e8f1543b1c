"""Property: whatever a job says, three parsers read the same from its message, and the octets are legal.

The parsers are a strict one of our own, Perl's Email::MIME with Email::Address::XS, and Python's `email`. Ten thousand
messages are read back: some of them drawn by hypothesis, which shrinks a failure to the smallest job that shows it but
takes most of its time for itself, and the others made of seeds. `tests/fuzz/fuzz_mail.py` is the long form.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.fuzz.mail.example import JOB
from tests.fuzz.mail.jobs import generate
from tests.fuzz.mail.opinions import Opinion, SecondParser, missing, own_opinion, third_opinion
from tests.fuzz.mail.reader import read_message
from tests.fuzz.mail.trial import check, composed

DRAWN = 4_000
SEEDED = 6_000


@pytest.fixture(scope="module")
def second() -> Iterator[SecondParser]:
    """Start the second parser once for all messages."""
    lack = missing()
    if lack and "CI" not in os.environ:
        pytest.skip(lack)
    with SecondParser() as parser:
        yield parser


@settings(
    max_examples=DRAWN,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(random=st.randoms(use_true_random=False))
def test_everything_comes_back(second: SecondParser, random: Random) -> None:
    """People, subject, texts and files are read back unchanged by all three; the octets are legal in every respect."""
    job = generate(random)
    note(f"{job.table!a}\n{job.files!a}")
    assert check(job, second)[1] == []


def test_everything_comes_back_from_seeds(second: SecondParser) -> None:
    """The same for jobs made of seeds: a failure names the seed."""
    wrong = []
    for seed in range(SEEDED):
        found = check(generate(Random(seed)), second)[1]
        wrong += [f"seed {seed}: {found[0]}"] if found else []
    assert not wrong, "\n".join([f"{len(wrong)} of {SEEDED} are wrong", *wrong[:20]])


def test_three_readers_agree_about_an_example(second: SecondParser) -> None:
    """A message made by hand, with a bit of everything, is read alike by all."""
    assert check(JOB, second)[1] == []


@pytest.mark.parametrize(
    ("pattern", "instead", "what"),
    [
        (rb"person1@x.example, person2@", b"person2@x.example, person1@", "people"),
        (rb'\\"q', rb"\\'q", "people"),
        (rb"M=C3=BCller", b"M=C3=BCler", "people"),
        (rb"Subject: (=\?utf-8\?.\?)", rb"Subject: \1AAAA", "subject"),
        (rb"X-Two: one\r\n", b"", "names"),
        (rb"AAECAwQF", b"AAECAwQG", "tree"),
        (rb"text\r\n\r\n--=_mixed", b"texT\r\n\r\n--=_mixed", "tree"),
        (rb"filename\*=utf-8''%C3%9Cb", b"filename*=utf-8''%C3%9Ca", "tree"),
        (rb"application/pdf", b"application/pdx", "tree"),
        (rb"Content-ID: <1", b"Content-ID: <2", "tree"),
    ],
)
def test_a_disagreement_is_seen(second: SecondParser, pattern: bytes, instead: bytes, what: str) -> None:
    """What another reader reads differently is a difference between its opinion and ours."""
    octets = composed(JOB)[1]
    other, count = re.subn(pattern, instead, octets, count=1)
    assert count == 1
    ours = own_opinion(read_message(octets)[0])
    second.give(other)
    for theirs, _ in (second.answer(), third_opinion(other)):
        assert _differing(theirs, ours) == [what]


def _differing(theirs: Opinion, ours: Opinion) -> list[str]:
    return [name for name in ("names", "subject", "people", "tree") if getattr(theirs, name) != getattr(ours, name)]
