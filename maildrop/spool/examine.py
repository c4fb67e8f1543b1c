"""One look at one drop, as cheap as it can be: glance, survey, prove, until ``readiness.judge`` can decide.

It refuses to know who looks when (``spool.intake``), and changes nothing but the memory of the drop looked at.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

from maildrop.spool.backlog import Arrival, Observed
from maildrop.spool.observe import NamedFiles, glance, kind_of, prove, status_of, survey
from maildrop.spool.readiness import (
    IntakeSettings,
    Kind,
    Sight,
    Step,
    Verdict,
    is_announced,
    judge,
    remember,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look came to."""

    kind: Kind
    status: os.stat_result  # of the entry itself
    verdict: Verdict
    sight: Sight
    cost: int  # files looked at


class Examiner:
    """Looks at drops under one set of rules; ``leases`` is False where a refused file lease proves nothing."""

    def __init__(self, settings: IntakeSettings, named_files: NamedFiles, *, leases: bool) -> None:
        self._settings = settings
        self._named_files = named_files
        self._leases = leases

    def look(self, folder: int, observed: Observed, now_monotonic: float, now_wall: float) -> Finding | None:
        """Look at one entry of the folder; None if it is gone. Raises OSError if it can't be looked at just now."""
        status = status_of(folder, observed.name)
        if status is None:
            return None
        kind = kind_of(observed.name, status, eml=self._settings.eml)
        renamed = observed.arrival is Arrival.RENAMED
        announced = is_announced(self._settings.mode, renamed=renamed, marked=False)
        if announced and glance(folder, observed.name, kind, status):
            sight = Sight(kind=kind)
            return Finding(kind=kind, status=status, verdict=Verdict(step=Step.READY), sight=sight, cost=1)
        sight = survey(folder, observed.name, kind, status)
        observed.memory = remember(
            observed.memory,
            sight,
            self._settings,
            lying=observed.arrival is Arrival.LYING,
            now_monotonic=now_monotonic,
            now_wall=now_wall,
        )
        cost = 1 + len(sight.names)
        decide = partial(judge, sight, observed.memory, self._settings, renamed=renamed, now_monotonic=now_monotonic)
        verdict = decide(proof=None)
        if verdict.step is Step.PROVE:
            proof = prove(folder, observed.name, sight, status, self._named_files, leases=self._leases)
            verdict = decide(proof=proof)
            cost *= 2
        return Finding(kind=kind, status=status, verdict=verdict, sight=sight, cost=cost)
