"""A transaction begun behind a message that the server is judging: whose turn it is, and what ends with whom."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from maildrop.smtp import (
    Endpoint,
    Security,
    Session,
    SessionLost,
    Timeouts,
    Transaction,
    TransactionResult,
    Transcript,
    connect,
)
from maildrop.smtp.steps import Phase
from tests.smtp.dialog import Clock

MESSAGE = b"Subject: hello\r\n\r\n.\r\n"
WIRE = b"Subject: hello\r\n\r\n..\r\n.\r\n"
HELLO = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
ASKED = "C: MAIL *\nC: RCPT *\nC: DATA\n"
YES = "S: 250 ok\nS: 250 ok\nS: 354 go\n"
BOTH_ASKED = HELLO + ASKED + YES + "C: <message>\n" + ASKED


def transaction(name: str, **changes: Any) -> Transaction:
    """Return a transaction of its own, with its own transcript."""
    usual = Transaction(
        reverse_path=f"{name}@example.org",
        forward_paths=(f"to-{name}@example.net",),
        size=len(MESSAGE),
        chunks=lambda: iter((MESSAGE,)),
        transcript=Transcript(),
    )
    return replace(usual, **changes)


def run(server: Any, talk: Callable[[Session], Awaitable[None]], **timeouts: float) -> None:
    """Connect and talk; both sides have said what the script says."""

    async def main() -> None:
        where = Endpoint(
            relay="test",
            host="127.0.0.1",
            port=server.port,
            security=Security.NONE,
            hostname="client.example",
            timeouts=Timeouts(**timeouts),
        )
        session = await connect(where, transcript=Transcript())
        try:
            await talk(session)
        finally:
            session.abort()

    with asyncio.Runner(loop_factory=Clock) as runner:
        server.advance_clock = runner.get_loop().advance  # type: ignore[attr-defined]
        runner.run(main())
    assert server.join() == []


async def begin_both(
    session: Session, first: Transaction, second: Transaction
) -> tuple[asyncio.Task[TransactionResult], asyncio.Task[TransactionResult]]:
    """Begin the second as soon as the first's message has been handed over."""
    judged = asyncio.Event()
    one = asyncio.create_task(session.deliver(replace(first, handed_over=judged.set)))
    await judged.wait()
    assert session.takes_another
    assert not session.usable
    other = asyncio.create_task(session.deliver(second))
    await asyncio.sleep(0)
    return one, other


def test_the_order_of_both(start_server: Any) -> None:
    """The second's record is prepared, and its message sent, only after the first's verdict was recorded."""
    script = BOTH_ASKED + "S: 250 one\n" + YES + "C: <message>\nS: 250 two\nC: QUIT\nS: 221 bye"
    server = start_server(script, WIRE)
    log: list[str] = []

    def noting(name: str) -> Transaction:
        async def prepare(_result: TransactionResult) -> None:
            log.append(f"{name} prepared")

        def record(result: TransactionResult) -> None:
            assert result.end is not None
            log.append(f"{name} recorded: {result.end.text}")

        return transaction(name, prepare=prepare, record=record)

    async def talk(session: Session) -> None:
        one, other = await begin_both(session, noting("first"), noting("second"))
        assert not session.takes_another
        with pytest.raises(ValueError, match="in the middle of another"):
            await session.deliver(transaction("third"))
        assert [(await task).delivered for task in (one, other)] == [
            ("to-first@example.net",),
            ("to-second@example.net",),
        ]
        assert session.usable
        assert session.messages == 2
        await session.quit()

    run(server, talk)
    assert log == ["first prepared", "first recorded: one", "second prepared", "second recorded: two"]


def test_a_second_that_can_not_be_asked(start_server: Any) -> None:
    """What no caller may pass says nothing on the wire; the first hears its verdict, in its own transcript."""
    server = start_server(HELLO + ASKED + YES + "C: <message>\npause 0.05\nS: 250 one\nsilence", WIRE)
    first = transaction("first")
    second = transaction("second", smtputf8=True)

    async def talk(session: Session) -> None:
        one, other = await begin_both(session, first, second)
        with pytest.raises(ValueError, match="lacks SMTPUTF8"):
            await other
        assert (await one).delivered == ("to-first@example.net",)

    run(server, talk)
    assert first.transcript is not None
    assert "S: 250 one\n" in first.transcript.text()
    assert second.transcript is not None
    assert second.transcript.text() == ""


