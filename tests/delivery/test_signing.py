"""Signed mail on its way: what a retry sends, and what a new key changes."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maildrop.mail.dkim import Signer
from maildrop.spool.layout import State

A, B = "a@example.org", "b@example.org"
_SIGNATURE = re.compile(rb"\ADKIM-Signature:.*\r\n([ \t].*\r\n)+")
FINISHED = b"From: me@sub.example.com\r\nTo: a@example.org, b@example.org\r\nSubject: x\r\n\r\nHello.\r\n"


def signer(number: int, domain: str = "example.com") -> Signer:
    """Make a signer whose Ed25519 key and selector are told from others by a number."""
    key = b64encode(bytes([number]) * 32).decode()
    return Signer(selector=f"mail{number}", domains=frozenset([domain]), key=key)


@pytest.fixture(params=["envelope", "message"])
def dropped(request: pytest.FixtureRequest, house: Any) -> str:
    """Drop a job, or a finished message."""
    house.write("job", (A, B))
    if request.param == "message":
        (house.path / State.ACTIVE / "job" / "envelope.toml").unlink()
        (house.path / State.ACTIVE / "job" / "body.txt").unlink()
        (house.path / State.ACTIVE / "job" / "message.eml").write_bytes(FINISHED)
    return str(request.param)


def carry_twice(house: Any, session: Any, say: Any, first: Signer | None, second: Signer | None) -> list[bytes]:
    """Send to one recipient, and a day later to the other; return both messages."""
    settings = replace(house.settings, signer=first)
    house.carry(house.load("job", settings=settings), one := session(say(rcpt={B: 450})))
    assert house.where() == "deferred"
    house.now += timedelta(days=1)
    house.part()
    os.rename(house.path / State.DEFERRED / "job", house.path / State.ACTIVE / "job")
    settings = replace(house.settings, signer=second)
    house.carry(house.load("job", settings=settings), two := session())
    assert house.where() == "sent"
    for transaction, octets in zip(one.transactions + two.transactions, one.received + two.received, strict=True):
        assert transaction.size == len(octets)
    return [*one.received, *two.received]


def test_a_retry_is_signed_alike(dropped: str, house: Any, session: Any, say: Any) -> None:
    """A day later the same octets go out, signature included."""
    first, second = carry_twice(house, session, say, signer(1), signer(1))
    assert first == second, dropped
    signature = _SIGNATURE.match(first)
    assert signature is not None
    assert b"d=example.com; s=mail1;" in b" ".join(signature[0].split())


@pytest.mark.parametrize("numbers", [(1, 2), (1, None), (None, 2)], ids=["another", "none-any-more", "first"])
def test_a_key_may_change_between_attempts(
    numbers: tuple[int | None, int | None], dropped: str, house: Any, session: Any, say: Any
) -> None:
    """A new key, a first one or none any more is no failure: the mail behind the signature is the same."""
    first, second = (None if number is None else signer(number) for number in numbers)
    octets = carry_twice(house, session, say, first, second)
    for number, sent in zip(numbers, octets, strict=True):
        assert (f"s=mail{number};".encode() in sent) == (number is not None), dropped
    rest = {_SIGNATURE.sub(b"", sent) for sent in octets}
    assert len(rest) == 1
    assert b"Hello" in rest.pop()


def test_a_changed_file_is_still_seen(house: Any, session: Any, say: Any) -> None:
    """That the digest leaves the signature out does not hide a change of the text."""
    house.write("job", (A, B))
    settings = replace(house.settings, signer=signer(1))
    house.carry(house.load("job", settings=settings), session(say(rcpt={B: 450})))
    (house.path / State.DEFERRED / "job" / "body.txt").write_bytes(b"Hallo\n")
    house.part()
    os.rename(house.path / State.DEFERRED / "job", house.path / State.ACTIVE / "job")
    house.carry(house.load("job", settings=settings), second := session())
    assert not second.received
    assert "no longer the one of the first attempt: body.txt" in house.result().reason


def test_other_authors_are_not_signed_for(house: Any, session: Any) -> None:
    """A mail of another domain goes as it is."""
    house.write("job", (A,))
    settings = replace(house.settings, signer=signer(1, "example.org"))
    house.carry(house.load("job", settings=settings), one := session())
    assert not one.received[0].startswith(b"DKIM-Signature")
