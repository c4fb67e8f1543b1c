"""The connection itself: dialling, octets in and out, TLS in between, and what can be known about its end.

Refuses to know SMTP. Two things are exact here because the verdict "in doubt" rests on them: ``unsent`` tells whether
the last write is still (partly) in this process, and what the server said before the line broke is read even if a write
was the first to notice. RFC 5321 section 4.5.4.1 (addresses in turn), RFC 1123 section 5.3.1.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from typing import cast

from maildrop.smtp.reply import Stage
from maildrop.smtp.tls import TlsFilter, explain

_RESCUE_OCTETS = 64 * 1024
_UNSENT_LIMIT_OCTETS = 256 * 1024  # a large buffer in the kernel would hide that the server has stopped reading
_OUR_FAULT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Unreachable(Exception):
    """There is no connection to be had; ``stage`` is LOOKUP or CONNECT."""

    def __init__(self, stage: Stage, what: str) -> None:
        super().__init__(what)
        self.stage = stage


async def dial(host: str, port: int, seconds: float, *, known: tuple[str, ...] = ()) -> tuple[socket.socket, str]:
    """Look up and connect within ``seconds`` in all; return the socket and the address it reached.

    With ``known`` addresses nothing is looked up.

    IPv6 and IPv4 addresses are tried in the resolver's order, each with its fair share of the time, so that one dead
    address does not use up the others' turn. Raises `Unreachable`; OSError only if this machine is out of descriptors
    or memory.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    addresses = [_address(one, port) for one in known] or await _look_up(host, port, seconds)
    failures: list[str] = []
    for tried, (family, address) in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - tried)
        try:
            return await _connect(family, address, share), str(address[0])
        except TimeoutError:
            failures.append(f"{address[0]}: no answer")
        except OSError as error:
            if error.errno in _OUR_FAULT:
                raise
            failures.append(f"{address[0]}: {os.strerror(error.errno) if error.errno else error}")
    raise Unreachable(Stage.CONNECT, f"can't connect to {host} port {port} ({'; '.join(failures[:4])})")


async def dial_socket(path: str, seconds: float) -> tuple[socket.socket, str]:
    """Connect to a unix socket within ``seconds``; return the socket and its path. Raises as `dial` does."""
    try:
        return await _connect(socket.AF_UNIX, path, seconds), path
    except TimeoutError:
        what = "no answer"
    except OSError as error:
        if error.errno in _OUR_FAULT:
            raise
        what = os.strerror(error.errno) if error.errno else str(error)
    raise Unreachable(Stage.CONNECT, f"can't connect to the socket {path} ({what})")


_Address = tuple[str | int, ...]


def _address(text: str, port: int) -> tuple[socket.AddressFamily, _Address]:
    return (socket.AF_INET6 if ":" in text else socket.AF_INET), (text, port)


async def _look_up(host: str, port: int, seconds: float) -> list[tuple[socket.AddressFamily, _Address]]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except TimeoutError:
        raise Unreachable(Stage.LOOKUP, f"no answer about the name '{host}' within {seconds:g} s") from None
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Unreachable(Stage.LOOKUP, f"can't look up the name '{host}' ({reason})") from error
    return [(entry[0], cast("_Address", entry[4])) for entry in found]


async def _connect(family: socket.AddressFamily, address: _Address | str, seconds: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        if family != socket.AF_UNIX:  # which buffers a good deal less anyway
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LIMIT_OCTETS)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


