"""A daemon in this process, on a real spool, with relays that answer as a test says: no network, no waiting."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maildrop import config as configuration
from maildrop import log
from maildrop.config import Config
from maildrop.daemon.coordinator import Coordinator
from maildrop.daemon.service import Service
from maildrop.delivery import relay as relay_module
from maildrop.smtp import (
    Endpoint,
    Extensions,
    Reply,
    SessionFailed,
    SessionLost,
    Stage,
    Transaction,
    TransactionResult,
    Transcript,
)
from maildrop.smtp.steps import Fault
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.record import Result
from maildrop.spool.record import load as load_record
from maildrop.systemd import Systemd

_PATIENCE_SECONDS = 0.002  # of real time, for what other threads do

Events = list[tuple[str, dict[str, Any]]]


@dataclass(kw_only=True)
class FakeRelay:
    """A relay: what it answers after the dot, or why nobody can connect; keeps what it took."""

    name: str
    dot: int = 250
    rcpt: Mapping[str, int] = field(default_factory=dict)
    down: Fault | None = None
    connections: int = 0
    taken: list[tuple[str, ...]] = field(default_factory=list)
    on_message: Callable[[], None] | None = None  # while the message is on its way
    hangs: bool = False  # never answers the dot
    loses: int = 0  # sessions to lose before the dot
    begun: list[float] = field(default_factory=list)  # when each transaction began, on the loop's clock
    on_connect: Callable[[], None] | None = None


class FakeSession:
    """A session with a fake relay."""

    def __init__(self, relay: FakeRelay) -> None:
        """Begin unused."""
        self.relay = relay
        self.extensions = Extensions(names=frozenset({"SIZE", "SMTPUTF8", "8BITMIME"}))
        self.peer, self.tls, self.messages, self.usable = "relay [192.0.2.7]:25", None, 0, True
        self.takes_another, self.certificate_expires = False, None
        self.opened_at = self.idle_since = asyncio.get_running_loop().time()
        self.transcript = Transcript()
        self.parted = ""

    async def deliver(self, transaction: Transaction) -> TransactionResult:
        """Take the message as the relay is set to."""
        self.messages += 1
        self.relay.begun.append(asyncio.get_running_loop().time())
        recipients = {
            path: Reply(code=self.relay.rcpt.get(path, 250), lines=("RCPT",)) for path in transaction.forward_paths
        }
        ok = Reply(code=250, lines=("OK",))
        result = TransactionResult(mail=ok, recipients=recipients, data=Reply(code=354, lines=("go",)))
        if not result.accepted:
            return TransactionResult(mail=ok, recipients=recipients)
        for _ in transaction.chunks():
            await asyncio.sleep(0)
        if self.relay.on_message is not None:
            self.relay.on_message()
        if self.relay.loses:
            self.relay.loses -= 1
            fault = Fault(stage=Stage.DATA, what="lost")
            raise SessionLost(self.relay.name, fault, in_doubt=False, stale=False, result=result)
        await transaction.prepare(result)
        if self.relay.hangs:
            await asyncio.Event().wait()
        end = Reply(code=self.relay.dot, lines=("dot",))
        result = TransactionResult(mail=ok, recipients=recipients, data=result.data, end=end)
        if end.severity == 2:
            self.relay.taken.append(result.accepted)
            transaction.record(result)
        return result

    async def quit(self) -> None:
        """Part politely."""
        self.usable, self.parted = False, "quit"

    def abort(self) -> None:
        """Part at once."""
        self.usable, self.parted = False, "abort"


class QuickLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is put forward to the next timer when there is nothing else to do."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.clock = 0.0
        selector = selectors.DefaultSelector()
        select = selector.select

        def jump(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            events = select(timeout if timeout is None or timeout <= 0 else _PATIENCE_SECONDS)
            if not events and timeout is not None and timeout > 0:
                self.clock += timeout
            return events

        selector.select = jump  # type: ignore[method-assign]
        super().__init__(selector)

    def time(self) -> float:
        """Return the clock that jumps."""
        return self.clock


class Land:
    """A spool, its configuration, its relays, and the daemon over them."""

    def __init__(self, path: Path, notify: list[str]) -> None:
        """Begin with one relay called main."""
        self.path = path / "spool"
        self.file = path / "maildropd.toml"
        self.now = datetime(2026, 11, 23, 8, tzinfo=UTC)
        self.relays = {"main": FakeRelay(name="main")}
        self.sessions: list[FakeSession] = []
        self.tables = ""  # of relays, instead of those that are made
        self.extra = ""  # more lines; the last table before them is the last relay's
        self.min_free = 0.0
        self.notify = notify
        init(str(self.path), user="root" if os.geteuid() == 0 else None)

    def configure(self, extra: str | None = None) -> Config:
        """Write and load the configuration."""
        if extra is not None:
            self.extra = extra
        made = "".join(f'[relays.{name}]\nhost = "localhost"\ntls = "none"\n' for name in self.relays)
        relays = self.tables or made
        text = (
            f'[spool]\npath = "{self.path}"\nvolatile = true\nmin_free = {self.min_free}\n[intake]\nmode = "rename"\n'
        )
        self.file.write_text(f"{text}{relays}{self.extra}\n", "utf-8")
        return configuration.load(str(self.file))

    async def connect(self, endpoint: Endpoint, *, transcript: Transcript) -> FakeSession:
        """Stand in for ``maildrop.smtp.connect``."""
        relay = self.relays[endpoint.relay]
        relay.connections += 1
        if relay.on_connect is not None:
            relay.on_connect()
        await asyncio.sleep(0)
        if relay.down is not None:
            raise SessionFailed(relay.name, relay.down)
        session = FakeSession(relay)
        session.transcript = transcript
        self.sessions.append(session)
        return session

    def drop(
        self, name: str, lines: str = "", *, to: tuple[str, ...] = ("a@example.org",), state: State = State.INCOMING
    ) -> Path:
        """Put a whole job into a folder."""
        folder = self.path / state / name
        folder.mkdir()
        recipients = ", ".join(f'"{path}"' for path in to)
        (folder / "envelope.toml").write_text(f'from = "me@example.com"\nto = [{recipients}]\n{lines}\n', "utf-8")
        return folder

    def open(self) -> Spool:
        """Open the spool; the caller closes it."""
        return Spool.open(str(self.path), volatile=True)

    def systemd(self) -> Systemd:
        """Return a systemd that notes what it is told."""
        systemd = Systemd({})
        systemd._send = self.notify.append  # type: ignore[assignment, method-assign]
        return systemd

    def once(self) -> int:
        """Run the service as ``run --once`` does; return its exit code."""
        with self.open() as spool:
            spool.lock()
            return asyncio.run(Service(self.configure(), spool, systemd=self.systemd()).run(once=True))

    def serve(self, until: Callable[[Coordinator], bool], *, at_start: Callable[[Coordinator], None] | None = None,
              now: Callable[[], datetime] | None = None, quickly: bool = False) -> Coordinator:  # fmt: skip
        """Run a coordinator until a condition holds, looked at again and again; fail after 10 s.

        ``quickly`` the loop's clock jumps over what nothing happens in, and it fails after an hour of that clock.
        """
        look_seconds, deadline_seconds = (0.5, 3600.0) if quickly else (0.001, 10.0)

        async def run() -> Coordinator:
            loop = asyncio.get_running_loop()
            with self.open() as spool:
                coordinator = Coordinator(
                    self.configure(), spool, systemd=self.systemd(), now=now or (lambda: self.now), dice=lambda: 0.5
                )
                coordinator.start()
                if at_start is not None:
                    at_start(coordinator)
                deadline, reached = loop.time() + deadline_seconds, []

                def look() -> None:
                    if until(coordinator):
                        reached.append(True)
                        coordinator.stop()
                    elif loop.time() > deadline:
                        coordinator.stop()
                    else:
                        loop.call_later(look_seconds, look)

                loop.call_soon(look)
                await coordinator.serve(once=False, started=lambda: None)
                await coordinator.finish()
                assert reached, "the condition did not come true in time"
                return coordinator

        with asyncio.Runner(loop_factory=QuickLoop if quickly else None) as runner:
            return runner.run(run())

    def where(self, name: str = "job") -> str:
        """Return the one folder that the job is in."""
        found = [state.value for state in State if (self.path / state / name).is_dir()]
        assert len(found) == 1, found
        return found[0]

    def result(self, name: str = "job") -> Result:
        """Read the record of the job, wherever it is."""
        return load_record((self.path / self.where(name) / name / "result.toml").read_bytes())


@pytest.fixture
def plain_land(tmp_path: Path) -> Land:
    """Make a land whose daemon connects to whatever its relays say."""
    return Land(tmp_path, [])


@pytest.fixture
def land(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Land:
    """Make a land with one relay."""
    made = Land(tmp_path, [])
    monkeypatch.setattr(relay_module, "connect", made.connect)
    return made


@pytest.fixture
def fake_relay() -> type[FakeRelay]:
    """Return the class of relays."""
    return FakeRelay


@pytest.fixture
def down() -> Callable[..., Fault]:
    """Make the reason why a relay can't be used."""

    def make(*, configuration: bool = False) -> Fault:
        stage = Stage.AUTH if configuration else Stage.CONNECT
        return Fault(stage=stage, what="no", configuration=configuration)

    return make


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """Collect what the log is told: name and fields."""
    told: Events = []

    class Collector:
        def __getattr__(self, _level: str) -> Callable[..., None]:
            return lambda name, **fields: told.append((name, fields))

    monkeypatch.setattr(log, "_logger", Collector())
    monkeypatch.setattr(log, "_threshold", 0)
    monkeypatch.setattr(log, "set_up", lambda **_settings: None)
    return told
