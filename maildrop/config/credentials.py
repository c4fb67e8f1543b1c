"""Who we are at a relay: ``[relays.NAME.auth]`` becomes ``Credentials``, and what would give them away is a problem.

Where the secret itself comes from is ``secrets``'s to say.
"""

from __future__ import annotations

from ipaddress import ip_address

from maildrop.config.relay_table import AuthTable, RelayTable
from maildrop.config.secrets import SecretError, password_of
from maildrop.config.values import ReportProblem
from maildrop.errors import did_you_mean, printable
from maildrop.smtp import KNOWN_MECHANISMS, Credentials, Security


def credentials_of(
    key: str, table: RelayTable, auth: AuthTable, *, secrets: bool, problem: ReportProblem
) -> Credentials | None:
    """Return the user with the secret, or None where that is not wanted or not possible."""
    if table.tls in (Security.NONE, Security.OPPORTUNISTIC) and not auth.plaintext:
        problem(f"{key}.auth", f"a password would travel unprotected with tls = '{table.tls}'",
                "use tls = 'starttls', or plaintext = true for a loopback host")  # fmt: skip
    if auth.plaintext and not _is_loopback(table.host):
        problem(f"{key}.auth.plaintext", f"{table.host} is not a loopback host", "remove it and use TLS")
    mechanisms = [name.upper() for name in auth.mechanisms]
    for name in mechanisms:
        if name not in KNOWN_MECHANISMS:
            hint = did_you_mean(name, KNOWN_MECHANISMS) or f"this version has {', '.join(KNOWN_MECHANISMS)}"
            problem(f"{key}.auth.mechanisms", f"'{printable(name)}' is not a mechanism of this version", hint)
    if not secrets:
        return None
    try:
        return Credentials(user=auth.user, password=password_of(auth), mechanisms=tuple(mechanisms))
    except SecretError as error:
        problem(f"{key}.auth.{error.key}", str(error), error.hint)
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
