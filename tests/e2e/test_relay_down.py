"""A relay that is down costs time and nothing else."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.servers import free_port
from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer, SmtpSink
    from tests.e2e.spools import SpoolFolder

JOBS = 100
DOWN_SECONDS = float(os.environ.get("E2E_DOWN_SECONDS", "6"))  # 'make crash' takes 20
BACK_SECONDS = 6.0


def test_relay_down_at_the_start(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    smtp_sink: Callable[..., SmtpSink],
    figure: Callable[[str, object], None],
) -> None:
    """No job fails, no attempt is counted, all are sent within 6 s of the relay's return; it is held and freed once."""
    port = free_port()
    spool = spool_factory(port)
    running = daemon(spool).wait_started()
    names = [f"job-{number:03}" for number in range(JOBS)]
    returns = time.monotonic() + DOWN_SECONDS
    for name in names:  # spread over the time that it is down
        spool.drop(name)
        time.sleep(DOWN_SECONDS / JOBS / 2)
    held = running.wait_event("relay.held")
    assert held["stage"] == "connect"
    status = wait_for(lambda: spool_status(spool, "held"), "status shows the held relay")
    assert "refused" in status["why"]
    time.sleep(max(0.0, returns - time.monotonic()))
    assert spool.names("failed") == spool.names("sent") == set()
    sink = smtp_sink(port=port)
    back = time.monotonic()
    spool.wait_settled(names)
    seconds = time.monotonic() - back
    figure(f"all {JOBS} sent after the return of a relay that was down for {DOWN_SECONDS:g} s", f"{seconds:.2f} s")
    assert seconds <= BACK_SECONDS
    assert running.stop() == 0
    assert sink.jobs() == dict.fromkeys(names, 1)
    for name in names:
        result = spool.result(name)
        assert len(result["attempts"]) == 1
        assert result["possible_duplicate"] is False
    assert running.found("job.deferred") == running.found("job.failed") == []
    assert (len(running.found("relay.held")), len(running.found("relay.healthy"))) == (1, 1)


def spool_status(spool: SpoolFolder, state: str) -> dict[str, str] | None:
    """Return what ``status`` says of the relay if it is in that state."""
    relays = json.loads(spool.command("status", "--json").stdout)["relays"]
    return next((relay for relay in relays if relay["state"] == state), None)


@pytest.mark.parametrize("greeting", ["421 4.3.2 not now", "554 5.3.2 never", "drop", "what?"])
def test_relay_that_greets_badly(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
    greeting: str,
) -> None:
    """Whatever a relay says instead of a greeting is the relay's fault: the job waits, nothing is counted."""
    server = scripted_server({"CONNECT": [greeting]})
    spool = spool_factory(server.port)
    running = daemon(spool).wait_started()
    spool.drop("patient")
    spool.wait_settled(["patient"])
    assert len(running.found("relay.held", stage="greeting")) == 1
    assert len(spool.answered("patient")["attempts"]) == 1
    assert server.said("CONNECT") == 2
