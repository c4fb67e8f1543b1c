"""A server that speaks LMTP over TCP or a unix socket and answers for each recipient as a test says (RFC 2033)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.e2e.waiting import DEADLINE_SECONDS

_USUAL = {"LHLO": "250-boxes\r\n250-PIPELINING\r\n250 ENHANCEDSTATUSCODES", "DATA": "354 go", "QUIT": "221 bye"}


class LmtpServer:
    """``replies`` maps a recipient to what is said about each message for it; then it is yes. ``drop`` ends the line.

    ``delivered`` counts the yeses that were sent to whom. ``before_reply`` is called before the first, second … reply
    after a dot, and once more behind the last.
    """

    def __init__(self, path: Path | None = None, replies: Mapping[str, Sequence[str]] | None = None) -> None:
        self._replies = {recipient: list(said) for recipient, said in (replies or {}).items()}
        self.delivered: Counter[str] = Counter()
        self.greeted: list[str] = []
        self.before_reply: Callable[[int], None] = lambda _number: None
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.place: dict[str, object] = {
                "host": "127.0.0.1",
                "port": self._listener.getsockname()[1],
                "tls": "none",
            }
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen()
            self.place = {"socket": str(path)}
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,), daemon=True))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock, sock.makefile("rb") as lines:
            sock.sendall(b"220 boxes LMTP\r\n")
            accepted: list[str] = []
            for octets in lines:
                line = octets.decode().rstrip("\r\n")
                verb = line.split(" ")[0].upper()
                if verb in ("LHLO", "EHLO", "HELO"):
                    self.greeted.append(verb)
                if verb in ("MAIL", "RSET"):
                    accepted = []
                if verb == "RCPT":
                    accepted.append(line.split("<", 1)[1].split(">", 1)[0])
                sock.sendall(_USUAL.get(verb, "250 2.0.0 ok").encode() + b"\r\n")
                if verb == "DATA":
                    while next(lines) != b".\r\n":
                        pass
                    if not self._answer(sock, accepted):
                        return
        self._open.discard(sock)

    def _answer(self, sock: socket.socket, accepted: Sequence[str]) -> bool:
        """Answer for each recipient; tell whether the line is to be kept."""
        for number, recipient in enumerate(accepted):
            self.before_reply(number)
            said = self._replies.get(recipient) or ["250 2.0.0 saved"]
            reply = said.pop(0)
            if reply == "drop":
                return False
            if reply.startswith("2"):
                self.delivered[recipient] += 1
            sock.sendall(f"{reply}\r\n".encode())
        self.before_reply(len(accepted))
        return True
