"""Whose turn it is: an order of names and times, without any directory."""

from __future__ import annotations

import pytest

from maildrop.spool.backlog import Arrival, Backlog, Observed


def turns(backlog: Backlog, now: float) -> list[str]:
    """Take out everything whose turn it is."""
    names = []
    while (observed := backlog.next(now)) is not None:
        names.append(observed.name)
    return names


def test_names_are_looked_at_in_the_order_of_their_coming() -> None:
    """First come, first looked at; what left meanwhile is skipped."""
    backlog = Backlog()
    for name in ("c", "a", "b"):
        backlog.add(name, Arrival.LISTED)
    backlog.forget(["a"])
    assert (backlog.waiting, backlog.next_look(5.0)) == (2, 5.0)
    assert turns(backlog, 5.0) == ["c", "b"]
    assert backlog.next_look(5.0) is None


def test_a_name_that_left_and_came_again_has_one_turn() -> None:
    """Its old place in the queue counts for nothing."""
    backlog = Backlog()
    backlog.add("a", Arrival.LISTED)
    backlog.forget(["a"])
    backlog.add("a", Arrival.RENAMED)
    assert turns(backlog, 0.0) == ["a"]


def test_turns_alternate() -> None:
    """Neither the new nor the old starve each other."""
    backlog = Backlog()
    for name in ("old1", "old2", "old3"):
        backlog.observe(Observed(name=name, arrival=Arrival.LISTED), 1.0)
    for name in ("new1", "new2"):
        backlog.add(name, Arrival.LISTED)
    assert turns(backlog, 1.0) == ["new1", "old1", "new2", "old2", "old3"]


def test_a_look_that_was_put_off_is_not_due_at_its_old_time() -> None:
    """Only the last time that was set counts."""
    backlog = Backlog()
    observed = Observed(name="a", arrival=Arrival.LISTED)
    backlog.observe(observed, 5.0)
    backlog.hurry("a", 1.0, renamed=False)
    assert backlog.next_look(0.0) == 1.0
    assert backlog.next(1.0) is observed
    backlog.observe(observed, 9.0)
    assert turns(backlog, 8.9) == []
    assert backlog.next_look(0.0) == 9.0


def test_times_that_no_longer_count_take_no_memory() -> None:
    """A name that is hurried ten thousand times stands in the agenda a few times only."""
    backlog = Backlog()
    backlog.observe(Observed(name="a", arrival=Arrival.LISTED), 20000.0)
    for number in range(10000, 0, -1):
        backlog.hurry("a", float(number), renamed=False)
    assert len(backlog._agenda) < 100
    assert turns(backlog, 1.0) == ["a"]


def test_what_was_refused_waits_for_its_time() -> None:
    """Writing to a drop that can't be claimed does not hasten the next try; dropping it anew does."""
    backlog = Backlog()
    backlog.observe(Observed(name="a", arrival=Arrival.LISTED, refusals=1), 60.0)
    backlog.hurry("a", 1.0, renamed=False)
    assert turns(backlog, 1.0) == []
    backlog.hurry("a", 1.0, renamed=True)
    assert turns(backlog, 1.0) == ["a"]


def test_doubt_takes_back_all_evidence() -> None:
    """After lost events nothing counts as renamed, looked at or not."""
    backlog = Backlog()
    backlog.add("a", Arrival.RENAMED)
    backlog.add("b", Arrival.LYING)
    backlog.observe(Observed(name="c", arrival=Arrival.RENAMED), 0.0)
    backlog.doubt()
    arrivals = {}
    while (observed := backlog.next(0.0)) is not None:
        arrivals[observed.name] = observed.arrival
    assert arrivals == {"a": Arrival.LISTED, "b": Arrival.LYING, "c": Arrival.LISTED}


@pytest.mark.parametrize(("age", "pause"), [(0.0, 0.1), (0.05, 0.1), (1.0, 1.0), (4.0, 4.0), (3600.0, 5.0)])
def test_the_young_are_looked_at_more_often(age: float, pause: float) -> None:
    """The pause doubles the age, from a tenth of a second up to the time between two scans."""
    assert Backlog().pause_seconds(age, 5.0) == pause
