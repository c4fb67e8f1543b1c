"""Reading ``maildropd.toml``: every key with its default, and what it becomes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maildrop import config
from maildrop.config import Config
from maildrop.delivery.mailing import MailingSettings
from maildrop.delivery.retry import RetrySettings
from maildrop.delivery.route import Route
from maildrop.errors import ConfigurationError
from maildrop.log import LogFormat, LogLevel
from maildrop.mail.envelope import Defaults, InDoubt, Limits, Partial
from maildrop.mail.pickup import Dialect
from maildrop.smtp import Secret, Security, Timeouts
from maildrop.spool.intake import IntakeSettings, Mode
from maildrop.spool.layout import Settling

SMALLEST = '[spool]\npath = "/var/spool/maildropd"\n\n[relays.main]\nhost = "smtp.example.com"\n'

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that writes a configuration and loads it."""

    def write_and_load(text: str, *, secrets: bool = True) -> Config:
        path = tmp_path / "maildropd.toml"
        path.write_text(text, "utf-8")
        return config.load(str(path), secrets=secrets)

    return write_and_load


def test_the_smallest_configuration_has_every_default(load: Load, tmp_path: Path) -> None:
    """Spool and host are all that is needed; the rest is as the contract says."""
    found = load(SMALLEST)
    assert found.path == str(tmp_path / "maildropd.toml")
    assert (found.spool, found.volatile, found.min_free) == ("/var/spool/maildropd", False, 0.01)
    assert found.intake == IntakeSettings(
        mode=Mode.AUTO, quiet_seconds=2.0, rescan_seconds=5.0, incomplete_after_seconds=3600.0, eml=True
    )
    assert found.mailing == MailingSettings(
        defaults=Defaults(), limits=Limits(envelope_octets=65536, recipients=1000, files=100, message_octets=52428800),
        dialect=Dialect.AUTO, domain=os.uname().nodename, relays=("main",), routes=(),
    )  # fmt: skip
    assert found.retry == RetrySettings(
        schedule_seconds=(60, 120, 300, 600, 1800, 3600, 7200), give_up_seconds=432_000, jitter=0.1
    )
    assert (found.layout, found.transcript) == (Settling.FLAT, "failed")
    assert (found.log_format, found.log_level) == (LogFormat.AUTO, LogLevel.INFO)


def test_the_smallest_relay_has_every_default(load: Load) -> None:
    """A relay is spoken to with verified STARTTLS on 587, without AUTH, within RFC 5321's deadlines."""
    relay = load(SMALLEST).relays["main"]
    assert (relay.name, relay.host, relay.port, relay.security) == ("main", "smtp.example.com", 587, Security.STARTTLS)
    assert (relay.credentials, relay.plaintext_auth, relay.ca_file) == (None, False, None)
    assert (relay.connections, relay.messages_per_connection, relay.idle_seconds) == (8, 100, 30.0)
    assert (relay.session_seconds, relay.recipients_per_message, relay.max_message_octets) == (900.0, 100, None)
    assert relay.in_doubt is InDoubt.RESEND
    assert relay.hostname == os.uname().nodename
    assert relay.timeouts == Timeouts(
        connect=30, greeting=300, tls=60, ehlo=300, auth=300, mail=300, rcpt=300, data=120, block=180, data_end=600,
        quit=5, transaction=3600,
    )  # fmt: skip


