"""A server that follows a script over real sockets, and says what its client did otherwise."""

from __future__ import annotations

import codecs
import fnmatch
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from functools import partial

_SOCKET_SECONDS = 5.0  # a script that the client does not follow ends here, with an error and not with a hang
_SEGMENT = 64 * 1024


class ScriptedServer:
    r"""Accepts a connection and follows a script; what the client did otherwise is in ``errors`` after `join`.

    ==================  ====================================================================================
    ``S: text``         send the line; consecutive ones go out in one segment
    ``raw: text``       send the octets, ``\xNN`` and ``\r\n`` as in Python, without a line end
    ``C: pattern``      read a line, compared as a glob
    ``C: <name>``       read what ``expected`` has under that name, octet for octet: ``message``, ``chunk`` …
    ``dot``             read to the final dot, whatever comes
    ``read N``          read exactly N octets of whatever comes
    ``times N: text``   send the line N times
    ``long N: text``    send the text and N times ``x`` as one line
    ``endless: text``   send the line until the client has gone
    ``drip: text``      send it octet by octet, 10 ms apart, until the client has gone
    ``pause S``         wait S seconds
    ``clock S``         when the client has heard everything, put its clock S seconds forward, if it has such a clock
    ``tls NAME``        shake hands, showing the certificate NAME
    ``tls-refused N``   the same, and the client must refuse it
    ``silence``         say nothing until the client has gone
    ``deaf``            neither read nor say anything until the test is over
    ``half-close``      say that nothing more will be said, and read on
    ``close, reset``    end the connection with FIN, with RST
    ``connection``      wait for the client's next connection
    ==================  ====================================================================================
    """

    def __init__(
        self,
        script: str,
        certificates: Mapping[str, ssl.SSLContext],
        expected: Mapping[str, bytes] | None = None,
        *,
        accepted: socket.socket | None = None,
    ) -> None:
        """Listen, or hold the one conversation of a connection that was ``accepted`` elsewhere."""
        self._script = [line for line in script.splitlines() if line and not line.startswith("#")]
        self._certificates = certificates
        self._expected = expected or {}
        self.advance_clock: Callable[[float], object] = _no_clock
        self._accepted = accepted
        self._listener = listen() if accepted is None else None
        self._buffer = bytearray()
        self._over = threading.Event()
        self._connected = threading.Event()
        self._heard_more = threading.Condition()
        self._sock: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0 if self._listener is None else int(self._listener.getsockname()[1])
        self.errors: list[str] = []
        self.heard = bytearray()
        self._thread.start()

    @property
    def over(self) -> bool:
        """Tell whether the script has come to its end."""
        return not self._thread.is_alive()

    def wait_for_client(self) -> bool:
        """Wait until a client has connected; return whether one did in time."""
        return self._connected.wait(_SOCKET_SECONDS)

    def wait_for(self, end: bytes) -> bool:
        """Wait until what was heard ends so; return whether it did in time."""
        with self._heard_more:
            return self._heard_more.wait_for(lambda: self.heard.endswith(end), _SOCKET_SECONDS)

    def wait_for_end(self) -> None:
        """Wait until the script has been followed to its end."""
        self._thread.join()

    def join(self) -> list[str]:
        """End the server and return what went otherwise than scripted."""
        self._over.set()
        self._thread.join()
        return self.errors

    def _run(self) -> None:
        try:
            self._sock = self._accept()
            pending = b""
            for line in self._script:
                verb, _, rest = line.partition(": ")
                if verb in ("S", "raw"):
                    octets = codecs.escape_decode(rest.encode())[0]
                    pending += octets + (b"\r\n" if verb == "S" else b"")
                    continue
                self._send(pending)
                pending = b""
                self._follow(verb, rest)
            self._send(pending)
        except (OSError, AssertionError, KeyError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
        finally:
            if self._sock is not None:
                self._sock.close()
            if self._listener is not None:
                self._listener.close()

    def _send(self, octets: bytes) -> None:
        if octets:
            self._connection.sendall(octets)

    @property
    def _connection(self) -> socket.socket:
        assert self._sock is not None, "no connection"
        return self._sock

    def _follow(self, line: str, rest: str) -> None:
        verb, _, argument = line.partition(" ")
        verbs: dict[str, Callable[[], object]] = {
            "C": lambda: self._expect(rest),
            "dot": lambda: self._read_to(b"\r\n.\r\n"),
            "read": lambda: self._read_exactly(int(argument)),
            "times": lambda: self._connection.sendall((rest.encode() + b"\r\n") * int(argument)),
            "long": lambda: self._connection.sendall(rest.encode() + b"x" * int(argument) + b"\r\n"),
            "endless": lambda: self._until_gone((rest.encode() + b"\r\n") * 1000),
            "drip": lambda: self._drip(rest.encode()),
            "pause": lambda: self._over.wait(float(argument)),
            "clock": lambda: (self._over.wait(0.02), self.advance_clock(float(argument))),
            "tls": lambda: self._shake_hands(argument),
            "tls-refused": lambda: self._shake_hands_in_vain(argument),
            "silence": lambda: self._until_gone(b""),
            "deaf": lambda: self._over.wait(_SOCKET_SECONDS),
            "half-close": lambda: self._connection.shutdown(socket.SHUT_WR),
            "reset": self._reset,
            "close": self._connection.close,
            "connection": self._next_connection,
        }
        verbs[verb]()

    def _reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def _next_connection(self) -> None:
        self._connection.close()
        self._sock = self._accept()

    def _read_exactly(self, octets: int) -> None:
        octets -= len(self._buffer)  # which is never kept as a whole: memory is measured
        assert octets >= 0, "more was said than the script wants to read"
        self._buffer.clear()
        while octets:
            octets -= len(self._receive(min(octets, _SEGMENT)))

    def _shake_hands(self, name: str) -> None:
        self._sock = self._certificates[name].wrap_socket(self._connection, server_side=True)

    def _shake_hands_in_vain(self, name: str) -> None:
        try:
            # With TLS 1.3 the server's side is done before the client has judged the certificate.
            self._shake_hands(name)
            assert self._connection.recv(1) == b"", "the client has accepted the certificate"
        except (ssl.SSLError, ConnectionResetError):
            return

    def _accept(self) -> socket.socket:
        sock, self._accepted = self._accepted, None
        if sock is None:
            assert self._listener is not None, "one more connection"
            sock = self._listener.accept()[0]
        sock.settimeout(_SOCKET_SECONDS)
        self._buffer.clear()
        self._connected.set()
        return sock

    def _receive(self, limit: int = _SEGMENT) -> bytes:
        octets = self._connection.recv(limit)
        assert octets, "the client has gone"
        with self._heard_more:
            self.heard += octets
            del self.heard[:-_SEGMENT]  # the end is enough, and memory is measured
            self._heard_more.notify_all()
        return octets

    def _read_to(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._buffer += self._receive()
        octets, _, rest = bytes(self._buffer).partition(end)
        self._buffer[:] = rest
        return octets + end

    def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._receive()
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

    def _expect(self, pattern: str) -> None:
        if named := re.fullmatch("<([a-z0-9 ]+)>", pattern):
            whole = self._expected[named[1]]
            said = self._read(len(whole))
            assert said == whole, f"{said[:200]!r} instead of {pattern}"
        else:
            line = self._read_to(b"\r\n")[:-2].decode()
            assert fnmatch.fnmatchcase(line, pattern), f"{line!r} instead of {pattern!r}"

    def _until_gone(self, octets: bytes) -> None:
        try:
            while True:
                if octets:
                    self._connection.sendall(octets)
                else:
                    self._receive()
        except (BrokenPipeError, ConnectionResetError, AssertionError):
            return

    def _drip(self, octets: bytes) -> None:
        try:
            for octet in octets:
                self._connection.sendall(bytes((octet,)))
                self._over.wait(0.01)
        except (BrokenPipeError, ConnectionResetError):
            return


class ScriptedListener:
    """Plays the same script to each client that comes, as often as it comes."""

    def __init__(
        self, script: str, certificates: Mapping[str, ssl.SSLContext], expected: Mapping[str, bytes] | None = None
    ) -> None:
        self._play = partial(ScriptedServer, script, certificates, expected)
        self._listener = listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = int(self._listener.getsockname()[1])
        self.conversations: list[ScriptedServer] = []
        self._thread.start()

    @property
    def heard(self) -> bytes:
        """Everything that clients have said, decrypted where there was TLS."""
        return b"".join(bytes(one.heard) for one in self.conversations)

    def close(self) -> list[str]:
        """End it and return what went otherwise than scripted."""
        self._listener.shutdown(socket.SHUT_RDWR)  # which wakes who waits in accept()
        self._thread.join()
        self._listener.close()
        return [error for one in self.conversations for error in one.join()]

    def _run(self) -> None:
        while True:
            try:
                sock = self._listener.accept()[0]
            except TimeoutError:
                continue
            except OSError:
                return
            self.conversations.append(self._play(accepted=sock))


def listen() -> socket.socket:
    """Return a listening socket of loopback that takes little at once."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.settimeout(_SOCKET_SECONDS)
    return listener


def _no_clock(_seconds: float) -> None:
    raise AssertionError("the client has no clock that a script could put forward")
