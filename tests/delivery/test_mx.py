"""Which servers take mail for a domain: order, null MX, address literals."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from maildrop.delivery.mx import Exchange, Nowhere, literal, order
from maildrop.delivery.route import Leg, Route, legs


def exchanges(*pairs: tuple[int, str]) -> list[Exchange]:
    """Make records."""
    return [Exchange(preference=preference, host=host) for preference, host in pairs]


def rolling(*numbers: float) -> Callable[[], float]:
    """Return dice that give these numbers."""
    return iter(numbers).__next__


def test_the_lowest_preference_is_first_and_equals_take_turns() -> None:
    """The dice decide among equals, and nothing else."""
    records = exchanges((20, "late"), (10, "a"), (10, "b"), (5, "best"))
    assert order("x.example", records, rolling(0.1, 0.9, 0.2, 0.5)) == ["best", "b", "a", "late"]
    assert order("x.example", records, rolling(0.9, 0.1, 0.2, 0.5)) == ["best", "a", "b", "late"]


def test_a_server_named_twice_is_tried_once() -> None:
    """By its better preference."""
    assert order("x.example", exchanges((20, "a"), (10, "b"), (5, "a")), lambda: 0.5) == ["a", "b"]


def test_without_mx_the_domain_is_its_own_server() -> None:
    """RFC 5321 section 5.1: the implicit MX."""
    assert order("x.example", [], lambda: 0.5) == ["x.example"]


def test_null_mx_takes_no_mail() -> None:
    """RFC 7505: 556 and 5.1.10; beside real servers it means nothing."""
    with pytest.raises(Nowhere) as refusal:
        order("x.example", exchanges((0, "")), lambda: 0.5)
    assert (refusal.value.reply.code, refusal.value.reply.enhanced) == (556, "5.1.10")
    assert order("x.example", exchanges((0, ""), (10, "a")), lambda: 0.5) == ["a"]


@pytest.mark.parametrize(
    ("domain", "address"),
    [("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:db8::1]", "2001:db8::1"), ("[ipv6:::1]", "::1"), ("x.example", None)],
)
def test_address_literals(domain: str, address: str | None) -> None:
    """Whoever writes an address means that server."""
    assert literal(domain) == address


def test_a_literal_that_is_no_address_is_refused() -> None:
    """Nobody could ever be reached there."""
    with pytest.raises(Nowhere, match=r"5\.1\.2"):
        literal("[999.1.1.1]")


def test_each_domain_has_its_own_leg_where_a_relay_is_direct() -> None:
    """Domains are compared without case; recipients that take no direct relay stay together."""
    found = legs(
        [Route(recipient="*@inside.*", relays=("main",)), Route(relays=("main", "mx"))],
        every_relay=("main", "mx"), wanted=(), sender="", job="job", direct={"mx"},
        forward_paths=["a@x.example", "b@y.example", "c@X.example", "d@inside.one", "e@inside.two"],
    )  # fmt: skip
    assert found == (
        Leg(relays=("main", "mx"), forward_paths=("a@x.example", "c@X.example"), domain="x.example"),
        Leg(relays=("main", "mx"), forward_paths=("b@y.example",), domain="y.example"),
        Leg(relays=("main",), forward_paths=("d@inside.one", "e@inside.two")),
    )
    assert found[0].way == (("main", "mx"), "x.example")