def test_the_end_of_the_first_is_not_that_of_the_second(start_server: Any) -> None:
    """Room to write that comes late hands over nothing, even if the server has already asked for the second message."""
    server = start_server(BOTH_ASKED + "S: 250 one\n" + YES + "C: <message>\nS: 250 two\nsilence", WIRE)
    seen: list[tuple[Phase, bool]] = []

    async def talk(session: Session) -> None:
        def record(_result: TransactionResult) -> None:
            session._room_to_write()
            seen.append((session._client.phase, session._client.progress.handed_over))

        one, other = await begin_both(session, transaction("first", record=record), transaction("second"))
        await one
        assert (await other).delivered == ("to-second@example.net",)

    run(server, talk)
    assert seen == [(Phase.BODY, False)]


def test_a_record_that_fails(start_server: Any) -> None:
    """If the first's acceptance can't be recorded the session ends, and the second has lost nothing."""
    server = start_server(BOTH_ASKED + "S: 250 one\n" + YES + "silence", WIRE)

    def record(_result: TransactionResult) -> None:
        raise OSError(errno.EIO, "input/output error")

    async def talk(session: Session) -> None:
        one, other = await begin_both(session, transaction("first", record=record), transaction("second"))
        with pytest.raises(OSError, match="input/output"):
            await one
        with pytest.raises(SessionLost) as lost:
            await other
        assert not lost.value.in_doubt
        assert lost.value.result.delivered == ()

    run(server, talk)
    assert server.heard.endswith(b"DATA\r\n")


def test_the_first_is_canceled(start_server: Any) -> None:
    """With the first its connection goes, at once; the second is stale and was not sent."""
    server = start_server(BOTH_ASKED + "silence", WIRE)

    async def talk(session: Session) -> None:
        one, other = await begin_both(session, transaction("first"), transaction("second"))
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        with pytest.raises(SessionLost) as lost:
            await other
        assert (lost.value.stale, lost.value.in_doubt) == (True, False)
        assert lost.value.result.untried == ("to-second@example.net",)

    run(server, talk)


@pytest.mark.parametrize("turn", ["before its turn", "at its turn"])
def test_the_second_is_canceled(start_server: Any, turn: str) -> None:
    """Nobody waits for the second any more: the first hears its verdict all the same, and then the session ends."""
    server = start_server(BOTH_ASKED + "pause 0.05\nS: 250 one\n" + YES + "silence", WIRE)
    recorded: list[TransactionResult] = []

    async def talk(session: Session) -> None:
        at_its_turn = asyncio.Event()

        async def prepare(_result: TransactionResult) -> None:
            at_its_turn.set()
            await asyncio.Event().wait()

        second = transaction("second", record=recorded.append, prepare=prepare)
        one, other = await begin_both(session, transaction("first"), second)
        if turn == "at its turn":
            await at_its_turn.wait()
        other.cancel()
        assert (await one).delivered == ("to-first@example.net",)
        with pytest.raises(asyncio.CancelledError):
            await other
        assert not session.usable

    run(server, talk)
    assert recorded == []
    assert server.heard.endswith(b"DATA\r\n")


def test_one_after_the_other_without_end(start_server: Any) -> None:
    """A session may be followed message by message, each begun behind the one before."""
    again = "S: 250 ok\n" + YES + "C: <message>\n" + ASKED
    server = start_server(BOTH_ASKED + again * 20 + "S: 250 ok\n" + YES + "C: <message>\nS: 250 ok\nsilence", WIRE)

    async def talk(session: Session) -> None:
        tasks: list[asyncio.Task[TransactionResult]] = []
        for number in range(22):
            judged = asyncio.Event()
            one = transaction(f"m{number}", handed_over=judged.set)
            tasks.append(asyncio.create_task(session.deliver(one)))
            await judged.wait()
        results = await asyncio.gather(*tasks)
        assert [result.delivered for result in results] == [(f"to-m{number}@example.net",) for number in range(22)]

    run(server, talk)


def test_each_transaction_has_its_own_time(start_server: Any) -> None:
    """Waiting for its turn does not count against the second's ceiling, and the first's ends with the first."""
    server = start_server(
        BOTH_ASKED + "clock 50\nS: 250 one\nclock 50\n" + YES + "C: <message>\nS: 250 ok\nsilence", WIRE
    )

    async def talk(session: Session) -> None:
        await asyncio.gather(*await begin_both(session, transaction("first"), transaction("second")))

    run(server, talk, transaction=70)
