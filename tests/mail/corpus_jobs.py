"""The jobs of `corpus/`, read as the daemon reads them: from a folder, with one fixed identity."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from maildrop.delivery.mailing import MailingSettings, Origin, read_mailing
from maildrop.mail.message import Need
from maildrop.mail.model import Delivery
from maildrop.spool.files import JobFolder

CORPUS = Path(__file__).with_name("corpus")
NAMES = sorted(path.name for path in CORPUS.iterdir() if path.is_dir())
ORIGIN = Origin(first=datetime(2026, 11, 23, 8, 0, tzinfo=UTC), token="0123456789abcdef0123456789abcdef")
SETTINGS = MailingSettings(domain="host.example")


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """One job as it would leave: its envelope, its octets, and what makes them the same each time."""

    delivery: Delivery
    finished: bool
    needs: frozenset[Need]
    size: int
    octets: bytes
    stem: str


def compose_job(name: str) -> Composed:
    """Read and compose a job of the corpus. Raises InvalidJob."""
    around = os.open(CORPUS / name, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with JobFolder.open(around, "job") as folder:
            mailing = read_mailing(folder, SETTINGS, origin=ORIGIN)
            message = mailing.compose()
            return Composed(
                delivery=mailing.delivery,
                finished=mailing.finished,
                needs=message.needs,
                size=message.size,
                octets=b"".join(message.chunks()),
                stem=ORIGIN.identity(message.message_id, SETTINGS.domain).boundary,
            )
    finally:
        os.close(around)
