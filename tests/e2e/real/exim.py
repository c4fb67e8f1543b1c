"""Exim: STARTTLS, CHUNKING, PIPELINING and SMTPUTF8, delivering at once."""

from __future__ import annotations

from tests.e2e.real.servers import ABROAD, PEOPLE, SIZE_LIMIT_OCTETS, RealServer, looked_at, maildirs
from tests.e2e.real.system import System, accepts
from tests.e2e.servers import free_port

_CONFIGURATION = """
primary_hostname = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
log_selector = +smtp_connection +pipelining
keep_environment =
deliver_drop_privilege = true
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = {size}
tls_advertise_hosts = *
tls_certificate = /etc/tls/cert.pem
tls_privatekey = /etc/tls/exim-key.pem
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtp_accept_max = 100
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = judge_recipient

begin acl
judge_recipient:
  accept domains = example.org
         verify = recipient
  deny message = 5.1.1 nobody of that name lives here

begin routers
people:
  driver = accept
  domains = example.org
  local_parts = {people}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = /var/mail/exim/all
  maildir_format
  user = Debian-exim
  delivery_date_add
  envelope_to_add
  return_path_add
"""


def start_exim(system: System) -> RealServer:
    """Start it."""
    port = free_port()
    people = " : ".join(name.partition("@")[0] for name in (*PEOPLE, ABROAD))
    text = _CONFIGURATION.format(port=port, size=SIZE_LIMIT_OCTETS, people=people)
    system.write("/etc/exim4/exim4.conf", text)
    system.folder("/var/log/exim4", "Debian-exim")
    system.folder("/var/spool/exim4", "Debian-exim", mode=0o750)
    key = system.inside("/etc/tls/key.pem").read_text()
    system.write("/etc/tls/exim-key.pem", key)  # read by the user that Exim has become by then
    mailbox = maildirs(system, "exim", owner="Debian-exim")
    system.start("/usr/sbin/exim4", "-bdf", ready=accepts(port))
    started = RealServer(
        name="exim",
        relay={"host": "127.0.0.1", "port": port, "tls": "starttls", "ca_file": str(system.ca_file)},
        mailbox=mailbox,
        log=system.inside("/var/log/exim4/mainlog"),
        session=r"SMTP connection from .*count",
        extensions=frozenset({"8BITMIME", "SIZE", "SMTPUTF8"}),
    )
    return looked_at(started)
