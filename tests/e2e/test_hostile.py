"""Hostile relays against the running daemon: no job pays for a fault that is not its own, no secret leaves, no flood.

One daemon has one relay for each dialog of `tests/dialogs` that ends before a mail could be sent, and three jobs for
each of them, so all of these servers misbehave at the same time.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from maildrop.smtp import Security
from tests.e2e.test_secure import everything_written, write_secret
from tests.e2e.waiting import wait_for
from tests.smtp.certificates import Certificates, make_certificates
from tests.smtp.dialog import NAMES, PASSWORD, Dialog
from tests.smtp.scripted import ScriptedListener

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.daemons import Daemon
    from tests.e2e.spools import SpoolFolder

    Start = Callable[..., Daemon]
    Make = Callable[..., SpoolFolder]

DIALOGS = {name: Dialog.read(name) for name in NAMES}
BAD_TLS = {*range(23, 34), 35}  # 34 is about the end of a session that was good
JOBS = 3
SECONDS = 1.5  # for each stage, if the dialog says nothing
HELD_SECONDS = 30.0  # the machine has other things to do; alone it takes a tenth of that
SECRETS = [
    form
    for text in (PASSWORD, f"\0anna\0{PASSWORD}", f"anna\0{PASSWORD}")
    for form in (text.encode(), base64.b64encode(text.encode()))
]
FLOODS = ["08-greeting-endless", "09-greeting-one-mib-line", "16-ehlo-ten-thousand-keywords", "77-dot-endless-reply"]
FLOODS += ["77-dot-one-mib-text", "82-flood-of-stray-lines"]
MOST_MEMORY_KIB = 8 * 1024


def is_playable(dialog: Dialog) -> bool:
    """Tell whether the daemon can be configured for a dialog, and whether it needs no clock of its own."""
    forbidden = "credentials" in dialog.settings and dialog.security is Security.NONE and not dialog.plaintext_auth
    return not forbidden and "clock" not in dialog.script and "\nconnection" not in dialog.script and not dialog.lmtp


def fault_of(name: str) -> str:
    """Return the stage that a dialog fails in before there is a session, or nothing."""
    word, stage, *_ = DIALOGS[name].verdict.split()
    return stage if word == "failed" else ""


FAULTS = [name for name in NAMES if int(name[:2]) <= 42 and fault_of(name) and is_playable(DIALOGS[name])]


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    """Return the certificates that the servers show."""
    return make_certificates()


@pytest.fixture
def listeners() -> Iterator[dict[str, ScriptedListener]]:
    """Return where the servers are kept that end with the test; each did what its script says."""
    started: dict[str, ScriptedListener] = {}
    yield started
    for one in started.values():
        one.close()


def for_any_mail(script: str) -> str:
    """Return a script that goes as well with other addresses and another message."""
    script = re.sub(r"^C: (MAIL|RCPT) .*$", r"C: \1 *", script, flags=re.MULTILINE)
    return script.replace("C: <message>", "dot")


def start(listeners: dict[str, ScriptedListener], certificates: Certificates, names: list[str]) -> None:
    """Start a server for each of these dialogs."""
    for name in names:
        dialog = DIALOGS[name]
        listeners[name] = ScriptedListener(for_any_mail(dialog.script), certificates.servers)


def relay_table(name: str, port: int, folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the table of a relay that is set up as a dialog says."""
    dialog = DIALOGS[name]
    stages = ("greeting", "tls", "ehlo", "auth", "mail", "rcpt", "data", "block", "data_end")
    given = {key.split()[1]: value for key, value in dialog.settings.items() if key.startswith("timeout ")}
    table: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "tls": dialog.security.value,
        "connections": JOBS,
        "timeouts": {stage: float(given.get(stage, SECONDS)) for stage in stages},
    }
    if dialog.security is not Security.NONE:
        table["ca_file"] = str(folder / "ca.pem")
    if "credentials" in dialog.settings:
        table["auth"] = {"user": "anna", "password_file": str(folder / "password"), "plaintext": dialog.plaintext_auth}
    return table | changes


