"""Two relays: the first dies in the middle of the work and comes back."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from tests.e2e.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

JOBS = 1000
BEFORE, MEANWHILE = 400, 300  # dropped while the first relay is alive, and while it is dead
SECONDS = 40.0


def die(server: ScriptedServer) -> None:
    """Take no new session, and end each that there is at its next MAIL: no message is in doubt."""
    server.script["MAIL *"] = ["drop"] * JOBS
    server._loop.call_soon_threadsafe(server._server.close)


def degraded_in_status(spool: SpoolFolder) -> dict[str, Any] | None:
    """Return what ``status`` says of the degraded relay, if there is one."""
    relays = json.loads(spool.command("status", "--json").stdout)["relays"]
    return next((relay for relay in relays if relay["state"] == "degraded"), None)


def test_the_first_of_two_relays_dies_and_comes_back(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
    figure: Callable[[str, object], None],
) -> None:
    """1,000 jobs: none fails, no attempt is counted, 'degraded' is told once at each end, work returns to the first."""
    first, second = scripted_server(), scripted_server()
    other = {"host": "127.0.0.1", "port": second.port, "tls": "none"}
    spool = spool_factory(
        first.port, relays={"backup": other}, routes=[{"relays": ["sink", "backup"]}], intake={"mode": "rename"}
    )
    running = daemon(spool).wait_started()
    names = [f"job-{number:04}" for number in range(JOBS)]
    left = iter(names)

    def drop(count: int) -> None:
        for name in islice(left, count):
            spool.drop(name)

    began = time.monotonic()
    drop(BEFORE)
    wait_for(lambda: len(first.accepted) >= BEFORE // 4, "the first relay works")
    die(first)
    degraded = running.wait_event("relay.degraded")
    assert (degraded["relay"], degraded["instead"]) == ("sink", "backup")
    drop(MEANWHILE)
    wait_for(lambda: len(second.accepted) >= MEANWHILE, "the second relay has taken over")
    shown = wait_for(lambda: degraded_in_status(spool), "status shows it")
    assert (shown["name"], shown["instead"]) == ("sink", "backup")
    assert shown["why"]
    assert shown["since"] < shown["until"]
    back = scripted_server(port=first.port)
    while not running.found("relay.restored"):  # jobs come in all the time, until one of them finds it out
        assert time.monotonic() < began + SECONDS
        drop(1)
        time.sleep(0.03)
    by_then = len(second.accepted)
    last = list(left)
    for name in last:
        spool.drop(name)
    spool.wait_settled(names)
    seconds = time.monotonic() - began
    assert running.stop() == 0
    figure(f"{JOBS} jobs over two relays, the first dead for a while", f"{seconds:.1f} s")
    figure("by the first relay, by the second, by the first again",
           f"{len(first.accepted)}, {len(second.accepted)}, {len(back.accepted)}")  # fmt: skip
    assert seconds < SECONDS
    assert first.jobs() + second.jobs() + back.jobs() == dict.fromkeys(names, 1)
    for name in names:
        result = spool.result(name)
        assert (result["outcome"], result["possible_duplicate"], len(result["attempts"])) == ("sent", False, 1)
    assert running.found("job.failed") == running.found("job.deferred") == running.found("job.doubt") == []
    assert [len(running.found(f"relay.{event}")) for event in ("held", "degraded", "restored", "healthy")] == [1] * 4
    (restored,) = running.found("relay.restored")
    assert restored["jobs"] == len(second.accepted)
    assert by_then <= len(second.accepted) <= by_then + 1
    assert len(back.accepted) >= len(last) > 0
