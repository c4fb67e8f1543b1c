"""Who signs our mail: the ``[dkim]`` table and its key as a ``Signer``.

What a key must be like is `maildrop.mail.dkim`'s to know, where it is read `secrets`'; here both meet, and what is
wrong with either becomes a problem at the key of the table that names it.
"""

from __future__ import annotations

from collections.abc import Callable

from maildrop.config.document import DkimTable
from maildrop.config.secrets import SecretError, signing_key_of
from maildrop.errors import printable
from maildrop.mail.address import AddressError, parse_mailbox
from maildrop.mail.dkim import INSTALL, MISSING, Signer, SigningKeyError, is_available

ReportProblem = Callable[..., None]


def signer_of(table: DkimTable, *, secrets: bool, problem: ReportProblem) -> Signer | None:
    """Make the signer; what is wrong is reported. Without ``secrets`` the key is not read, and None comes back."""
    domains = frozenset(_domains(table, problem))
    if not secrets:
        return None
    if not is_available():
        problem("dkim", MISSING, INSTALL)
        return None
    try:
        place, key = signing_key_of(table)
    except SecretError as error:
        problem(f"dkim.{error.key}", str(error), error.hint)
        return None
    try:
        return Signer(selector=table.selector, domains=domains, key=key.reveal())
    except SigningKeyError as error:
        problem(f"dkim.{place}", str(error), error.hint)
        return None


def _domains(table: DkimTable, problem: ReportProblem) -> list[str]:
    """Return the domains in the form that DNS knows (IDNA 2008), in small letters."""
    found = []
    for text in table.domains:
        try:
            found.append(parse_mailbox(f"postmaster@{text}").address.rpartition("@")[2].lower())
        except AddressError:
            found.append("")
        if not found[-1] or found[-1].startswith("[") or "@" in text:
            problem("dkim.domains", f"'{printable(text)}' is not a domain", 'write it like "example.com"')
    return found