def configure(
    spool: SpoolFolder, listeners: dict[str, ScriptedListener], certificates: Certificates, **changes: Any
) -> None:
    """Write a configuration with a relay for each server, to which the jobs go that have its name."""
    (spool.folder / "ca.pem").write_bytes(certificates.authority)
    write_secret(spool.folder / "password", PASSWORD)
    relays = {name: relay_table(name, one.port, spool.folder, **changes) for name, one in listeners.items()}
    spool.configure(
        1,
        relays=relays,
        routes=[{"job": f"{name}--*", "relays": [name]} for name in listeners],
        settle={"transcript": "always"},
        log={"level": "debug"},
        defaults={"hostname": "client.example"},
    )


def held_relays(spool: SpoolFolder) -> list[str]:
    """Return the relays that ``status`` shows as held."""
    relays = json.loads(spool.command("status", "--json").stdout)["relays"]
    return [relay["name"] for relay in relays if relay["state"] == "held"]


def jobs_of(name: str) -> list[str]:
    """Return the names of the jobs for a relay."""
    return [f"{name}--{number}" for number in range(JOBS)]


def test_no_job_pays_for_a_relay(
    spool_factory: Make,
    daemon: Start,
    certificates: Certificates,
    listeners: dict[str, ScriptedListener],
    figure: Callable[[str, object], None],
) -> None:
    """Whatever greets, encrypts or authenticates badly: held in time and with a hint; no job failed, none has tried."""
    start(listeners, certificates, FAULTS)
    spool = spool_factory(1)
    configure(spool, listeners, certificates)
    running = daemon(spool).wait_started()
    names = [job for name in FAULTS for job in jobs_of(name)]
    for job in names:
        spool.drop(job)
    for name in FAULTS:
        held = running.wait_event("relay.held", relay=name, seconds=HELD_SECONDS)
        verdict = f"failed {held['stage']}" + (" configuration" if held["seconds"] >= 60 else "")
        assert verdict == DIALOGS[name].verdict, held
        assert held["why"]
        assert held.get("hint") or "configuration" not in verdict
    wait_for(lambda: set(held_relays(spool)) == set(FAULTS), "status shows them all as held")
    moments = [datetime.fromisoformat(one["timestamp"]) for one in running.found("relay.held")]
    claimed = datetime.fromisoformat(running.found("job.claimed")[0]["timestamp"])
    figure("seconds until the last of the relays was held", (max(moments) - claimed).total_seconds())
    for event in ("job.failed", "job.sent", "job.deferred", "job.doubt", "job.interrupted"):
        assert running.found(event) == []
    assert running.stop() == 0
    assert set(spool.where()) == set(names)
    assert spool.names("failed") == spool.names("deferred") == spool.names("sent") == set()
    for record in spool.path.glob("*/*/result.toml"):
        assert tomllib.loads(record.read_text())["attempts"] == []
    written = everything_written(spool, running)
    assert [secret for secret in SECRETS if secret in written] == []
    for name in (one for one in FAULTS if int(one[:2]) < 36):
        assert not any(secret in listeners[name].heard for secret in SECRETS)


def test_bad_tls_is_refused(
    spool_factory: Make, daemon: Start, certificates: Certificates, listeners: dict[str, ScriptedListener]
) -> None:
    """Twelve of twelve: with a password at hand, none of these servers sees an octet of it, and no output does."""
    names = [name for name in FAULTS if int(name[:2]) in BAD_TLS]
    assert {int(name[:2]) for name in names} == BAD_TLS
    start(listeners, certificates, names)
    spool = spool_factory(1)
    auth = {"user": "anna", "password_file": str(spool.folder / "password")}
    configure(spool, listeners, certificates, auth=auth)
    running = daemon(spool).wait_started()
    for name in names:
        spool.drop(jobs_of(name)[0])
    for name in names:
        running.wait_event("relay.held", relay=name, seconds=HELD_SECONDS)
    checked = spool.command("check", code=None)
    assert checked.returncode != 0
    assert running.stop() == 0
    written = everything_written(spool, running) + (checked.stdout + checked.stderr).encode()
    heard = {name: one.heard for name, one in listeners.items()}
    assert all(heard[name] or DIALOGS[name].security is Security.IMPLICIT for name in names)
    for secret in SECRETS:
        assert secret not in written
        assert [name for name in names if secret in heard[name]] == []
    assert [name for name in names if b"AUTH" in heard[name] or b"MAIL" in heard[name]] == []
    assert spool.names("sent") == spool.names("failed") == set()


