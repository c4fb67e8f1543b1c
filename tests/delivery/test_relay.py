"""A relay's live state: sessions kept and let go, holds and their ends."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from maildrop.delivery import relay as relay_module
from maildrop.delivery.health import Detour
from maildrop.delivery.rate import Rate
from maildrop.delivery.relay import NoTurn, Relay
from maildrop.delivery.relay_settings import RelaySettings, tls_context
from maildrop.smtp import Extensions, Reply, Security, SessionFailed, Stage
from maildrop.smtp.steps import Fault


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
    relay.take_on("probe")
    assert not relay.free(101.0)
    relay.let_go("probe")
    assert relay.hold(refused(), now=101.0) == 2
    assert relay.hold(refused(), now=103.0) == 4
    relay.take_on("second")
    ended = relay.heal("second")
    assert ended is not None
    assert (ended.since, ended.stage, ended.failures) == (100.0, "connect", 3)
    assert relay.heal("second") is None
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


def test_only_the_probe_ends_a_hold(refused: Callable[..., SessionFailed]) -> None:
    """A courier that was on its way when the hold began had an older session: that it arrived says nothing."""
    relay = Relay(settings())
    relay.take_on("earlier")
    relay.take_on("failing")
    relay.let_go("failing")
    relay.hold(refused(), now=100.0)
    assert relay.heal("earlier") is None
    assert not relay.free(200.0)
    relay.let_go("earlier")
    assert relay.free(200.0)
    relay.take_on("probe")
    assert not relay.free(200.0)
    assert relay.heal("earlier") is None
    assert relay.heal("probe") is not None
    assert relay.free(200.0)


def test_a_server_without_room_for_more_is_asked_for_no_more(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 4yz to one more session while others work is no outage: the courier waits for one of those, for a minute."""
    relay = Relay(settings(connections=3))
    tried = 0

    async def connect(_endpoint: Any, *, transcript: Any) -> Any:
        nonlocal tried
        tried += 1
        if tried == 2:
            raise SessionFailed("main", Fault(stage=Stage.GREETING, what="421", reply=Reply(code=421, lines=("full",))))
        made = session()
        made.transcript = transcript
        return made

    monkeypatch.setattr(relay_module, "connect", connect)

    async def main() -> None:
        first, _ = await relay.borrow(clock=lambda: 0.0)
        waiting = asyncio.create_task(relay.borrow(clock=lambda: 0.0))
        await asyncio.sleep(0)
        assert relay.crowded == 1
        assert relay.standing_by == 1
        relay.give_back(first, now=0.0)
        assert await waiting == (first, True)
        assert tried == 2
        _, reused = await relay.borrow(clock=lambda: 61.0)
        assert not reused

    asyncio.run(main())


def test_without_another_session_a_4yz_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could be waited for."""
    relay = Relay(settings())

    async def connect(_endpoint: Any, **_settings: Any) -> Any:
        raise SessionFailed("main", Fault(stage=Stage.GREETING, what="421", reply=Reply(code=421, lines=("no",))))

    monkeypatch.setattr(relay_module, "connect", connect)
    with pytest.raises(SessionFailed):
        borrow(relay, 0.0)
    assert relay.crowded is None


def test_a_rate_keeps_jobs_waiting() -> None:
    """Jobs are handed out as turns are there; each further transaction of a job needs one of its own."""
    relay = Relay(settings(rate=Rate(count=3, seconds=60.0)))
    assert relay.limiter is not None
    relay.limiter.start(-1000.0)
    relay.take_on("a")
    relay.take_on("b")
    relay.begin("a", now=0.0)
    relay.begin("a", now=1.0)
    with pytest.raises(NoTurn):
        relay.begin("a", now=2.0)
    relay.let_go("a")
    assert not relay.free(2.0)
    assert relay.next_free(2.0) == pytest.approx(60.0)
    relay.let_go("b")
    assert relay.free(2.0)
    assert relay.next_free(2.0) is None


def test_a_successor_keeps_count_and_the_detour() -> None:
    """Another configuration of a relay does not give its window away, nor forget where its jobs go."""
    before = Relay(settings(rate=Rate(count=2, seconds=60.0)))
    assert before.limiter is not None
    before.limiter.start(-1000.0)
    before.begin("a", now=0.0)
    before.begin("b", now=0.0)
    before.detour = Detour(instead="backup", since=0.0)
    after = Relay(settings(rate=Rate(count=3, seconds=60.0)))
    after.succeed(before)
    after.begin("c", now=1.0)
    assert not after.free(1.0)
    assert after.detour is before.detour


def test_the_end_of_the_certificate_is_noted(fresh: Any) -> None:
    """It is that of the server that was spoken to last."""
    relay = Relay(settings())
    fresh.certificate_expires = datetime(2027, 1, 1, tzinfo=UTC)
    borrow(relay, 0.0)
    assert relay.certificate_expires == fresh.certificate_expires


def test_a_session_is_full_when_the_server_says_so(session: Any) -> None:
    """MAILMAX of the server's LIMITS ends a session before our own limit does."""
    relay = Relay(settings(messages_per_connection=100))
    full = used(session, messages=2)
    full.extensions = Extensions(most_messages=2)
    relay.give_back(full, now=0.0)
    assert relay.take_parting(0.0) == [full]


def test_a_connection_that_this_machine_can_not_make_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors, the courier that waits for the session tries for itself instead of waiting for ever."""
    relay = Relay(settings(connections=1))

    async def connect(_endpoint: Any, *, transcript: Any) -> Any:  # noqa: ARG001 - the real one's
        await asyncio.sleep(0)
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(relay_module, "connect", connect)

    async def main() -> list[Any]:
        both = (relay.borrow(clock=lambda: 0.0), relay.borrow(clock=lambda: 0.0))
        async with asyncio.timeout(5):
            return list(await asyncio.gather(*both, return_exceptions=True))

    assert [getattr(error, "errno", None) for error in asyncio.run(main())] == [errno.EMFILE, errno.EMFILE]
    assert (relay.standing_by, relay.sessions) == (0, 0)
