"""A relay's live state: sessions kept and let go, holds and their ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from maildrop.delivery import relay as relay_module
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings, tls_context
from maildrop.smtp import Security, SessionFailed, Stage


def settings(**changes: Any) -> RelaySettings:
    """Make a relay's settings."""
    values = {"host": "relay.example", "port": 25, "security": Security.NONE, "hostname": "here", **changes}
    return RelaySettings(name="main", **values)


def used(session: Any, *, messages: int = 1, opened_at: float = 0.0, idle_since: float = 0.0) -> Any:
    """Make a session with a history."""
    made = session()
    made.messages, made.opened_at, made.idle_since = messages, opened_at, idle_since
    return made


@pytest.fixture
def fresh(session: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the session that a new connection gives."""
    made = session()

    async def connect(_endpoint: Any, *, transcript: Any) -> Any:
        made.transcript = transcript
        return made

    monkeypatch.setattr(relay_module, "connect", connect)
    return made


def borrow(relay: Relay, now: float) -> tuple[Any, bool]:
    """Borrow a session."""
    return asyncio.run(relay.borrow(clock=lambda: now))


def test_a_session_that_was_given_back_is_borrowed_again(session: Any, fresh: Any) -> None:
    """The session used last is taken first, with a new transcript."""
    relay = Relay(settings())
    old, new = used(session), used(session)
    before = new.transcript
    relay.give_back(old, now=0.0)
    relay.give_back(new, now=0.0)
    assert relay.sessions == 2
    assert borrow(relay, 1.0) == (new, True)
    assert new.transcript is not before
    assert borrow(relay, 1.0) == (old, True)
    assert borrow(relay, 1.0) == (fresh, False)


@pytest.mark.parametrize(
    ("changes", "history"),
    [
        ({"messages_per_connection": 5}, {"messages": 5}),
        ({"idle_seconds": 10.0}, {"idle_since": -10.0}),
        ({"session_seconds": 100.0}, {"opened_at": -100.0}),
    ],
)
def test_a_session_whose_time_is_over_parts(changes: dict[str, Any], history: dict[str, Any], session: Any) -> None:
    """A session that is full, idle too long or too old is not used again but ended politely."""
    relay = Relay(settings(**changes))
    relay.give_back(old := used(session, **history), now=0.0)
    assert relay.take_parting(0.0) == [old]
    assert relay.take_parting(0.0) == []
    assert relay.sessions == 0


def test_a_broken_session_parts(session: Any) -> None:
    """A session that is not usable any more is not kept."""
    relay = Relay(settings())
    broken = used(session)
    broken.usable = False
    relay.give_back(broken, now=0.0)
    assert relay.take_parting(0.0) == [broken]


def test_sessions_grow_stale_while_they_are_idle(session: Any, fresh: Any) -> None:
    """A session that was good when it was given back parts when it has been idle too long, used or not."""
    relay = Relay(settings(idle_seconds=10.0))
    first, second = used(session), used(session, idle_since=5.0)
    relay.give_back(first, now=5.0)
    relay.give_back(second, now=5.0)
    assert relay.take_parting(12.0) == [first]
    assert borrow(relay, 20.0) == (fresh, False)
    assert second.parted == "abort"


def test_drain_takes_out_every_session(session: Any) -> None:
    """At the end idle and parting sessions are handed out to be ended."""
    relay = Relay(settings(messages_per_connection=2))
    idle, full = used(session), used(session, messages=2)
    relay.give_back(idle, now=0.0)
    relay.give_back(full, now=0.0)
    assert relay.drain() == [idle, full]
    assert relay.drain() == []


def test_no_more_couriers_than_connections() -> None:
    """A healthy relay takes two couriers for each session that it may have: one stands ready behind the other."""
    relay = Relay(settings(connections=2))
    relay.busy = 3
    assert relay.free(0.0)
    relay.busy = 4
    assert not relay.free(0.0)


def test_holds_grow_and_end(refused: Callable[..., SessionFailed]) -> None:
    """Each failed probe lengthens the hold; a conversation ends it and tells since when it was."""
    relay = Relay(settings())
    assert relay.health == "healthy"
    assert relay.hold(refused(), now=100.0) == 1
    assert relay.health == "held"
    assert not relay.free(100.5)
    assert relay.free(101.0)
    relay.busy = 1
    assert not relay.free(101.0)
    assert relay.hold(refused(), now=101.0) == 2
    assert relay.hold(refused(), now=103.0) == 4
    ended = relay.heal()
    assert ended is not None
    assert (ended.since, ended.stage, ended.failures) == (100.0, "connect", 3)
    assert relay.heal() is None
    assert relay.hold(refused(), now=200.0) == 1


def test_couriers_that_fail_together_are_one_failure(refused: Callable[..., SessionFailed]) -> None:
    """Eight sessions that fail in the same moment are one outage, not eight probes that failed in a row."""
    relay = Relay(settings())
    for _ in range(8):
        relay.hold(refused(), now=100.0)
    assert relay.hold_state is not None
    assert relay.hold_state.until == 101.0
    assert relay.hold(refused(), now=101.0) == 2


def test_a_wrong_password_holds_for_long(refused: Callable[..., SessionFailed]) -> None:
    """A configuration fault is not retried in seconds: accounts get locked; and it wins over a shorter hold."""
    relay = Relay(settings())
    relay.hold(refused(), now=100.0)
    assert relay.hold(refused(Stage.AUTH, configuration=True), now=100.0) == 600
    assert not relay.free(699.0)
    assert relay.free(700.0)


@pytest.mark.parametrize(
    ("security", "mode", "checks_name"),
    [
        (Security.STARTTLS, ssl.CERT_REQUIRED, True),
        (Security.IMPLICIT, ssl.CERT_REQUIRED, True),
        (Security.OPPORTUNISTIC, ssl.CERT_NONE, False),
    ],
)
def test_tls_is_verified_unless_opportunistic(security: Security, mode: ssl.VerifyMode, *, checks_name: bool) -> None:
    """Certificate and name are verified, and nothing older than TLS 1.2 is spoken."""
    context = tls_context(settings(security=security))
    assert context is not None
    assert context.verify_mode is mode
    assert context.check_hostname == checks_name
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_without_tls_there_is_no_context() -> None:
    """``none`` means plain text."""
    assert tls_context(settings(security=Security.NONE)) is None


def test_a_courier_follows_only_a_message_that_was_offered(fresh: Any) -> None:
    """While a job has transactions left its session is its own, though the machine would take another by now."""
    relay = Relay(settings(connections=1))

    async def main() -> None:
        mine, _ = await relay.borrow(clock=lambda: 0.0)
        assert mine is fresh
        mine.messages, mine.takes_another = 1, True
        late = asyncio.create_task(relay.borrow(clock=lambda: 0.0))
        await asyncio.sleep(0)
        assert relay.standing_by == 1
        relay.offer(mine)
        assert await late == (mine, True)
        mine.messages, mine.takes_another = 2, True  # the follower's message, not offered
        later = asyncio.create_task(relay.borrow(clock=lambda: 0.0))
        await asyncio.sleep(0)
        assert relay.standing_by == 1
        relay.offer(mine)
        assert relay.standing_by == 0
        assert await later == (mine, True)
        assert relay.sessions == 1

    asyncio.run(main())


@pytest.mark.usefixtures("fresh")
def test_a_message_stays_offered_until_somebody_comes() -> None:
    """A courier that comes while the server still judges the message follows it at once; a verdict ends the offer."""
    relay = Relay(settings(connections=1))

    async def main() -> None:
        mine: Any = (await relay.borrow(clock=lambda: 0.0))[0]
        mine.messages, mine.takes_another = 1, True
        relay.offer(mine)
        assert await relay.borrow(clock=lambda: 0.0) == (mine, True)
        relay.give_back(mine, now=0.0)
        assert relay.take_parting(0.0) == []
        relay.give_back(mine, now=0.0)
        mine.takes_another = False
        assert await relay.borrow(clock=lambda: 0.0) == (mine, True)
        assert relay.sessions == 1

    asyncio.run(main())


@pytest.mark.usefixtures("fresh")
def test_couriers_that_wait_are_sent_home() -> None:
    """At a stop, couriers without a session are cancelled; a failed connection fails for all who wait for one."""
    relay = Relay(settings(connections=1))

    async def main() -> None:
        await relay.borrow(clock=lambda: 0.0)
        waiting = asyncio.create_task(relay.borrow(clock=lambda: 0.0))
        await asyncio.sleep(0)
        relay.dismiss()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert relay.standing_by == 0

    asyncio.run(main())
