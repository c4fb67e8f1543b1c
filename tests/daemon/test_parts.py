"""The rooms of the daemon: due times, pauses, the fleet, the news, admission one job at a time."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from maildrop.daemon.admission import Admission
from maildrop.daemon.deferred import Deferred
from maildrop.daemon.dispatch import Dispatch
from maildrop.daemon.fleet import Fleet
from maildrop.daemon.news import News
from maildrop.daemon.pause import Pause
from maildrop.delivery.agenda import Work
from maildrop.delivery.commit import Commit
from maildrop.delivery.courier import Courier
from maildrop.delivery.settle import Carried, Next, Settler
from maildrop.smtp import SessionFailed
from maildrop.smtp.steps import Fault
from maildrop.spool.job import Job
from maildrop.spool.layout import Spool, State
from maildrop.spool.readiness import Drop, Kind
from maildrop.spool.record import Outcome, Result, dump

Down = Callable[..., Fault]


@pytest.fixture
def spool(land: Any) -> Iterator[Spool]:
    """Open the land's spool."""
    with land.open() as opened:
        yield opened


def defer(land: Any, name: str, seconds: float | None) -> None:
    """Put a deferred job on disk that is due so many seconds from now; None: its record can't be read."""
    folder = land.drop(name, state=State.DEFERRED)
    due = None if seconds is None else land.now + timedelta(seconds=seconds)
    record = Result(job=name, outcome=Outcome.DEFERRED, reason="r", claimed=land.now, next_attempt=due)
    (folder / "result.toml").write_bytes(dump(record) if seconds is not None else b"torn")


