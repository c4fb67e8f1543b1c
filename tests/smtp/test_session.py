"""`maildrop.smtp.session`: order of events, deadlines, memory, and the ways in which a connection can end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from maildrop.smtp import (
    Endpoint,
    Security,
    Session,
    SessionFailed,
    SessionLost,
    Stage,
    Timeouts,
    Transaction,
    TransactionResult,
    Transcript,
    connect,
)

MESSAGE = b"Subject: hello\r\n\r\n.\r\n"
WIRE = b"Subject: hello\r\n\r\n..\r\n.\r\n"
HELLO = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
FLIGHT = "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"


def endpoint(port: int, **changes: Any) -> Endpoint:
    """Return a plain endpoint on the loopback address."""
    plain = Endpoint(relay="test", host="127.0.0.1", port=port, security=Security.NONE, hostname="client.example")
    return replace(plain, **changes)


def transaction(**changes: Any) -> Transaction:
    """Return a transaction with one recipient."""
    usual = Transaction(
        reverse_path="s@example.org",
        forward_paths=("r@example.net",),
        size=len(MESSAGE),
        chunks=lambda: iter((MESSAGE,)),
    )
    return replace(usual, **changes)


def run(port: int, talk: Callable[[Session], Awaitable[Any]], **changes: Any) -> Any:
    """Connect, talk, and abort."""

    async def main() -> Any:
        session = await connect(endpoint(port, **changes), transcript=Transcript())
        try:
            return await talk(session)
        finally:
            session.abort()

    return asyncio.run(main())


def test_order_of_events(start_server: Any) -> None:
    """The record is prepared when the message but not its dot is out, and written before `deliver` returns."""
    server = start_server(HELLO + FLIGHT + "C: <message>\nS: 250 ok\nC: QUIT", WIRE)
    log: list[str] = []
    loop_steps: list[str] = []

    async def prepare(result: TransactionResult) -> None:
        assert result.accepted == ("r@example.net",)
        assert result.end is None
        log.append("prepared")

    def record(result: TransactionResult) -> None:
        assert result.end is not None
        log.append("recorded")
        asyncio.get_running_loop().call_soon(loop_steps.append, "the loop went on")

    async def talk(session: Session) -> None:
        await session.deliver(transaction(prepare=prepare, record=record))
        log.append("returned")
        await session.quit()
        assert not session.usable

    run(server.port, talk)
    assert log == ["prepared", "recorded", "returned"]
    assert loop_steps
    assert server.join() == []
    assert server.heard.endswith(WIRE + b"QUIT\r\n")


BODY = WIRE.removesuffix(b".\r\n")


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even a small message as a large one is sent: as it comes, the final dot by itself."""
    monkeypatch.setattr("maildrop.smtp.session._SMALL_OCTETS", -1)


def test_a_small_message_goes_out_with_its_dot(start_server: Any) -> None:
    """Nothing of a small message is sent before its record is prepared, and then all of it in one piece."""
    server = start_server(HELLO + FLIGHT + "C: <message>\nS: 250 ok\nsilence", WIRE)
    heard: list[bytes] = []

    async def prepare(_result: TransactionResult) -> None:
        heard.append(bytes(server.heard))

    result = run(server.port, lambda session: session.deliver(transaction(prepare=prepare)))
    assert result.end.code == 250
    assert not heard[0].endswith(BODY)


@pytest.mark.usefixtures("in_pieces")
def test_no_dot_before_prepare_returns(start_server: Any) -> None:
    """While the record is being prepared the server has all but the final dot; if that fails it never gets it."""
    server = start_server(HELLO + FLIGHT + f"read {len(BODY)}\nsilence")

    async def prepare(_result: TransactionResult) -> None:
        assert await asyncio.to_thread(server.wait_for, BODY)
        raise OSError(errno.ENOSPC, "no space left")

    with pytest.raises(OSError, match="no space"):
        run(server.port, lambda session: session.deliver(transaction(prepare=prepare)))
    assert server.join() == []
    assert server.heard.endswith(BODY)


def test_chunks_that_raise(start_server: Any) -> None:
    """A message that can't be read to its end never gets its dot; the exception comes through as it is."""
    server = start_server(HELLO + FLIGHT + "silence")

    def chunks() -> Iterator[bytes]:
        yield MESSAGE
        raise BufferError("the file was changed")

    async def talk(session: Session) -> bool:
        with pytest.raises(BufferError, match="changed"):
            await session.deliver(transaction(chunks=chunks))
        return session.usable

    assert run(server.port, talk) is False
    assert server.join() == []
    assert b"\r\n.\r\n" not in server.heard


