"""Delivery on a real spool, with sessions that follow a script: our own seam, no network."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maildrop.delivery import relay as relay_module
from maildrop.delivery import visit as visit_module
from maildrop.delivery.commit import Commit
from maildrop.delivery.courier import Courier
from maildrop.delivery.load import Loaded, load
from maildrop.delivery.mailing import MailingSettings
from maildrop.delivery.relay import Relay
from maildrop.delivery.relay_settings import RelaySettings
from maildrop.delivery.retry import RetrySettings
from maildrop.delivery.settle import Carried, Settler
from maildrop.smtp import (
    Endpoint,
    Extensions,
    Reply,
    Security,
    SessionFailed,
    SessionLost,
    Stage,
    Transaction,
    TransactionResult,
    Transcript,
)
from maildrop.smtp.steps import Fault
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.record import Result
from maildrop.spool.record import load as load_record

TOKEN = "0123456789abcdef0123456789abcdef"
ALL = frozenset({"PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE"})


@dataclass(kw_only=True)
class Say:
    """What the relay says in one transaction; 0 in place of a reply is the loss of the line."""

    mail: int = 250
    rcpt: Mapping[str, int] = field(default_factory=dict)  # 250 for the others
    data: int = 354
    dot: int = 250  # the loss of the line before the dot is ``lose_before_dot``
    lose_before_dot: bool = False
    stale: bool = False
    text: str = "2.0.0 Ok: queued as 4F2x"
    before_dot: Callable[[], None] | None = None  # something happens while the message is on its way
    raises: Exception | None = None  # a fault in the session itself


class ScriptedSession:
    """A session that follows a script, one ``Say`` a transaction; keeps what it was asked."""

    def __init__(self, *script: Say, extensions: Extensions | None = None) -> None:
        """Begin unused."""
        self.script = list(script)
        self.extensions = extensions or Extensions(names=ALL)
        self.peer = "relay.example [192.0.2.7]:587"
        self.tls: str | None = "TLSv1.3 TLS_AES_256_GCM_SHA384"
        self.messages = 0
        self.opened_at = self.idle_since = 0.0
        self.usable = True
        self.takes_another, self.certificate_expires = False, None
        self.transcript = Transcript()
        self.asked: list[tuple[str, ...]] = []
        self.transactions: list[Transaction] = []
        self.received: list[bytes] = []
        self.parted = ""
        self.at_record: Callable[[], None] | None = None

    async def deliver(self, transaction: Transaction) -> TransactionResult:
        """Follow the next ``Say``; like a real session, give the connection up for whatever is raised."""
        try:
            return await self._follow(transaction)
        except BaseException:
            self.abort()
            raise

    async def _follow(self, transaction: Transaction) -> TransactionResult:
        say = self.script.pop(0) if self.script else Say()
        reused, self.messages = self.messages > 0, self.messages + 1
        self.asked.append(transaction.forward_paths)
        self.transactions.append(transaction)
        self.transcript.client(f"MAIL FROM:<{transaction.reverse_path}>")
        if say.raises is not None:
            raise say.raises
        if say.mail == 0 or say.stale:
            raise self.lost(Stage.MAIL, TransactionResult(untried=transaction.forward_paths), stale=reused)
        mail = Reply(code=say.mail, lines=("MAIL",))
        if say.mail >= 400:
            return TransactionResult(mail=mail, untried=transaction.forward_paths)
        recipients: dict[str, Reply] = {}
        for path in transaction.forward_paths:
            code = say.rcpt.get(path, 250)
            if code == 0:
                raise self.lost(Stage.RCPT, TransactionResult(mail=mail, recipients=recipients))
            recipients[path] = Reply(code=code, lines=(f"{code // 100}.1.1 RCPT",))
        result = TransactionResult(mail=mail, recipients=recipients)
        accepted = len(result.accepted)
        if not accepted or (transaction.all_or_nothing and accepted < len(recipients)):
            return result
        data = Reply(code=say.data or 354, lines=("DATA",))
        result = TransactionResult(mail=mail, recipients=recipients, data=data)
        if say.data == 0:
            raise self.lost(Stage.DATA, result)
        if say.data >= 400:
            return result
        return await self._message(transaction, say, result)

    async def _message(self, transaction: Transaction, say: Say, result: TransactionResult) -> TransactionResult:
        message = b"".join(transaction.chunks())
        if say.before_dot is not None:
            say.before_dot()
        await transaction.prepare(result)
        if say.lose_before_dot:
            raise self.lost(Stage.DATA, result)
        if say.dot == 0:
            raise self.lost(Stage.DATA_END, result, in_doubt=True)
        end = Reply(code=say.dot, lines=(say.text if say.dot == 250 else f"{say.dot // 100}.7.1 dot",))
        result = TransactionResult(mail=result.mail, recipients=result.recipients, data=result.data, end=end)
        self.transcript.server(end)
        if end.severity == 2:
            self.received.append(message)
            if self.at_record is not None:
                self.at_record()
            transaction.record(result)
        return result

    def lost(
        self, stage: Stage, result: TransactionResult, *, stale: bool = False, in_doubt: bool = False
    ) -> SessionLost:
        """Break the session."""
        self.usable = False
        fault = Fault(stage=stage, what="the line was lost")
        return SessionLost("main", fault, in_doubt=in_doubt, stale=stale, result=result)

    async def quit(self) -> None:
        """Part politely."""
        self.usable, self.parted = False, "quit"

    def abort(self) -> None:
        """Part at once."""
        self.usable, self.parted = False, "abort"


class House:
    """The delivery side of maildropd: a spool, relays, a courier, and a clock that stands still."""

    def __init__(self, spool: Spool, path: Path) -> None:
        """Begin with one relay called main."""
        self.spool = spool
        self.path = path
        self.now = datetime(2026, 11, 23, 8, tzinfo=UTC)
        self.commit = Commit()
        self.retry = RetrySettings(jitter=0.0)
        self.transcript = "failed"
        self.relays = {"main": self.relay("main")}
        self.sessions: list[ScriptedSession | Exception] = []
        self.opened: list[ScriptedSession] = []
        self._jobs: list[Job] = []

    @staticmethod
    def relay(name: str, **changes: Any) -> Relay:
        """Make a relay."""
        values = {"host": "relay.example", "port": 25, "security": Security.NONE, "hostname": "here", **changes}
        return Relay(RelaySettings(name=name, **values))

    async def connect(self, endpoint: Endpoint, *, transcript: Transcript) -> ScriptedSession:
        """Stand in for ``maildrop.smtp.connect``: the next session of the script."""
        assert endpoint.relay in self.relays
        session = self.sessions.pop(0)
        if isinstance(session, Exception):
            raise session
        session.transcript = transcript
        session.opened_at = session.idle_since = asyncio.get_running_loop().time()
        self.opened.append(session)
        return session

    @property
    def settings(self) -> MailingSettings:
        """Return what is configured about mails."""
        return MailingSettings(relays=tuple(self.relays), domain="here.example")

    def write(self, name: str, to: Sequence[str], lines: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Put a job into active, as a claim would."""
        folder = self.path / State.ACTIVE / name
        folder.mkdir()
        recipients = ", ".join(f'"{path}"' for path in to)
        (folder / "envelope.toml").write_text(f'from = "me@example.com"\nto = [{recipients}]\n{lines}\n', "utf-8")
        for file, content in (files or {"body.txt": b"Hello\n"}).items():
            (folder / file).write_bytes(content)

    def load(self, name: str, *, settings: MailingSettings | None = None) -> Loaded:
        """Open and load a job of active, as admission does."""
        job = Job.open(self.spool, State.ACTIVE, name)
        self._jobs.append(job)
        return load(job, settings or self.settings, claimed=self.now, token=TOKEN)

    def job(self, *to: str, lines: str = "", name: str = "job") -> Loaded:
        """Write and load a job."""
        self.write(name, to or ("a@example.org",), lines)
        return self.load(name)

    def courier(self) -> Courier:
        """Make a courier with the house's clock."""
        settler = Settler(self.retry, commit=self.commit, now=lambda: self.now, dice=lambda: 0.5)
        return Courier(settler, transcript=self.transcript, commit=self.commit, now=lambda: self.now)

    def carry(self, loaded: Loaded, *sessions: ScriptedSession | Exception, relay: str = "main", broken: int = 0,
              leg: int = 0) -> Carried:  # fmt: skip
        """Carry a leg of the job with the next sessions of the script."""
        self.sessions += sessions

        async def run() -> Carried:
            return await self.courier().carry(loaded, loaded.open_legs[leg], self.relays[relay], broken=broken)

        return asyncio.run(run())

    def where(self, name: str = "job") -> str:
        """Return the one folder that the job is in."""
        found = [state.value for state in State if (self.path / state / name).is_dir()]
        assert len(found) == 1, found
        return found[0]

    def result(self, name: str = "job") -> Result:
        """Read the record of the job, wherever it is."""
        return load_record((self.path / self.where(name) / name / "result.toml").read_bytes())

    def again(self, name: str = "job") -> Loaded:
        """Take up again a job that was deferred or left in active, as a restart would."""
        if self.where(name) == State.DEFERRED:
            os.rename(self.path / State.DEFERRED / name, self.path / State.ACTIVE / name)
        self.part()
        return self.load(name)

    def part(self) -> None:
        """End the idle sessions, so that the next job opens one."""
        for relay in self.relays.values():
            relay.drain()

    def close(self) -> None:
        """Let go of every job."""
        for job in self._jobs:
            job.close()
        self.commit.close()


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """Make a spool."""
    path = tmp_path / "spool"
    init(str(path), user="root" if os.geteuid() == 0 else None)
    return path


@pytest.fixture
def house(spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Open the delivery side of a maildropd."""
    with Spool.open(str(spool_path), volatile=True) as spool:
        made = House(spool, spool_path)
        monkeypatch.setattr(relay_module, "connect", made.connect)
        monkeypatch.setattr(visit_module, "_RECORD_RETRY_SECONDS", 0.0)
        yield made
        made.close()


@pytest.fixture
def session() -> type[ScriptedSession]:
    """Return the scripted session's class."""
    return ScriptedSession


@pytest.fixture
def say() -> type[Say]:
    """Return the class of a transaction's script."""
    return Say


@pytest.fixture
def refused() -> Callable[..., SessionFailed]:
    """Make the failure of a connection."""

    def make(stage: Stage = Stage.CONNECT, *, configuration: bool = False) -> SessionFailed:
        return SessionFailed("main", Fault(stage=stage, what="connection refused", configuration=configuration))

    return make
