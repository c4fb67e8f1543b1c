"""The example jobs and ``maildropd demo`` do what the README says."""

from __future__ import annotations

import email
import email.policy
import os
import shutil
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.spools import environment
from tests.e2e.waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.daemons import Daemon
    from tests.e2e.servers import ScriptedServer
    from tests.e2e.spools import SpoolFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "jobs"
RECIPIENTS = {
    "invoice-4711": {"zoe.mueller@example.org", "accounts@example.org", "archive@example.com"},
    "nightly-backup": {"ops@example.org"},
    "order-gb18030": {"lihua.chen@example.org"},
    "reminder-cp1252": {"juergen.gross@example.org"},
    "scan-0042": {"archive@example.org", "zoe.mueller@example.org"},
}
SUBJECTS = {
    "invoice-4711": "Invoice 4711: your order of 12 November – € 1,184.05",  # noqa: RUF001  # as it lies there
    "nightly-backup": "Nightly backup: 3 databases, 18.4 GB, all verified",
    "order-gb18030": "采购订单 2026-1123：控制板 500 块",  # noqa: RUF001  # likewise
    "reminder-cp1252": "Rückgabe: zwei Bücher sind fällig",
    "scan-0042": "Scan 0042 (1 page)",
}
CHARSETS = {"order-gb18030": "gb18030", "reminder-cp1252": "cp1252"}
ATTACHMENTS = {
    "invoice-4711": ("invoice-4711.pdf", "attachments/invoice-4711.pdf"),
    "order-gb18030": ("采购订单-2026-1123.csv", "attachments/order-2026-1123.csv"),
}


def test_demo(tmp_path: Path) -> None:
    """``maildropd demo`` exits with 0, shows every job, and leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "-m", "maildrop", "demo"],
        env=environment(TMPDIR=str(tmp_path), COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for name in (*RECIPIENTS, "broken"):
        assert name in done.stdout
    assert "did you mean 'subject'?" in done.stdout
    assert os.listdir(tmp_path) == []


def test_demo_keeps_the_spool(tmp_path: Path) -> None:
    """With ``--keep`` the spool stays, and is one that commands understand."""
    done = subprocess.run(
        [sys.executable, "-m", "maildrop", "demo", "--keep"],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.iterdir()
    assert str(folder) in done.stdout
    assert {path.name for path in (folder / "spool" / "sent").iterdir()} == set(RECIPIENTS)
    listed = subprocess.run(
        [sys.executable, "-m", "maildrop", "list", "--config", str(folder / "maildropd.toml")],
        env=environment(COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert "broken" in listed.stdout


def test_examples_arrive_as_expected(
    spool_factory: Callable[..., SpoolFolder],
    daemon: Callable[..., Daemon],
    scripted_server: Callable[..., ScriptedServer],
) -> None:
    """Each goes to whom it says, with subject, text and attachment as they lie in the example; Bcc shows nowhere."""
    server = scripted_server()
    spool = spool_factory(server.port, intake={"quiet_seconds": 0.5})
    daemon(spool).wait_started()
    for example in EXAMPLES.iterdir():
        if example.is_dir():
            spool.copy_in(example)
        else:
            shutil.copyfile(example, spool.path / "incoming" / example.name)
    spool.wait_settled(RECIPIENTS)
    spool.wait_settled(["broken"], "failed")
    assert len(spool.result("broken", "failed")["problems"]) == 2
    arrived: dict[str, EmailMessage] = {}
    for mail in server.accepted:
        name = next(name for name, recipients in RECIPIENTS.items() if recipients == set(mail.recipients))
        arrived[name] = email.message_from_bytes(mail.octets, policy=email.policy.default)
    assert set(arrived) == set(RECIPIENTS)
    assert len(server.accepted) == len(RECIPIENTS)
    for name, message in arrived.items():
        assert str(message["Subject"]) == SUBJECTS[name]
        assert message.defects == []
        assert "Bcc" not in message
        assert "X-Receiver" not in message
        if name != "scan-0042":
            check_content(name, message)
    assert spool.answered("invoice-4711")["meta"] == {"document": "INV-4711", "client": 100}


def check_content(name: str, message: EmailMessage) -> None:
    """Compare text and attachment with the files of the example."""
    folder = EXAMPLES / name
    body = message.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    wanted = (folder / "body.txt").read_bytes().decode(CHARSETS.get(name, "utf-8")).replace("\r\n", "\n")
    assert body.get_content().replace("\r\n", "\n").rstrip("\n") == wanted.rstrip("\n")
    found = {part.get_filename(): part.get_payload(decode=True) for part in message.iter_attachments()}
    if name in ATTACHMENTS:
        shown, path = ATTACHMENTS[name]
        assert found == {shown: (folder / path).read_bytes()}
    else:
        assert found == {}
