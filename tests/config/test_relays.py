"""Relays in the configuration: presets, LMTP, pins, client certificates, rates."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from maildrop import config
from maildrop.config.presets import PRESETS
from maildrop.delivery.rate import Rate
from maildrop.delivery.relay_settings import Protocol, RelaySettings, endpoint_of
from maildrop.errors import ConfigurationError
from maildrop.smtp import Security

SPOOL = '[spool]\npath = "/var/spool/maildropd"\n'

Load = Callable[..., RelaySettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that loads one relay from the lines of its table."""

    def write_and_load(lines: str, *, secrets: bool = True) -> RelaySettings:
        path = tmp_path / "maildropd.toml"
        path.write_text(f"{SPOOL}[relays.main]\n{lines}\n", "utf-8")
        return config.load(str(path), secrets=secrets).relays["main"]

    return write_and_load


def problems(load: Load, lines: str) -> list[str]:
    """Return what is wrong with a relay, without the file's name."""
    with pytest.raises(ConfigurationError) as refusal:
        load(lines)
    return [str(problem).partition(": relays.main.")[2] for problem in refusal.value.problems]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_relay(name: str, load: Load) -> None:
    """A preset needs a host at most."""
    relay = load(f'preset = "{name}"\nhost = "smtp.example.com"')
    assert relay.host == "smtp.example.com"
    assert relay.security is Security.STARTTLS
    assert relay.recipients_per_message == PRESETS[name]["recipients_per_message"]


def test_a_preset_fills_what_is_not_written(load: Load) -> None:
    """What is written wins over the preset, and the preset over the defaults."""
    relay = load('preset = "microsoft365"\nrate = "25/min"\nmessages_per_connection = 7')
    assert (relay.host, relay.port, relay.security) == ("smtp.office365.com", 587, Security.STARTTLS)
    assert (relay.connections, relay.rate) == (3, Rate(count=25, seconds=60.0))
    assert (relay.recipients_per_message, relay.max_message_octets) == (500, 157286400)
    assert (relay.messages_per_connection, relay.idle_seconds) == (7, 30.0)


def test_the_description_tells_what_came_from_the_preset(tmp_path: Path) -> None:
    """Keys that the preset filled are marked; what goes without saying is shown; it reads back the same."""
    path = tmp_path / "maildropd.toml"
    path.write_text(f'{SPOOL}[relays.main]\npreset = "microsoft365"\nconnections = 2\n', "utf-8")
    told = config.describe(config.read(str(path)))
    marked = {line.split()[0] for line in told.splitlines() if line.endswith("(by the preset)")}
    assert marked == set(PRESETS["microsoft365"]) - {"connections"}
    again = tmp_path / "again.toml"
    again.write_text(told, "utf-8")
    assert config.load(str(again)).relays == config.load(str(path)).relays


def test_tls_and_port_are_described_as_they_are_in_force(tmp_path: Path) -> None:
    """Nobody has to know the defaults to read the effective configuration."""
    path = tmp_path / "maildropd.toml"
    lines = '[relays.main]\nhost = "h"\n[relays.boxes]\nprotocol = "lmtp"\nsocket = "/run/lmtp"\n'
    path.write_text(SPOOL + lines, "utf-8")
    told = config.describe(config.read(str(path)))
    assert "# port = 587 " in told
    assert '# tls = "starttls" ' in told
    assert '# tls = "none" ' in told
    assert "port = 24" not in told


def test_lmtp_over_a_socket(load: Load) -> None:
    """There is neither host nor TLS, and LMTP is spoken."""
    relay = load('protocol = "lmtp"\nsocket = "/run/dovecot/lmtp"')
    assert (relay.protocol, relay.security, relay.place) == (Protocol.LMTP, Security.NONE, "/run/dovecot/lmtp")
    endpoint = endpoint_of(relay)
    assert (endpoint.lmtp, endpoint.socket, endpoint.host) == (True, "/run/dovecot/lmtp", "")


def test_lmtp_over_tcp_is_encrypted_unless_it_is_written_otherwise(load: Load) -> None:
    """Port 24, and STARTTLS as for every relay."""
    relay = load('protocol = "lmtp"\nhost = "localhost"')
    assert (relay.place, relay.security) == ("localhost:24", Security.STARTTLS)
    assert endpoint_of(relay).lmtp
    assert load('protocol = "lmtp"\nhost = "localhost"\ntls = "none"').security is Security.NONE


