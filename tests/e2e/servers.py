"""The other side of the wire: Postfix's smtp-sink, and a server that answers as a script says."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

_LINE_LIMIT = 1 << 20


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def is_listening(port: int) -> bool:
    """Tell whether somebody answers there."""
    try:
        socket.create_connection(("127.0.0.1", port), 5.0).close()
    except ConnectionRefusedError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail as a server got it: line ends are LF, dots are unstuffed. ``job`` is its ``X-Job``."""

    recipients: tuple[str, ...]
    octets: bytes
    at: float = 0.0  # seconds, time.time(): the moment it was accepted

    @property
    def job(self) -> str:
        """Return which job it was."""
        head = self.octets.partition(b"\n\n")[0]
        return next((line[6:].strip().decode() for line in head.split(b"\n") if line[:6] == b"X-Job:"), "")


class SmtpSink:
    """Postfix's ``smtp-sink``, one file for each mail."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        program = shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            pytest.skip("smtp-sink is missing: sudo apt-get install --no-install-recommends postfix")
        self.folder = folder
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        user = ["-u", pwd.getpwuid(0).pw_name] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [program, "-4", "-m", "1000", *user, *options, "-d", f"{folder}/mail.", f"127.0.0.1:{self.port}", "1000"]
        )
        wait_for(lambda: is_listening(self.port), "smtp-sink answers")

    def mails(self) -> list[Mail]:
        """Return every mail that was received."""
        return [_from_dump(path.read_bytes()) for path in self.folder.iterdir()]

    def jobs(self) -> Counter[str]:
        """Return how often each job was received."""
        return Counter(mail.job for mail in self.mails())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS)


def _from_dump(octets: bytes) -> Mail:
    """Take a dump apart: the sink's own fields end with a Received field of three lines; an empty line is added."""
    own, _, rest = octets.partition(b"\nReceived: ")
    recipients = tuple(
        line.split(b"<", 1)[1].split(b">", 1)[0].decode()
        for line in own.split(b"\n")
        if line.startswith(b"X-Rcpt-Args: ")
    )
    return Mail(recipients=recipients, octets=rest.split(b"\n", 3)[3][:-1])


@dataclass(slots=True, kw_only=True)
class _Transaction:
    recipients: list[str] = field(default_factory=list)
    open: bool = False  # MAIL was accepted
    before: list[str] = field(default_factory=list)  # recipients of the one before, until its reply was surely read


