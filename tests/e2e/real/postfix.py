"""Postfix: submission with STARTTLS and AUTH (through Dovecot), and a second port with no extension at all."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.real.servers import (
    ABROAD,
    PASSWORD,
    PEOPLE,
    SIZE_LIMIT_OCTETS,
    UNKNOWN_SENDER,
    USER,
    RealServer,
    maildirs,
)
from tests.e2e.real.system import VMAIL_ID, System, accepts
from tests.e2e.servers import free_port
from tests.e2e.waiting import wait_for

_MAIN = """
compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
meta_directory = /etc/postfix
maillog_file = /var/log/postfix.log
myhostname = postfix.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_transport = discard
message_size_limit = {size}
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = example.org
virtual_mailbox_base = /var/mail/postfix
virtual_mailbox_maps = texthash:/etc/postfix/people
virtual_minimum_uid = 100
virtual_uid_maps = static:{vmail}
virtual_gid_maps = static:{vmail}
smtputf8_enable = yes
smtpd_tls_cert_file = /etc/tls/cert.pem
smtpd_tls_key_file = /etc/tls/key.pem
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sasl_security_options = noanonymous
smtpd_delay_reject = no
smtpd_error_sleep_time = 0
smtpd_sender_restrictions = check_sender_access texthash:/etc/postfix/senders
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_client_connection_count_limit = 0
"""

_MASTER = """
127.0.0.1:{secure} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o {{ smtpd_recipient_restrictions = permit_sasl_authenticated, reject }}
127.0.0.1:{bare} inet n - n - - smtpd
  -o {{ smtpd_discard_ehlo_keywords = pipelining, size, vrfy, etrn, starttls, auth, enhancedstatuscodes, 8bitmime, dsn,
    smtputf8, chunking }}
anvil unix - - n - 1 anvil
bounce unix - - n - 0 bounce
cleanup unix n - n - 0 cleanup
defer unix - - n - 0 bounce
discard unix - - n - - discard
error unix - - n - - error
postlog unix-dgram n - n - 1 postlogd
proxymap unix - - n - - proxymap
qmgr unix n - n 300 1 qmgr
retry unix - - n - - error
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
"""

_SESSION = r"smtpd\[[0-9]+\]: connect from"
_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """``secure`` wants STARTTLS and AUTH, ``bare`` offers nothing and takes mails from anybody for its people."""

    secure: RealServer
    bare: RealServer


def start_postfix(system: System) -> Postfix:
    """Start it; Dovecot is to run already."""
    secure, bare = free_port(), free_port()
    system.folder("/var/spool/postfix", "root")
    for name in (*_QUEUES, "private"):
        system.folder(f"/var/spool/postfix/{name}", "postfix", mode=0o700)
    system.folder("/var/spool/postfix/public", "postfix", group="postdrop", mode=0o710)
    system.folder("/var/spool/postfix/maildrop", "postfix", group="postdrop", mode=0o730)
    system.folder("/var/spool/postfix/pid", "root")
    system.folder("/var/lib/postfix", "postfix")
    system.write("/etc/postfix/main.cf", _MAIN.format(size=SIZE_LIMIT_OCTETS, vmail=VMAIL_ID))
    system.write("/etc/postfix/master.cf", _MASTER.format(secure=secure, bare=bare))
    people = "".join(f"{name} {name.partition('@')[0]}/\n" for name in (*PEOPLE, ABROAD))
    system.write("/etc/postfix/people", people)
    domain = UNKNOWN_SENDER.partition("@")[2]
    system.write("/etc/postfix/senders", f"{domain} 550 5.1.8 Sender address rejected: Domain not found\n")
    mailbox = maildirs(system, "postfix")
    log = system.inside("/var/log/postfix.log")
    system.start("/usr/lib/postfix/sbin/master", "-d", "-c", "/etc/postfix", ready=accepts(secure, bare))
    host = {"host": "127.0.0.1", "ca_file": str(system.ca_file)}
    login = {"user": USER, "password_file": str(system.inside("/etc/tls/password"))}
    system.write("/etc/tls/password", f"{PASSWORD}\n", mode=0o600)
    started = Postfix(
        secure=RealServer(
            name="postfix",
            relay=host | {"port": secure, "tls": "starttls", "auth": login},
            mailbox=mailbox,
            log=log,
            session=_SESSION,
            extensions=frozenset({"8BITMIME", "SIZE", "SMTPUTF8"}),
        ),
        bare=RealServer(
            name="bare postfix",
            relay=host | {"port": bare, "tls": "none"},
            mailbox=mailbox,
            log=log,
            session=_SESSION,
        ),
    )
    wait_for(lambda: len(started.bare.logged(_SESSION)) >= 2, "Postfix logs who looked at its two ports")
    return started