def test_a_password_may_go_over_a_socket_if_that_is_written(load: Load) -> None:
    """A unix socket is as good as a loopback host."""
    auth = 'auth = {user = "me", password_command = "echo x", plaintext = true}'
    assert load(f'protocol = "lmtp"\nsocket = "/run/lmtp"\n{auth}').plaintext_auth


def test_pins_in_hex_and_base64(load: Load) -> None:
    """The forms that openssl and curl print are the same pin."""
    octets = bytes(range(32))
    colons = ":".join(f"{octet:02X}" for octet in octets)
    text = base64.b64encode(octets).decode()
    relay = load(f'host = "h"\npin_sha256 = ["{octets.hex()}", "{colons}", "{text}", "sha256//{text}"]')
    assert relay.pins == endpoint_of(relay).pins == {octets}
    assert load(f'host = "h"\npin_sha256 = "{text}"').pins == {octets}


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, Path]:
    """Write a client certificate and its key, for this user alone."""
    issued = trustme.CA().issue_cert("client.example")
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    return certificate, key


def test_a_client_certificate_with_its_key(identity: tuple[Path, Path], load: Load) -> None:
    """In two files or in one."""
    certificate, key = identity
    assert load(f'host = "h"\nclient_certificate = "{certificate}"\nclient_key = "{key}"').client_key == str(key)
    both = certificate.with_name("both.pem")
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    both.chmod(0o600)
    assert load(f'host = "h"\nclient_certificate = "{both}"').client_certificate == str(both)
    both.chmod(0o640)
    assert problems(load, f'host = "h"\nclient_certificate = "{both}"') == [
        f"client_certificate: {both} can be read by others (mode 0640); chmod 600 {both}"
    ]


def test_the_wrong_key_is_named(identity: tuple[Path, Path], load: Load) -> None:
    """A key of another certificate, a certificate without key, and a file without either stop the start."""
    certificate, key = identity
    lines = f'host = "h"\nclient_certificate = "{certificate}"\n'
    hint = "name the PEM files of certificate and key"
    key.write_bytes(trustme.CA().issue_cert("x.example").private_key_pem.bytes())
    assert problems(load, f'{lines}client_key = "{key}"') == [
        f"client_certificate: {certificate}: the key is not the certificate's; {hint}"
    ]
    certificate.chmod(0o600)
    wrong = f"client_certificate: {certificate}: no certificate with its key is in it; {hint}"
    assert problems(load, lines) == [wrong]
    key.write_text("nothing\n")
    assert problems(load, f'{lines}client_key = "{key}"') == [wrong]


def test_an_encrypted_key_is_refused_and_nobody_is_asked(identity: tuple[Path, Path], load: Load) -> None:
    """OpenSSL would ask on the terminal, which a daemon does not have."""
    certificate, key = identity
    private = load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")))
    (problem,) = problems(load, f'host = "h"\nclient_certificate = "{certificate}"\nclient_key = "{key}"')
    assert problem.startswith(f"client_key: {key}: the key is encrypted; remove its pass phrase")


def test_without_secrets_no_key_is_opened(identity: tuple[Path, Path], load: Load) -> None:
    """Commands that a producer may use do without."""
    certificate, key = identity
    key.unlink()
    relay = load(f'host = "h"\nclient_certificate = "{certificate}"\nclient_key = "{key}"', secrets=False)
    assert relay.client_certificate is None


def test_a_file_that_was_replaced_makes_other_settings(identity: tuple[Path, Path], load: Load) -> None:
    """So a reload begins anew with a renewed certificate, although no key of the configuration has changed."""
    certificate, key = identity
    lines = f'host = "h"\nclient_certificate = "{certificate}"\nclient_key = "{key}"'
    before = load(lines)
    assert load(lines) == before
    os.utime(certificate, (1, 1))
    assert load(lines) != before


def test_direct_delivery_needs_nothing_but_its_name(load: Load) -> None:
    """Port 25, and encrypted where the servers offer it."""
    relay = load('protocol = "mx"')
    assert (relay.protocol, relay.security, relay.port, relay.place) == (
        Protocol.MX,
        Security.OPPORTUNISTIC,
        25,
        "mx:25",
    )
    assert load('protocol = "mx"\ntls = "starttls"').security is Security.STARTTLS


def test_direct_delivery_needs_its_package(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where dnspython is missing the start stops with the command that mends it."""
    monkeypatch.setattr("maildrop.config.relays.find_spec", lambda _name: None)
    assert problems(load, 'protocol = "mx"') == [
        "protocol: 'mx' needs the package dnspython, which is not installed; pip install 'maildrop[mx]'"
    ]
