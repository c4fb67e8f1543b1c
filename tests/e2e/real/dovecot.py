"""Dovecot: LMTP over TCP and over a unix socket, and the SASL mechanisms that Postfix offers."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.real.servers import PASSWORD, PEOPLE, USER, RealServer, maildirs
from tests.e2e.real.system import VMAIL_ID, System, accepts
from tests.e2e.servers import free_port

FULL = "full@example.org"  # the mailbox has room for nothing
LOCKED = "locked@example.org"  # the mailbox can't be written to until `unlock` is called
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")

_EXTENSIONS = frozenset({"8BITMIME"})
_LOCKED_FOLDER = "/var/mail/dovecot/locked"
_CONFIGURATION = """
protocols = lmtp
base_dir = /run/dovecot
log_path = /var/log/dovecot.log
ssl = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
hostname = dovecot.example
postmaster_address = postmaster@example.org
mail_location = maildir:/var/mail/dovecot/%n
mail_uid = {vmail}
mail_gid = {vmail}
first_valid_uid = {vmail}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u /etc/dovecot/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u /etc/dovecot/users
}}
service auth {{
  unix_listener /var/spool/postfix/private/auth {{
    mode = 0660
    user = postfix
  }}
}}
service anvil {{
  # An address that failed before would wait, and here all have the same.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service lmtp {{
  unix_listener /lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
protocol lmtp {{
  lmtp_hdr_delivery_address = final
  mail_plugins = quota
}}
plugin {{
  quota = count:User
  quota_vsizes = yes
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dovecot:
    """The same mailboxes by two ways; both relays speak LMTP. Whether a mailbox takes a mail is said after its end."""

    tcp: RealServer
    socket: RealServer
    system: System

    def unlock(self) -> None:
        """Let ``LOCKED`` have mails."""
        self.system.folder(_LOCKED_FOLDER, "vmail")


def start_dovecot(system: System) -> Dovecot:
    """Start it, ready for Postfix too: its socket lies in Postfix's folder."""
    port = free_port()
    system.folder("/var/spool/postfix", "root")
    system.folder("/var/spool/postfix/private", "postfix", mode=0o700)
    special = {FULL: "userdb_quota_rule=*:bytes=100", LOCKED: f"userdb_mail=maildir:{_LOCKED_FOLDER}"}
    users = "".join(
        f"{name}:{{PLAIN}}{PASSWORD}::::/var/mail/dovecot::{special.get(name, '')}\n"
        for name in (USER, *PEOPLE, *special)
    )
    system.write("/etc/dovecot/users", users)
    mechanisms = " ".join(MECHANISMS).lower()
    text = _CONFIGURATION.format(mechanisms=mechanisms, vmail=VMAIL_ID, port=port)
    system.write("/etc/dovecot/dovecot.conf", text)
    mailbox = maildirs(system, "dovecot")
    system.folder(_LOCKED_FOLDER, "root")
    log = system.inside("/var/log/dovecot.log")
    socket = system.inside("/lmtp")
    relay = {"protocol": "lmtp", "tls": "none"}

    def server(name: str, **more: object) -> RealServer:
        return RealServer(
            name=name, relay=relay | more, mailbox=mailbox, log=log, session="Connect from", extensions=_EXTENSIONS
        )

    system.start("/usr/sbin/dovecot", "-F", ready=lambda: accepts(port)() and socket.is_socket())
    return Dovecot(
        tcp=server("dovecot over TCP", host="127.0.0.1", port=port),
        socket=server("dovecot over a socket", socket=str(socket)),
        system=system,
    )
