"""Which relays for this mail, in which order."""

from __future__ import annotations

import pytest

from maildrop.delivery.route import Leg, Route, legs

EVERY = ("main", "backup")


def split(
    *paths: str, routes: tuple[Route, ...] = (), wanted: tuple[str, ...] = (), sender: str = "me@example.com",
    job: str = "job",
) -> tuple[Leg, ...]:  # fmt: skip
    """Return the legs of a mail to these recipients."""
    return legs(routes, every_relay=EVERY, wanted=wanted, sender=sender, forward_paths=paths, job=job)


def leg(relays: tuple[str, ...], *paths: str) -> Leg:
    """Make a leg."""
    return Leg(relays=relays, forward_paths=paths)


def test_without_routes_all_relays_in_order() -> None:
    """The implicit last route is every relay in the order of the file."""
    assert split("a@x.example", "b@y.example") == (leg(EVERY, "a@x.example", "b@y.example"),)


def test_the_first_match_is_final() -> None:
    """A later route that matches too has no say."""
    routes = (Route(recipient="*@x.example", relays=("one",)), Route(recipient="*", relays=("two",)))
    assert split("a@x.example", routes=routes) == (leg(("one",), "a@x.example"),)


def test_recipients_are_split_by_route_in_order_of_appearance() -> None:
    """Recipients of one mail may go different ways, each way once."""
    routes = (Route(recipient="*@x.example", relays=("one",)),)
    assert split("a@y.example", "b@x.example", "c@y.example", "d@x.example", routes=routes) == (
        leg(EVERY, "a@y.example", "c@y.example"),
        leg(("one",), "b@x.example", "d@x.example"),
    )


def test_two_routes_to_the_same_relays_are_one_leg() -> None:
    """What goes the same way goes in one transaction."""
    routes = (Route(recipient="*@x.example", relays=("one",)), Route(recipient="*@y.example", relays=("one",)))
    assert split("a@x.example", "b@y.example", routes=routes) == (leg(("one",), "a@x.example", "b@y.example"),)


def test_the_envelopes_wish_wins() -> None:
    """Relays that the envelope names win over the routes."""
    routes = (Route(relays=("one",)),)
    assert split("a@x.example", routes=routes, wanted=("backup",)) == (leg(("backup",), "a@x.example"),)


@pytest.mark.parametrize(
    ("route", "matches"),
    [
        (Route(relays=("one",), sender="*@EXAMPLE.com"), True),
        (Route(relays=("one",), sender="you@*"), False),
        (Route(relays=("one",), recipient="*@X.EXAMPLE"), True),
        (Route(relays=("one",), recipient="?@x.example"), True),
        (Route(relays=("one",), recipient="[bc]@x.example"), False),
        (Route(relays=("one",), job="inv*"), True),
        (Route(relays=("one",), job="INV*"), False),
        (Route(relays=("one",), sender="me@*", recipient="*@y.example"), False),
    ],
)
def test_globs(route: Route, *, matches: bool) -> None:
    """All three patterns have to match, addresses without case and names with it."""
    (found,) = split("a@x.example", routes=(route,), job="invoice-1")
    assert (found.relays == ("one",)) == matches


def test_the_null_reverse_path_matches_only_what_says_so() -> None:
    """``<>`` is an empty text for the pattern."""
    routes = (Route(sender="*@*", relays=("one",)), Route(sender="", relays=("two",)))
    assert split("a@x.example", routes=routes, sender="") == (leg(("two",), "a@x.example"),)
