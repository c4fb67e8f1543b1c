"""``demo``: a whole run with nothing else, offline.

A spool in a temporary folder, an SMTP sink of its own that speaks STARTTLS with a throw-away certificate, the real
daemon as a user would start it, and the example jobs dropped in the ways producers do. It shows what happens, then
what arrived.
"""

from __future__ import annotations

import email
import email.policy
import getpass
import json
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from importlib import import_module
from pathlib import Path
from socket import create_server
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maildrop.errors import UsageError
from maildrop.spool.layout import Spool, State, init
from maildrop.spool.lookup import Place
from maildrop.status import view

_DEADLINE_SECONDS = 30.0
_PIPE_COLUMNS = 200  # where there is no terminal to ask
_CONFIG = """\
[spool]
path = "{spool}"
volatile = true            # it lives as long as this demonstration

[intake]
quiet_seconds = 0.8

[relays.sink]
host = "127.0.0.1"
port = {port}
ca_file = "{ca}"           # trust the sink's throw-away certificate; it is verified like any other

[log]
format = "json"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Received:
    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage


class _Inbox:
    """What the sink received; also its aiosmtpd handler."""

    def __init__(self) -> None:
        self.mails: list[_Received] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        message = email.message_from_bytes(envelope.content, policy=email.policy.SMTP)
        recipients = tuple(envelope.rcpt_tos)
        self.mails.append(_Received(sender=envelope.mail_from, recipients=recipients, message=message))
        return f"250 2.0.0 Ok: queued as DEMO{len(self.mails):04d}"


@click.command("demo", epilog="Example: maildropd demo --keep")
@click.option("--keep", is_flag=True, help="Leave the spool for you to look at.")
def demo_command(*, keep: bool) -> int:
    """See a whole run with nothing else: spool, SMTP sink, example jobs, daemon; shows what arrived."""
    folder = Path(tempfile.mkdtemp(prefix="maildropd-demo-"))
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    try:
        complete = _run(folder, console)
    finally:
        if keep:
            console.print(f"\nKept: [bold]{folder}[/] (look into spool/sent/*/result.toml and spool/failed/)")
        else:
            console.print("\nIn each job's folder lies the answer, result.toml. To look at them: maildropd demo --keep")
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if complete else 1


def _run(folder: Path, console: Console) -> bool:
    examples = _examples()
    spool, inbox = folder / "spool", _Inbox()
    init(str(spool), user=getpass.getuser())
    with _sink(inbox, folder / "ca.pem") as port:
        config = folder / "maildropd.toml"
        config.write_text(_CONFIG.format(spool=spool, port=port, ca=folder / "ca.pem"), encoding="utf-8")
        console.print(f"[bold]1.[/] a spool in {spool}, an SMTP sink on 127.0.0.1:{port} (STARTTLS), and the daemon:")
        console.print(f"   [dim]$ maildropd run --config {config}[/]")
        with _daemon(config, console):
            console.print("[bold]2.[/] producers drop jobs:")
            names = _drop_all(examples, spool, console)
            settled = _wait(spool, names)
    console.print("[bold]3.[/] where the jobs are, and what arrived:\n")
    complete = _show(spool, names, inbox, console)
    if not settled:
        console.print(f"[red]Some jobs were not settled within {_DEADLINE_SECONDS:.0f} s.[/]")
    return settled and complete


def _examples() -> Path:
    """Return the example jobs: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent.parent
    for place in (package.parent / "examples" / "jobs", package / "examples" / "jobs"):
        if place.is_dir():
            return place
    raise UsageError("demo", "the example jobs are missing", hint="install maildrop again, or run it in its checkout")


@contextmanager
def _sink(inbox: _Inbox, ca_file: Path) -> Iterator[int]:
    """Run the SMTP sink in a thread; yield its port."""
    try:
        controller_module, trustme = import_module("aiosmtpd.controller"), import_module("trustme")
    except ImportError:
        hint = "pip install 'maildrop[demo]'"
        raise UsageError("demo", "needs aiosmtpd and trustme, which are not installed", hint=hint) from None
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(ca_file))
    controller = controller_module.Controller(
        inbox,
        hostname="127.0.0.1",
        port=_free_port(),
        tls_context=context,
        require_starttls=True,
        ident="maildropd demo sink",
    )
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _free_port() -> int:
    """Return a port that is free now; aiosmtpd connects to itself once and so needs to know it beforehand."""
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def _daemon(config: Path, console: Console) -> Iterator[None]:
    """Run the daemon as a process of its own; show its log live."""
    command = [sys.executable, "-m", "maildrop", "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own program
        started = threading.Event()
        reader = threading.Thread(target=_show_log, args=(process, console, started), daemon=True)
        reader.start()
        try:
            started.wait(_DEADLINE_SECONDS)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_DEADLINE_SECONDS)
            reader.join(1.0)


