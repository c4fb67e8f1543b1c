"""Who we are at a relay: ``[relays.NAME.auth]`` becomes a source of credentials; what would betray them is a problem.

Where the secret itself comes from is ``secrets``'s to say, what belongs to a token ``tokens``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from maildrop.config.auth_table import AuthTable
from maildrop.config.relay_table import RelayTable
from maildrop.config.secrets import SecretError, password_place
from maildrop.config.tokens import tokens_of
from maildrop.config.values import ReportProblem
from maildrop.errors import did_you_mean, printable
from maildrop.smtp import KNOWN_MECHANISMS, Credentials, CredentialsSource, RereadCredentials, Security, fitting

_NONE_NEEDED = ("EXTERNAL",)


def credentials_of(
    name: str, table: RelayTable, auth: AuthTable, *, secrets: bool, problem: ReportProblem
) -> CredentialsSource | None:
    """Return where the credentials of relay ``name`` come from, or None where that is not wanted or not possible."""
    key = f"relays.{name}.auth"
    if table.security in (Security.NONE, Security.OPPORTUNISTIC) and not auth.plaintext:
        problem(key, f"a password would travel unprotected with tls = '{table.security}'",
                "use tls = 'starttls', or plaintext = true for a loopback host")  # fmt: skip
    if auth.plaintext and table.host is not None and not _is_loopback(table.host):
        problem(f"{key}.plaintext", f"{table.host} is not a loopback host", "remove it and use TLS")
    mechanisms = tuple(_mechanisms(key, auth, problem))
    if not secrets:
        return None
    if not auth.user and mechanisms != _NONE_NEEDED:
        problem(f"{key}.user", "is missing", "only the mechanism EXTERNAL needs none")
    identity = Credentials(user=auth.user, mechanisms=mechanisms, host=table.host or "", port=table.number)
    if auth.oauth is not None:
        return tokens_of(name, auth, auth.oauth, identity, problem=problem)
    return _with_password(key, auth, identity, problem)


def _with_password(
    key: str, auth: AuthTable, identity: Credentials, problem: ReportProblem
) -> CredentialsSource | None:
    if identity.mechanisms == _NONE_NEEDED:
        return RereadCredentials(identity, place=None, fetch=lambda: identity, stamp=lambda: None)
    try:
        place = password_place(auth)
        known = replace(identity, password=place.read())
    except SecretError as error:
        problem(f"{key}.{error.key}", str(error), error.hint)
        return None
    if not fitting(known) and set(identity.mechanisms) <= set(KNOWN_MECHANISMS):
        problem(f"{key}.mechanisms", f"none of {', '.join(identity.mechanisms)} takes a password",
                "remove it, or use oauth for a token")  # fmt: skip
    return RereadCredentials(
        known, place=place, fetch=lambda: replace(identity, password=place.fetch()), stamp=place.stamp
    )


def _mechanisms(key: str, auth: AuthTable, problem: ReportProblem) -> Iterator[str]:
    for name in map(str.upper, auth.mechanisms):
        if name not in KNOWN_MECHANISMS:
            hint = did_you_mean(name, KNOWN_MECHANISMS) or f"this version has {', '.join(KNOWN_MECHANISMS)}"
            problem(f"{key}.mechanisms", f"'{printable(name)}' is not a mechanism of this version", hint)
        yield name


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
