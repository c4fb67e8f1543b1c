"""A rate in every window, with a clock that the test moves."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.delivery.rate import Limiter, Rate, parse_rate

MINUTE = Rate(count=30, seconds=60.0)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("30/min", MINUTE),
        (" 30 / minute ", MINUTE),
        ("30/m", MINUTE),
        ("1/s", Rate(count=1, seconds=1.0)),
        ("5/sec", Rate(count=5, seconds=1.0)),
        ("100/h", Rate(count=100, seconds=3600.0)),
        ("2000/day", Rate(count=2000, seconds=86400.0)),
        ("2000/d", Rate(count=2000, seconds=86400.0)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    """Blanks and the unit's longer names are welcome."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "30", "30/", "/min", "30/week", "-1/min", "0/min", "1.5/s", "100001/day", "30/min x"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Anything else is refused, with what was expected."""
    with pytest.raises(ValueError, match=r"expected|must be from 1"):
        parse_rate(text)


def most_in_a_window(times: list[float], seconds: float) -> int:
    """Return how many of the sorted times the fullest closed window of this length holds."""
    return max((bisect_right(times, time + seconds) - at for at, time in enumerate(times)), default=0)


def work_off(
    limiter: Limiter, jobs: int, *, connections: int, opening: list[float], lasting: list[float], start: float = 0.0
) -> list[float]:
    """Let couriers carry jobs as the daemon does; return when each transaction began.

    ``opening`` is how long it takes from the promise to MAIL, ``lasting`` from there to the reply, each used in turn.
    """
    begun: list[float] = []
    running: list[tuple[float, int, str]] = []  # (when, what comes next, job)
    now, waiting, carried, busy = start, jobs, 0, 0
    limiter.start(now)
    while len(begun) < jobs or running:
        while waiting and busy < connections and limiter.allows(now):
            waiting, busy, carried = waiting - 1, busy + 1, carried + 1
            limiter.promise(str(carried))
            heapq.heappush(running, (now + opening[carried % len(opening)], 0, str(carried)))
        times = [time for time in (limiter.next_free(now),) if time is not None and waiting and busy < connections]
        times += [running[0][0]] if running else []
        assert times, "nothing would ever wake the daemon up"
        assert min(times) > now or running, "the daemon would turn in circles"
        now = max(now, min(times))
        while running and running[0][0] <= now:
            _, step, job = heapq.heappop(running)
            if step == 0:
                assert limiter.take(job, now)
                begun.append(now)
                heapq.heappush(running, (now + lasting[int(job) % len(lasting)], 1, job))
            else:
                limiter.let_go(job)
                busy -= 1
    return begun


def test_thirty_a_minute_on_three_connections() -> None:
    """100 jobs wait for 3 connections at 30 a minute: never more in any window, none left behind, no time wasted."""
    begun = work_off(Limiter(MINUTE), 100, connections=3, opening=[0.05], lasting=[0.3])
    assert len(begun) == 100
    assert most_in_a_window(begun, 60.0) == 30
    assert begun[-1] <= 100 / 30 * 60.0 + 10


def test_after_the_first_window_bursts_are_allowed() -> None:
    """Once a window has been watched, thirty waiting jobs go at once."""
    limiter = Limiter(MINUTE)
    limiter.start(0.0)
    begun = work_off(limiter, 60, connections=30, opening=[0.0], lasting=[0.1], start=61.0)
    assert most_in_a_window(begun, 1.0) == 30
    assert begun[30] > 121.0


def test_the_first_window_is_spread() -> None:
    """What an earlier run sent is not known: after a start one goes every two seconds."""
    begun = work_off(Limiter(MINUTE), 20, connections=6, opening=[0.0], lasting=[0.1])
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert begun[0] == 0.0
    assert min(gaps) >= 2.0
    assert max(gaps) < 2.2


def test_a_day_is_spread_for_ten_minutes_only() -> None:
    """A quota of a day does not keep a burst waiting all day after a restart."""
    limiter = Limiter(Rate(count=2000, seconds=86400.0))
    limiter.start(0.0)
    assert limiter.take("a", 0.0)
    assert not limiter.allows(40.0)
    assert limiter.next_free(40.0) == 43.2
    assert limiter.take("b", 44.0)
    assert limiter.take("c", 601.0)
    assert limiter.take("d", 601.0)


def test_a_promised_turn_counts_until_it_is_let_go() -> None:
    """Whoever was promised a turn gets it however late; until then nobody else does."""
    limiter = Limiter(Rate(count=2, seconds=10.0))
    limiter.start(-100.0)
    limiter.promise("slow")
    assert limiter.take("quick", 0.0)
    assert not limiter.take("next", 5.0)
    assert limiter.next_free(5.0) == pytest.approx(10.0)
    assert limiter.take("next", 10.1)
    assert not limiter.allows(10.2)
    limiter.let_go("slow")
    assert limiter.allows(10.2)
    limiter.promise("slow")
    assert limiter.take("slow", 15.0)
    assert limiter.next_free(15.0) == pytest.approx(20.1)


def test_only_promised_turns_tell_nothing_about_when() -> None:
    """If every turn is promised, no clock can say when the next comes free."""
    limiter = Limiter(Rate(count=1, seconds=10.0))
    limiter.start(-100.0)
    limiter.promise("slow")
    assert limiter.next_free(0.0) is None
    assert not limiter.allows(1000.0)


def test_another_rate_keeps_what_has_begun() -> None:
    """A rate that is changed while the daemon runs does not give a full window away."""
    limiter = Limiter(MINUTE)
    limiter.start(-100.0)
    for number in range(30):
        assert limiter.take(str(number), 0.0)
    limiter.rate = Rate(count=31, seconds=60.0)
    assert limiter.take("one more", 1.0)
    assert not limiter.take("two more", 1.0)


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 40),
    seconds=st.sampled_from([1.0, 60.0, 3600.0]),
    connections=st.integers(1, 12),
    opening=st.lists(st.floats(0.0, 90.0), min_size=1, max_size=5),
    lasting=st.lists(st.floats(0.001, 90.0), min_size=1, max_size=5),
)
def test_never_more_in_any_window(
    count: int, seconds: float, connections: int, opening: list[float], lasting: list[float]
) -> None:
    """However long connections and replies take, no window sees more than the rate, and every job gets its turn."""
    limiter = Limiter(Rate(count=count, seconds=seconds))
    begun = work_off(limiter, 100, connections=connections, opening=opening, lasting=lasting)
    assert len(begun) == 100
    assert most_in_a_window(begun, seconds) <= count
