"""Which addresses a relay may not like, judged by the domain that we log in from."""

from __future__ import annotations

import pytest

from maildrop.delivery.senders import Accounts, advise_about

ACCOUNTS = Accounts(
    logins={"main": "robot@Example.com", "other": "apikey"}, signed_domains=("own.example", "faß.example")
)


@pytest.mark.parametrize(
    "address",
    ["me@example.com", "me@EXAMPLE.com", "me@sub.example.com", "me@own.example", "a@b.own.example", "",
     "me@xn--fa-hia.example"],
)  # fmt: skip
def test_own_domains_are_expected(address: str) -> None:
    """The domain of the login, those that we sign for, those below them, and the null reverse-path."""
    assert ACCOUNTS.stranger(address, "main") is None


@pytest.mark.parametrize("address", ["me@other.example", "me@notexample.com", "me@com", "me@example.com.evil.example"])
def test_other_domains_are_told(address: str) -> None:
    """Both addresses are named, and two ways out."""
    found = ACCOUNTS.stranger(address, "main")
    assert found is not None
    domain = address.partition("@")[2]
    assert found.what == (
        f"is at {domain}, but relay main logs in as robot@Example.com; many providers refuse or rewrite that"
    )
    assert found.hint == f"use an address at example.com, or have the provider allow {domain} for this account"


@pytest.mark.parametrize("relay", ["other", "unknown"])
def test_a_login_that_is_no_address_tells_nothing(relay: str) -> None:
    """A name like ``apikey``, and a relay without a login, have no domain to compare with."""
    assert ACCOUNTS.stranger("me@other.example", relay) is None


def test_a_domain_is_told_once_for_each_relay() -> None:
    """The return path that follows the author is not told again, another relay's account is."""
    accounts = Accounts(logins={"main": "robot@example.com", "spare": "robot@example.net", "local": "robot"})
    addresses = {"from": "me@other.example", "return_path": "bounces@other.example"}
    found = list(advise_about(addresses, ["main", "spare", "local"], accounts))
    assert [problem.where for problem in found] == ["from", "from"]
    assert ["relay main" in found[0].what, "relay spare" in found[1].what] == [True, True]
    addresses["return_path"] = "bounces@third.example"
    assert [one.where for one in advise_about(addresses, ["main"], accounts)] == ["from", "return_path"]


def test_what_a_login_says_is_made_harmless() -> None:
    """A user name with control characters does not reach a terminal as it is."""
    found = Accounts(logins={"main": '"a\x7fb"@example.com'}).stranger("me@other.example", "main")
    assert found is None or "\x7f" not in found.what
