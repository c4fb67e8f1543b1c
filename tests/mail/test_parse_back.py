"""Property: whatever a job says, three parsers read the same from its message, and the octets are legal.

The parsers are a strict one of our own, Perl's Email::MIME with Email::Address::XS, and Python's `email`. Ten thousand
messages are read back: some of them drawn by hypothesis, which shrinks a failure to the smallest job that shows it but
takes most of its time for itself, and the others made of seeds. `tests/fuzz/fuzz_mail.py` is the long form.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.fuzz.mail.jobs import generate
from tests.fuzz.mail.opinions import SecondParser
from tests.fuzz.mail.trial import check

DRAWN = 4_000
SEEDED = 6_000
_MODULES = ("Email::MIME", "Email::Address::XS", "JSON::XS")


def missing() -> str:
    """Return what the second parser lacks on this machine."""
    if shutil.which("perl") is None:
        return "perl"
    for module in _MODULES:
        if subprocess.run(["perl", f"-M{module}", "-e1"], capture_output=True, check=False).returncode:
            return f"Perl's {module}"
    return ""


@pytest.fixture(scope="module")
def second() -> Iterator[SecondParser]:
    """Start the second parser once for all messages."""
    lack = missing()
    if lack and not os.environ.get("CI"):
        pytest.skip(f"no {lack}: apt-get install libemail-mime-perl libemail-address-xs-perl libjson-xs-perl")
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
