"""Hands jobs to couriers and takes their summaries: the agenda, what is on the wire, and the counters."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from maildrop import log
from maildrop.daemon.admission import Admission
from maildrop.daemon.deferred import Deferred
from maildrop.daemon.fleet import Fleet
from maildrop.daemon.pause import Pause
from maildrop.delivery.agenda import Agenda, Turn, Work
from maildrop.delivery.relay import Relay
from maildrop.delivery.settle import Carried, Next
from maildrop.smtp import SessionFailed
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.record import Outcome

_LOW_WATER = 32  # jobs waiting in the agenda below which the coordinator looks for more
_LATE_SECONDS = 1.0  # for a courier that was told to drop everything


class Dispatch:
    """The jobs in hand: waiting in the agenda, or with a courier."""

    def __init__(
        self, fleet: Fleet, admission: Admission, deferred: Deferred, *, pause: Pause, wake: Callable[[], None]
    ) -> None:
        """``wake`` is called when the coordinator should look whether there is more to do."""
        self.fleet = fleet
        self.admission = admission
        self.deferred = deferred
        self.pause = pause
        self.agenda = Agenda()
        self.counts: Counter[str] = Counter()
        self.stopping = False
        self._wake = wake
        self._tasks: dict[asyncio.Task[Carried], Turn] = {}
        self._in_hand: set[str] = set()

    @property
    def carried(self) -> int:
        """How many jobs couriers have, on the wire or standing by for a session."""
        return len(self._tasks)

    @property
    def on_the_wire(self) -> int:
        """How many jobs couriers are carrying to a relay."""
        return len(self._tasks) - sum(relay.standing_by for relay in self.fleet.relays.values())

    @property
    def in_hand(self) -> set[str]:
        """The names in active/ that are taken care of."""
        return self._in_hand

    @property
    def parked(self) -> int:
        """How many jobs wait only for held relays."""
        return self.agenda.parked(self.fleet.relays)

    def add(self, work: Work) -> None:
        """Take a job into the agenda."""
        self._in_hand.add(work.name)
        self.agenda.add(work)

    def put_back(self) -> None:
        """Empty the agenda; a later scan takes its jobs up again from active/."""
        for work in self.agenda.clear():
            self.let_go(work)

    async def finish(self, grace_seconds: float) -> None:
        """Hand out nothing more, and let what is on the wire come to its end, but not for ever."""
        self.stopping = True
        self.fleet.dismiss()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=_LATE_SECONDS)
        self.put_back()

    def hand_out(self, now: float) -> None:
        """Start a courier for each job that a relay can take now."""
        if self.pause.until(now) is not None:
            return
        while not self.stopping and (turn := self.agenda.take(self.fleet.relays, now)) is not None:
            self.fleet.take_on(turn.relay, turn.work.name, turn.leg.way, now=now)
            task = asyncio.create_task(self._carry(turn), name=turn.work.name)
            self._tasks[task] = turn
            task.add_done_callback(self._carried)

    async def _carry(self, turn: Turn) -> Carried:
        """Carry a job; opened again if it was let go while it waited for a held relay."""
        work = turn.work
        if work.loaded is None:
            try:
                carried = await self.admission.reload(work)
            except OSError as error:
                if not is_local_trouble(error):
                    raise
                return Carried(next=Next.AGAIN, trouble=error)
            if carried is not None:
                return carried
        loaded = work.loaded
        if loaded is None:
            return Carried(next=Next.SETTLED)
        leg = next((leg for leg in loaded.open_legs if leg.way == turn.leg.way), None)
        if leg is None:  # the job reads otherwise than before it waited
            return Carried(next=Next.AGAIN)
        return await self.admission.courier.carry(loaded, leg, turn.relay, broken=work.broken)

    def _carried(self, task: asyncio.Task[Carried]) -> None:
        """Take a courier's summary."""
        turn = self._tasks.pop(task)
        turn.relay.let_go(turn.work.name)
        now = asyncio.get_running_loop().time()
        self.fleet.tidy_one(turn.relay, now)
        if task.cancelled():
            self.let_go(turn.work)
            return
        error = task.exception()
        if error is not None:
            self._stumbled(turn, error, now)
        else:
            self._take_summary(turn, task.result(), now)
        self.hand_out(now)
        settled = error is None and task.result().next is Next.SETTLED and turn.relay.limiter is None
        if not settled or self.stopping or self.pause.why or self.agenda.waiting() - self.parked < _LOW_WATER:
            self._wake()  # else the agenda has enough, and nothing has changed that the coordinator waits for

    def _take_summary(self, turn: Turn, carried: Carried, now: float) -> None:
        work, relay = turn.work, turn.relay
        if carried.failure is not None:
            self._hold(relay, carried.failure, now)
        elif carried.healthy:
            self.fleet.heal(relay, work.name, now=now)
        if carried.trouble is not None:
            self.rest(carried.trouble, now)
        elif carried.next in (Next.SETTLED, Next.DEFERRED):
            self.pause.end()  # something could be written
        self.count(carried)
        if carried.next in (Next.AGAIN, Next.ONWARD) and work.loaded is not None:
            work.broken += carried.broken
            work.legs = work.loaded.open_legs
            if all(name in self.fleet.relays for leg in work.legs for name in leg.relays):
                if relay.hold_state is not None or carried.trouble is not None:
                    _release(work)
                self.agenda.add(work, front=True)
                return
        self.let_go(work)

    def let_go(self, work: Work) -> None:
        """Forget a job that is settled or deferred, or that a later scan shall take up anew."""
        _release(work)
        self._in_hand.discard(work.name)

    def rest(self, trouble: OSError, now: float) -> None:
        """Pause for trouble of this machine; what waits lets its descriptors go: they may be what is lacking."""
        self.pause.begin(str(trouble), now)
        self.fleet.rest()
        for work in self.agenda.works():
            _release(work)

    def _stumbled(self, turn: Turn, error: BaseException, now: float) -> None:
        """Note that a job could not even be set aside; it stays in active/, untouched until the next start."""
        if isinstance(error, OSError) and is_local_trouble(error):
            self.rest(error, now)
            self.let_go(turn.work)  # nobody's fault: a later scan takes it up from active/
            return
        log.job_error(job=turn.work.name, error=f"{type(error).__name__}: {error}")
        _release(turn.work)

    def _hold(self, relay: Relay, failure: SessionFailed, now: float) -> None:
        """Hold the relay; jobs that wait for it alone let their descriptors go."""
        self.fleet.hold(relay, failure, now=now, waiting=self.agenda.waiting(relay) + 1)
        for work in self.agenda.parked_works(self.fleet.relays):
            _release(work)

    def count(self, carried: Carried) -> None:
        """Count a job that came to rest, and know when a deferred one is due."""
        if carried.due is not None:
            self.deferred.add(carried.name, carried.due)
        if carried.next is Next.SETTLED and carried.outcome is not None:
            self.counts["sent" if carried.outcome is Outcome.SENT else "failed"] += 1


def _release(work: Work) -> None:
    """Let the descriptors of a waiting job go; it is opened and read again when its turn comes."""
    if work.loaded is not None:
        work.loaded.job.close()
        work.loaded = None
