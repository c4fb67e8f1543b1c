"""What next, and when: deferrals of jobs, holds of relays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.delivery.retry import RetrySettings, hold_seconds, next_attempt

CLAIMED = datetime(2026, 11, 23, 8, tzinfo=UTC)
PLAIN = RetrySettings(jitter=0.0)


def wait(
    attempts: int, *, settings: RetrySettings = PLAIN, after: float = 0.0, expires: float | None = None,
    dice: float = 0.5,
) -> float | None:  # fmt: skip
    """Return the seconds until the next attempt, ``after`` seconds from the claim; None to give up."""
    now = CLAIMED + timedelta(seconds=after)
    end = None if expires is None else CLAIMED + timedelta(seconds=expires)
    when = next_attempt(settings, attempts=attempts, claimed=CLAIMED, expires=end, now=now, dice=dice)
    return None if when is None else (when - now).total_seconds()


def test_the_default_schedule() -> None:
    """1m 2m 5m 10m 30m 1h 2h, and the last repeats."""
    waits = [wait(attempts) for attempts in range(1, 10)]
    assert waits == [60, 120, 300, 600, 1800, 3600, 7200, 7200, 7200]


def test_a_job_that_had_no_attempt_yet_waits_like_after_the_first() -> None:
    """Where nothing was counted the first step counts."""
    assert wait(0) == 60


@given(st.integers(1, 20), st.floats(0, 1), st.floats(0, 0.99))
def test_jitter_stays_within_its_share(attempts: int, dice: float, jitter: float) -> None:
    """Each wait varies by at most its share of jitter, in both directions."""
    step = wait(attempts)
    varied = wait(attempts, settings=RetrySettings(jitter=jitter), dice=dice)
    assert step is not None
    assert varied is not None
    assert step * (1 - jitter) - 1e-3 <= varied <= step * (1 + jitter) + 1e-3


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 54.0), (0.5, 60.0), (1.0, 66.0)])
def test_jitter_uses_the_whole_of_its_share(dice: float, expected: float) -> None:
    """The dice's ends are the ends of ±10 %."""
    assert wait(1, settings=RetrySettings(), dice=dice) == pytest.approx(expected)


def test_it_gives_up_in_the_end() -> None:
    """After give_up there is no further attempt; just before it there is a last one at the very end."""
    settings = RetrySettings(give_up_seconds=3600, jitter=0.0)
    assert wait(9, settings=settings, after=3500) == 100
    assert wait(9, settings=settings, after=3600) is None
    assert wait(9, settings=settings, after=9999) is None


def test_the_jobs_own_end_wins_in_both_directions() -> None:
    """``expires`` shortens give_up, and makes it longer."""
    settings = RetrySettings(give_up_seconds=3600, jitter=0.0)
    assert wait(1, settings=settings, after=600, expires=600) is None
    assert wait(1, settings=settings, after=590, expires=600) == 10
    assert wait(1, settings=settings, after=7200, expires=9000) == 60


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=8), st.integers(0, 50), st.floats(0, 1e7), st.floats(0, 1))
def test_the_next_attempt_is_never_in_the_past_nor_after_the_end(
    schedule: list[float], attempts: int, after: float, dice: float
) -> None:
    """Whatever the schedule, the next attempt lies between now and the end, or there is none."""
    settings = RetrySettings(schedule_seconds=tuple(schedule), give_up_seconds=432_000.0)
    seconds = wait(attempts, settings=settings, after=after, dice=dice)
    if after >= 432_000:
        assert seconds is None
    else:
        assert seconds is not None
        assert 0 <= seconds <= 432_000 - after + 1e-3


def test_holds_are_1_2_4_then_5_for_five_minutes_then_doubling_to_five_minutes() -> None:
    """A held relay is probed soon, then steadily, then ever less."""
    holds = [hold_seconds(failures) for failures in range(1, 75)]
    assert holds[:3] == [1, 2, 4]
    assert holds[3:63] == [5] * 60
    assert sum(holds[3:63]) == 300
    assert holds[63:70] == [10, 20, 40, 80, 160, 300, 300]
    assert set(holds[69:]) == {300}


@pytest.mark.parametrize("failures", [10**3, 10**6, 10**9])
def test_a_relay_that_is_down_for_years_is_still_probed(failures: int) -> None:
    """The ceiling holds for any number of failures."""
    assert hold_seconds(failures) == 300
