"""The daemon as a service: started, told by signals, reloaded, stopped; what systemd and scripts see of it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal

from maildrop import __version__, log
from maildrop.config import Config, load
from maildrop.daemon.coordinator import Coordinator
from maildrop.errors import ConfigurationError
from maildrop.spool.layout import Spool
from maildrop.systemd import Systemd

_DESCRIPTORS = 65536  # a thousand sessions, each with a job of a hundred files on its way, do not need more at once


def run(config: Config, *, once: bool) -> int:
    """Own the spool and work on it until a signal, or with ``once`` until nothing more can be done now.

    Returns the exit code (sysexits). Raises TryLater if another daemon owns the spool, or what ``Spool.open`` raises.
    """
    _raise_descriptor_limit()
    with Systemd() as systemd, Spool.open(config.spool, volatile=config.volatile, layout=config.layout) as spool:
        spool.lock()
        return asyncio.run(Service(config, spool, systemd=systemd).run(once=once))


def _raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have: the usual soft limit is for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Service:
    """One run on a spool that this process has locked."""

    def __init__(self, config: Config, spool: Spool, *, systemd: Systemd) -> None:
        """Do nothing until ``run``."""
        self._config = config
        self._spool = spool
        self._systemd = systemd
        self._coordinator = Coordinator(config, spool, systemd=systemd)
        self._told_to_stop = False

    async def run(self, *, once: bool = False) -> int:
        """Work until a signal, or with ``once`` until nothing more can be done now; return the exit code (sysexits)."""
        loop = asyncio.get_running_loop()
        coordinator = self._coordinator
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        coordinator.start()
        await coordinator.serve(once=once, started=self._started)
        waiting = coordinator.waiting
        await coordinator.finish()
        self._systemd.stopping()
        counts = coordinator.counts
        log.daemon_stopped(sent=counts["sent"], failed=counts["failed"], waiting=waiting)
        if not once:
            return 0
        return 65 if counts["failed"] else 75 if waiting else 0

    def _started(self) -> None:
        self._systemd.ready()
        log.daemon_started(
            version=__version__,
            pid=os.getpid(),
            spool=self._spool.path,
            relays=[f"{one.name}={one.place}" for one in self._config.relays.values()],
            config=self._config.path,
        )
        self._tell_notices()

    def _tell_notices(self) -> None:
        for relay, what in self._config.notices:
            log.relay_notice(relay=relay, what=what)

    def _stop(self, number: int) -> None:
        if self._told_to_stop:
            os._exit(128 + number)  # asked twice: at once; what is on the wire is settled at the next start
        self._told_to_stop = True
        log.daemon_stopping(signal=signal.Signals(number).name, on_the_wire=self._coordinator.on_the_wire)
        self._systemd.stopping()
        self._coordinator.stop()

    def _reload(self) -> None:
        """Read the configuration again; a bad file changes nothing."""
        self._systemd.reloading()
        path = self._config.path
        try:
            config = load(path)
        except ConfigurationError as error:
            log.config_refused(config=path, problems=[str(problem) for problem in error.problems])
        else:
            if config.spool == self._config.spool:
                self._config = config
                self._coordinator.take_config(config)
                log.set_up(form=config.log_format, level=config.log_level)
                log.config_reloaded(config=path)
                self._tell_notices()
            else:
                log.config_refused(config=path, problems=["[spool] path can't change without a restart"])
        self._systemd.ready()