def test_every_key_arrives(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written in each table is what the daemon works with."""
    monkeypatch.setenv("RELAY_PASSWORD", "hunter2")
    found = load(
        """
[spool]
path = "/spool"
volatile = true
min_free = 0.25
[intake]
mode = "marker"
quiet_seconds = "500ms"
rescan_seconds = 1
incomplete_after = "10m"
eml = false
eml_dialect = "iis"
max_envelope = "1KiB"
max_recipients = 2
max_files = 3
max_message = "1MiB"
[defaults]
from = "Müller, Hans <h@x.example>"
reply_to = "a@x.example, b@x.example"
charset = "cp1252"
in_doubt = "hold"
partial = "all-or-nothing"
message_id_domain = "ids.example"
hostname = "me.example"
[relays.main]
host = "localhost"
port = 2525
tls = "none"
connections = 1
messages_per_connection = 2
idle = "3s"
session = "4m"
recipients_per_message = 5
max_message_size = "6KiB"
in_doubt = "assume-sent"
timeouts = {connect = 1, greeting = 2, tls = 3, ehlo = 4, auth = 5, mail = 6, rcpt = 7, data = 8, block = 9,
            data_end = 10, quit = 11, transaction = 12}
[relays.main.auth]
user = "me"
password_env = "RELAY_PASSWORD"
mechanisms = "plain"
plaintext = true
[relays.other]
host = "[::1]"
tls = "implicit"
[[routes]]
sender = "*@a"
recipient = "*@b"
job = "c*"
relays = ["other", "main"]
[[routes]]
relays = "main"
[retry]
schedule = ["5s", 10]
give_up = "1d"
jitter = 0
[settle]
layout = "daily"
transcript = "always"
[log]
format = "json"
level = "debug"
""".replace(",\n            ", ", ")
    )
    assert (found.spool, found.volatile, found.min_free) == ("/spool", True, 0.25)
    assert found.intake == IntakeSettings(
        mode=Mode.MARKER, quiet_seconds=0.5, rescan_seconds=1.0, incomplete_after_seconds=600.0, eml=False
    )
    mailing = found.mailing
    assert mailing.limits == Limits(envelope_octets=1024, recipients=2, files=3, message_octets=1 << 20)
    assert (mailing.dialect, mailing.domain, mailing.relays) == (Dialect.IIS, "ids.example", ("main", "other"))
    author = mailing.defaults.author
    assert author is not None
    assert (author.name, author.address) == ("Müller, Hans", "h@x.example")
    assert [mailbox.address for mailbox in mailing.defaults.reply_to] == ["a@x.example", "b@x.example"]
    assert (mailing.defaults.charset, mailing.defaults.in_doubt) == ("cp1252", InDoubt.HOLD)
    assert mailing.defaults.partial is Partial.ALL_OR_NOTHING
    assert mailing.routes == (
        Route(sender="*@a", recipient="*@b", job="c*", relays=("other", "main")), Route(relays=("main",)),
    )  # fmt: skip
    relay = found.relays["main"]
    assert (relay.host, relay.port, relay.security, relay.hostname) == ("localhost", 2525, Security.NONE, "me.example")
    assert (relay.connections, relay.messages_per_connection, relay.idle_seconds) == (1, 2, 3.0)
    assert (relay.session_seconds, relay.recipients_per_message, relay.max_message_octets) == (240.0, 5, 6144)
    assert relay.in_doubt is InDoubt.ASSUME_SENT
    assert relay.timeouts == Timeouts(
        connect=1, greeting=2, tls=3, ehlo=4, auth=5, mail=6, rcpt=7, data=8, block=9, data_end=10, quit=11,
        transaction=12,
    )  # fmt: skip
    assert relay.credentials is not None
    credentials = asyncio.run(relay.credentials.credentials())
    assert (credentials.user, credentials.password) == ("me", Secret("hunter2"))
    assert credentials.mechanisms == ("PLAIN",)
    assert relay.plaintext_auth
    assert found.relays["other"].host == "[::1]"
    assert found.retry == RetrySettings(schedule_seconds=(5.0, 10.0), give_up_seconds=86400.0, jitter=0.0)
    assert (found.layout, found.transcript) == (Settling.DAILY, "always")
    assert (found.log_format, found.log_level) == (LogFormat.JSON, LogLevel.DEBUG)


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465), ("opportunistic", 25), ("none", 25)])
def test_the_port_follows_tls(tls: str, port: int, load: Load) -> None:
    """Where no port is written it is the usual one of the kind of TLS."""
    assert load(f'{SMALLEST}tls = "{tls}"\n').relays["main"].port == port


@pytest.mark.parametrize(
    ("line", "octets"),
    [("max_message_size = 10", 10), ('max_message_size = "2KiB"', 2048), ('max_message_size = " 3 MiB "', 3 << 20),
     ('max_message_size = "1GiB"', 1 << 30)],
)  # fmt: skip
def test_sizes(line: str, octets: int, load: Load) -> None:
    """A size is a number of octets or a number with a binary unit."""
    assert load(f"{SMALLEST}{line}\n").relays["main"].max_message_octets == octets


@pytest.mark.parametrize(
    ("written", "share"), [('"5%"', 0.05), ('"0.5%"', 0.005), ("0.1", 0.1), ("0", 0.0), ('"0%"', 0.0)]
)
def test_shares(written: str, share: float, load: Load) -> None:
    """The free space is a percentage or a fraction."""
    text = SMALLEST.replace('maildropd"\n', f'maildropd"\nmin_free = {written}\n', 1)
    assert load(text).min_free == pytest.approx(share)


def test_where_the_file_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--config`` wins over the environment, which wins over the system's file."""
    monkeypatch.setenv("MAILDROPD_CONFIG", "/env.toml")
    assert config.find("/given.toml") == "/given.toml"
    assert config.find(None) == "/env.toml"
    monkeypatch.delenv("MAILDROPD_CONFIG")
    assert config.find(None) == "/etc/maildropd/maildropd.toml"


def test_a_file_that_is_not_there_has_a_way_out(tmp_path: Path) -> None:
    """A missing file names ``maildropd init``."""
    with pytest.raises(ConfigurationError, match=r"No such file or directory; run 'maildropd init' to make one"):
        config.load(str(tmp_path / "none.toml"))


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    """A configuration of many megabytes is refused by its size."""
    path = tmp_path / "maildropd.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigurationError, match="at most 1048576 are read"):
        config.load(str(path))


def test_a_device_is_no_configuration() -> None:
    """Something that is not a file of text is a problem, not a crash."""
    with pytest.raises(ConfigurationError):
        config.load("/dev/null")
    with pytest.raises(ConfigurationError):
        config.load("/")


def test_without_secrets_nothing_is_fetched(load: Load) -> None:
    """Commands that need no session read no password, and do not fail for a missing one."""
    text = f'{SMALLEST}[relays.main.auth]\nuser = "me"\npassword_env = "NOT_THERE"\n'
    assert load(text, secrets=False).relays["main"].credentials is None


def test_reading_alone_validates_names_and_types(tmp_path: Path) -> None:
    """``read`` gives the document without looking at secrets, relays of routes, or addresses."""
    path = tmp_path / "maildropd.toml"
    path.write_text(f'{SMALLEST}[[routes]]\nrelays = "nowhere"\n', "utf-8")
    assert config.read(str(path)).routes[0].relays == ["nowhere"]
    path.write_text(f"{SMALLEST}connections = 0\n", "utf-8")
    with pytest.raises(ConfigurationError):
        config.read(str(path))
