"""Several relays, and relays with a rate: who gets the jobs, who is told, and what comes back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maildrop.daemon.coordinator import Coordinator
from maildrop.daemon.fleet import Fleet
from maildrop.smtp.steps import Fault

Down = Callable[..., Fault]
ROUTE = '[[routes]]\nrelays = ["main", "backup"]\n'


def told(events: Any, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of these names, in order."""
    return [(name, fields) for name, fields in events if name in names]


def most_in_a_window(times: list[float], seconds: float) -> int:
    """Return how many of the sorted times the fullest closed window of this length holds."""
    return max(bisect_right(times, time + seconds) - at for at, time in enumerate(times))


def test_a_rate_in_every_window_of_the_daemon(land: Any) -> None:
    """100 jobs, 3 connections, 30 a minute: never more in any minute, all sent, and no slower than that."""
    land.configure('connections = 3\nrate = "30/min"\n[retry]\nschedule = ["1h"]\n')
    for number in range(100):
        land.drop(f"job{number:03}")
    land.serve(lambda one: one.counts["sent"] == 100, quickly=True)
    begun = land.relays["main"].begun
    assert len(begun) == 100
    assert most_in_a_window(begun, 60.0) <= 30
    assert begun[-1] - begun[0] < 100 / 30 * 60 + 20


def test_each_transaction_of_a_job_counts(land: Any) -> None:
    """A job for six recipients, one a message, waits between its transactions, and nothing is counted against it."""
    land.configure('rate = "2/min"\nrecipients_per_message = 1\n')
    paths = tuple(f"r{number}@example.org" for number in range(6))
    land.drop("job", to=paths)
    land.drop("other", to=("x@example.org",))
    land.serve(lambda one: one.counts["sent"] == 2, quickly=True)
    begun = land.relays["main"].begun
    assert len(begun) == 7
    assert most_in_a_window(begun, 60.0) <= 2
    assert sorted(land.relays["main"].taken) == sorted([(path,) for path in paths] + [("x@example.org",)])
    assert {one.status for one in land.result("job").recipients} == {"delivered"}


def test_jobs_that_wait_for_the_rate_are_no_attempt(land: Any) -> None:
    """Each job's one attempt is the one that sent it."""
    land.configure('rate = "3/s"\n')
    for number in range(12):
        land.drop(f"job{number:02}")
    land.serve(lambda one: one.counts["sent"] == 12, quickly=True)
    assert [len(land.result(f"job{number:02}").attempts) for number in range(12)] == [1] * 12


def test_a_held_relay_gets_one_courier_as_its_probe(land: Any, down: Down) -> None:
    """With twenty jobs waiting and room for sixteen couriers, each try at a held relay is one connection."""
    land.configure("")
    main = land.relays["main"]
    main.down = down()
    at_once: list[int] = []
    daemons: list[Coordinator] = []

    def note() -> None:
        hold = daemons[0].fleet.relays["main"].hold_state
        if hold is not None:
            at_once.append(daemons[0].fleet.relays["main"].busy)
        if hold is not None and hold.failures == 4:
            main.down = None

    main.on_connect = note
    for number in range(20):
        land.drop(f"job{number:02}")
    land.serve(lambda one: one.counts["sent"] == 20, at_start=daemons.append, quickly=True)
    assert at_once[:4] == [1, 1, 1, 1]


