"""The loop that owns agenda and counters: scan, admit, hand out, sleep until something is due.

An event is only a wake-up: the scan is the truth, and the watchdog of systemd is fed only after a completed scan. The
watcher's thread only wakes the loop; couriers hand back one summary each; nothing else touches the state here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from maildrop import log
from maildrop.config import Config
from maildrop.daemon.admission import Admission
from maildrop.daemon.deferred import Deferred
from maildrop.daemon.fleet import Fleet
from maildrop.daemon.news import News
from maildrop.daemon.pause import Pause
from maildrop.delivery.agenda import Agenda, Turn, Work
from maildrop.delivery.commit import Commit
from maildrop.delivery.courier import Carried, Courier, CourierSettings, Next
from maildrop.delivery.relay import Relay
from maildrop.mail.envelope import named_files
from maildrop.smtp import SessionFailed
from maildrop.spool import job as jobs
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.intake import Intake
from maildrop.spool.layout import Spool
from maildrop.spool.record import Outcome
from maildrop.systemd import Systemd

GRACE_SECONDS = 30.0  # to finish what is on the wire after SIGTERM; below the unit's TimeoutStopSec
_LOOK_AHEAD = 64  # claimed jobs kept ready beside those on the wire
_PARKED_MAX = 10_000  # jobs claimed for held relays; the rest stays in incoming/, where it costs no memory
_BATCH = 32  # jobs admitted in one turn of the loop, so that replies are never kept waiting for long
_LONGEST_SLEEP = 60.0  # a jump of the wall clock is noticed at least this soon


class Coordinator:
    """One run of the daemon on a spool that this process has locked."""

    def __init__(
        self, config: Config, spool: Spool, *, systemd: Systemd,
        now: Callable[[], datetime] = lambda: datetime.now(UTC), dice: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        """Take the wall clock (UTC) and the dice (0 to 1) as functions; the loop's clock is asyncio's."""
        self.config = config
        self.spool = spool
        self.fleet = Fleet(config.relays)
        self.agenda = Agenda()
        self.counts: Counter[str] = Counter()
        self._systemd = systemd
        self._now = now
        self._dice = dice
        self._commit = Commit()
        self._deferred = Deferred(spool)
        self._tasks: dict[asyncio.Task[Carried], Turn] = {}
        self._in_hand: set[str] = set()
        self._pause = Pause()
        self._news = News(spool, systemd, now=now)
        self._wake = asyncio.Event()
        self._stopping = False
        self._next_scan = 0.0

    def start(self) -> None:
        """Put in order what an earlier run left, and watch; needs the running loop. Raises OSError."""
        self._intake = self._new_intake()
        self._admission = Admission(
            self.spool,
            self._intake,
            self._deferred,
            courier=self._new_courier(),
            settings=self.config.mailing,
            relays=self.fleet.relays,
            now=self._now,
        )
        for line in jobs.recover(self.spool):
            log.daemon_recovered(what=line)

    def _new_intake(self) -> Intake:
        loop, limits = asyncio.get_running_loop(), self.config.mailing.limits

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to wake
                loop.call_soon_threadsafe(self._wake.set)

        intake = Intake(self.spool, self.config.intake, wake, lambda octets: named_files(octets, limits=limits))
        intake.start()
        return intake

    def _new_courier(self) -> Courier:
        settings = CourierSettings(retry=self.config.retry, transcript=self.config.transcript)
        return Courier(settings, commit=self._commit, now=self._now, dice=self._dice)

    def stop(self) -> None:
        """Take and hand out nothing more; ``serve`` returns soon."""
        self._stopping = True
        self._wake.set()

    async def finish(self) -> None:
        """Let what is on the wire come to its end, but not for ever, and say goodbye to the relays."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        await self.fleet.farewell()
        self._intake.stop()
        for work in self.agenda.clear():
            if work.loaded is not None:
                work.loaded.job.close()

    def take_config(self, config: Config) -> None:
        """Go on with another configuration of the same spool; couriers on their way finish with the old one."""
        old, self.config = self.config, config
        self.fleet.replace(config.relays)
        self._admission.courier = self._new_courier()
        self._admission.settings = config.mailing
        if config.intake != old.intake:
            self._intake.stop()
            self._intake = self._new_intake()
            self._admission.intake = self._intake
        for work in self.agenda.clear():  # their routes may have changed: the next scan takes them up again
            self._let_go(work)
        self._next_scan = 0.0
        self._wake.set()

    @property
    def on_the_wire(self) -> int:
        """How many jobs couriers are carrying."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """How many jobs are not settled, as far as they are known."""
        intake = self._intake
        known = len(self._deferred) + self.agenda.waiting() + self._admission.leftovers
        return known + intake.incomplete + intake.blocked + intake.settling + intake.waiting

    async def serve(self, *, once: bool, started: Callable[[], None]) -> None:
        """Work until ``stop``, or with ``once`` until nothing more can be done now.

        ``started`` is called when the spool has been looked at for the first time.
        """
        loop = asyncio.get_running_loop()
        looked = False
        while not self._stopping:
            now = loop.time()
            try:
                if now >= self._next_scan:
                    self._scan(now)
                await self._admit(now)
            except OSError as error:
                self._trouble(error, now)
            self._hand_out(now)
            if not looked:
                looked = True
                started()
            self._tell(loop.time())
            if once and self._is_idle(now):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, self._sleep_until() - loop.time()))
            self._wake.clear()

    def _tell(self, now: float) -> None:
        numbers = {
            "on the wire": len(self._tasks),
            "waiting": self.agenda.waiting(),
            "deferred": len(self._deferred),
            "incomplete": self._intake.incomplete,
        }
        self._news.tell(relays=self.fleet.relays, numbers=numbers, counts=self.counts, paused=self._pause.why, now=now)

    def _scan(self, now: float) -> None:
        """Look at incoming/, deferred/ and active/; raises OSError."""
        self._next_scan = now + self.config.intake.rescan_seconds
        self._intake.scan(now, self._now().timestamp())
        self._deferred.look()
        self._admission.look(self._in_hand)
        self.fleet.tidy(now)
        for notice in self._intake.notices:
            log.intake_notice(what=str(notice))
        self._intake.notices.clear()
        self._systemd.watchdog()

    async def _admit(self, now: float) -> None:
        """Take jobs into the agenda while there is room; raises OSError."""
        if self._pause.until(now) is not None or self._stopping:
            return
        if self._deferred.unread:
            self._deferred.read_some(self._now())
        parked = self.agenda.parked(self.fleet.relays)
        room = _LOOK_AHEAD - (self.agenda.waiting() - parked)
        if room < _LOOK_AHEAD // 2:
            return
        drops = parked < _PARKED_MAX and self._has_room_on_disk(now)
        for admitted in await self._admission.some(min(room, _BATCH), drops=drops, monotonic=now):
            if admitted.work is not None:
                self._in_hand.add(admitted.work.name)
                self.agenda.add(admitted.work)
            elif admitted.carried is not None:
                self._count(admitted.carried)
            self._wake.set()  # there may be more where this came from
        self._pause.end()

    def _has_room_on_disk(self, now: float) -> bool:
        if self.spool.free_fraction() >= self.config.min_free:
            return True
        self._pause.begin(f"less than {self.config.min_free:.1%} of the spool's filesystem is free", now)
        return False

    def _hand_out(self, now: float) -> None:
        if self._pause.until(now) is not None:
            return
        while not self._stopping and (turn := self.agenda.take(self.fleet.relays, now)) is not None:
            turn.relay.busy += 1
            task = asyncio.create_task(self._carry(turn), name=turn.work.name)
            self._tasks[task] = turn
            task.add_done_callback(self._carried)

    async def _carry(self, turn: Turn) -> Carried:
        """Carry a job; opened again if it was let go while it waited for a held relay."""
        work = turn.work
        if work.loaded is None:
            carried = await self._admission.reload(work)
            if carried is not None:
                return carried
        loaded = work.loaded
        if loaded is None:
            return Carried(next=Next.SETTLED)
        leg = next((leg for leg in loaded.open_legs if leg.relays == turn.leg.relays), turn.leg)
        return await self._admission.courier.carry(loaded, leg, turn.relay, broken=work.broken)

    def _carried(self, task: asyncio.Task[Carried]) -> None:
        """Take a courier's summary."""
        turn = self._tasks.pop(task)
        turn.relay.busy -= 1
        now = asyncio.get_running_loop().time()
        self.fleet.tidy_one(turn.relay, now)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._stumbled(turn, error, now)
        else:
            self._take_summary(turn, task.result(), now)
        self._hand_out(now)
        self._wake.set()

    def _take_summary(self, turn: Turn, carried: Carried, now: float) -> None:
        work, relay = turn.work, turn.relay
        if carried.failure is not None:
            self._hold(relay, carried.failure, now)
        elif carried.healthy:
            self.fleet.heal(relay, now=now)
        if carried.trouble is not None:
            self._pause.begin(str(carried.trouble), now)
        self._count(carried)
        if carried.next in (Next.AGAIN, Next.ONWARD) and work.loaded is not None:
            work.broken += carried.broken
            work.legs = work.loaded.open_legs
            if all(name in self.fleet.relays for leg in work.legs for name in leg.relays):
                if relay.hold_state is not None:
                    work.loaded.job.close()
                    work.loaded = None
                self.agenda.add(work, front=True)
                return
        self._let_go(work)
        if carried.due is not None:
            self._deferred.add(work.name, carried.due)

    def _let_go(self, work: Work) -> None:
        if work.loaded is not None:
            work.loaded.job.close()
            work.loaded = None
        self._in_hand.discard(work.name)

    def _stumbled(self, turn: Turn, error: BaseException, now: float) -> None:
        """Note that a courier raised: our own fault, and this job's alone. A later scan takes it up from active/."""
        log.job_error(job=turn.work.name, error=f"{type(error).__name__}: {error}")
        if isinstance(error, OSError) and is_local_trouble(error):
            self._pause.begin(str(error), now)
        self._let_go(turn.work)

    def _hold(self, relay: Relay, failure: SessionFailed, now: float) -> None:
        """Hold the relay; jobs that wait for it alone let their descriptors go."""
        self.fleet.hold(relay, failure, now=now, waiting=self.agenda.waiting(relay.name) + 1)
        for work in self.agenda.parked_works(self.fleet.relays):
            if work.loaded is not None:
                work.loaded.job.close()
                work.loaded = None

    def _count(self, carried: Carried) -> None:
        if carried.next is Next.SETTLED and carried.outcome is not None:
            self.counts["sent" if carried.outcome is Outcome.SENT else "failed"] += 1

    def _trouble(self, error: OSError, now: float) -> None:
        """Pause for trouble of this machine; anything else that the spool raises is told alike, and tried again."""
        self._pause.begin(str(error), now)
        self._next_scan = max(self._next_scan, now + 1.0)

    def _sleep_until(self) -> float:
        now = asyncio.get_running_loop().time()
        paused = self._pause.until(now)
        if paused is not None:
            return min(paused, self._next_scan)
        times = [self._next_scan, now + _LONGEST_SLEEP]
        look = self._intake.next_look(now)
        if look is not None and self.agenda.waiting() - self.agenda.parked(self.fleet.relays) < _LOOK_AHEAD // 2:
            times.append(look)
        if self._deferred.unread:
            times.append(now)
        due = self._deferred.next_due()
        if due is not None:
            times.append(now + max(0.0, (due - self._now()).total_seconds()))
        probe = self.fleet.next_probe()
        if probe is not None and self.agenda.waiting():
            times.append(probe)
        return min(times)

    def _is_idle(self, now: float) -> bool:
        """With ``--once``: nothing is on the wire or settling, and what waits, waits for a time or a held relay."""
        return (
            not self._tasks
            and not self._admission.leftovers
            and not self._deferred.unread
            and not self._intake.waiting
            and not self._intake.settling
            and not self._is_due(now)
            and self.agenda.waiting() == self.agenda.parked(self.fleet.relays)
        )

    def _is_due(self, now: float) -> bool:
        due = self._deferred.next_due()
        look = self._intake.next_look(now)
        return (due is not None and due <= self._now()) or (look is not None and look <= now)
