"""The loop: scans, admits, hands out, sleeps; holds relays, pauses for this machine, goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from maildrop import config
from maildrop.daemon import coordinator as coordinator_module
from maildrop.daemon.coordinator import Coordinator
from maildrop.delivery.load import load as load_job
from maildrop.smtp.steps import Fault
from maildrop.spool import durable
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State
from maildrop.spool.record import Outcome, Status

Down = Callable[..., Fault]


def names(events: Any) -> list[str]:
    """Return the names of the events."""
    return [name for name, _ in events]


def test_what_lies_there_is_sent(land: Any, events: Any) -> None:
    """Jobs dropped before the start are claimed, sent and told, over one session."""
    for number in range(3):
        land.drop(f"job{number}")
    coordinator = land.serve(lambda one: one.counts["sent"] == 3)
    assert [land.where(f"job{number}") for number in range(3)] == ["sent"] * 3
    assert len(land.relays["main"].taken) == 3
    assert coordinator.waiting == 0
    assert names(events).count("job.sent") == 3
    assert all(session.parted == "quit" for session in land.sessions)


def test_a_job_dropped_while_it_runs_is_sent(land: Any) -> None:
    """A rename into incoming wakes the loop."""
    folder = land.path / "tmp" / "late"

    def drop(_coordinator: Coordinator) -> None:
        land.drop("late").rename(folder)
        folder.rename(land.path / "incoming" / "late")

    land.serve(lambda one: one.counts["sent"] == 1, at_start=drop)
    assert land.where("late") == "sent"


def test_no_more_sessions_than_connections(land: Any) -> None:
    """However many jobs there are, a relay gets at most its number of sessions."""
    for number in range(20):
        land.drop(f"job{number}")
    land.extra = "connections = 3\n"
    land.serve(lambda one: one.counts["sent"] == 20)
    assert len(land.sessions) <= 3


def test_priority_decides_the_order(land: Any) -> None:
    """With one session the most urgent job goes first."""
    for name, priority in (("low", -5), ("normal", 0), ("high", 5)):
        land.drop(name, f"priority = {priority}", to=(f"{name}@example.org",))
    land.extra = "connections = 1\n"
    land.serve(lambda one: one.counts["sent"] == 3)
    assert land.relays["main"].taken == [("high@example.org",), ("normal@example.org",), ("low@example.org",)]


def test_an_invalid_job_does_not_keep_the_next_from_being_sent(land: Any, events: Any) -> None:
    """A job that can't be sent goes to failed with every problem, and the others are sent."""
    land.drop("bad", 'subjekt = "x"\npriority = "high"')
    land.drop("good")
    coordinator = land.serve(lambda one: one.counts["sent"] + one.counts["failed"] == 2)
    assert coordinator.counts == {"sent": 1, "failed": 1}
    assert (land.where("bad"), land.where("good")) == ("failed", "sent")
    result = land.result("bad")
    assert (result.outcome, len(result.problems)) == (Outcome.INVALID, 2)
    assert result.reason.endswith("(and 1 more)")
    assert ("job.failed", {"job": "bad", "outcome": "invalid", "reason": result.reason, "attempts": 0}) in events


def test_a_job_with_a_foreign_record_is_set_aside(land: Any) -> None:
    """A job that makes us stumble goes to failed with the reason; the next one is sent."""
    folder = land.drop("odd", state=State.ACTIVE)
    (folder / "result.toml").write_bytes(b'job = "odd"\noutcome = "lost"\n# end of record\n')
    land.drop("good")

    def spoil(_coordinator: Coordinator) -> None:
        (folder / "result.toml").write_bytes(b'job = "odd"\n')

    land.serve(lambda one: one.counts["sent"] + one.counts["failed"] == 2, at_start=spoil)
    assert (land.where("odd"), land.where("good")) == ("failed", "sent")
    assert "maildropd stumbled over this job" in land.result("odd").reason


