"""Sessions over real sockets against a server led by dice, which knows what it took: nothing is lost, nothing twice.

The server keeps to the protocol (it reads DATA and BDAT, and answers in order), but refuses, drops and resets wherever
it likes, and cuts its replies into pieces. Two couriers share a session, as in the daemon: one begins behind the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
from collections import Counter, deque
from collections.abc import Iterator, Sequence

import pytest

from maildrop.smtp import (
    Endpoint,
    Security,
    Session,
    SessionFailed,
    SessionLost,
    Timeouts,
    Transaction,
    TransactionResult,
    Transcript,
    connect,
)
from tests.smtp.certificates import Certificates

LINE = b"a line of text, and then\r\n.\r\n"  # with a dot that would end the message


class Gone(Exception):
    """The server ends the connection here."""


class DiceServer:
    """``taken`` holds what it took: reverse-path and forward-path; it may have gone before it said so."""

    def __init__(self, dice: random.Random, *, lmtp: bool) -> None:
        self._dice = dice
        self._lmtp = lmtp
        self.taken: Counter[tuple[str, str]] = Counter()
        self.errors: list[str] = []
        self.conversations: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one conversation."""
        task = asyncio.current_task()
        assert task is not None
        self.conversations.add(task)
        task.add_done_callback(self.conversations.discard)
        try:
            await self._say(writer, 220)
            await self._converse(reader, writer)
        except (Gone, OSError, asyncio.IncompleteReadError):
            if self._dice.random() < 0.3:
                with contextlib.suppress(OSError, AttributeError):  # the client was faster
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
        except Exception as error:
            self.errors.append(repr(error))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender, recipients = "", list[str]()
        while line := (await reader.readuntil(b"\r\n")).decode().strip():
            verb = line.split()[0]
            self._maybe_go()
            if verb in ("EHLO", "LHLO"):
                names = [name for name in ("PIPELINING", "CHUNKING", "SIZE") if self._dice.random() < 0.8]
                await self._say(writer, 250, *names)
            elif verb == "MAIL":
                sender, recipients = line.partition("<")[2].partition(">")[0], []
                code = self._choose(250, 0.9, 421, 451, 550)
                sender = sender if code == 250 else ""
                await self._say(writer, code)
            elif verb == "RCPT":
                code = self._choose(250, 0.8, 450, 550) if sender else 503
                recipients += [line.partition("<")[2].partition(">")[0]] if code == 250 else []
                await self._say(writer, code)
            elif verb == "DATA":
                code = (354 if self._dice.random() < 0.95 else 451) if recipients else 503
                await self._say(writer, code)
                if code == 354:
                    await self._judge(writer, sender, recipients, await self._read_data(reader))
            elif verb == "BDAT":
                await self._judge(writer, sender, recipients, await reader.readexactly(int(line.split()[1])))
            else:
                sender, recipients = "", []
                await self._say(writer, 221 if verb == "QUIT" else 250)

    async def _read_data(self, reader: asyncio.StreamReader) -> bytes:
        lines: list[bytes] = []
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
            if self._dice.random() < 0.0005:
                raise Gone
        return b"".join(lines)

    async def _judge(
        self, writer: asyncio.StreamWriter, sender: str, recipients: Sequence[str], message: bytes
    ) -> None:
        assert message == message_of(sender), f"{len(message)} octets of another message from {sender}"
        self._maybe_go()
        for together in [[one] for one in recipients] if self._lmtp else [recipients]:
            code = self._choose(250, 0.8, 421, 452, 554)
            if code == 250:
                self.taken.update((sender, path) for path in together)
            self._maybe_go()
            await asyncio.sleep(self._dice.choice((0, 0, 0.002)))
            await self._say(writer, code)

    async def _say(self, writer: asyncio.StreamWriter, code: int, *lines: str) -> None:
        words = ("ok", *lines)
        text = "".join(f"{code}{'-' if word is not words[-1] else ' '}{word}\r\n" for word in words).encode()
        cut = self._dice.randrange(len(text))
        writer.write(text[:cut])
        if self._dice.random() < 0.1:
            await asyncio.sleep(0.001)
        self._maybe_go(0.3)
        writer.write(text[cut:])
        await writer.drain()
        if code == 421:
            raise Gone

    def _maybe_go(self, factor: float = 1.0) -> None:
        if self._dice.random() < 0.02 * factor:
            raise Gone

    def _choose(self, usual: int, likely: float, *others: int) -> int:
        return usual if self._dice.random() < likely else self._dice.choice(others)


def message_of(sender: str) -> bytes:
    """Return the message of a sender: small or large, which its name decides."""
    head = f"Subject: {sender}\r\n\r\n".encode()
    return head + LINE * (8000 if int(sender.partition(".")[0][1:]) % 3 == 0 else 1)