def _show_log(process: subprocess.Popen[str], console: Console, started: threading.Event) -> None:
    for line in process.stderr or ():
        try:
            event = json.loads(line)
        except ValueError:
            console.print(f"   [red]{escape(line.rstrip())}[/]")
            continue
        color = {"info": "green", "warning": "yellow", "error": "red"}.get(event["level"], "dim")
        name = event["event"]
        about = event.get("job", "")
        word = event.get("reply") or event.get("reason") or event.get("what") or event.get("why") or ""
        console.print(f"   [{color}]{name:16}[/] {escape(' '.join(part for part in (about, word) if part))}")
        if name == "daemon.started":
            started.set()
    started.set()  # it ended early: the wait is in vain


def _drop_all(examples: Path, spool: Path, console: Console) -> list[str]:
    """Drop every example, each in another way that producers have."""
    incoming, staging, names = spool / "incoming", spool / "tmp", []
    for number, example in enumerate(sorted(examples.iterdir())):
        if example.suffix == ".eml":
            console.print(f"   [cyan]{'bare .eml':16}[/] {example.name}")
            shutil.copyfile(example, incoming / example.name)
        elif number % 2 and example.name != "broken":
            console.print(f"   [cyan]{'file by file':16}[/] {example.name}")
            _write_slowly(example, incoming / example.name)
        else:
            console.print(f"   [cyan]{'rename':16}[/] {example.name}")
            shutil.copytree(example, staging / example.name)
            (staging / example.name).rename(incoming / example.name)
        names.append(example.stem)
    return names


def _write_slowly(source: Path, target: Path) -> None:
    """Write a job in place, one file after the other with pauses, the envelope first: the quiet rule has to wait."""
    for path in sorted(source.rglob("*"), key=lambda path: path.name != "envelope.toml"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                content = path.read_bytes()
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(0.2)
                file.write(content[len(content) // 2 :])


def _wait(spool: Path, names: list[str]) -> bool:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if all((spool / "sent" / name).is_dir() or (spool / "failed" / name).is_dir() for name in names):
            return True
        time.sleep(0.05)
    return False


def _show(spool_path: Path, names: list[str], inbox: _Inbox, console: Console) -> bool:
    """Print the table; return whether everything is as it should be."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("job", "is in", "from", "to", "subject", "parts"):
        table.add_column(column, overflow="fold")
    complete, failed = True, []
    with Spool.open(str(spool_path), volatile=True) as spool:
        for name in names:
            state = next(
                (state for state in (State.SENT, State.FAILED) if (spool_path / state / name).is_dir()), State.ACTIVE
            )
            job = view.whole(spool, Place(state=state, name=name))
            mails = [mail for mail in inbox.mails if mail.message["Message-ID"] == job.get("message_id")]
            if state is State.SENT and len(mails) == 1:
                _add_row(table, name, state, mails[0])
            else:
                table.add_row(name, state.value, *[""] * 4)
                failed.append(job)
            complete &= (state is State.FAILED) == (name == "broken") and len(mails) == (name != "broken")
    console.print(table)
    for job in failed:
        console.print(f"\n[bold]{escape(job['job'])}[/] is in {job['state']}/: {escape(str(job['reason']))}")
        for problem in job.get("problems", []):
            hint = f"; {problem['hint']}" if problem["hint"] else ""
            console.print(f"   {escape(problem['where'])}: {escape(problem['what'] + hint)}")
    return complete


def _add_row(table: Table, name: str, state: State, mail: _Received) -> None:
    parts = [part.get_filename() or part.get_content_type() for part in mail.message.walk() if not part.is_multipart()]
    table.add_row(
        name, state.value, escape(mail.sender), escape("\n".join(mail.recipients)),
        escape(str(mail.message["Subject"])), escape("\n".join(parts)),
    )  # fmt: skip