def test_a_folder_that_can_not_be_claimed_is_said_once(land: Any, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop that belongs to somebody else is told with the command that mends it, and others are sent."""
    land.drop("locked")
    land.drop("good")
    real = durable.rename_noreplace

    def rename(source: int, name: str, target: int, new: str) -> None:
        if name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, name, target, new)

    monkeypatch.setattr(durable, "rename_noreplace", rename)

    def hurry(one: Coordinator) -> bool:
        if one.counts["sent"] == 1:
            one._next_scan = 0.0
            one._wake.set()
        return "intake.notice" in names(events)

    land.serve(hurry)
    assert (land.where("locked"), land.where("good")) == ("incoming", "sent")
    (notice,) = [fields["what"] for name, fields in events if name == "intake.notice"]
    assert "locked" in notice


# Deferred


def test_not_before_waits_in_deferred(land: Any) -> None:
    """A job that may not go yet is deferred until then, without an attempt, and goes when it is time."""
    land.drop("job", 'not_before = "2h"')
    land.serve(lambda _one: (land.path / "deferred" / "job" / "result.toml").exists())
    result = land.result()
    assert result.next_attempt == land.now + timedelta(hours=2)
    assert result.reason == "not before 2026-11-23T10:00:00+00:00"
    assert result.attempts == ()
    land.now += timedelta(hours=2)
    land.serve(lambda one: one.counts["sent"] == 1)
    assert land.where() == "sent"


def test_an_expired_job_is_not_sent(land: Any) -> None:
    """A job whose time is over fails as expired, without a try."""
    land.drop("job", "expires = 2026-11-23T07:59:00Z")
    land.serve(lambda one: one.counts["failed"] == 1)
    assert land.result().outcome is Outcome.EXPIRED
    assert land.relays["main"].connections == 0


def test_a_deferred_job_is_tried_again_when_it_is_due(land: Any) -> None:
    """4yz defers by the schedule; after a restart the due time still counts."""
    land.relays["main"].dot = 451
    land.drop("job")
    land.serve(lambda _one: (land.path / "deferred" / "job").exists())
    due = land.result().next_attempt
    assert due == land.now + timedelta(minutes=1)
    land.relays["main"].dot = 250
    turns = iter(range(20))
    land.serve(lambda _one: next(turns, None) is None)
    assert land.where() == "deferred"
    land.now = due
    land.serve(lambda one: one.counts["sent"] == 1)
    assert (land.where(), len(land.result().attempts)) == ("sent", 2)


def test_a_clock_that_moves_makes_jobs_due_in_the_same_run(land: Any) -> None:
    """What is due is compared with the wall clock in each turn."""
    land.relays["main"].dot = 451
    land.drop("job")

    def later(_coordinator: Coordinator) -> bool:
        if (land.path / "deferred" / "job").exists() and land.relays["main"].dot == 451:
            land.relays["main"].dot = 250
            land.now += timedelta(minutes=5)
            _coordinator._wake.set()
        return _coordinator.counts["sent"] == 1

    land.serve(later)


# Relays


def test_a_relay_that_is_down_holds_its_jobs(land: Any, down: Down, events: Any) -> None:
    """No job fails, no attempt is counted, the descriptors are let go; it is said once."""
    land.relays["main"].down = down()
    for number in range(10):
        land.drop(f"job{number}")
    held: list[Coordinator] = []

    def is_held(one: Coordinator) -> bool:
        if one.fleet.relays["main"].hold_state is not None and one._dispatch.parked == 10:
            held.append(one)
            assert all(work.loaded is None for work in one._dispatch.agenda.parked_works(one.fleet.relays))
        return bool(held)

    coordinator = land.serve(is_held)
    assert [land.where(f"job{number}") for number in range(10)] == ["active"] * 10
    assert names(events).count("relay.held") == 1
    assert coordinator.counts == {}
    land.relays["main"].down = None
    land.serve(lambda one: one.counts["sent"] == 10)
    assert all(len(land.result(f"job{number}").attempts) == 1 for number in range(10))


def test_a_relay_that_comes_back_gets_everything(land: Any, down: Down, events: Any) -> None:
    """The probe that works ends the hold, and the jobs that waited are sent in the same run."""
    land.relays["main"].down = down()
    for number in range(5):
        land.drop(f"job{number}")

    def back(one: Coordinator) -> bool:
        hold = one.fleet.relays["main"].hold_state
        if hold is not None and not one.on_the_wire and land.relays["main"].down is not None:
            land.relays["main"].down = None
            hold.until = 0.0  # as if its time were over
            one._wake.set()
        return one.counts["sent"] == 5

    land.serve(back)
    assert "relay.healthy" in names(events)
    assert all(land.result(f"job{number}").attempts[0].number == 1 for number in range(5))


def test_a_wrong_password_fails_no_job(land: Any, down: Down, events: Any) -> None:
    """A configuration fault holds the relay for long, loudly."""
    land.relays["main"].down = down(configuration=True)
    land.drop("job")
    land.serve(lambda one: one.fleet.relays["main"].hold_state is not None and not one.on_the_wire)
    (held,) = [fields for name, fields in events if name == "relay.held"]
    assert held["seconds"] == 600
    assert held["hint"]
    assert land.where() == "active"


def test_fail_over_to_the_next_relay(land: Any, down: Down, fake_relay: Any) -> None:
    """Without routes the next relay of the file takes over when the first is held."""
    land.relays["main"].down = down()
    land.relays["backup"] = fake_relay(name="backup")
    land.drop("job")
    land.serve(lambda one: one.counts["sent"] == 1)
    assert land.result().recipients[0].relay == "backup"


ROUTES = """
[[routes]]
recipient = "*@x.example"
relays = "main"
[[routes]]
relays = "other"
"""


def test_a_mail_goes_two_ways(land: Any, fake_relay: Any) -> None:
    """Recipients on different routes go to different relays, one after the other, in one job."""
    land.relays["other"] = fake_relay(name="other")
    land.extra = ROUTES
    land.drop("job", to=("a@x.example", "b@y.example"))
    land.serve(lambda one: one.counts["sent"] == 1)
    assert (land.relays["main"].taken, land.relays["other"].taken) == ([("a@x.example",)], [("b@y.example",)])
    result = land.result()
    assert [one.relay for one in result.recipients] == ["main", "other"]
    assert len(result.attempts) == 2


def test_a_deferred_way_is_not_tried_again_while_the_other_one_is_held(land: Any, down: Down, fake_relay: Any) -> None:
    """What one relay deferred waits for its time, even if the job waits for another relay that is probed often."""
    land.relays["main"].dot = 451
    land.relays["other"] = fake_relay(name="other", down=down())
    land.extra = ROUTES
    land.drop("job", to=("a@x.example", "b@y.example"))

    def probe(one: Coordinator) -> bool:
        hold = one.fleet.relays["other"].hold_state
        if hold is not None and not one.on_the_wire:
            hold.until = 0.0
            one._wake.set()
        return bool(land.relays["other"].connections >= 4)

    land.serve(probe)
    assert land.where() == "active"
    assert len(land.result().attempts) == 1


def test_lost_sessions_are_tried_again_at_once(land: Any, events: Any) -> None:
    """A session that breaks before the dot costs nothing; the job goes again."""
    land.relays["main"].loses = 3
    land.drop("job")
    land.serve(lambda one: one.counts["sent"] == 1)
    assert names(events).count("job.interrupted") == 3
    assert len(land.result().attempts) == 1


def test_five_lost_sessions_are_a_deferral(land: Any) -> None:
    """A message that breaks five sessions waits."""
    land.relays["main"].loses = 5
    land.drop("job")
    land.serve(lambda _one: (land.path / "deferred" / "job").exists())
    assert "broke 5 sessions" in land.result().reason


# This machine


def test_a_full_disk_pauses_and_goes_on(land: Any, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be written work pauses, no job is blamed, and it goes on by itself."""
    real, failures = durable._write_all, [1, 1]

    def write(descriptor: int, octets: bytes) -> None:
        if failures and octets.startswith(b"job"):
            failures.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor, octets)

    monkeypatch.setattr(durable, "_write_all", write)
    monkeypatch.setattr("maildrop.daemon.pause._SECONDS", (0.001,))
    land.drop("job")
    land.serve(lambda one: one.counts["sent"] == 1 and not one._pause.why)
    assert names(events).count("daemon.paused") == 1
    assert names(events).count("daemon.resumed") == 1
    assert len(land.result().attempts) == 1