class Carriers:
    """Two couriers with one session; each try of a message has a name of its own."""

    def __init__(self, port: int, dice: random.Random, *, lmtp: bool, tls: ssl.SSLContext | None) -> None:
        self._port = port
        self._lmtp = lmtp
        self._tls = tls
        self._dice = dice
        self._waiting = deque(range(12))
        self._session: Session | None = None
        self._connecting = asyncio.Lock()
        self._news = asyncio.Condition()
        self.recorded: Counter[str] = Counter()
        self.outcomes: dict[str, tuple[str, TransactionResult]] = {}
        self.followed = 0
        self._tries = 0

    async def carry(self) -> None:
        """Take messages as long as there are any."""
        while self._waiting and self._tries < 80:
            number = self._waiting.popleft()
            try:
                session = await self._borrow()
            except SessionFailed:
                self._tries += 1
                self._waiting.append(number)
                continue
            await self._deliver(session, number)
            async with self._news:
                self._news.notify_all()

    async def _borrow(self) -> Session:
        while True:
            async with self._connecting:
                session = self._session
                if session is None or not (session.usable or session.takes_another or session._turn is not None):
                    session = self._session = await self._connect()
                if session.usable or session.takes_another:
                    return session
            async with self._news:
                await self._news.wait()

    async def _connect(self) -> Session:
        where = Endpoint(
            relay="dice",
            host="127.0.0.1",
            port=self._port,
            security=Security.NONE if self._tls is None else Security.IMPLICIT,
            tls=self._tls,
            lmtp=self._lmtp,
            hostname="client.example",
            timeouts=Timeouts(greeting=5, ehlo=5, mail=5, rcpt=5, data=5, data_end=5, block=5, quit=5),
        )
        return await connect(where, transcript=Transcript())

    async def _deliver(self, session: Session, number: int) -> None:
        self._tries += 1
        self.followed += session.takes_another
        name = f"m{number}.{self._tries}@example.org"
        patience = self._dice.random() * 0.01 if self._dice.random() < 0.05 else None
        try:
            async with asyncio.timeout(patience):
                result = await session.deliver(self._transaction(name))
        except SessionLost as lost:
            self.outcomes[name] = ("in doubt" if lost.in_doubt else "lost", lost.result)
            self._waiting.append(number)
        except TimeoutError:
            self.outcomes[name] = ("canceled", TransactionResult())
        else:
            taken = "delivered" if result.delivered == result.accepted else "delivered to some"
            self.outcomes[name] = (taken if result.delivered else "refused", result)

    def _transaction(self, name: str) -> Transaction:
        message = message_of(name)

        async def prepare(_result: TransactionResult) -> None:
            await asyncio.sleep(self._dice.choice((0, 0, 0.001)))

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(message), 50_000):
                yield message[start : start + 50_000]

        def handed_over() -> None:
            asyncio.get_running_loop().create_task(self._tell())  # ends at once

        return Transaction(
            reverse_path=name,
            forward_paths=("a@example.net", "b@example.net")[: self._dice.randint(1, 2)],
            size=len(message),
            chunks=chunks,
            prepare=prepare,
            record=lambda _result: self.recorded.update([name]),
            handed_over=handed_over,
            transcript=Transcript(),
        )

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


async def meet(
    dice: random.Random, *, lmtp: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
) -> tuple[DiceServer, Carriers]:
    """Let couriers and a server meet until everything is settled."""
    server = DiceServer(dice, lmtp=lmtp)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=1 << 20, ssl=tls and tls[0])
    carriers = Carriers(int(listening.sockets[0].getsockname()[1]), dice, lmtp=lmtp, tls=tls and tls[1])
    async with asyncio.timeout(60):
        await asyncio.gather(carriers.carry(), carriers.carry())
    if carriers._session is not None:
        carriers._session.abort()
    listening.close()
    await asyncio.gather(*server.conversations)
    return server, carriers


def check(server: DiceServer, carriers: Carriers, case: str) -> Counter[str]:
    """Compare what the client knows with what the server did; return how often there was which outcome."""
    assert server.errors == [], case
    assert max(server.taken.values(), default=0) <= 1, case
    for name, (outcome, result) in carriers.outcomes.items():
        taken = {path for sender, path in server.taken if sender == name}
        words = f"{case}: {name} {outcome}, {taken}"
        assert set(result.delivered) <= taken, words
        if outcome not in ("in doubt", "canceled"):
            assert set(result.delivered) == taken, words
        if outcome != "canceled":
            assert carriers.recorded[name] == (outcome == "delivered"), words
    return Counter(outcome for outcome, _ in carriers.outcomes.values())


@pytest.mark.parametrize("kind", ["smtp", "lmtp", "tls"])
@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 40, 10)], ids=str)
def test_nothing_is_lost_and_nothing_twice(seeds: range, kind: str, certificates: Certificates) -> None:
    """What is recorded was taken; what was taken is recorded or in doubt; what is lost or refused was not taken."""
    seen: Counter[str] = Counter()
    followed = 0
    lmtp = kind == "lmtp"
    tls = (certificates.servers["good"], certificates.trusting) if kind == "tls" else None
    for seed in seeds:
        server, carriers = asyncio.run(meet(random.Random(seed), lmtp=lmtp, tls=tls))
        seen += check(server, carriers, f"seed {seed}")
        followed += carriers.followed
    assert {"delivered", "lost", "refused", *(["delivered to some"] if lmtp else [])} <= set(seen)
    assert (followed > 20) != lmtp
