"""``check``: each step of configuration, spool and relays, and the one that is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maildrop.cli.report import Waiting
from maildrop.spool import bulletin
from maildrop.spool.layout import Spool
from tests.cli.relays import BYE, NO_TLS, STARTTLS, Authority, inside
from tests.e2e.servers import free_port
from tests.e2e.spools import environment
from tests.smtp.scripted import ScriptedServer

PASSWORD = "correct horse: battery"
OK = "S: 235 welcome\n" + BYE


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issue the certificates once."""
    return Authority()


@pytest.fixture
def relay(site: Any, authority: Authority, tmp_path: Path) -> Iterator[Callable[..., ScriptedServer]]:
    """Return a function that starts a server with a script and configures it as the one relay."""
    servers: list[ScriptedServer] = []
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)

    def start(script: str, *, login: bool = True, more: str = "", tables: str = "") -> ScriptedServer:
        servers.append(ScriptedServer(script, authority.servers))
        text = f'[spool]\npath = "{site.spool}"\nvolatile = true\nmin_free = 0\n{tables}\n'
        text += f'[relays.main]\nhost = "localhost"\nport = {servers[-1].port}\nca_file = "{tmp_path}/ca.pem"\n{more}\n'
        if login:
            text += f'[relays.main.auth]\nuser = "robot@example.com"\npassword_file = "{tmp_path}/password"\n'
        site.config.write_text(text, "utf-8")
        return servers[-1]

    yield start
    for server in servers:
        assert server.join() == []


def plain(text: str, site: Any) -> str:
    """Return the output with what differs from run to run replaced."""
    text = text.replace(str(site.config), "CONFIG").replace(str(site.spool), "SPOOL")
    text = re.sub(r"localhost: [0-9a-f:., ]+", "localhost: ADDRESSES", text)
    text = re.sub(r"\[[0-9a-f:.]+\]:\d+", "[ADDRESS]:PORT", text)
    text = re.sub(r"user \w+ on one filesystem \(\w+\)", "user ME on one filesystem (TYPE)", text)
    text = re.sub(r"\w+ can claim", "ME can claim", text)
    text = re.sub(r"(producers    ).*\n(?: +->.*\n)?", r"\1WHO\n", text)  # the folder of a test may be private
    text = re.sub(r"(warn  )producers", "ok    producers", text)
    text = re.sub(r"  ok    disk .*\n", "", text)  # told on a tmpfs
    text = re.sub(r"\d+% free", "N% free", text)
    text = re.sub(r"after \d+ ms", "after N ms", text)
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)


GOLDEN = """\
configuration CONFIG
  ok    keys         relays main; no routes
spool SPOOL
  ok    folders      7 folders of user ME on one filesystem (TYPE), modes as they should be
  ok    producers    WHO
  ok    claim        ME can claim what others drop
  ok    space        N% free
  ok    daemon       does not run now
relay main
  ok    lookup       localhost: ADDRESSES
  ok    connect      localhost [ADDRESS]:PORT
  ok    greeting     relay.example ESMTP (after N ms)
  ok    tls          TLSv1.3 TLS_AES_256_GCM_SHA384, certificate and name verified
  ok    certificate  localhost, issued by Trust & Co, good for 90 days (to DATE)
  ok    ehlo         PIPELINING, 8BITMIME, messages of up to 50 MB
  ok    auth         PLAIN as robot@example.com
  ok    quit         done, no mail was sent
"""


def row(done: Any, step: str) -> str:
    """Return the line of a step, with its hint."""
    lines = done.out.splitlines()
    at = next(at for at, line in enumerate(lines) if line[8:21].strip() == step and line.startswith("  "))
    hint = lines[at + 1].strip() if at + 1 < len(lines) and lines[at + 1].strip().startswith("->") else ""
    return f"{lines[at].strip()} {hint}".strip()


def test_all_fine(site: Any, maildropd: Any, relay: Any) -> None:
    """Each step of a relay that works is a line, with what was seen of it; 0, and no password anywhere."""
    relay(inside() + OK)
    done = maildropd("check")
    *lines, empty, last = plain(done.out, site).splitlines(keepends=True)
    assert "".join(lines) == GOLDEN
    assert (done.code, done.err, empty, last.endswith(("all fine\n", "1 warning\n"))) == (0, "", "\n", True)
    assert PASSWORD not in done.out


