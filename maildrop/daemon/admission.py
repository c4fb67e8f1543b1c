"""Brings jobs into the agenda: what an earlier run left in active/, deferred jobs that are due, drops that are ready.

Whatever can be decided without a relay is decided here: invalid, not before, expired, a doubt that a crash left. A
job that makes us stumble is set aside with the reason and never keeps the next one from being sent.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from maildrop import log
from maildrop.daemon.deferred import Deferred
from maildrop.delivery.agenda import Work
from maildrop.delivery.courier import Courier
from maildrop.delivery.load import Loaded, load
from maildrop.delivery.mailing import MailingSettings
from maildrop.delivery.relay import Relay
from maildrop.delivery.settle import Carried, Next
from maildrop.errors import InvalidJob, Problem, printable
from maildrop.mail.envelope import InDoubt
from maildrop.spool import job as jobs
from maildrop.spool.durable import is_local_trouble
from maildrop.spool.intake import Drop, Intake
from maildrop.spool.job import CannotClaim, Job
from maildrop.spool.layout import Spool, State

_TOKEN_OCTETS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """One job: for the agenda, or settled or deferred already."""

    work: Work | None = None
    carried: Carried | None = None


class Admission:
    """Opens jobs one by one; the coordinator says how many it wants."""

    def __init__(
        self, spool: Spool, intake: Intake, deferred: Deferred, *, courier: Courier, settings: MailingSettings,
        relays: Mapping[str, Relay], now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        """``courier``, ``settings`` and ``relays`` are replaced when the configuration is read again."""
        self.courier = courier
        self.settings = settings
        self.relays = relays
        self._spool = spool
        self.intake = intake
        self._deferred = deferred
        self._now = now
        self._leftovers: deque[str] = deque()
        self._unusable: set[str] = set()  # names in active/ that can't be opened: told once, left alone

    @property
    def leftovers(self) -> int:
        """How many jobs of active/ wait to be taken up again."""
        return len(self._leftovers)

    def look(self, in_hand: set[str]) -> None:
        """List active/ for jobs that nobody has in hand: an earlier run's, or those that a person sent again."""
        known = in_hand.union(self._leftovers, self._unusable)
        self._leftovers += sorted(name for name in self._spool.names(State.ACTIVE) if name not in known)

    async def some(self, limit: int, *, drops: bool, monotonic: float) -> AsyncIterator[Admitted]:
        """Admit at most ``limit`` jobs, new ones only with ``drops``; raises OSError for local trouble.

        Each is handed over before the next one is opened: trouble with one leaves the others in good hands.
        """
        room = limit
        while self._leftovers and room > 0:
            admitted = await self._admit(self._leftovers[0])
            self._leftovers.popleft()
            room -= 1
            yield admitted
        for name in self._deferred.take(self._now(), room):
            resumed = self._resume(name)
            if resumed is not None:
                yield await self._admit(resumed)
                room -= 1
        if drops and room > 0:
            for drop in self.intake.take(room, monotonic, self._now().timestamp()):
                name_ = self._claim(drop)
                if name_ is not None:
                    log.job_claimed(job=name_)
                    yield await self._admit(name_, overdue=drop.overdue)

    def _resume(self, name: str) -> str | None:
        try:
            return jobs.resume(self._spool, name)
        except FileNotFoundError:
            return None  # a person took it in the meantime
        except OSError as error:
            self._leave(f"{State.DEFERRED}/{name}", error)
            return None

    def _claim(self, drop: Drop) -> str | None:
        try:
            return jobs.claim(self._spool, drop)
        except FileNotFoundError:
            return None  # its producer took it back
        except CannotClaim as error:
            self.intake.give_back(drop.name, f"{error.what}; {error.hint}")
            return None

    async def _admit(self, name: str, *, overdue: tuple[Problem, ...] = ()) -> Admitted:
        try:
            job = Job.open(self._spool, State.ACTIVE, name)
        except FileNotFoundError:
            return Admitted()
        except OSError as error:
            self._leave(f"{State.ACTIVE}/{name}", error)
            self._unusable.add(name)
            return Admitted()
        keep = False
        try:
            admitted = await self._judge(job, overdue)
            keep = admitted.work is not None
        except InvalidJob as invalid:
            return Admitted(carried=await self.courier.settler.refuse(job, invalid, claimed=self._now()))
        except Exception as error:
            if isinstance(error, OSError) and is_local_trouble(error):
                raise
            return Admitted(carried=await self.courier.settler.stumble(job, error, claimed=self._now()))
        else:
            return admitted
        finally:
            if not keep:
                job.close()

    def _leave(self, where: str, error: OSError) -> None:
        """Leave a job alone that can't even be opened or moved, and say so; trouble of this machine is raised."""
        if is_local_trouble(error):
            raise error
        hint = "give maildropd its rights back (chmod u+rwx, or setfacl), and restart it"
        log.job_error(job=where, error=f"{error.strerror}; {hint}")

    async def _judge(self, job: Job, overdue: tuple[Problem, ...]) -> Admitted:
        if overdue:
            raise InvalidJob(printable(job.name), overdue)
        work = Work(name=job.name, claimed=self._now(), token=secrets.token_hex(_TOKEN_OCTETS))
        carried = await self.read(work, job)
        return Admitted(carried=carried) if carried is not None else Admitted(work=work)

    async def read(self, work: Work, job: Job) -> Carried | None:
        """Read the job into ``work``; return a summary if there is nothing to carry. Raises InvalidJob, OSError."""
        loaded = load(job, self.settings, claimed=work.claimed, token=work.token)
        loaded.visited = work.visited
        work.priority = loaded.delivery.priority
        if loaded.doubt:
            self.courier.recover(loaded, relay_policy=self._relay_policy(loaded))
        now, attempts = self._now(), loaded.account.attempts
        if loaded.expires is not None and now >= loaded.expires:
            return await self.courier.settler.expire(loaded)
        if loaded.not_before is not None and now < loaded.not_before and not attempts:
            when = loaded.not_before
            return await self.courier.settler.defer(
                loaded, when, reason=f"not before {when.isoformat(timespec='seconds')}"
            )
        work.legs = loaded.open_legs
        if not work.legs:
            return await self.courier.settler.conclude(loaded)
        work.loaded = loaded
        return None

    def _relay_policy(self, loaded: Loaded) -> InDoubt:
        """Return the policy of the relay that was spoken to when the earlier run ended."""
        names = {loaded.account.recipients[path].relay for path in loaded.doubt}
        found = [self.relays[name].settings.in_doubt for name in names if name is not None and name in self.relays]
        return found[0] if found else InDoubt.RESEND

    async def reload(self, work: Work) -> Carried | None:
        """Open and read again a job whose descriptors were let go while it waited; as ``read``."""
        try:
            job = Job.open(self._spool, State.ACTIVE, work.name)
        except FileNotFoundError:
            return Carried(next=Next.SETTLED)  # a person took it
        except OSError as error:
            self._leave(f"{State.ACTIVE}/{work.name}", error)
            self._unusable.add(work.name)
            return Carried(next=Next.SETTLED)
        try:
            return await self.read(work, job)
        except InvalidJob as invalid:
            return await self.courier.settler.refuse(job, invalid, claimed=work.claimed)
        except Exception as error:
            if isinstance(error, OSError) and is_local_trouble(error):
                raise
            return await self.courier.settler.stumble(job, error, claimed=work.claimed)
        finally:
            if work.loaded is None:
                job.close()
