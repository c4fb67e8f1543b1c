"""Whose turn is it? Order, routes, held relays, probes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.delivery.agenda import Agenda, Turn, Work, choose
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.delivery.route import Leg
from maildrop.smtp import Security, SessionFailed, Stage
from maildrop.smtp.steps import Fault

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def relay(name: str, *, held_until: float | None = None, busy: int = 0, connections: int = 2) -> Relay:
    """Make a relay in a state."""
    made = Relay(
        RelaySettings(name=name, host="h", port=25, security=Security.NONE, hostname="me", connections=connections)
    )
    made.busy = busy
    if held_until is not None:
        made.hold(SessionFailed(name, Fault(stage=Stage.CONNECT, what="no")), now=held_until - 1.0)
    return made


def fleet(*relays: Relay) -> dict[str, Relay]:
    """Return relays by name."""
    return {one.name: one for one in relays}


def work(name: str, *routes: Iterable[str], priority: int = 0) -> Work:
    """Make a job whose legs go these ways."""
    legs = tuple(Leg(relays=tuple(names), forward_paths=(f"{name}@x.example",)) for names in routes or (["main"],))
    return Work(name=name, claimed=NOW, token="0", priority=priority, legs=legs)


def names(agenda: Agenda, relays: dict[str, Relay], now: float = 0.0) -> list[str]:
    """Take turns until there are none, busy or not; return the names in order."""
    taken = []
    while (turn := agenda.take(relays, now)) is not None:
        taken.append(turn.work.name)
    return taken


def test_priority_then_arrival() -> None:
    """The highest priority goes first, and among equals the earliest."""
    agenda = Agenda()
    for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 9)):
        agenda.add(work(name, priority=priority))
    assert names(agenda, fleet(relay("main"))) == ["high", "first", "second", "low"]


def test_order_counts_across_routes() -> None:
    """Jobs on different routes take turns by the same order."""
    agenda = Agenda()
    for number in range(4):
        agenda.add(work(str(number), ["one"] if number % 2 else ["two"]))
    assert names(agenda, fleet(relay("one"), relay("two"))) == ["0", "1", "2", "3"]


def test_a_job_that_comes_back_keeps_its_place() -> None:
    """A job whose session was lost goes to the front of those of its priority, and not before higher ones."""
    agenda, relays = Agenda(), fleet(relay("main"))
    for name in ("a", "b"):
        agenda.add(work(name))
    turn = agenda.take(relays, 0.0)
    assert turn is not None
    agenda.add(work("c"))
    agenda.add(work("urgent", priority=1))
    agenda.add(turn.work, front=True)
    assert names(agenda, relays) == ["urgent", "a", "b", "c"]


@given(st.lists(st.tuples(st.integers(-9, 9), st.sampled_from(["one", "two", "three"])), max_size=40))
def test_the_order_is_that_of_a_sorted_list(jobs: list[tuple[int, str]]) -> None:
    """However jobs are spread over routes, they come out sorted by priority and arrival."""
    agenda = Agenda()
    for number, (priority, way) in enumerate(jobs):
        agenda.add(work(str(number), [way], priority=priority))
    expected = [str(number) for number, _ in sorted(enumerate(jobs), key=lambda job: (-job[1][0], job[0]))]
    assert names(agenda, fleet(relay("one"), relay("two"), relay("three"))) == expected
    assert agenda.waiting() == 0


def test_a_busy_relay_keeps_its_jobs_waiting() -> None:
    """A route is final: while its healthy relay has no free session the job waits, and others pass it."""
    agenda = Agenda()
    agenda.add(work("waits", ["full", "idle"]))
    agenda.add(work("passes", ["idle"]))
    relays = fleet(relay("full", busy=4), relay("idle"))
    assert names(agenda, relays) == ["passes"]
    assert agenda.waiting() == agenda.waiting(relay("full")) == 1
    assert agenda.waiting(relay("elsewhere")) == 0


def test_a_held_relay_is_passed_over() -> None:
    """The first relay of a route that is not held takes the job."""
    relays = fleet(relay("first", held_until=10.0), relay("second"))
    agenda = Agenda()
    agenda.add(work("a", ["first", "second"]))
    turn = agenda.take(relays, 5.0)
    assert turn is not None
    assert turn.relay.name == "second"


def test_a_held_relay_is_probed_although_another_takes_its_jobs() -> None:
    """When its time has come one job goes to the first relay of the route, the next ones to the second."""
    relays = fleet(relay("first", held_until=10.0), relay("second"))
    agenda, taken = Agenda(), []
    for number in range(3):
        agenda.add(work(f"job{number}", ["first", "second"]))
    for now in (9.9, 10.0, 10.1):
        turn = agenda.take(relays, now)
        assert turn is not None
        turn.relay.take_on(turn.work.name)
        taken.append(turn.relay.name)
    assert taken == ["second", "first", "second"]


def test_a_route_of_held_relays_waits_and_is_probed() -> None:
    """When all relays of a route are held the job waits until one may be probed, by one job only."""
    relays = fleet(relay("first", held_until=10.0), relay("second", held_until=8.0))
    agenda = Agenda()
    agenda.add(work("a", ["first", "second"]))
    agenda.add(work("b", ["first", "second"]))
    assert agenda.take(relays, 5.0) is None
    assert agenda.parked(relays) == 2
    assert [one.name for one in agenda.parked_works(relays)] == ["a", "b"]
    turn = agenda.take(relays, 8.0)
    assert turn is not None
    assert (turn.relay.name, turn.work.name) == ("second", "a")
    turn.relay.busy += 1
    assert agenda.take(relays, 8.0) is None
    probe = agenda.take(relays, 10.0)
    assert probe is not None
    assert probe.relay.name == "first"


def test_a_job_with_one_way_open_is_not_parked() -> None:
    """A job is carried as far as it goes: its leg to a healthy relay does not wait for the held one."""
    relays = fleet(relay("down", held_until=10.0), relay("up"))
    agenda = Agenda()
    agenda.add(work("a", ["down"], ["up"]))
    assert agenda.parked(relays) == 0
    turn = agenda.take(relays, 0.0)
    assert isinstance(turn, Turn)
    assert turn.leg.relays == ("up",)


def test_unknown_relays_are_never_chosen() -> None:
    """A relay that the configuration has no more is passed over."""
    assert choose((("gone", "main"), None), fleet(relay("main")), 0.0) is not None
    assert choose((("gone",), None), fleet(relay("main")), 0.0) is None


def test_clear_gives_everything_back_in_order() -> None:
    """For a new configuration every job is taken out, best first."""
    agenda = Agenda()
    for name, priority in (("a", 0), ("b", 5)):
        agenda.add(work(name, [name], priority=priority))
    assert [one.name for one in agenda.clear()] == ["b", "a"]
    assert agenda.waiting() == 0
    assert agenda.clear() == []


@pytest.mark.parametrize("jobs", [20_000])
def test_many_jobs_are_taken_quickly(jobs: int) -> None:
    """Choosing looks at the heads of the lines only: a parked backlog does not slow the others down."""
    agenda = Agenda()
    for number in range(jobs):
        agenda.add(work(str(number), ["down"]))
    relays = fleet(relay("down", held_until=10.0), relay("up"))
    for number in range(200):
        agenda.add(work(f"up{number}", ["up"]))
    assert len(names(agenda, relays)) == 200
    assert agenda.parked(relays) == jobs
