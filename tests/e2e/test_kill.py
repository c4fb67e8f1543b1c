"""Killed at any moment, the daemon loses nothing, and says where it can't know."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

JOBS, KILLS, CONNECTIONS = 200, 20, 4
LONGEST_LIFE_SECONDS = 0.25
REPLY_SECONDS = 0.04  # how long the server thinks after it has taken a mail: a wide window for doubts


def test_killed_twenty_times(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
    figure: Callable[[str, object], None],
) -> None:
    """Nothing is lost, nothing is in two folders, and what was accepted twice is flagged, and only doubts are."""
    seed = random.SystemRandom().randrange(1_000_000)
    figure("seed", seed)
    dice = random.Random(seed)
    server = scripted_server(reply_seconds=REPLY_SECONDS)
    spool = spool_factory(server.port, relay={"connections": CONNECTIONS}, intake={"quiet_seconds": 0.2})
    names = [f"job-{number:03}" for number in range(JOBS)]
    left = list(names)
    for _ in range(KILLS):
        batch, left = left[: JOBS // KILLS], left[JOBS // KILLS :]
        running = daemon(spool, traced=False).wait_started()
        end = time.monotonic() + dice.uniform(0, LONGEST_LIFE_SECONDS)
        for name in batch:  # drops go on while it lives and dies
            spool.drop(name)
            time.sleep(dice.uniform(0, 0.01))
        time.sleep(max(0.0, end - time.monotonic()))
        running.kill()
        assert all(len(states) == 1 for states in spool.where().values())
        assert len(spool.where()) == JOBS - len(left)
    running = daemon(spool).wait_started()
    spool.wait_settled(names)
    assert running.stop() == 0
    assert spool.where() == {name: ["sent"] for name in names}
    accepted = server.jobs()
    assert set(accepted) == set(names)
    flagged = {name for name in names if spool.result(name)["possible_duplicate"]}
    twice = {name for name, times in accepted.items() if times > 1}
    in_flight = {address.partition("@")[0] for address in server.cut_off}
    figure("killed 20 times", f"{len(twice)} accepted twice, {len(flagged)} flagged, {len(in_flight)} were in flight")
    assert twice <= flagged, "a duplicate that nobody was told of"
    assert flagged <= in_flight, "a flag without a doubt"
    assert len(flagged) <= KILLS * CONNECTIONS
    for name in names:
        _, *others = {mail.octets for mail in server.accepted if mail.job == name}
        assert others == [], f"{name}: the second copy differs from the first"
        *doubts, last = [attempt["result"] for attempt in spool.result(name)["attempts"]]
        assert bool(doubts) == (name in flagged)
        assert all(doubt.startswith("in doubt: maildropd ended") for doubt in doubts)
        assert last == "delivered 1, deferred 0, rejected 0"
        assert len(doubts) >= accepted[name] - 1


THREE_JOBS, THREE_KILLS = 60, 10


def test_killed_with_recipients_left_over(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
    figure: Callable[[str, object], None],
) -> None:
    """Split transactions and deferred recipients: each recipient has the mail once, or the job says possibly twice."""
    seed = random.SystemRandom().randrange(1_000_000)
    figure("seed", seed)
    dice = random.Random(seed)
    server = scripted_server({"RCPT TO:<b-*": ["450 4.2.1 busy"] * THREE_JOBS}, reply_seconds=REPLY_SECONDS / 2)
    spool = spool_factory(
        server.port,
        relay={"connections": CONNECTIONS, "recipients_per_message": 2},
        intake={"quiet_seconds": 0.2},
        retry={"schedule": [0.2], "jitter": 0},
    )
    names = [f"job-{number:03}" for number in range(THREE_JOBS)]
    recipients = {name: {f"{who}-{name}@example.org" for who in "abcd"} for name in names}
    left = list(names)
    for _ in range(THREE_KILLS):
        batch, left = left[: THREE_JOBS // THREE_KILLS], left[THREE_JOBS // THREE_KILLS :]
        running = daemon(spool, traced=False).wait_started()
        for name in batch:
            spool.drop(name, to=sorted(recipients[name]))
        time.sleep(dice.uniform(0, 2 * LONGEST_LIFE_SECONDS))
        running.kill()
        assert all(len(states) == 1 for states in spool.where().values())
    running = daemon(spool).wait_started()
    spool.wait_settled(names)
    assert running.stop() == 0
    doubts = 0
    for name in names:
        result = spool.result(name)  # killed between the record and the reply's words, it has to do without these
        got = Counter(path for mail in server.accepted if mail.job == name for path in mail.recipients)
        assert set(got) == recipients[name]
        assert {one["status"] for one in result["recipients"]} == {"delivered"}
        if max(got.values()) > 1:
            assert result["possible_duplicate"], f"{name}: {got}"
        doubts += result["possible_duplicate"]
        assert len({mail.octets for mail in server.accepted if mail.job == name}) == 1
    figure("killed 10 times, four recipients", f"{doubts} of {THREE_JOBS} jobs flagged")