def test_floods(
    spool_factory: Make,
    daemon: Start,
    certificates: Certificates,
    listeners: dict[str, ScriptedListener],
    figure: Callable[[str, object], None],
) -> None:
    """Endless replies, at any stage and by several at once, cost the daemon at most 8 MiB."""
    calm = "78-dot-answered-late"
    start(listeners, certificates, [calm, *FLOODS])
    spool = spool_factory(1)
    configure(spool, listeners, certificates)
    running = daemon(spool, traced=False).wait_started()
    spool.drop(jobs_of(calm)[0])
    running.wait_event("job.claimed")
    before = running.peak_resident_kib()
    for name in FLOODS:
        for job in jobs_of(name):
            spool.drop(job)
    wait_for(
        lambda: all(sum(one.over for one in listeners[name].conversations) >= JOBS for name in FLOODS),
        "each server has poured out everything three times",
        seconds=HELD_SECONDS,
    )
    growth = running.peak_resident_kib() - before
    figure("memory growth under floods (KiB)", growth)
    assert growth <= MOST_MEMORY_KIB
    assert running.found("job.failed") == []


@pytest.mark.parametrize(
    "extra", ["550 5.7.1 spam", "450 4.7.1 later", "250 2.0.0 thanks again", "421 4.3.2 bye", "#!?"]
)
def test_a_reply_too_many(spool_factory: Make, daemon: Start, scripted_server: Any, extra: str) -> None:
    """A server that answers each message twice does not judge the next one by it: all are sent, each once.

    And each transcript tells of its own job alone, though their dialogs overlap.
    """
    names = [f"job-{number}" for number in range(6)]
    server = scripted_server({". *": [f"250 2.0.0 Ok\r\n{extra}"] * len(names)}, reply_seconds=0.03)
    spool = spool_factory(server.port, relay={"connections": 1}, settle={"transcript": "always"})
    for name in names:
        spool.drop(name)
    running = daemon(spool).wait_started()
    spool.wait_settled(names)
    assert server.jobs() == dict.fromkeys(names, 1)
    for name in names:
        result = spool.answered(name)
        assert len(result["attempts"]) == 1
        assert not result.get("possible_duplicate")
        told = (spool.path / "sent" / name / "transcript.log").read_text()
        assert [one for one in names if f"{one}@" in told] == [name]
        assert "S: 250 2.0.0 Ok" in told
    assert server.said("MAIL *") > len(names)  # some were asked for behind another message, and once more
    assert running.found("job.failed") == running.found("job.deferred") == []


def test_bdat_that_nobody_knows(spool_factory: Make, daemon: Start, scripted_server: Any) -> None:
    """A server that offers CHUNKING and does not know BDAT costs a session, no attempt and no duplicate."""
    names = [f"job-{number}" for number in range(6)]
    server = scripted_server({"BDAT *": ["500 5.5.1 what?"] * 99}, extensions=("PIPELINING", "CHUNKING"))
    spool = spool_factory(server.port, relay={"connections": 2})
    for name in names:
        spool.drop(name)
    daemon(spool).wait_started()
    spool.wait_settled(names)
    assert server.jobs() == dict.fromkeys(names, 1)
    assert [len(spool.answered(name)["attempts"]) for name in names] == [1] * len(names)
    assert 1 <= server.said("BDAT *") <= 4