CERTIFICATE = "the certificate is not accepted:"
STEPS = {  # the script, the exit code, the step that is missing, and what is said about it
    "greeting refused": ("S: 554 no service here\n", 69, "greeting", "refused: 554 no service here"),
    "ehlo refused": ("S: 220 hi\nC: EHLO *\nS: 550 go away\n", 69, "ehlo", "refused: 550 go away"),
    "no starttls": (NO_TLS, 78, "starttls", "does not offer STARTTLS -> use the relay's submission port (587)"),
    "starttls refused": (
        STARTTLS.replace("S: 220 go ahead", "S: 454 not now"), 69, "starttls", "refused: 454 not now",
    ),
    "self-signed": (STARTTLS + "tls-refused self-signed\n", 69, "tls", CERTIFICATE),
    "expired": (STARTTLS + "tls-refused expired\n", 69, "tls", f"{CERTIFICATE} certificate has expired -> check 'tls'"),
    "other host": (STARTTLS + "tls-refused elsewhere\n", 69, "tls", f"{CERTIFICATE} Hostname mismatch"),
    "ehlo inside": (
        STARTTLS + "tls good\nC: EHLO *\nS: 421 shutting down\n", 69, "ehlo", "421 shutting down",
    ),
    "wrong password": (
        inside() + "S: 535 5.7.8 no\n", 78, "auth", "PLAIN: refused: 535 5.7.8 no -> check 'user', password",
    ),
    "busy": (inside() + "S: 454 4.7.0 later\n", 69, "auth", "PLAIN: refused: 454 4.7.0 later"),
    "switched off": (
        inside() + "S: 535 5.7.139 disabled\n", 78, "auth", "535 5.7.139 disabled -> SMTP AUTH is switched off",
    ),
    "no mechanism": (
        (STARTTLS + "tls good\nC: EHLO *\nS: 250-x\nS: 250 AUTH NTLM\n"), 78, "auth", "no common AUTH mechanism",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_the_missing_step_is_named(name: str, maildropd: Any, relay: Any) -> None:
    """The steps before it are told as fine, what the server said and the way out with it; nothing comes after it."""
    script, code, step, words = STEPS[name]
    relay(script)
    done = maildropd("check")
    assert (done.code, done.err) == (code, "")
    found = row(done, step)
    assert found.startswith("FAIL")
    assert words in found
    assert row(done, "lookup").startswith("ok")
    assert row(done, "connect").startswith("ok")
    assert "quit" not in done.out
    assert "1 fault" in done.out
    assert PASSWORD not in done.out


def test_tls_is_told_where_auth_fails(maildropd: Any, relay: Any) -> None:
    """A refused password does not hide what is known of encryption and certificate."""
    relay(inside() + "S: 535 no\n")
    done = maildropd("check")
    assert "TLSv1.3" in row(done, "tls")
    assert "issued by Trust & Co" in row(done, "certificate")


def test_a_certificate_that_ends_soon_is_a_warning(maildropd: Any, relay: Any) -> None:
    """Below 30 days it is told with what to do, and the exit code stays 0."""
    relay(inside("soon") + OK)
    done = maildropd("check")
    assert done.code == 0
    assert re.fullmatch(
        r"warn  certificate  localhost, .* good for 10 days \(to .*\) -> have the server's postmaster renew it .*",
        row(done, "certificate"),
    )


def test_unknown_names_and_closed_ports(site: Any, maildropd: Any) -> None:
    """A name that nobody knows, and a port where nobody answers: each relay has its own step and hint."""
    site.configure(f'[relays.closed]\nhost = "127.0.0.1"\nport = {free_port()}\n[relays.lost]\nhost = "no.invalid"\n')
    closed, lost = maildropd("check", "closed"), maildropd("check", "lost")
    assert (closed.code, lost.code) == (69, 69)
    assert "Connection refused) -> check 'host' and 'port' " in row(closed, "connect")
    assert row(lost, "lookup").startswith("FAIL  lookup       can't look up the name 'no.invalid'")
    assert "check 'host' of the relay and the name servers" in row(lost, "lookup")
    assert "relay lost" not in closed.out


def test_each_step_may_take_so_long(maildropd: Any, relay: Any) -> None:
    """A server that says nothing costs ``--timeout``, not the five minutes of the standard."""
    relay("silence\n")
    done = maildropd("check", "--timeout", "0.2")
    assert done.code == 69
    assert "no whole reply within 0.2 s" in row(done, "greeting")


@pytest.mark.parametrize(
    ("security", "script", "step", "words"),
    [
        ("none", NO_TLS, "tls", "ok    tls          none, as the configuration says"),
        ("opportunistic", NO_TLS, "tls", "warn  tls          none: the server offers it not"),
        ("opportunistic", inside(login=False), "tls", "the certificate is not verified"),
        ("implicit", "tls good\n" + NO_TLS, "certificate", "ok    certificate  localhost, issued by Trust & Co"),
    ],
)
def test_other_kinds_of_encryption(
    security: str, script: str, maildropd: Any, relay: Any, *, step: str, words: str
) -> None:
    """Plain text is told as such; what is encrypted and not verified is a warning."""
    relay(script + BYE, login=False, more=f'tls = "{security}"')
    done = maildropd("check")
    assert done.code == 0
    assert words in row(done, step)
    assert row(done, "greeting").startswith("ok")


def test_a_login_that_is_not_configured(maildropd: Any, relay: Any) -> None:
    """What the server offers is told, for it may want one."""
    relay(inside(login=False) + BYE, login=False)
    done = maildropd("check")
    assert done.code == 0
    assert row(done, "auth").endswith("no login is configured (the server offers PLAIN, LOGIN)")


def test_what_a_server_says_is_made_harmless(maildropd: Any, relay: Any) -> None:
    """Control characters of a greeting do not reach the terminal."""
    relay(NO_TLS.replace("relay.example ESMTP", "\\x1b[2Jhi"), login=False)
    done = maildropd("check")
    assert "\x1b" not in done.out
    assert "\\x1b[2Jhi" in done.out


# Secrets


def test_a_credential_is_only_the_services(maildropd: Any, relay: Any, site: Any) -> None:
    """77: everything before AUTH is tried all the same, and the way to try the rest is told."""
    relay(inside(login=False) + BYE)
    text = site.config.read_text()
    site.config.write_text(re.sub('password_file = ".*"', 'password_credential = "main"', text))
    done = maildropd("check")
    assert done.code == 77
    assert row(done, "ehlo").startswith("ok")
    found = row(done, "auth")
    assert found.startswith("FAIL  auth         not tried: relays.main.auth.password_credential: ")
    assert "CREDENTIALS_DIRECTORY=/run/credentials/maildropd.service maildropd check" in found


@pytest.mark.parametrize(
    ("mend", "code", "words"),
    [
        (lambda path: path.chmod(0o644), 78, "can be read by others (mode 0644) -> chmod 600"),
        (lambda path: path.unlink(), 78, "No such file"),
    ],
)
def test_a_password_that_nobody_should_use(
    mend: Callable[[Path], None], maildropd: Any, relay: Any, tmp_path: Path, *, code: int, words: str
) -> None:
    """A file that others can read, or that is not there, is a fault of the configuration, told at the relay."""
    relay(inside(login=False) + BYE)
    mend(tmp_path / "password")
    done = maildropd("check")
    assert done.code == code
    assert words in row(done, "auth")
    assert row(done, "tls").startswith("ok")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user: run it as root")
def test_as_a_user_who_may_see_little(relay: Any, site: Any, tmp_path: Path) -> None:
    """77: what this user can't read or enter is said, and the rest is tried; there is no traceback."""
    relay(inside() + OK + "connection\n" + inside(login=False) + BYE)
    for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(root), str(site.config)],
        env=environment(traced=False), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 77, done.stderr
    out = done.stdout.partition("as nobody:")[2]
    assert "FAIL  auth         not tried: relays.main.auth.password_file: " in out
    assert "Permission denied" in out
    assert "-> run the check as root or as the daemon's user" in out
    assert "daemon       can't be seen by this user" in out
    assert "ok    ehlo" in out
    assert "Traceback" not in done.stderr


_AS_NOBODY = """
import contextlib, os, sys
sys.path.insert(0, sys.argv[1])
from maildrop.cli import main
sys.argv = ["maildropd", "check", "--config", sys.argv[2]]
with contextlib.suppress(SystemExit):
    main()  # as root: imports everything, for the other user may not enter the interpreter's folders
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print("as nobody:")
main()
"""


def test_one_relays_missing_secret_is_not_anothers(maildropd: Any, relay: Any, site: Any) -> None:
    """Whoever can log in is tried with the login."""
    relay(inside() + OK)
    spare = f'[relays.spare]\nhost = "127.0.0.1"\nport = {free_port()}\n'
    spare += '[relays.spare.auth]\nuser = "x"\npassword_file = "/nowhere/password"\n'
    site.config.write_text(site.config.read_text() + spare)
    done = maildropd("check")
    main, _, spare = done.out.partition("relay spare")
    assert done.code == 78
    assert "ok    auth         PLAIN as robot@example.com" in main
    assert "FAIL  connect " in spare
    assert "FAIL  auth         not tried: relays.spare.auth.password_file: /nowhere/password: No such file" in spare


def test_a_client_key_that_is_missing(maildropd: Any, relay: Any) -> None:
    """The relay is tried without it, and where the key should be is told."""
    relay(inside(login=False) + BYE, login=False, more='client_certificate = "/nowhere/c.pem"')
    done = maildropd("check")
    assert done.code == 78
    assert "not tried: relays.main.client_certificate: " in done.out
    assert row(done, "ehlo").startswith("ok")


def test_a_signing_key_that_is_missing(maildropd: Any, relay: Any) -> None:
    """It is a fault of the configuration; the relays are tried all the same."""
    relay(inside() + OK, tables='[dkim]\nselector = "s"\ndomains = "example.com"\nkey_file = "/nowhere/key"')
    done = maildropd("check")
    assert done.code == 78
    assert row(done, "dkim").startswith("FAIL  dkim         not tried: dkim.key_file: /nowhere/key: No such file")
    assert row(done, "quit").startswith("ok")


def test_every_problem_of_the_configuration(site: Any, maildropd: Any) -> None:
    """78: each with its key; no relay is tried, the spool is looked at if its place is known."""
    site.configure('[[routes]]\nrelays = "mian"\n[defaults]\nfrom = "nobody"')
    done = maildropd("check")
    assert done.code == 78
    assert "FAIL  problem      routes[0].relays: no relay 'mian' is configured" in done.out
    assert "-> did you mean 'main'?" in done.out
    assert "FAIL  problem      defaults.from: " in done.out
    assert row(done, "folders").startswith("ok")
    assert "relay main" not in done.out
    site.config.write_text("[spool\n")
    done = maildropd("check")
    assert (done.code, done.err) == (78, "")
    assert "FAIL  problem " in done.out
    assert "spool" not in done.out.splitlines()[-1]


def test_a_configuration_that_is_not_there(maildropd: Any) -> None:
    """78, with the way to make one."""
    done = maildropd("check", "--config", "/nowhere/maildropd.toml")
    assert done.code == 78
    assert "No such file" in done.out
    assert "-> run 'maildropd init' to make one" in done.out


def test_an_unknown_relay_is_64(site: Any, maildropd: Any) -> None:
    """With the nearest name, or all."""
    assert site.config.exists()
    done = maildropd("check", "mian")
    assert (done.code, done.out) == (64, "")
    assert "no relay 'mian' is configured; did you mean 'main'?" in done.err
    assert "there are main" in maildropd("check", "xyz").err


def test_78_before_77_before_69(site: Any, maildropd: Any) -> None:
    """With several faults the code is that of what a person has to mend first."""
    site.configure(f'[relays.closed]\nhost = "127.0.0.1"\nport = {free_port()}\n')
    assert maildropd("check", "closed").code == 69
    (site.spool / "incoming").chmod(0o700)
    assert maildropd("check", "closed").code == 77
    (site.spool / "sent").chmod(0o777)
    assert maildropd("check", "closed").code == 78


# With a daemon


def test_a_running_daemon_is_not_disturbed(site: Any, maildropd: Any, relay: Any) -> None:
    """It keeps its lock, its pid is told, and so is a relay that it holds, and that it pauses."""
    relay(inside() + OK)
    why = {"name": "main", "state": "held", "why": "connect: no answer", "until": "2026-11-23T08:00:00.000Z"}
    with Spool.open(str(site.spool), volatile=True) as spool:
        spool.lock()
        bulletin.post(spool, {"relays": [why]})
        held = maildropd("check")
        assert spool.owner() == os.getpid()
        bulletin.post(spool, {"relays": [{"name": "main", "state": "healthy"}], "paused": "the disk is full"})
        relay(inside() + OK)
        paused = maildropd("check")
    assert held.code == 0
    assert f"ok    daemon       runs, pid {os.getpid()}" in held.out
    assert "warn  daemon       the daemon has it as held until 2026-11-23T08:00:00.000Z: connect: no answer" in held.out
    assert "warn  daemon       pauses: the disk is full" in paused.out
    assert "has it as" not in paused.out


def test_nothing_is_changed(site: Any, maildropd: Any, relay: Any) -> None:
    """A folder that is missing is told, not made."""
    relay(inside() + OK)
    (site.spool / "held").rmdir()
    before = sorted(site.spool.rglob("*"))
    done = maildropd("check")
    assert done.code == 0
    assert "warn  folders      held/ missing" in done.out
    assert sorted(site.spool.rglob("*")) == before


# The sender


@pytest.mark.parametrize(
    ("author", "warned"), [("me@example.com", False), ("me@mail.example.com", False), ("me@other.example", True)]
)
def test_the_default_author_and_the_account(author: str, maildropd: Any, relay: Any, *, warned: bool) -> None:
    """An author outside of the login's domain is a warning with two ways out."""
    relay(inside() + OK, tables=f'[defaults]\nfrom = "Me <{author}>"')
    done = maildropd("check")
    assert done.code == 0
    assert ("warn  sender       defaults.from is at other.example, but relay main logs in as" in done.out) is warned


# For programs


def test_json(maildropd: Any, relay: Any) -> None:
    """One object: the exit code, and every step with what it is of, how it went, and the way out."""
    relay(inside() + "S: 535 5.7.8 no\n")
    done = maildropd("check", "--json")
    data = json.loads(done.out)
    assert (done.code, data["exit_code"], done.err) == (78, 78, "")
    assert {(one["kind"], one["grade"]) for one in data["findings"]} >= {("configuration", "ok"), ("relay", "fail")}
    last = data["findings"][-1]
    assert (last["kind"], last["name"], last["step"], last["grade"]) == ("relay", "main", "auth", "fail")
    assert last["what"] == "PLAIN: refused: 535 5.7.8 no"
    assert last["hint"].startswith("check 'user'")
    assert set(last) == {"kind", "name", "step", "grade", "what", "hint"}


def test_relays_are_tried_at_the_same_time(site: Any, maildropd: Any) -> None:
    """Two servers that answer only when both were called are both fine, in the order of the file."""
    import threading  # noqa: PLC0415  # only here

    both = threading.Barrier(2, timeout=5)

    class Patient(ScriptedServer):
        def _follow(self, line: str, rest: str) -> None:
            if line == "both":
                both.wait()
            else:
                super()._follow(line, rest)

    servers = [Patient("both\n" + NO_TLS + BYE, {}) for _ in range(2)]
    tables = (f'[relays.r{n}]\nhost = "127.0.0.1"\nport = {one.port}\ntls = "none"\n' for n, one in enumerate(servers))
    site.configure("".join(tables))
    done = maildropd("check", "r0", "r1")
    assert [server.join() for server in servers] == [[], []]
    assert done.code == 0
    assert done.out.index("relay r0") < done.out.index("relay r1")


def test_a_person_sees_what_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal, after a moment, one line tells the relays and their steps, and goes when it is over."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    seconds = iter([0.0, 0.1, 3.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    with Waiting(quiet=False) as waiting:
        waiting.tell({"main": "connect"})
        assert capsys.readouterr().err == ""
        waiting.tell({"main": "auth", "spare": "tls"})
        assert capsys.readouterr().err == "\r\x1b[K3 s: waiting for main (auth), spare (tls)"
    assert capsys.readouterr().err == "\r\x1b[K"