def test_record_that_raises(start_server: Any) -> None:
    """A record that can't be written is told to the caller of `deliver`, not to asyncio."""
    server = start_server(HELLO + FLIGHT + "C: <message>\nS: 250 ok\nsilence", WIRE)

    def record(_result: TransactionResult) -> None:
        raise OSError(errno.EIO, "input/output error")

    with pytest.raises(OSError, match="input/output"):
        run(server.port, lambda session: session.deliver(transaction(record=record)))


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize(
    ("ending", "end_code"), [("close", None), ("half-close", None), ("reset", None), ("S: 552 5.3.4 too big", 552)]
)
@pytest.mark.parametrize("waiting", ["in a thread", "in the loop"])
def test_what_happens_during_prepare_is_heard(
    start_server: Any, ending: str, end_code: int | None, waiting: str
) -> None:
    """A server that goes or refuses while the record is being prepared gets no dot, so there is no doubt."""
    server = start_server(HELLO + FLIGHT + f"read {len(BODY)}\n{ending}")

    async def prepare(_result: TransactionResult) -> None:
        if waiting == "in a thread":
            await asyncio.to_thread(server.wait_for_end)
        else:
            server.wait_for_end()

    async def talk(session: Session) -> tuple[bool, int | None]:
        try:
            result = await session.deliver(transaction(prepare=prepare))
        except SessionLost as lost:
            return lost.in_doubt, None
        assert result.end is not None
        return False, result.end.code

    assert run(server.port, talk) == (False, end_code)
    assert server.heard.endswith(BODY)


@pytest.mark.usefixtures("in_pieces")
@pytest.mark.parametrize("security", [Security.NONE, Security.IMPLICIT])
def test_a_refusal_is_read_when_a_write_fails(start_server: Any, certificates: Any, security: Security) -> None:
    """What the server said before it closed is found even if sending is the first to notice, with TLS too."""
    tls = "tls good\n" if security is Security.IMPLICIT else ""
    server = start_server(tls + HELLO + FLIGHT + "read 10\nS: 552 5.3.4 too big\nclose")

    def chunks() -> Iterator[bytes]:
        yield b"a line of text\r\n" * 100
        server.wait_for_end()  # blocks the loop on purpose: nothing is read until the next write has failed
        for _ in range(200):
            yield b"a line of text\r\n" * 1000

    async def talk(session: Session) -> TransactionResult:
        result = await session.deliver(transaction(chunks=chunks))
        assert not session.usable
        return result

    changes = {"security": security, "tls": certificates.trusting} if tls else {}
    result = run(server.port, talk, **changes)
    assert result.end.code == 552
    assert result.end.enhanced == "5.3.4"


async def fill_the_kernel(session: Session, _result: TransactionResult) -> None:
    """Write behind the session's back until the kernel has no room for the dot."""
    with contextlib.suppress(BlockingIOError):
        while True:
            session._wire._sock.send(b"x" * 65536)


def test_a_dot_that_stays_in_this_process_is_no_doubt(start_server: Any) -> None:
    """A dot that the kernel never took can't have been read by the server."""
    server = start_server(HELLO + FLIGHT + "deaf")

    async def talk(session: Session) -> SessionLost:
        with pytest.raises(SessionLost) as lost:
            await session.deliver(transaction(prepare=partial(fill_the_kernel, session)))
        return lost.value

    lost = run(server.port, talk, timeouts=Timeouts(block=0.1))
    assert (lost.stage, lost.in_doubt, lost.stale) == (Stage.DATA, False, False)
    server.join()


def test_a_dot_that_waits_for_room_is_noted_when_it_goes(start_server: Any) -> None:
    """A dot that the kernel takes later counts from then on: losing the line after it is a doubt."""
    server = start_server(HELLO + FLIGHT + "pause 0.05\nread 4000000\nclose")

    async def talk(session: Session) -> SessionLost:
        with pytest.raises(SessionLost) as lost:
            await session.deliver(transaction(prepare=partial(fill_the_kernel, session)))
        return lost.value

    lost = run(server.port, talk, timeouts=Timeouts(block=5, data_end=0.3))
    assert (lost.stage, lost.in_doubt) == (Stage.DATA_END, True)
    server.join()


