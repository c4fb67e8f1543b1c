"""Wake-ups for the intake: what inotify saw of one folder since we last asked (the only user of watchdog).

An event is a hint to look now, with one exception that is evidence: ``IN_MOVED_TO`` says that a name was *renamed*
into the folder. Everything else is the scan's business, and so this module refuses to know what a drop is.

watchdog's ``Observer`` is not used: its pairing of moves holds back what follows a claim by half a second, and it can't
tell a rename from a creation. ``InotifyFD``, its reader thread, gives the raw events. The folder is watched through the
descriptor that the spool holds, so that the folder listed and the folder watched are always the same one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_UNMOUNT
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
)
_NO_WATCH = WatchDescriptor(-1)
_MAX_NAMES = 65536  # noted names not yet asked for; beyond it a scan is cheaper than remembering
_STOP_SECONDS = 2.0  # the reader thread ends within milliseconds; never hang a stop on it


class Seen(Enum):
    """The last thing seen of a name."""

    TOUCHED = auto()  # a file of that name was closed after writing
    CREATED = auto()  # it was made in place: nothing seen of that name before is about this one
    RENAMED = auto()


@dataclass(slots=True)
class Notes:
    """What was seen since the last ``drain``: the names, and whether only a scan can tell."""

    names: dict[str, Seen] = field(default_factory=dict)
    rescan: bool = False  # events were lost, or something happened to the folder itself


class Watcher:
    """Watches one folder at a time; ``wake`` is called from the reader's thread when there is something to drain."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._notes = Notes()
        self._reader: InotifyFD | None = None
        self._callback: _Callback | None = None

    @property
    def alive(self) -> bool:
        """Whether events can arrive: a folder is watched, its watch was not removed, and the reader's thread lives."""
        if self._reader is None or self._callback is None:
            return False
        return self._reader.is_alive() and not self._callback.removed

    def follow(self, folder: int) -> str:
        """Watch the folder behind this descriptor instead of any other; returns why that is not possible, or ``""``."""
        self.stop()
        callback = _Callback(self)
        reader: InotifyFD | None = None
        try:
            reader = InotifyFD()
            reader.start()
            # "/." after the link: the final component is the folder itself, which IN_DONT_FOLLOW allows
            path = f"/proc/self/fd/{folder}/.".encode()
            watched = reader.add_callback(path, _MASK, callback, CallbackId(1))
            trouble = "permission denied" if watched == _NO_WATCH else ""  # watchdog does not raise for EACCES
        except (OSError, RuntimeError) as error:  # RuntimeError: no further thread can be started
            trouble = getattr(error, "strerror", None) or str(error)
        self._reader, self._callback = reader, callback
        if trouble:
            self.stop()
        return trouble

    def drain(self) -> Notes:
        """Return what was seen since the last call; what is seen from now on is for the next."""
        with self._lock:
            notes, self._notes = self._notes, Notes()
        return notes

    def stop(self) -> None:
        """End the watching, if any; what was seen and not drained is forgotten."""
        reader, callback = self._reader, self._callback
        self._reader = self._callback = None
        if callback is not None:
            callback.retired = True
        if reader is not None:
            reader.stop()
            if reader.ident is None:
                reader._close_resources()  # noqa: SLF001  never started, and stop() leaves this to the thread
            else:
                reader.join(_STOP_SECONDS)
        self.drain()

    def note(self, name: str, seen: Seen) -> None:
        """Remember the last thing seen of a name and wake; called by the reader's thread."""
        with self._lock:
            names = self._notes.names
            fresh = not names and not self._notes.rescan
            if name in names:
                if seen is not Seen.TOUCHED:  # being written to does not undo having been renamed in
                    names[name] = seen
            elif len(names) < _MAX_NAMES:
                names[name] = seen
            else:
                self._lose()
        if fresh:
            self._wake()

    def note_rescan(self) -> None:
        """Remember that only a scan can tell, and wake.

        What was noted before is forgotten: a lost event may have said that a name now stands for something else, and
        evidence about that one must not make a half-written drop ready.
        """
        with self._lock:
            fresh = not self._notes.names and not self._notes.rescan
            self._lose()
        if fresh:
            self._wake()

    def _lose(self) -> None:
        self._notes.names.clear()
        self._notes.rescan = True


class _Callback:
    """What watchdog's thread calls; an exception here would end all events, so none leaves."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.retired = False
        self.removed = False

    def on_event(self, event: InotifyEvent) -> None:
        """Note a name, or that something happened to the folder."""
        if self.retired:
            return
        try:
            if not event.name:
                self._watcher.note_rescan()
            elif event.is_moved_to:
                self._watcher.note(os.fsdecode(event.name), Seen.RENAMED)
            elif event.is_create:
                self._watcher.note(os.fsdecode(event.name), Seen.CREATED)
            else:
                self._watcher.note(os.fsdecode(event.name), Seen.TOUCHED)
        except Exception:  # the wake-up of a loop that has just been closed, say
            self.removed = True  # noticed at the next scan, which watches anew

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002  watchdog's signature
        """Note that the kernel removed the watch: the folder is gone or its filesystem was unmounted."""
        self.removed = True
        self.on_queue_overflow()

    def on_queue_overflow(self) -> None:
        """Note that events were lost."""
        if self.retired:
            return
        try:
            self._watcher.note_rescan()
        except Exception:  # as above
            self.removed = True