class TestDeferred:
    """When deferred jobs are due."""

    def test_the_earliest_first(self, land: Any, spool: Spool) -> None:
        """Jobs are handed out when they are due, in order of time."""
        for name, seconds in (("b", 20), ("a", 10), ("c", 30)):
            defer(land, name, seconds)
        deferred = Deferred(spool)
        deferred.look()
        assert (deferred.unread, deferred.next_due()) == (True, None)
        deferred.read_some(land.now)
        assert (deferred.unread, len(deferred)) == (False, 3)
        assert deferred.take(land.now, 9) == []
        assert deferred.next_due() == land.now + timedelta(seconds=10)
        assert deferred.take(land.now + timedelta(seconds=20), 9) == ["a", "b"]
        assert deferred.take(land.now + timedelta(seconds=99), 9) == ["c"]
        assert deferred.next_due() is None

    def test_one_that_cannot_be_read_strands_no_other(
        self, land: Any, spool: Spool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A job whose producer took our rights away is due at once, so that its turn tells; the others keep theirs."""
        for name in ("a", "evil", "z"):
            defer(land, name, 10)
        real = Job.open

        def refuse(spool: Spool, state: State, name: str) -> Job:
            if name == "evil":
                raise PermissionError(errno.EACCES, "Permission denied", name)
            return real(spool, state, name)

        monkeypatch.setattr(Job, "open", refuse)
        deferred = Deferred(spool)
        deferred.look()
        deferred.read_some(land.now)
        assert deferred.take(land.now, 9) == ["evil"]
        assert deferred.take(land.now + timedelta(seconds=10), 9) == ["a", "z"]

    def test_no_more_than_wanted(self, land: Any, spool: Spool) -> None:
        """The agenda says how many it can take."""
        for number in range(3):
            defer(land, str(number), 0)
        deferred = Deferred(spool)
        deferred.look()
        deferred.read_some(land.now)
        assert len(deferred.take(land.now, 2)) == 2
        assert len(deferred.take(land.now, 2)) == 1

    def test_what_can_not_be_read_is_due_at_once(self, land: Any, spool: Spool) -> None:
        """Better early than never: a torn record, or one without a time, is due now."""
        defer(land, "torn", None)
        land.drop("none", state=State.DEFERRED)
        deferred = Deferred(spool)
        deferred.look()
        deferred.read_some(land.now)
        assert deferred.take(land.now, 9) == ["none", "torn"]

    def test_what_goes_away_is_forgotten(self, land: Any, spool: Spool) -> None:
        """A job that a person takes away is not waited for, before and after its time was read."""
        for name in ("read", "unread"):
            defer(land, name, 10)
        deferred = Deferred(spool)
        deferred.look()
        os.rename(land.path / "deferred" / "unread", land.path / "failed" / "unread")
        deferred.read_some(land.now)
        assert len(deferred) == 1
        os.rename(land.path / "deferred" / "read", land.path / "failed" / "read")
        deferred.look()
        assert (len(deferred), deferred.next_due()) == (0, None)

    def test_a_job_that_comes_back_has_only_its_new_time(self, land: Any, spool: Spool) -> None:
        """A job that was taken away and deferred anew is not tried at the time that it had before."""
        defer(land, "job", 10)
        deferred = Deferred(spool)
        deferred.look()
        deferred.read_some(land.now)
        os.rename(land.path / "deferred" / "job", land.path / "active" / "job")
        deferred.look()
        os.rename(land.path / "active" / "job", land.path / "deferred" / "job")
        deferred.add("job", land.now + timedelta(seconds=100))
        assert deferred.take(land.now + timedelta(seconds=50), 9) == []
        assert deferred.next_due() == land.now + timedelta(seconds=100)
        assert deferred.take(land.now + timedelta(seconds=100), 9) == ["job"]

    def test_a_stray_file_is_no_job(self, land: Any, spool: Spool) -> None:
        """What is not a folder is left alone."""
        (land.path / "deferred" / "stray").write_bytes(b"")
        deferred = Deferred(spool)
        deferred.look()
        deferred.read_some(land.now)
        assert deferred.next_due() is None


class TestPause:
    """Trouble of this machine."""

    def test_it_lasts_longer_each_time(self, events: Any) -> None:
        """1, 2, 4, 8, 15, then 30 seconds between looks, said once."""
        pause, now, waits = Pause(), 100.0, []
        for _ in range(7):
            pause.begin("disk full", now)
            until = pause.until(now)
            assert until is not None
            waits.append(until - now)
            now = until
            assert pause.until(now) is None
        assert waits == [1, 2, 4, 8, 15, 30, 30]
        assert [name for name, _ in events] == ["daemon.paused"]

    def test_it_ends_once(self, events: Any) -> None:
        """The end is said once, and the next trouble begins with a short pause."""
        pause = Pause()
        pause.end()
        pause.begin("disk full", 0.0)
        pause.begin("disk full", 1.0)
        pause.end()
        pause.end()
        pause.begin("disk full", 10.0)
        assert pause.until(10.0) == 11.0
        assert [name for name, _ in events] == ["daemon.paused", "daemon.resumed", "daemon.paused"]


class TestFleet:
    """The relays of a run."""

    def test_a_hold_is_said_once_and_so_is_its_end(self, land: Any, down: Down, events: Any) -> None:
        """The first failed try is told, the later ones not, the recovery again."""
        fleet = Fleet(land.configure().relays)
        relay = fleet.relays["main"]
        for now in (0.0, 0.5, 1.0, 3.0):
            fleet.hold(relay, SessionFailed("main", down()), now=now, waiting=2)
        assert fleet.next_free(3.0) == 7.0
        fleet.take_on(relay, "probe", (("main",), None), now=7.0)
        assert fleet.next_free(7.0) is None
        fleet.heal(relay, "probe", now=8.0)
        fleet.heal(relay, "probe", now=9.0)
        assert fleet.next_free(9.0) is None
        assert [(name, fields.get("held_seconds")) for name, fields in events] == [
            ("relay.held", None), ("relay.healthy", 8.0),
        ]  # fmt: skip

    def test_a_wrong_password_is_said_each_time_it_is_tried(self, land: Any, down: Down, events: Any) -> None:
        """A person is needed: each new try is told, but not each courier of the same moment."""
        fleet = Fleet(land.configure().relays)
        for now in (0.0, 0.1, 600.0):
            failure = SessionFailed("main", down(configuration=True))
            fleet.hold(fleet.relays["main"], failure, now=now, waiting=1)
        assert len(events) == 2

    def test_a_new_configuration_keeps_what_did_not_change(self, land: Any, down: Down, fake_relay: Any) -> None:
        """A relay that stays as it was keeps its sessions; a changed or held one begins anew."""
        for name in ("changed", "held"):
            land.relays[name] = fake_relay(name=name)
        before = land.configure()
        fleet = Fleet(before.relays)
        old = dict(fleet.relays)
        fleet.hold(old["held"], SessionFailed("held", down()), now=0.0, waiting=0)

        async def replace() -> None:
            text = land.file.read_text("utf-8").replace("[relays.changed]\n", "[relays.changed]\nidle = 1\n")
            land.file.write_text(text, "utf-8")
            from maildrop import config  # noqa: PLC0415  # only here

            fleet.replace(config.load(before.path).relays)
            await fleet.farewell()

        asyncio.run(replace())
        assert fleet.relays["main"] is old["main"]
        assert fleet.relays["changed"] is not old["changed"]
        assert fleet.relays["held"].hold_state is None


class TestNews:
    """What the daemon shows."""

    def tell(self, news: News, *, now: float, deferred: int = 0, paused: str = "") -> None:
        """Tell a state without relays."""
        numbers = {"on the wire": 1, "waiting": 2, "deferred": deferred, "incomplete": deferred}
        news.tell(relays={}, numbers=numbers, counts=Counter(sent=3), paused=paused, now=now)

    def test_the_line(self, land: Any, spool: Spool) -> None:
        """One line says what is going on, or why nothing is."""
        news = News(spool, land.systemd(), now=lambda: land.now)
        self.tell(news, now=0.0)
        self.tell(news, now=0.0, paused="disk full")
        assert land.notify == [
            "STATUS=1 on the wire, 2 waiting, 0 deferred, 0 incomplete; 3 sent, 0 failed since the start",
            "STATUS=paused: disk full",
        ]

    def test_a_bulletin_a_second_at_most(self, land: Any, spool: Spool) -> None:
        """``status`` sees changes, each at most a second late."""
        news, path = News(spool, land.systemd(), now=lambda: land.now), land.path / "active" / ".bulletin.json"
        self.tell(news, now=0.0)
        assert json.loads(path.read_text())["incomplete"] == 0
        self.tell(news, now=0.5, deferred=5)
        assert json.loads(path.read_text())["incomplete"] == 0
        self.tell(news, now=1.0, deferred=5)
        assert json.loads(path.read_text())["incomplete"] == 5
        path.unlink()
        self.tell(news, now=2.0, deferred=5)
        assert not path.exists()


class Intake:
    """An intake that hands out what it is told to."""

    def __init__(self, *drops: Drop) -> None:
        """Begin with these drops."""
        self.drops = list(drops)
        self.given_back: list[tuple[str, str]] = []

    def take(self, limit: int, _monotonic: float, _wall: float) -> list[Drop]:
        """Hand out at most so many."""
        taken, self.drops = self.drops[:limit], self.drops[limit:]
        return taken

    def give_back(self, name: str, reason: str) -> None:
        """Note what could not be claimed."""
        self.given_back.append((name, reason))


@pytest.fixture
def admission(land: Any, spool: Spool) -> Iterator[Callable[..., Admission]]:
    """Make an admission over an intake."""
    commit = Commit()

    def make(*drops: Drop) -> Admission:
        loaded = land.configure()
        settler = Settler(loaded.retry, commit=commit, now=lambda: land.now, dice=lambda: 0.5)
        courier = Courier(settler, transcript="never", commit=commit, now=lambda: land.now)
        intake: Any = Intake(*drops)
        fleet = Fleet(loaded.relays)
        return Admission(
            spool, intake, Deferred(spool), courier=courier, settings=loaded.mailing, relays=fleet.relays,
            now=lambda: land.now,
        )  # fmt: skip

    yield make
    commit.close()


def some(admission: Admission, limit: int = 9, *, drops: bool = True) -> list[Any]:
    """Admit some jobs; close those that were opened."""

    async def collect() -> list[Any]:
        return [one async for one in admission.some(limit, drops=drops, monotonic=0.0)]

    admitted = asyncio.run(collect())
    for one in admitted:
        if one.work is not None and one.work.loaded is not None:
            one.work.loaded.job.close()
    return admitted


def folder(name: str, **more: Any) -> Drop:
    """Make a drop that is a folder."""
    return Drop(name=name, job=name, kind=Kind.DIRECTORY, **more)


class TestAdmission:
    """Jobs are opened one by one."""

    def test_no_more_than_there_is_room_for(self, land: Any, admission: Callable[..., Admission]) -> None:
        """Leftovers go before drops, and both count."""
        land.drop("left", state=State.ACTIVE)
        land.drop("one")
        land.drop("two")
        made = admission(folder("one"), folder("two"))
        made.look(set())
        assert made.leftovers == 1
        assert [one.work.name for one in some(made, 2)] == ["left", "one"]
        assert [one.work.name for one in some(made, 2)] == ["two"]

    def test_what_is_in_hand_is_no_leftover(self, land: Any, admission: Callable[..., Admission]) -> None:
        """Jobs that a courier has are not taken up a second time."""
        land.drop("mine", state=State.ACTIVE)
        made = admission()
        made.look({"mine"})
        assert made.leftovers == 0
        made.look(set())
        made.look(set())
        assert made.leftovers == 1

    def test_a_job_that_cannot_be_opened_keeps_no_other_waiting(
        self, land: Any, admission: Callable[..., Admission], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A producer that takes our rights away after the claim harms its own job alone."""
        land.drop("evil", state=State.ACTIVE)
        land.drop("good", state=State.ACTIVE)
        real = Job.open

        def refuse(spool: Spool, state: State, name: str) -> Job:
            if name == "evil":
                raise PermissionError(errno.EACCES, "Permission denied", name)
            return real(spool, state, name)

        monkeypatch.setattr(Job, "open", refuse)
        made = admission()
        made.look(set())
        assert [one.work.name for one in some(made) if one.work is not None] == ["good"]
        made.look({"good"})
        assert made.leftovers == 0

    def test_without_drops_nothing_is_claimed(self, land: Any, admission: Callable[..., Admission]) -> None:
        """While there is no room on disk, drops stay where they are."""
        land.drop("one")
        assert some(admission(folder("one")), drops=False) == []
        assert land.where("one") == "incoming"

    def test_a_drop_that_is_gone(self, admission: Callable[..., Admission]) -> None:
        """A producer may take a drop back at any time."""
        assert some(admission(folder("gone"))) == []

    def test_an_overdue_drop_is_invalid(self, land: Any, admission: Callable[..., Admission]) -> None:
        """What is still no job after its time goes to failed with the reasons that the intake gives."""
        from maildrop.errors import Problem  # noqa: PLC0415  # only here

        land.drop("half")
        problem = Problem(where="job", what="a named file never came")
        (one,) = some(admission(folder("half", overdue=(problem,))))
        assert one.carried.outcome is Outcome.INVALID
        assert land.result("half").problems == (problem,)

    def test_a_leftover_that_is_gone(self, land: Any, admission: Callable[..., Admission]) -> None:
        """A job that a person moved out of active between look and admission is nobody's."""
        path = land.drop("left", state=State.ACTIVE)
        made = admission()
        made.look(set())
        path.rename(land.path / "failed" / "left")
        (one,) = some(made)
        assert (one.work, one.carried) == (None, None)

    def test_a_deferred_job_that_is_gone(self, land: Any, admission: Callable[..., Admission]) -> None:
        """A due job that a person took is passed over."""
        made = admission()
        made._deferred.add("gone", land.now)
        assert some(made) == []

    def test_local_trouble_keeps_the_leftover(
        self, land: Any, admission: Callable[..., Admission], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An I/O error while a job is read is this machine's: raised, and the job is taken up again later."""

        def broken(*_args: Any, **_options: Any) -> None:
            raise OSError(errno.EIO, "Input/output error")

        land.drop("left", state=State.ACTIVE)
        made = admission()
        made.look(set())
        with monkeypatch.context() as patch:
            patch.setattr("maildrop.daemon.admission.load", broken)
            with pytest.raises(OSError, match="Input/output"):
                some(made)
        assert made.leftovers == 1
        assert [one.work.name for one in some(made)] == ["left"]

    def test_everything_delivered_needs_no_relay(self, land: Any, admission: Callable[..., Admission]) -> None:
        """A job found in active whose recipients are all decided is settled without a session."""
        from maildrop.spool.record import RecipientResult, Status  # noqa: PLC0415  # only here

        path = land.drop("left", state=State.ACTIVE)
        done = RecipientResult(address="a@example.org", status=Status.DELIVERED, code=250, text="ok", relay="main")
        record = Result(job="left", outcome=Outcome.SENT, reason="r", claimed=land.now, recipients=(done,))
        (path / "result.toml").write_bytes(dump(record))
        made = admission()
        made.look(set())
        (one,) = some(made)
        assert one.carried.outcome is Outcome.SENT
        assert land.where("left") == "sent"

    def test_reload_after_a_long_wait(self, land: Any, admission: Callable[..., Admission]) -> None:
        """A job whose descriptors were let go is opened anew: read, gone, or invalid by now."""
        made = admission()
        path = land.drop("job", state=State.ACTIVE)

        def reload() -> Any:
            work = Work(name="job", claimed=land.now, token="0" * 32)
            carried = asyncio.run(made.reload(work))
            if work.loaded is not None:
                work.loaded.job.close()
            return carried

        assert reload() is None
        (path / "envelope.toml").write_text("nonsense = 1\n", "utf-8")
        assert reload().outcome is Outcome.INVALID
        assert reload() == Carried(next=Next.SETTLED)


class TestDispatch:
    """Summaries of couriers."""

    def test_what_is_counted(self, land: Any, spool: Spool) -> None:
        """Sent and failed are counted, everything that is not at rest is not."""
        dispatch = Dispatch(
            Fleet(land.configure().relays), SimpleNamespace(), Deferred(spool),  # type: ignore[arg-type]
            pause=Pause(), wake=lambda: None,
        )  # fmt: skip
        for next_, outcome in (
            (Next.SETTLED, Outcome.SENT), (Next.SETTLED, Outcome.PARTIAL), (Next.SETTLED, None),
            (Next.DEFERRED, Outcome.DEFERRED), (Next.AGAIN, None),
        ):  # fmt: skip
            dispatch.count(Carried(next=next_, outcome=outcome))
        assert dispatch.counts == {"sent": 1, "failed": 1}

    def test_a_pause_hands_out_nothing(self, land: Any, spool: Spool) -> None:
        """While this machine is in trouble no courier starts."""
        pause = Pause()
        dispatch = Dispatch(
            Fleet(land.configure().relays), SimpleNamespace(), Deferred(spool),  # type: ignore[arg-type]
            pause=pause, wake=lambda: None,
        )  # fmt: skip
        dispatch.add(Work(name="job", claimed=land.now, token="0"))
        pause.begin("disk full", 0.0)
        dispatch.hand_out(0.5)
        assert (dispatch.on_the_wire, dispatch.in_hand) == (0, {"job"})
        dispatch.put_back()
        assert (dispatch.agenda.waiting(), dispatch.in_hand) == (0, set())

    def test_a_deferred_job_is_known_by_its_name_there(self, land: Any, spool: Spool) -> None:
        """Where another job has the name in deferred, the due time is that of the new name."""
        deferred = Deferred(spool)
        dispatch = Dispatch(
            Fleet(land.configure().relays), SimpleNamespace(), deferred,  # type: ignore[arg-type]
            pause=Pause(), wake=lambda: None,
        )  # fmt: skip
        dispatch.count(Carried(next=Next.DEFERRED, outcome=Outcome.DEFERRED, due=land.now, name="job.2"))
        assert deferred.take(land.now, 1) == ["job.2"]