def test_fail_over_is_told_at_both_ends(land: Any, down: Down, fake_relay: Any, events: Any) -> None:
    """While the first relay is held its jobs go to the second, told once; its return too, and it gets them again."""
    main, backup = land.relays["main"], fake_relay(name="backup")
    land.relays["backup"] = backup
    land.configure(ROUTE)
    main.down = down()
    for number in range(30):
        land.drop(f"early{number:02}")
    seen: list[tuple[str, str]] = []

    late: list[str] = []

    def is_over(one: Coordinator) -> bool:
        relay = one.fleet.relays["main"]
        seen.append((relay.state.value, one.fleet.relays["backup"].state.value))
        if one.counts["sent"] >= 30:
            main.down = None
            if relay.hold_state is not None or len(late) < 30:  # jobs come until one of them has found it out
                late.append(f"late{len(late):02}")
                land.drop(late[-1])
        return relay.hold_state is None and 30 <= len(late) == one.counts["sent"] - 30

    land.serve(is_over, quickly=True)
    assert ("degraded", "healthy") in seen
    assert seen[-1] == ("healthy", "healthy")
    assert [name for name, _ in told(events, "relay.held", "relay.degraded", "relay.restored", "relay.healthy")] == [
        "relay.held", "relay.degraded", "relay.healthy", "relay.restored",
    ]  # fmt: skip
    ((_, begun),) = told(events, "relay.degraded")
    ((_, ended),) = told(events, "relay.restored")
    assert (begun["relay"], begun["instead"], begun["why"]) == ("main", "backup", "connect: no")
    assert (ended["relay"], ended["jobs"]) == ("main", len(backup.taken))
    assert len(main.taken) + len(backup.taken) == 30 + len(late)
    assert main.taken
    assert {len(land.result(name).attempts) for name in late} == {1}


def test_a_relay_alone_is_held_and_not_degraded(land: Any, down: Down, fake_relay: Any, events: Any) -> None:
    """Where no other relay takes the jobs they wait."""
    land.relays["backup"] = fake_relay(name="backup")
    land.configure('[[routes]]\nrelays = "main"\n')
    land.relays["main"].down = down()
    land.drop("job")
    land.serve(lambda one: one.fleet.relays["main"].hold_state is not None and not one.on_the_wire)
    assert told(events, "relay.degraded") == []


def test_both_down_is_not_degraded(land: Any, down: Down, fake_relay: Any, events: Any) -> None:
    """A try at the second relay that is held as well carries no jobs for the first."""
    land.relays["backup"] = fake_relay(name="backup", down=down())
    land.relays["main"].down = down()
    land.configure(ROUTE)
    land.drop("job")

    def until(one: Coordinator) -> bool:
        holds = [one.fleet.relays[name].hold_state for name in ("main", "backup")]
        return all(hold is not None and hold.failures > 2 for hold in holds)

    land.serve(until, quickly=True)
    assert len(told(events, "relay.held")) == 2
    # The first job was handed to the second relay before anybody knew that this one is down, too.
    assert len(told(events, "relay.degraded")) <= 1
    assert told(events, "relay.restored") == []


@pytest.mark.parametrize(("days", "times"), [(29, 1), (-1, 1), (31, 0)])
def test_a_certificate_that_ends_soon_is_told_once_a_day(days: int, times: int, land: Any, events: Any) -> None:
    """However often the relay is used; the next day again."""
    today = [datetime(2026, 11, 23, 8, tzinfo=UTC)]
    fleet = Fleet(land.configure().relays, now=lambda: today[0])
    relay = fleet.relays["main"]
    relay.certificate_expires = today[0] + timedelta(days=days)
    fleet.tidy_one(relay, 0.0)
    fleet.tidy(1.0)
    assert len(told(events, "relay.certificate")) == times
    today[0] += timedelta(days=0 if times == 0 else 1)
    fleet.tidy_one(relay, 2.0)
    fleet.tidy_one(relay, 3.0)
    assert len(told(events, "relay.certificate")) == 2 * times
    if times:
        assert told(events, "relay.certificate")[0][1]["days"] == days


def test_a_server_with_room_for_few_is_told_once_a_day(land: Any, events: Any) -> None:
    """The number to write is in the notice."""
    fleet = Fleet(land.configure().relays, now=lambda: datetime(2026, 11, 23, tzinfo=UTC))
    relay = fleet.relays["main"]
    relay._room = 3
    fleet.tidy_one(relay, 0.0)
    fleet.tidy_one(relay, 1.0)
    ((_, fields),) = told(events, "relay.notice")
    assert "write connections = 3" in fields["what"]