class Wire(asyncio.Protocol):
    """One connected socket; tells its owner about octets, the end of a handshake, room to write, and the loss.

    ``on_loss`` comes at most once, and not after `close` or `abort`.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        tls: tuple[ssl.SSLContext, str, frozenset[bytes]] | None,
        implicit_tls: bool,
        on_octets: Callable[[bytes], None],
        on_tls: Callable[[], None],
        on_room: Callable[[], None],
        on_loss: Callable[[str], None],
    ) -> None:
        """``tls`` is the context, the name that the certificate must be valid for, and pins of its public key."""
        self._sock = sock
        self._tls_settings = tls
        self._implicit_tls = implicit_tls
        self._on_octets = on_octets
        self._on_tls = on_tls
        self._on_room = on_room
        self._on_loss = on_loss
        self._transport: asyncio.Transport | None = None
        self._tls: TlsFilter | None = None
        self.over = False
        self.unsent = False

    @property
    def tls(self) -> str | None:
        """Return version and cipher, or None in the clear."""
        return self._tls.describe() if self._tls is not None and self._tls.established else None

    @property
    def certificate_expires(self) -> datetime | None:
        """Return until when the server's certificate is valid (UTC); None in the clear."""
        return self._tls.certificate_expires() if self._tls is not None and self._tls.established else None

    def has_input(self) -> bool:
        """Return whether the kernel holds octets, an end or an error that the loop has not handed over yet."""
        if self.over:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True  # an error to hand over is input as well
        return True

    def write(self, octets: bytes) -> None:
        """Send, at once as far as the kernel takes it; ``unsent`` and ``on_room`` tell about the rest."""
        if self._tls is not None:
            try:
                self._tls.send(octets)
            except ssl.SSLError as error:
                self._end(explain(error))
                return
            octets = self._tls.take_output()
        self._hand_over(octets)

    def start_tls(self) -> None:
        """Begin a handshake; every octet from here on is TLS, and ``on_tls`` tells when it is done."""
        if self._tls_settings is None:
            raise ValueError("TLS without a context")
        self._tls = TlsFilter(*self._tls_settings)
        self._tls.handshake()
        self._hand_over(self._tls.take_output())

    def close(self) -> None:
        """End the connection politely, without waiting."""
        if not self.over and self._transport is not None:
            self.over = True
            if self._tls is not None and self._tls.established:
                self._tls.close()
                self._hand_over(self._tls.take_output())
            self._transport.close()

    def abort(self) -> None:
        """End the connection now; what was not handed to the kernel is dropped."""
        self.over = True
        if self._transport is not None:
            self._transport.abort()
        else:
            self._sock.close()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; it may buffer nothing of its own, so "paused" means "not all is in the kernel yet"."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        if self._implicit_tls:
            self.start_tls()

    def data_received(self, data: bytes) -> None:
        """Hand octets on, decrypted."""
        if self.over:
            return
        if self._tls is None:
            self._on_octets(data)
        else:
            self._through_tls(self._tls, data)

    def eof_received(self) -> None:
        """Treat the server's half-close as the end: no reply can come any more."""
        self._end("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Read what the server said before the loss, then report it."""
        if not self.over:
            self._rescue()
            self._end(f"the connection was lost ({getattr(exc, 'strerror', None) or exc or 'closed'})")

    def pause_writing(self) -> None:
        """Note that the kernel takes no more."""
        self.unsent = True

    def resume_writing(self) -> None:
        """Note that everything is in the kernel."""
        self.unsent = False
        if not self.over:
            self._on_room()

    # Inside

    def _hand_over(self, octets: bytes) -> None:
        if self._transport is None or not octets:
            return
        self._transport.write(octets)
        # A transport that closes in the middle of write() has met an error and dropped the octets.
        self.unsent = self.unsent or (self._transport.is_closing() and not self.over)

    def _through_tls(self, tls: TlsFilter, octets: bytes) -> None:
        was_established = tls.established
        try:
            plain = tls.receive(octets)
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._hand_over(tls.take_output())  # the alert that tells the server why
            self._end(explain(error))
            return
        self._hand_over(tls.take_output())
        if tls.established and not was_established:
            self._on_tls()
        if plain and not self.over:
            self._on_octets(plain)
        if tls.ended:
            self._end("the server ended the TLS session")

    def _rescue(self) -> None:
        """Read replies that had arrived when a write failed: asyncio closes the socket only after this call."""
        left = _RESCUE_OCTETS
        try:
            while left > 0 and not self.over and (octets := self._sock.recv(left)):
                left -= len(octets)
                self.data_received(octets)
        except OSError:
            return

    def _end(self, what: str) -> None:
        if not self.over:
            self.abort()
            self._on_loss(what)