def test_cancelled_after_the_dot(start_server: Any) -> None:
    """Cancelling aborts the connection; no record is written afterwards."""
    server = start_server(HELLO + FLIGHT + "C: <message>\nsilence", WIRE)
    recorded: list[TransactionResult] = []

    async def talk(session: Session) -> bool:
        task = asyncio.create_task(session.deliver(transaction(record=recorded.append)))
        assert await asyncio.to_thread(server.wait_for, WIRE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return session.usable

    assert run(server.port, talk) is False
    assert server.join() == []
    assert recorded == []


def test_the_ceiling(start_server: Any) -> None:
    """A transaction ends with its ceiling even where each reply would have more time."""
    server = start_server(HELLO + FLIGHT + "C: <message>\nsilence", WIRE)
    with pytest.raises(SessionLost, match=r"not finished within 0\.1 s; the message may have been accepted") as lost:
        run(server.port, lambda session: session.deliver(transaction()), timeouts=Timeouts(transaction=0.1))
    assert lost.value.in_doubt
    server.join()


def test_an_idle_session_that_the_server_ends(start_server: Any) -> None:
    """A session is unusable as soon as the server has closed it, said 421, or said anything at all."""
    for ending in ("close", "reset", "S: 421 idle too long", "raw: x"):
        server = start_server(HELLO + FLIGHT + "C: <message>\nS: 250 ok\npause 0.02\n" + ending + "\nsilence", WIRE)

        async def talk(session: Session) -> SessionLost:
            await session.deliver(transaction())
            async with asyncio.timeout(5):
                while session.usable:  # noqa: ASYNC110 - the session has no event for being idle
                    await asyncio.sleep(0)
            with pytest.raises(SessionLost) as lost:
                await session.deliver(transaction())
            return lost.value

        lost = run(server.port, talk)
        assert lost.stale
        assert not lost.in_doubt
        assert lost.result.untried == ("r@example.net",)
        server.join()


def test_memory_does_not_grow_with_the_message(start_server: Any) -> None:
    """A message of 24 MB to a slow reader is never held in memory as a whole."""
    chunk = b"a line of thirty-two octets xx\r\n" * 5000
    octets = len(chunk) * 150
    server = start_server(HELLO + FLIGHT + f"read {octets}\nread 3\nS: 250 ok\nC: QUIT")

    async def talk(session: Session) -> None:
        tracemalloc.start()
        await session.deliver(transaction(size=octets, chunks=lambda: iter([chunk] * 150)))
        await session.quit()

    try:
        run(server.port, talk)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert server.join() == []


def test_what_a_session_tells(start_server: Any, certificates: Any) -> None:
    """A session names its peer, cipher and extensions and counts its messages; the transcript can be exchanged."""
    script = HELLO + FLIGHT + "C: <message>\nS: 250 ok\n" + FLIGHT + "C: <message>\nS: 250 ok\nC: QUIT\nS: 221 bye"
    server = start_server("tls tls-1.2\n" + script, WIRE)

    async def talk(session: Session) -> None:
        assert session.peer == f"localhost [127.0.0.1]:{server.port}"
        assert session.tls is not None
        assert session.tls.startswith("TLSv1.2 ")
        assert session.extensions.pipelining
        assert session.usable
        assert session.messages == 0
        opened = session.opened_at
        await session.deliver(transaction())
        assert session.messages == 1
        assert session.idle_since > opened == session.opened_at
        session.transcript = transcript = Transcript()
        await session.deliver(transaction())
        await session.quit()
        assert transcript.text().splitlines()[0] == "C: MAIL FROM:<s@example.org>"
        assert f"C: <{len(MESSAGE)} octets>" in transcript.text()
        await session.quit()

    run(server.port, talk, security=Security.IMPLICIT, tls=certificates.trusting, host="localhost")
    assert server.join() == []


def test_deadlines_are_those_of_the_rfc() -> None:
    """By default no wait is shorter than RFC 5321 section 4.5.3.2 advises."""
    seconds = {stage: Timeouts().seconds(stage) for stage in (Stage.GREETING, Stage.MAIL, Stage.RCPT, Stage.DATA)}
    assert seconds == {Stage.GREETING: 300, Stage.MAIL: 300, Stage.RCPT: 300, Stage.DATA: 120}
    assert Timeouts().seconds(Stage.DATA_END) == 600
    assert Timeouts().block == 180


def test_tls_needs_a_context() -> None:
    """An endpoint can't forget the context and thereby the verification."""
    with pytest.raises(ValueError, match="SSLContext"):
        endpoint(25, security=Security.STARTTLS)


def failure(port: int, prepare_loop: Callable[[asyncio.AbstractEventLoop], None] | None = None, **changes: Any) -> Any:
    """Return the exception of a connection that can't be had."""

    async def main() -> SessionFailed:
        if prepare_loop:
            prepare_loop(asyncio.get_running_loop())
        with pytest.raises(SessionFailed) as failed:
            await connect(endpoint(port, **changes), transcript=Transcript())
        return failed.value

    return asyncio.run(main())


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("host", ["two..dots.example", "x" * 70 + ".example"])
def test_a_name_that_can_not_be_looked_up(host: str) -> None:
    """A failed look-up is told apart from a failed connection."""
    failed = failure(25, host=host)
    assert failed.stage is Stage.LOOKUP
    assert "check 'host'" in str(failed)
    assert not failed.configuration
    assert not failed.permanent


def test_a_look_up_that_never_ends() -> None:
    """The look-up counts against the connect timeout."""

    def mute(loop: Any) -> None:
        async def never(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        loop.getaddrinfo = never

    failed = failure(25, mute, timeouts=Timeouts(connect=0.05))
    assert failed.stage is Stage.LOOKUP
    assert "0.05 s" in str(failed)


def test_a_refused_connection() -> None:
    """A refused connection says where, to which address and why."""
    port = closed_port()
    failed = failure(port)
    assert failed.stage is Stage.CONNECT
    assert str(failed).startswith(
        f"relay test: connect: can't connect to 127.0.0.1 port {port} (127.0.0.1: Connection refused); check 'host'"
    )


def addresses(*hosts: str) -> Callable[[Any], None]:
    """Return a preparation by which every name has these addresses, and 192.0.2.1 never answers."""

    def prepare(loop: Any) -> None:
        async def look_up(_host: str, port: int, **_: Any) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

        real_connect = loop.sock_connect

        async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
            if address[0] == "192.0.2.1":
                await asyncio.Event().wait()
            await real_connect(sock, address)

        loop.getaddrinfo = look_up
        loop.sock_connect = sock_connect

    return prepare


def test_addresses_are_tried_in_turn(start_server: Any) -> None:
    """An address that refuses or never answers leaves time for the next one."""
    server = start_server(HELLO + "silence")

    async def main() -> str:
        addresses("127.0.0.2", "192.0.2.1", "127.0.0.1")(asyncio.get_running_loop())
        where = endpoint(server.port, host="mx.example", timeouts=Timeouts(connect=0.4))
        session = await connect(where, transcript=Transcript())
        session.abort()
        return session.peer

    assert asyncio.run(main()) == f"mx.example [127.0.0.1]:{server.port}"
    server.join()


def test_no_address_answers() -> None:
    """When all addresses fail each is named with its reason."""
    failed = failure(closed_port(), addresses("127.0.0.2", "192.0.2.1"), timeouts=Timeouts(connect=0.1))
    assert failed.stage is Stage.CONNECT
    assert "127.0.0.2: Connection refused; 192.0.2.1: no answer" in str(failed)


def test_out_of_descriptors_is_nobody_elses_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Being out of descriptors is no failure of the relay: the OSError comes through."""

    async def main() -> None:
        addresses("127.0.0.1")(asyncio.get_running_loop())

        def no_socket(*_: Any) -> None:
            raise OSError(errno.EMFILE, "too many open files")

        monkeypatch.setattr("maildrop.smtp.wire.socket.socket", no_socket)
        with pytest.raises(OSError, match="too many open files") as failed:
            await connect(endpoint(25), transcript=Transcript())
        monkeypatch.undo()
        assert not isinstance(failed.value, SessionFailed)

    asyncio.run(main())


def test_a_cancelled_connect_leaves_nothing_open(start_server: Any) -> None:
    """Cancelling while the greeting is awaited closes the connection: the server notices at once."""
    server = start_server("silence")

    async def main() -> None:
        task = asyncio.create_task(connect(endpoint(server.port), transcript=Transcript()))
        assert await asyncio.to_thread(server.wait_for_client)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    server.wait_for_end()
    assert server.errors == []


def test_a_permanent_refusal_says_so(start_server: Any) -> None:
    """A 554 greeting is permanent, names the peer, and its words are escaped."""
    server = start_server("raw: 554 5.7.1 no\\x1b[2J\\r\\n\nsilence")
    failed = failure(server.port)
    assert failed.permanent
    assert failed.reply is not None
    assert failed.peer == f"127.0.0.1 [127.0.0.1]:{server.port}"
    assert "\\x1b[2J" in str(failed)
    assert "\x1b" not in str(failed)
    server.join()


def test_certificate_problems_are_named(start_server: Any, certificates: Any) -> None:
    """A refused certificate says what is wrong with it."""
    for name, words in (("wrong-host", "elsewhere|mismatch|not valid for"), ("expired", "expired")):
        server = start_server(f"tls-refused {name}")
        failed = failure(server.port, security=Security.IMPLICIT, tls=certificates.trusting, host="localhost")
        assert failed.stage is Stage.TLS
        assert any(word in str(failed) for word in words.split("|")), str(failed)
        server.join()
