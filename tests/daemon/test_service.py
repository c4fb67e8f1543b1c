"""The daemon as systemd, signals and scripts see it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from maildrop.daemon import coordinator as coordinator_module
from maildrop.daemon.service import Service
from maildrop.smtp.steps import Fault
from maildrop.spool.layout import State


def run(land: Any, at_start: Callable[[Service], None], *, once: bool = False) -> int:
    """Run the service; ``at_start`` is called when it is READY."""

    async def serve() -> int:
        with land.open() as spool:
            service = Service(land.configure(), spool, systemd=land.systemd())
            ready = service._started

            def started() -> None:
                ready()
                at_start(service)

            service._started = started  # type: ignore[method-assign]
            return await asyncio.wait_for(service.run(once=once), 10)

    return asyncio.run(serve())


def tell(number: signal.Signals) -> None:
    """Send a signal to this process, which is the daemon here."""
    os.kill(os.getpid(), number)


def test_once_ends_with_0_when_all_is_sent(land: Any, events: Any) -> None:
    """``--once`` sends what lies there and ends with 0."""
    land.drop("one")
    land.drop("two")
    assert land.once() == 0
    assert (land.where("one"), land.where("two")) == ("sent", "sent")
    assert events[-1] == ("daemon.stopped", {"sent": 2, "failed": 0, "waiting": 0})


def test_once_on_an_empty_spool_ends_with_0(land: Any) -> None:
    """Nothing to do is done at once."""
    assert land.once() == 0


def test_once_ends_with_65_when_something_failed(land: Any) -> None:
    """A failed job outweighs one that waits."""
    land.drop("bad", 'subjekt = "x"')
    land.drop("later", 'not_before = "1h"')
    assert land.once() == 65


def test_once_ends_with_75_when_something_waits(land: Any) -> None:
    """A deferred job is not waited for."""
    land.drop("later", 'not_before = "1h"')
    land.drop("good")
    assert land.once() == 75
    assert land.where("good") == "sent"


def test_once_does_not_wait_for_a_held_relay(land: Any, down: Callable[..., Fault]) -> None:
    """A relay that is down leaves its jobs for later."""
    land.relays["main"].down = down()
    land.drop("job")
    assert land.once() == 75
    assert land.where() == "active"


def test_once_does_not_claim_below_min_free(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too little free space there is nothing that can be done now."""
    monkeypatch.setattr("maildrop.spool.layout.Spool.free_fraction", lambda _spool: 0.0)
    land.min_free = 0.01
    land.drop("job")
    assert land.once() == 75
    assert land.where() == "incoming"


def test_ready_comes_after_the_first_look(land: Any, events: Any) -> None:
    """READY means that the spool is recovered and was looked at; STOPPING comes at the end."""
    land.drop("old", state=State.ACTIVE)
    land.once()
    words = [message for message in land.notify if not message.startswith("STATUS")]
    assert words == ["WATCHDOG=1", "READY=1", "STOPPING=1"]
    (started,) = [fields for name, fields in events if name == "daemon.started"]
    assert started["relays"] == ["main=localhost:25"]
    assert started["pid"] == os.getpid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_0(land: Any, events: Any, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the daemon cleanly."""
    assert run(land, lambda _service: tell(number)) == 0
    (stopping,) = [fields for name, fields in events if name == "daemon.stopping"]
    assert stopping == {"signal": number.name, "on_the_wire": 0}
    assert "STOPPING=1" in land.notify


def test_a_signal_in_the_middle_of_a_message_finishes_it(land: Any) -> None:
    """What is on the wire when SIGTERM comes is brought to its end."""
    land.drop("job")
    land.relays["main"].on_message = lambda: tell(signal.SIGTERM)
    assert run(land, lambda _service: None) == 0
    assert land.where() == "sent"


def test_a_second_signal_ends_it_at_once(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked twice, it does not wait for the wire; the exit code names the signal."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(coordinator_module, "GRACE_SECONDS", 0.05)
    land.relays["main"].hangs = True
    land.drop("job")

    def twice() -> None:
        loop = asyncio.get_running_loop()
        tell(signal.SIGTERM)
        loop.call_later(0.005, tell, signal.SIGTERM)

    land.relays["main"].on_message = twice
    run(land, lambda _service: None)
    assert codes == [128 + signal.SIGTERM]


def test_sighup_takes_a_good_configuration(land: Any, events: Any) -> None:
    """A reload is told to systemd, takes the new file, and is READY again."""

    def reload(service: Service) -> None:
        land.configure("[retry]\ngive_up = 60\n")
        tell(signal.SIGHUP)
        asyncio.get_running_loop().call_later(0.02, service._stop, signal.SIGTERM)

    run(land, reload)
    assert "config.reloaded" in [name for name, _ in events]
    words = [message.partition("\n")[0] for message in land.notify if not message.startswith(("STATUS", "WATCHDOG"))]
    assert words[:3] == ["READY=1", "RELOADING=1", "READY=1"]


def test_sighup_refuses_a_bad_configuration(land: Any, events: Any) -> None:
    """A bad file changes nothing, is reported with every problem, and systemd hears READY all the same."""

    def reload(service: Service) -> None:
        text = land.file.read_text("utf-8")
        land.file.write_text(f"{text}\nconections = 1\nprot = 2\n", "utf-8")
        tell(signal.SIGHUP)
        asyncio.get_running_loop().call_later(0.02, service._stop, signal.SIGTERM)

    run(land, reload)
    (refused,) = [fields for name, fields in events if name == "config.refused"]
    assert len(refused["problems"]) == 2
    words = [message.partition("\n")[0] for message in land.notify if not message.startswith(("STATUS", "WATCHDOG"))]
    assert words[:3] == ["READY=1", "RELOADING=1", "READY=1"]


def test_sighup_does_not_move_the_spool(land: Any, events: Any) -> None:
    """Another spool needs a restart: said, and nothing is changed."""

    def reload(service: Service) -> None:
        land.file.write_text(land.file.read_text("utf-8").replace('/spool"', '/other"'), "utf-8")
        tell(signal.SIGHUP)
        asyncio.get_running_loop().call_later(0.02, service._stop, signal.SIGTERM)

    run(land, reload)
    (refused,) = [fields for name, fields in events if name == "config.refused"]
    assert "restart" in refused["problems"][0]


def test_sighup_changes_the_layout(land: Any) -> None:
    """Jobs settled after a reload go where the new ``settle.layout`` says."""

    def reload(_service: Service) -> None:
        land.configure('[settle]\nlayout = "daily"\n')
        tell(signal.SIGHUP)
        land.relays["main"].on_message = lambda: tell(signal.SIGTERM)
        asyncio.get_running_loop().call_later(0.02, land.drop, "job")

    run(land, reload)
    assert len(list((land.path / "sent").glob("????-??-??/job"))) == 1