class ScriptedServer:
    """Says yes to everything but what ``script`` has an answer for.

    The script maps a glob to the answers for the first, second … line that matches; after the last one it is yes again.
    Lines are the client's commands, ``BODY job`` (the header section was read) and ``. job`` (the final dot was read).
    An answer is a reply, or ``drop`` (close the connection), ``stall`` (nothing until ``let_go`` is called, then
    yes), or ``accept-drop`` (take the mail, then close without a word). ``reply_seconds`` is how long each yes to a
    message takes after the message was accepted.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[str]] | None = None,
        *,
        reply_seconds: float = 0.0,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"),
        port: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.script = {glob: list(answers) for glob, answers in (script or {}).items()}
        self._released = asyncio.Event()
        self.accepted: list[Mail] = []
        self.lines: list[str] = []
        self.cut_off: Counter[str] = Counter()  # recipients of last transactions whose reply the client may have missed
        self.errors: list[str] = []
        self._reply_seconds = reply_seconds
        self._extensions = extensions
        self._queued = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, host, port or 0, limit=_LINE_LIMIT, backlog=1000)
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def jobs(self) -> Counter[str]:
        """Return how often each job was accepted."""
        return Counter(mail.job for mail in list(self.accepted))

    def said(self, glob: str) -> int:
        """Return how many lines of clients matched."""
        return sum(fnmatch.fnmatchcase(line, glob) for line in list(self.lines))

    def wait_said(self, glob: str, times: int = 1) -> None:
        """Wait until clients have said that."""
        wait_for(lambda: self.said(glob) >= times, f"a client says {glob} {times} times")

    @property
    def sessions(self) -> int:
        """Return how many clients are connected."""
        return len(self._tasks)

    def let_go(self) -> None:
        """End every stall, and those to come."""
        self._loop.call_soon_threadsafe(self._released.set)

    def close(self) -> None:
        """End it; what went wrong in it is the test's failure."""
        self.let_go()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(DEADLINE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_SECONDS)
        self._loop.close()
        assert self.errors == []

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        transaction = _Transaction()
        try:
            await self._converse(reader, writer, transaction)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # the client has gone, or the test is over
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            self._tasks.discard(task)
            self.cut_off.update([*transaction.before, *transaction.recipients])
            with contextlib.suppress(OSError):
                writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, transaction: _Transaction
    ) -> None:
        if not await self._say(writer, self._answer("CONNECT", "220 scripted.example ESMTP")):
            return
        while line := (await reader.readline()).decode("utf-8", "replace").rstrip("\r\n"):
            verb = line.split(" ", 1)[0].upper()
            answer = await self._answer_to(verb, line, transaction)
            if not await self._say(writer, answer):
                return
            if answer.startswith("354") and not await self._message(reader, writer, transaction):
                return
            if verb == "QUIT":
                return

    async def _answer_to(self, verb: str, line: str, transaction: _Transaction) -> str:
        """Return the answer to a command, and keep the transaction in step."""
        usual = self._usual(verb)
        if verb == "RCPT" and not transaction.open:
            usual = "503 5.5.1 MAIL first"
        if verb == "DATA" and not transaction.recipients:
            usual = "554 5.5.1 no valid recipients"
        answer = self._answer(line, usual)
        if answer == "stall":
            await self._released.wait()
            answer = usual
        if verb in ("MAIL", "RSET", "QUIT"):
            # MAIL may come behind a message whose reply is still on its way; a further message may not.
            transaction.before = transaction.recipients if verb == "MAIL" else []
            transaction.recipients = []
            transaction.open = verb == "MAIL" and answer.startswith("2")
        if verb == "RCPT" and answer.startswith("2"):
            transaction.recipients.append(line.split("<", 1)[1].split(">", 1)[0])
        return answer

    def _usual(self, verb: str) -> str:
        if verb == "EHLO":
            names = ["scripted.example", *self._extensions]
            return "\r\n".join(f"250{'-' if name != names[-1] else ' '}{name}" for name in names)
        return {"DATA": "354 go ahead", "QUIT": "221 2.0.0 bye"}.get(verb, "250 2.0.0 Ok")

    async def _message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, transaction: _Transaction
    ) -> bool:
        lines: list[bytes] = []
        in_header = True
        while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
            transaction.before = []
            lines.append(line[1:] if line.startswith(b".") else line)
            if in_header and line == b"\r\n":
                in_header = False
                if self._answer(f"BODY {_mail(lines, transaction).job}", "") == "drop":
                    return False
        mail = _mail(lines, transaction)
        answer = self._answer(f". {mail.job}", "")
        if answer == "stall":
            await self._released.wait()
            answer = ""
        if answer in ("", "accept-drop") or answer.startswith("2"):
            self.accepted.append(mail)
            self._queued += 1
            await asyncio.sleep(self._reply_seconds)
        transaction.open = False  # its recipients stay until the next command shows that the reply was read
        return await self._say(writer, answer or f"250 2.0.0 Ok: queued as Q{self._queued:07}")

    def _answer(self, line: str, usual: str) -> str:
        """Return the script's answer to the line, used up by this."""
        self.lines.append(line)
        for glob, answers in self.script.items():
            if fnmatch.fnmatchcase(line, glob) and answers:
                return answers.pop(0)
        return usual

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, answer: str) -> bool:
        """Send the answer; False means that the connection is to be closed."""
        if answer in ("drop", "accept-drop"):
            return False
        writer.write(f"{answer}\r\n".encode())
        await writer.drain()
        return True


def _mail(lines: Sequence[bytes], transaction: _Transaction) -> Mail:
    octets = b"".join(lines).replace(b"\r\n", b"\n")
    return Mail(recipients=tuple(transaction.recipients), octets=octets, at=time.time())
