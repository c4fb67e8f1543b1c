"""The relays of the configuration: each ``[relays.NAME]`` table becomes a ``RelaySettings``.

What only several keys together can get wrong is found here, and said together with everything else. Knows nothing of
relays at work.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from importlib.util import find_spec

from maildrop.config.credentials import credentials_of
from maildrop.config.relay_table import RelayTable
from maildrop.config.secrets import Place, SecretError
from maildrop.config.values import ReportProblem, pin_octets
from maildrop.delivery.rate import parse_rate
from maildrop.delivery.relay_settings import KeyIsEncrypted, Protocol, RelaySettings, tls_context
from maildrop.smtp import Security, Timeouts

_VERIFIED = (Security.STARTTLS, Security.IMPLICIT)


def relay_of(
    name: str, table: RelayTable, hostname: str, *, judged: AbstractSet[str], secrets: bool, problem: ReportProblem
) -> RelaySettings:
    """Return what is meant by a table; every mistake goes to ``problem``.

    ``judged`` are the keys that are wrong by themselves, and therefore not in the table. Without ``secrets`` no key is
    opened.
    """
    key = f"relays.{name}"
    is_direct = table.protocol is Protocol.MX
    if not (is_direct or table.host or table.socket or judged & {"host", "socket", "preset"}):
        problem(f"{key}.host", "is missing", "name the server, or, with protocol = 'lmtp', a socket")
    faults = _direct_faults(table) if is_direct else _socket_faults(table)
    for place, what, hint in (*faults, *_tls_faults(table)):
        problem(f"{key}.{place}", what, hint)
    credentials = None
    if table.auth is not None and not is_direct:
        credentials = credentials_of(name, table, table.auth, secrets=secrets, problem=problem)
    settings = RelaySettings(
        name=name,
        host=table.host or "",
        port=table.number,
        socket=table.socket,
        protocol=table.protocol,
        security=table.security,
        hostname=hostname,
        ca_file=table.ca_file,
        pins=frozenset(map(pin_octets, table.pin_sha256)),
        client_certificate=table.client_certificate if secrets else None,
        client_key=table.client_key if secrets else None,
        stamps=tuple(map(_stamp, (table.ca_file, table.client_certificate, table.client_key))),
        credentials=credentials,
        plaintext_auth=table.auth is not None and table.auth.plaintext,
        connections=table.connections,
        messages_per_connection=table.messages_per_connection,
        idle_seconds=table.idle,
        session_seconds=table.session,
        rate=None if table.rate is None else parse_rate(table.rate),
        recipients_per_message=table.recipients_per_message,
        max_message_octets=table.max_message_size,
        in_doubt=table.in_doubt,
        timeouts=Timeouts(**table.timeouts.model_dump()),
    )
    _try_files(settings, key, problem)
    return settings


_Fault = tuple[str, str, str]  # key, what, hint


def _direct_faults(table: RelayTable) -> Iterator[_Fault]:
    for place in ("host", "socket", "auth"):
        if getattr(table, place) is not None:
            what = "is of no use with protocol = 'mx': each recipient's domain names its servers"
            yield place, what, "remove it, or the protocol"
    if find_spec("dns") is None:
        yield "protocol", "'mx' needs the package dnspython, which is not installed", "pip install 'maildrop[mx]'"


def _socket_faults(table: RelayTable) -> Iterator[_Fault]:
    if table.socket is None:
        return
    if table.host is not None:
        yield "socket", "there is a host already", "keep one of them"
    if table.protocol is not Protocol.LMTP:
        yield "socket", "only LMTP is spoken over a socket", "add protocol = 'lmtp', or name a host"
    if table.port is not None:
        yield "port", "a socket has none", "remove it"
    if table.security is not Security.NONE:
        yield "tls", "nothing is encrypted over a socket: it does not leave this machine", "remove it"


def _tls_faults(table: RelayTable) -> Iterator[_Fault]:
    if table.pin_sha256 and table.security not in _VERIFIED:
        yield "pin_sha256", f"protects nothing with tls = '{table.security}'", "use tls = 'starttls' or 'implicit'"
    if table.client_certificate is not None and table.security is Security.NONE:
        yield "client_certificate", "is shown to nobody with tls = 'none'", "use tls = 'starttls' or 'implicit'"
    if table.client_key is not None and table.client_certificate is None:
        yield "client_key", "is of no use without its certificate", "add client_certificate"


def _try_files(settings: RelaySettings, key: str, problem: ReportProblem) -> None:
    """Try the certificates and the key, so that a mistake stops the start and not the first mail."""
    try:
        tls_context(replace(settings, client_certificate=None))
    except OSError as error:
        what = "no certificate is in it" if isinstance(error, ssl.SSLError) else error.strerror
        problem(f"{key}.ca_file", f"{settings.ca_file}: {what}", "name a file of PEM certificates")
        return
    certificate, private = settings.client_certificate, settings.client_key
    if certificate is None or settings.security is Security.NONE:
        return
    kind = "client_certificate" if private is None else "client_key"
    try:
        Place(what=kind, kind="file", value=private or certificate, hint="name a PEM file").read()
        tls_context(settings)
    except SecretError as error:
        problem(f"{key}.{kind}", str(error), error.hint)
    except KeyIsEncrypted:
        hint = "remove its pass phrase: openssl pkey -in KEY -out PLAIN; nobody is there to type it"
        problem(f"{key}.{kind}", f"{private or certificate}: the key is encrypted", hint)
    except ssl.SSLError as error:
        is_pair = error.reason == "KEY_VALUES_MISMATCH"
        what = "the key is not the certificate's" if is_pair else "no certificate with its key is in it"
        problem(f"{key}.client_certificate", f"{certificate}: {what}", "name the PEM files of certificate and key")
    except OSError as error:
        problem(f"{key}.client_certificate", f"{certificate}: {error.strerror}", "name a PEM file")


def _stamp(path: str | None) -> object:
    """Return what changes when a file is replaced; what is wrong with it is said by whoever reads it."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_size, status.st_mtime_ns
