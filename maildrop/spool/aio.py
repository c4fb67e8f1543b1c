"""Many syncs at once, done by the kernel: ``io_submit`` with IOCB_CMD_FSYNC, completion told through an eventfd.

One fsync after the other costs a journal commit each, and threads that wait for them take the interpreter's lock from
the loop at every turn. Handed in together, the kernel's own workers share commits and cores: half the time, a fifth of
the processor (see ``tests/benchmarks``). Linux 4.18 and newer; where it can't be had, ``open_syncer`` says so and the
caller uses threads. The module refuses to know what is synced and who waits. io_submit(2), eventfd(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Sequence

_AT_ONCE = 256  # syncs in flight; more wait with the caller
_FSYNC = 2  # IOCB_CMD_FSYNC
_TELL = 1  # IOCB_FLAG_RESFD
_CALLS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}  # io_setup, io_destroy, io_getevents, io_submit


class _Request(ctypes.Structure):
    """The kernel's ``struct iocb``, as it is on little-endian machines."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("octets", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("event_descriptor", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """The kernel's ``struct io_event``."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("request", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("result2", ctypes.c_int64),
    )


class _NoWait(ctypes.Structure):
    """A ``struct timespec`` of zero."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Syncer:
    """Takes descriptors to sync; ``fileno`` is readable when ``finished`` has something to tell."""

    def __init__(self, context: ctypes.c_ulong, event: int, calls: tuple[int, int, int, int]) -> None:
        """Take over what ``open_syncer`` made."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._context = context
        self._event = event
        _, self._destroy, self._getevents, self._submit = calls
        self._in_flight = 0
        self._events = (_Event * _AT_ONCE)()

    def fileno(self) -> int:
        """Return the eventfd."""
        return self._event

    def submit(self, descriptors: Sequence[tuple[int, int]]) -> int:
        """Begin to sync ``(tag, descriptor)`` pairs; return how many were taken, which may be fewer than given.

        Raises OSError if the first can't be taken for another reason than that too many are in flight.
        """
        count = min(len(descriptors), _AT_ONCE - self._in_flight)
        if count == 0:
            return 0
        requests = [
            _Request(data=tag, opcode=_FSYNC, descriptor=descriptor, flags=_TELL, event_descriptor=self._event)
            for tag, descriptor in descriptors[:count]
        ]
        pointers = (ctypes.POINTER(_Request) * count)(*map(ctypes.pointer, requests))
        taken: int = self._libc.syscall(ctypes.c_long(self._submit), self._context, ctypes.c_long(count), pointers)
        if taken < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN and self._in_flight:
                return 0
            raise OSError(number, os.strerror(number))
        self._in_flight += taken
        return taken

    def finished(self) -> list[tuple[int, OSError | None]]:
        """Return the tags of the syncs that ended since the last call, each with its error; never waits."""
        try:
            os.read(self._event, 8)
        except BlockingIOError:
            return []
        got: int = self._libc.syscall(
            ctypes.c_long(self._getevents), self._context, ctypes.c_long(0), ctypes.c_long(_AT_ONCE),
            self._events, ctypes.byref(_NoWait()),
        )  # fmt: skip
        ended = self._events[: max(got, 0)]
        self._in_flight -= len(ended)
        return [(event.data, _error(event.result)) for event in ended]

    def close(self) -> None:
        """Wait for what is in flight and let go of everything; a second time does nothing."""
        event, self._event = self._event, -1
        if event >= 0:
            self._libc.syscall(ctypes.c_long(self._destroy), self._context)
            os.close(event)


def _error(result: int) -> OSError | None:
    return None if result >= 0 else OSError(-result, os.strerror(-result))


def open_syncer(probe: int) -> Syncer | None:
    """Return a syncer, or None where kernel, machine or sandbox has none; ``probe`` is a descriptor to try it with."""
    calls = _CALLS.get(platform.machine())
    if calls is None or not hasattr(os, "eventfd"):
        return None
    context = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(calls[0]), ctypes.c_long(_AT_ONCE), ctypes.byref(context)) != 0:
        return None
    try:
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    except OSError:
        libc.syscall(ctypes.c_long(calls[1]), context)
        return None
    syncer = Syncer(context, event, calls)
    try:
        syncer.submit([(0, probe)])
    except OSError:  # a kernel before 4.18, or a filesystem that has no fsync of this kind
        syncer.close()
        return None
    return syncer
