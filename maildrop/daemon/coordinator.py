"""The loop that owns agenda and counters: scan, admit, hand out, sleep until something is due.

An event is only a wake-up: the scan is the truth, and the watchdog of systemd is fed only after a completed scan. The
watcher's thread only wakes the loop; couriers hand back one summary each; nothing else touches the state here.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from maildrop import log
from maildrop.config import Config
from maildrop.daemon.admission import Admission
from maildrop.daemon.deferred import Deferred
from maildrop.daemon.dispatch import Dispatch
from maildrop.daemon.fleet import Fleet
from maildrop.daemon.news import News
from maildrop.daemon.pause import Pause
from maildrop.delivery.commit import Commit
from maildrop.delivery.courier import Courier
from maildrop.delivery.settle import Settler
from maildrop.mail.envelope import named_files
from maildrop.spool.intake import Intake
from maildrop.spool.layout import Spool
from maildrop.spool.recovery import recover
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
        self.fleet = Fleet(config.relays, now=now)
        self._systemd = systemd
        self._now = now
        self._dice = dice
        self._commit = Commit()
        self._deferred = Deferred(spool)
        self._pause = Pause()
        self._floor = Pause()  # too little free space: nothing new is claimed
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
        self._dispatch = Dispatch(self.fleet, self._admission, self._deferred, pause=self._pause, wake=self._wake.set)
        for line in recover(self.spool):
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
        config, commit, now = self.config, self._commit, self._now
        settler = Settler(config.retry, commit=commit, now=now, dice=self._dice)
        return Courier(settler, transcript=config.transcript, commit=commit, now=now)

    def stop(self) -> None:
        """Take and hand out nothing more; ``serve`` returns soon."""
        self._stopping = self._dispatch.stopping = True
        self._wake.set()

    async def finish(self) -> None:
        """Let what is on the wire come to its end, but not for ever, and say goodbye to the relays."""
        await self._dispatch.finish(GRACE_SECONDS)
        await self.fleet.farewell()
        self._commit.close()
        self._intake.stop()

    def take_config(self, config: Config) -> None:
        """Go on with another configuration of the same spool; couriers on their way finish with the old one."""
        old, self.config = self.config, config
        self.spool.layout = config.layout
        self.fleet.replace(config.relays)
        self._admission.courier = self._new_courier()
        self._admission.settings = config.mailing
        if config.intake != old.intake:
            self._intake.stop()
            self._intake = self._new_intake()
            self._admission.intake = self._intake
        self._dispatch.put_back()  # their routes may have changed
        self._next_scan = 0.0
        self._wake.set()

    @property
    def counts(self) -> Counter[str]:
        """How many jobs were sent and failed since the start."""
        return self._dispatch.counts

    @property
    def on_the_wire(self) -> int:
        """How many jobs couriers are carrying to a relay."""
        return self._dispatch.on_the_wire

    @property
    def waiting(self) -> int:
        """How many jobs are not settled, as far as they are known."""
        intake = self._intake
        known = len(self._deferred) + self._dispatch.agenda.waiting() + self._admission.leftovers
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
            self._dispatch.hand_out(now)
            if not looked:
                looked = True
                started()
            self._tell(loop.time())
            if once and self._is_idle(now):
                return
            timer = loop.call_at(self._sleep_until(), self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()

    def _tell(self, now: float) -> None:
        numbers = {
            "on the wire": self.on_the_wire,
            "waiting": self._dispatch.agenda.waiting(),
            "deferred": len(self._deferred),
            "incomplete": self._intake.incomplete,
        }
        self._news.tell(
            relays=self.fleet.relays,
            numbers=numbers,
            counts=self.counts,
            paused=self._pause.why or self._floor.why,
            now=now,
        )

    def _scan(self, now: float) -> None:
        """Look at incoming/, deferred/ and active/; raises OSError."""
        self._next_scan = now + min(self.config.intake.rescan_seconds, self._systemd.watchdog_seconds or math.inf)
        self._intake.scan(now, self._now().timestamp())
        self._deferred.look()
        self._admission.look(self._dispatch.in_hand)
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
        parked = self._dispatch.parked
        room = _LOOK_AHEAD - (self._dispatch.agenda.waiting() - parked)
        if room < _LOOK_AHEAD // 2:
            return
        drops = parked < _PARKED_MAX and self._has_room_on_disk(now)
        async for admitted in self._admission.some(min(room, _BATCH), drops=drops, monotonic=now):
            if admitted.work is not None:
                self._dispatch.add(admitted.work)
            elif admitted.carried is not None:
                self._dispatch.count(admitted.carried)
            self._wake.set()  # there may be more where this came from
        if not self._dispatch.agenda.waiting() and not self._dispatch.carried:
            self._pause.end()

    def _has_room_on_disk(self, now: float) -> bool:
        """Tell whether new jobs may be claimed; what is claimed goes on in any case."""
        if self._floor.until(now) is not None:
            return False
        if self.spool.free_fraction() >= self.config.min_free:
            self._floor.end()
            return True
        self._floor.begin(f"less than {self.config.min_free:.1%} of the spool's filesystem is free", now)
        return False

    def _trouble(self, error: OSError, now: float) -> None:
        """Pause for trouble of this machine; anything else that the spool raises is told alike, and tried again."""
        self._dispatch.rest(error, now)
        self._next_scan = max(self._next_scan, now + 1.0)

    def _sleep_until(self) -> float:
        now = asyncio.get_running_loop().time()
        paused = self._pause.until(now)
        if paused is not None:
            return min(paused, self._next_scan)
        times = [self._next_scan, now + _LONGEST_SLEEP]
        look = self._intake.next_look(now)
        if look is not None and self._dispatch.agenda.waiting() - self._dispatch.parked < _LOOK_AHEAD // 2:
            times.append(look)
        if self._deferred.unread:
            times.append(now)
        due = self._deferred.next_due()
        if due is not None:
            times.append(now + max(0.0, (due - self._now()).total_seconds()))
        free = self.fleet.next_free(now)
        if free is not None and self._dispatch.agenda.waiting():
            times.append(free)
        return min(times)

    def _is_idle(self, now: float) -> bool:
        """With ``--once``: nothing is on the wire or settling, and what waits, waits for a time or a held relay."""
        return (
            not self._dispatch.carried
            and not self._admission.leftovers
            and not self._deferred.unread
            and not self._intake.waiting
            and not self._intake.settling
            and not self._is_due(now)
            and self._dispatch.agenda.waiting() == self._dispatch.parked
        ) or bool(self._floor.why and not self._dispatch.carried and not self._dispatch.agenda.waiting())

    def _is_due(self, now: float) -> bool:
        due = self._deferred.next_due()
        look = self._intake.next_look(now)
        return (due is not None and due <= self._now()) or (look is not None and look <= now)