def test_a_scan_that_fails_is_trouble_too(land: Any, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error while looking at the spool pauses, shows itself in STATUS, and the next scan goes on."""
    real, failures = Spool.names, [1]

    def broken(spool: Spool, state: State) -> Any:
        if state is State.DEFERRED and failures:
            failures.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(spool, state)

    monkeypatch.setattr(Spool, "names", broken)
    monkeypatch.setattr("maildrop.daemon.pause._SECONDS", (0.001,))
    land.drop("job")

    def hurry(one: Coordinator) -> bool:
        one._next_scan = 0.0
        one._wake.set()
        return one.counts["sent"] == 1

    land.serve(hurry)
    assert "daemon.paused" in names(events)
    assert any(message.startswith("STATUS=paused: [Errno 5]") for message in land.notify)


def test_below_min_free_nothing_new_is_claimed(land: Any, events: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little free space leaves drops where they are; what is claimed goes on."""
    free = [0.001]
    monkeypatch.setattr(Spool, "free_fraction", lambda _spool: free[0])
    monkeypatch.setattr("maildrop.daemon.pause._SECONDS", (0.001,))
    land.drop("claimed", state=State.ACTIVE)
    land.drop("new")

    def look(one: Coordinator) -> bool:
        if land.path.joinpath("sent", "claimed").exists() and "daemon.paused" in names(events) and free[0] < 1:
            assert land.where("new") == "incoming"
            free[0] = 1.0
            one._wake.set()
        return one.counts["sent"] == 2

    land.min_free = 0.01
    land.serve(look)
    (paused,) = [fields for name, fields in events if name == "daemon.paused"]
    assert paused["why"] == "less than 1.0% of the spool's filesystem is free"
    assert "daemon.resumed" in names(events)


def test_a_courier_that_falls_over_leaves_the_job_for_the_next_start(
    land: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that can't even be set aside stays in active, is told, and is not taken up again in this run."""
    monkeypatch.setattr(Job, "settle", _fail)
    land.relays["main"].dot = 554
    land.drop("odd")
    land.serve(lambda one: "job.error" in names(events) and not one.on_the_wire)
    assert land.where("odd") == "active"


def _fail(*_args: Any, **_kwargs: Any) -> None:
    raise ZeroDivisionError


# Restart, stop, reload


def test_a_doubt_that_a_crash_left_is_flagged_and_sent_again(land: Any, events: Any) -> None:
    """A job found in active with a prepared record goes again at once, as a possible duplicate."""
    land.relays["main"].hangs = True
    land.drop("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinator_module, "GRACE_SECONDS", 0.01)
        land.serve(lambda _one: (land.path / "active" / "job" / "result.toml").exists())
    assert land.where() == "active"
    land.relays["main"].hangs = False
    land.serve(lambda one: one.counts["sent"] == 1)
    result = land.result()
    assert result.possible_duplicate
    assert [one.status for one in result.recipients] == [Status.DELIVERED]
    assert ("daemon.recovered" in names(events), "job.doubt" in names(events)) == (True, True)


def test_a_doubt_is_decided_by_the_relays_policy(land: Any) -> None:
    """After a crash the policy of the relay that was spoken to counts: ``hold`` sends nothing more."""
    land.extra = 'in_doubt = "hold"\n'
    land.relays["main"].hangs = True
    land.drop("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coordinator_module, "GRACE_SECONDS", 0.01)
        land.serve(lambda _one: (land.path / "active" / "job" / "result.toml").exists())
    land.relays["main"].hangs = False
    connections = land.relays["main"].connections
    land.serve(lambda one: one.counts["failed"] == 1)
    assert land.result().outcome is Outcome.IN_DOUBT
    assert land.relays["main"].connections == connections


def test_a_stop_finishes_what_is_on_the_wire(land: Any) -> None:
    """After a stop nothing new is handed out, and the job on the wire comes to its end."""
    for number in range(3):
        land.drop(f"job{number}")
    land.extra = "connections = 1\n"
    stopped: list[Coordinator] = []

    def stop() -> None:
        stopped[0].stop()

    land.relays["main"].on_message = stop
    land.serve(lambda one: one._stopping, at_start=stopped.append)
    found = sorted(land.where(f"job{number}") for number in range(3))
    assert found == ["active", "active", "sent"]


def test_a_new_configuration_counts_for_jobs_that_wait(land: Any, down: Down, fake_relay: Any) -> None:
    """A reload empties the agenda: jobs that waited for a held relay take the new route."""
    land.relays["main"].down = down(configuration=True)
    land.drop("job")

    def reload(one: Coordinator) -> bool:
        if one.fleet.relays["main"].hold_state is not None and not one.on_the_wire and "new" not in land.relays:
            land.relays["new"] = fake_relay(name="new")
            one.take_config(land.configure('[[routes]]\nrelays = "new"\n'))
        return one.counts["sent"] == 1

    land.serve(reload)
    assert land.result().recipients[0].relay == "new"


def test_a_reload_with_another_intake_watches_anew(land: Any) -> None:
    """Changed intake settings take effect without a restart."""

    def reload(one: Coordinator) -> None:
        text = land.file.read_text("utf-8").replace('mode = "rename"', 'mode = "marker"')
        land.file.write_text(text, "utf-8")
        one.take_config(config.load(str(land.file)))
        folder = land.drop("job")
        (folder / "READY").touch()

    land.serve(lambda one: one.counts["sent"] == 1, at_start=reload)
    assert not (land.path / "sent" / "job" / "READY").exists()


def test_a_watchdog_is_fed_before_a_long_rescan(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rescan interval longer than the watchdog's period does not get the daemon killed."""
    systemd = land.systemd()
    systemd.watchdog_seconds = 0.005
    monkeypatch.setattr(land, "systemd", lambda: systemd)
    land.serve(lambda _one: land.notify.count("WATCHDOG=1") >= 3)


def test_the_status_line_says_what_is_going_on(land: Any, down: Down) -> None:
    """Systemd sees counts, held relays and why."""
    land.relays["main"].down = down()
    land.drop("job")
    land.serve(lambda _one: any("main held (connect: no)" in message for message in land.notify))
    assert any(message.startswith("STATUS=0 on the wire, 1 waiting") for message in land.notify)


def test_an_empty_spool_sleeps(land: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without work the loop turns only for its scans."""
    turns: list[float] = []
    real = Coordinator._tell

    def tell(one: Coordinator, now: float) -> None:
        turns.append(now)
        real(one, now)

    monkeypatch.setattr(Coordinator, "_tell", tell)
    looks = iter(range(50))
    land.serve(lambda _one: next(looks, None) is None)
    assert len(turns) <= 3


def test_a_bare_message_is_taken(land: Any) -> None:
    """``NAME.eml`` in incoming becomes the job NAME."""
    path: Path = land.path / "incoming" / "letter.eml"
    path.write_bytes(b"From: me@example.com\r\nTo: a@example.org\r\n\r\nHello\r\n")
    land.serve(lambda one: one.counts["sent"] == 1)
    assert (land.path / "sent" / "letter" / "message.eml").exists()


def test_nothing_of_asyncio_is_left_behind(land: Any) -> None:
    """When the run is over no task of ours is still waiting."""
    land.drop("job")

    async def after() -> int:
        return len(asyncio.all_tasks()) - 1

    land.serve(lambda one: one.counts["sent"] == 1)
    assert asyncio.run(after()) == 0


# What happens to a job while it waits for a held relay


@pytest.fixture
def parked(land: Any, down: Down) -> Callable[[Callable[[], None]], None]:
    """Return a function that lets a job wait for a held relay, changes something, and lets the relay come back."""

    def run(change: Callable[[], None]) -> None:
        land.relays["main"].down = down()
        land.drop("job", to=("a@x.example",))

        def back(one: Coordinator) -> bool:
            hold = one.fleet.relays["main"].hold_state
            if hold is not None and not one.on_the_wire and one._dispatch.parked and land.relays["main"].down:
                change()
                land.relays["main"].down = None
                hold.until = 0.0
                one._wake.set()
            return one.counts.total() == 1 or not any((land.path / "active").glob("[!.]*"))

        land.serve(back)

    return run


def test_a_job_that_becomes_invalid_while_it_waits(land: Any, parked: Any) -> None:
    """A job is read anew after a long wait, and judged as it is then."""
    parked(lambda: (land.path / "active" / "job" / "envelope.toml").write_text("x = 1\n", "utf-8"))
    assert land.result().outcome is Outcome.INVALID


def test_a_record_that_is_torn_while_the_job_waits(land: Any, parked: Any) -> None:
    """A job that can't be read any more after a long wait is set aside with the reason."""
    parked(lambda: (land.path / "active" / "job" / "result.toml").write_bytes(b"torn"))
    assert land.where() == "failed"
    assert "maildropd stumbled" in land.result().reason


def test_a_job_that_is_taken_away_while_it_waits(land: Any, parked: Any) -> None:
    """A job that a person moves out of active is nobody's any more."""
    parked(lambda: (land.path / "active" / "job").rename(land.path / "held" / "job"))
    assert land.where() == "held"
    assert land.relays["main"].taken == []


def test_recipients_that_change_while_the_job_waits(land: Any, parked: Any, fake_relay: Any) -> None:
    """The mail goes to whom the envelope names when it is sent, never to a list from before."""
    land.relays["other"] = fake_relay(name="other")
    land.extra = ROUTES
    envelope = land.path / "active" / "job" / "envelope.toml"

    def change() -> None:
        envelope.write_text('from = "me@example.com"\nto = "c@y.example"\n', "utf-8")

    parked(change)
    assert (land.relays["main"].taken, land.relays["other"].taken) == ([], [("c@y.example",)])
    assert land.where() == "sent"


def test_an_io_error_while_a_waiting_job_is_read(land: Any, parked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble of this machine while a waiting job is read again blames no job; it is sent when that is over."""
    real, failures = load_job, [1]
    monkeypatch.setattr("maildrop.daemon.pause._SECONDS", (0.001,))

    def load(*arguments: Any, **options: Any) -> Any:
        if not land.relays["main"].down and failures:
            failures.pop()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    def change() -> None:
        monkeypatch.setattr("maildrop.daemon.admission.load", load)

    monkeypatch.setattr(Coordinator, "_tell", lambda one, _now: setattr(one, "_next_scan", 0.0))
    parked(change)
    assert (land.where(), failures) == ("sent", [])
