"""OpenSMTPD: the plainest of all, with neither PIPELINING nor CHUNKING nor SMTPUTF8.

STARTTLS is not offered: the version of Debian 12, older than OpenSSL 3, breaks off every handshake (its issue 1171).
"""

from __future__ import annotations

from tests.e2e.real.servers import PEOPLE, SIZE_LIMIT_OCTETS, RealServer, looked_at, maildirs
from tests.e2e.real.system import System, accepts
from tests.e2e.servers import free_port

_CONFIGURATION = """
smtp max-message-size "{size}"
table people {{ {people} }}
table owner {{ "@example.org" = vmail }}
listen on 127.0.0.1 port {port} hostname opensmtpd.example
action "deliver" maildir "/var/mail/opensmtpd/all" virtual <owner>
match from any for rcpt-to <people> action "deliver"
"""


def start_opensmtpd(system: System) -> RealServer:
    """Start it."""
    port = free_port()
    people = ", ".join(f'"{name}"' for name in PEOPLE)
    system.write("/etc/smtpd.conf", _CONFIGURATION.format(port=port, size=SIZE_LIMIT_OCTETS, people=people))
    system.folder("/var/lib/opensmtpd/empty")
    mailbox = maildirs(system, "opensmtpd")
    system.start("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf", ready=accepts(port))
    started = RealServer(
        name="opensmtpd",
        relay={"host": "127.0.0.1", "port": port, "tls": "none"},
        mailbox=mailbox,
        log=system.inside("/var/log/smtpd.out"),
        session="smtp connected",
        extensions=frozenset({"8BITMIME", "SIZE"}),
    )
    return looked_at(started)
