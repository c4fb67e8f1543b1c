"""The loop that owns agenda, relays and counters: scan, admit, hand out, sleep until something is due.

An event is only a wake-up: the scan is the truth, and the watchdog of systemd is fed only after a completed scan. The
watcher's thread only wakes the loop; couriers hand back one summary each; nothing else touches the state here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from maildrop import __version__, log
from maildrop.config import Config, load
from maildrop.daemon.admission import Admission
from maildrop.daemon.deferred import Deferred
from maildrop.daemon.pause import Pause
from maildrop.delivery.agenda import Agenda, Turn, Work
from maildrop.delivery.commit import Commit
from maildrop.delivery.courier import Carried, Courier, CourierSettings, Next
from maildrop.delivery.relay import Relay
from maildrop.errors import ConfigurationError
from maildrop.mail.envelope import named_files
from maildrop.smtp import Session, SessionFailed
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
        self.relays: dict[str, Relay] = {name: Relay(settings) for name, settings in config.relays.items()}
        self.agenda = Agenda()
        self.counts: Counter[str] = Counter()
        self._systemd = systemd
        self._now = now
        self._dice = dice
        self._commit = Commit()
        self._deferred = Deferred(spool)
        self._tasks: dict[asyncio.Task[Carried], Turn] = {}
        self._in_hand: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._pause = Pause()
        self._wake = asyncio.Event()
        self._events = False  # the watcher saw something since the last admission
        self._stopping = False
        self._next_scan = 0.0

    # Lifecycle

    async def run(self, *, once: bool = False) -> int:
        """Work until a signal, or with ``once`` until nothing more can be done now; return the exit code."""
        loop = asyncio.get_running_loop()
        self._intake = self._new_intake(loop)
        self._admission = Admission(
            self.spool,
            self._intake,
            self._deferred,
            courier=self._new_courier(),
            settings=self.config.mailing,
            relays=self.relays,
            now=self._now,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        for line in jobs.recover(self.spool):
            log.daemon_recovered(what=line)
        try:
            await self._serve(once=once)
            await self._finish()
        finally:
            self._intake.stop()
            self._systemd.stopping()
        waiting = len(self._deferred) + self.agenda.waiting() + self._intake.incomplete + self._intake.blocked
        log.daemon_stopped(sent=self.counts["sent"], failed=self.counts["failed"], waiting=waiting)
        if not once:
            return 0
        return 65 if self.counts["failed"] else 75 if waiting or self._admission.leftovers else 0

    def _new_intake(self, loop: asyncio.AbstractEventLoop) -> Intake:
        limits = self.config.mailing.limits

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to wake
                loop.call_soon_threadsafe(self._seen)

        intake = Intake(self.spool, self.config.intake, wake, lambda octets: named_files(octets, limits=limits))
        intake.start()
        return intake

    def _new_courier(self) -> Courier:
        settings = CourierSettings(retry=self.config.retry, transcript=self.config.transcript)
        return Courier(settings, commit=self._commit, now=self._now, dice=self._dice)

    def _seen(self) -> None:
        self._events = True
        self._wake.set()

    def _stop(self, number: int) -> None:
        if self._stopping:
            os._exit(128 + number)  # asked twice: at once; what is on the wire is settled at the next start
        self._stopping = True
        log.daemon_stopping(signal=signal.Signals(number).name, on_the_wire=len(self._tasks))
        self._systemd.stopping()
        self._wake.set()

    async def _finish(self) -> None:
        """Let what is on the wire come to its end, but not for ever, and say goodbye to the relays."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)
        for relay in self.relays.values():
            self._close(relay.drain())
        if self._closing:
            await asyncio.wait(self._closing, timeout=1.0)
        for work in self.agenda.clear():
            if work.loaded is not None:
                work.loaded.job.close()

    # The loop

    async def _serve(self, *, once: bool) -> None:
        loop = asyncio.get_running_loop()
        started = False
        while not self._stopping:
            now = loop.time()
            try:
                if now >= self._next_scan:
                    self._scan(now)
                await self._admit(now)
            except OSError as error:
                self._trouble(error, now)
            self._hand_out(now)
            if not started:
                started = True
                self._say_started()
            self._show_status()
            if once and self._is_idle(now):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, self._sleep_until() - loop.time()))
            self._wake.clear()

    def _say_started(self) -> None:
        self._systemd.ready()
        log.daemon_started(
            version=__version__,
            pid=os.getpid(),
            spool=self.spool.path,
            relays=[f"{relay.name}={relay.settings.host}:{relay.settings.port}" for relay in self.relays.values()],
            config=self.config.path,
        )

    def _scan(self, now: float) -> None:
        """Look at incoming/, deferred/ and active/; raises OSError."""
        self._next_scan = now + self.config.intake.rescan_seconds
        self._intake.scan(now, self._now().timestamp())
        self._deferred.look()
        self._admission.look(self._in_hand)
        for relay in self.relays.values():
            self._close(relay.take_parting(now))
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
        parked = self.agenda.parked(self.relays)
        room = _LOOK_AHEAD - (self.agenda.waiting() - parked)
        if room < _LOOK_AHEAD // 2:
            return
        drops = parked < _PARKED_MAX and self._has_room_on_disk(now)
        self._events = False
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
        while not self._stopping and (turn := self.agenda.take(self.relays, now)) is not None:
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
        self._close(turn.relay.take_parting(now))
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
        elif carried.healthy and (ended := relay.heal()) is not None:
            log.relay_healthy(relay=relay.name, held_seconds=now - ended.since)
        if carried.trouble is not None:
            self._pause.begin(str(carried.trouble), now)
        self._count(carried)
        if carried.next in (Next.AGAIN, Next.ONWARD) and work.loaded is not None:
            work.broken += carried.broken
            work.legs = work.loaded.open_legs
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
        first = relay.hold_state is None
        seconds = relay.hold(failure, now=now)
        for work in self.agenda.parked_works(self.relays):
            if work.loaded is not None:
                work.loaded.job.close()
                work.loaded = None
        if first or failure.configuration:
            log.relay_held(
                relay=relay.name,
                stage=failure.stage.value,
                why=failure.what,
                hint=failure.hint or None,
                seconds=seconds,
                waiting=self.agenda.waiting(relay.name) + 1,
            )

    def _count(self, carried: Carried) -> None:
        if carried.next is Next.SETTLED and carried.outcome is not None:
            self.counts["sent" if carried.outcome is Outcome.SENT else "failed"] += 1

    def _trouble(self, error: OSError, now: float) -> None:
        """Pause for trouble of this machine; anything else that the spool raises is told alike, and tried again."""
        self._pause.begin(str(error), now)
        self._next_scan = max(self._next_scan, now + 1.0)

    # When next

    def _sleep_until(self) -> float:
        now = asyncio.get_running_loop().time()
        paused = self._pause.until(now)
        if paused is not None:
            return min(paused, self._next_scan)
        times = [self._next_scan, now + _LONGEST_SLEEP]
        look = self._intake.next_look(now)
        if look is not None and self.agenda.waiting() - self.agenda.parked(self.relays) < _LOOK_AHEAD // 2:
            times.append(look)
        if self._deferred.unread:
            times.append(now)
        due = self._deferred.next_due()
        if due is not None:
            times.append(now + max(0.0, (due - self._now()).total_seconds()))
        if self.agenda.waiting():
            times += [relay.hold_state.until for relay in self.relays.values() if relay.hold_state and not relay.busy]
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
            and self.agenda.waiting() == self.agenda.parked(self.relays)
        )

    def _is_due(self, now: float) -> bool:
        due = self._deferred.next_due()
        look = self._intake.next_look(now)
        return (due is not None and due <= self._now()) or (look is not None and look <= now)

    # What people see

    def _show_status(self) -> None:
        if self._pause.why:
            self._systemd.status(f"paused: {self._pause.why}")
            return
        held = [f"{relay.name} held ({relay.hold_state.why})" for relay in self.relays.values() if relay.hold_state]
        text = (
            f"{len(self._tasks)} on the wire, {self.agenda.waiting()} waiting, {len(self._deferred)} deferred, "
            f"{self._intake.incomplete} incomplete; {self.counts['sent']} sent, {self.counts['failed']} failed"
        )
        self._systemd.status("; ".join([text, *held]))

    # Reload

    def _reload(self) -> None:
        """Read the configuration again; a bad file changes nothing."""
        self._systemd.reloading()
        try:
            config = load(self.config.path)
            if config.spool != self.config.spool:
                log.config_refused(config=config.path, problems=["[spool] path can't change without a restart"])
            else:
                self._take_config(config)
                log.config_reloaded(config=config.path)
        except ConfigurationError as error:
            log.config_refused(config=self.config.path, problems=[str(problem) for problem in error.problems])
        finally:
            self._systemd.ready()
            self._wake.set()

    def _take_config(self, config: Config) -> None:
        old, self.config = self.config, config
        for name, relay in list(self.relays.items()):
            if config.relays.get(name) != relay.settings or relay.hold_state is not None:
                self._close(relay.drain())
                del self.relays[name]
        for name, settings in config.relays.items():
            self.relays.setdefault(name, Relay(settings))
        self._admission.courier = self._new_courier()
        self._admission.settings = config.mailing
        if config.intake != old.intake:
            self._intake.stop()
            self._intake = self._new_intake(asyncio.get_running_loop())
            self._admission.intake = self._intake
        log.set_up(form=config.log_format, level=config.log_level)
        for work in self.agenda.clear():  # their routes may have changed: read them again
            self._let_go(work)
        self._next_scan = 0.0

    def _close(self, sessions: list[Session]) -> None:
        for session in sessions:
            task = asyncio.create_task(session.quit())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
