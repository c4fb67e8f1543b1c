"""A small system of its own for real mail servers: their programs, users and folders, and the processes in it.

Knows chroot(8), users and pids; refuses to know any server's configuration. Nothing outside of its folder is touched:
the users exist in its own /etc/passwd alone, and when it ends no process is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import trustme

from tests.e2e.servers import is_listening
from tests.e2e.spools import environment
from tests.e2e.waiting import DEADLINE_SECONDS, wait_for

HERE = Path(__file__).resolve()
BUILD = HERE.parents[3] / "build" / "servers"
FETCH = HERE.parents[1] / "fetch_servers.sh"
USERS = ("postfix", "Debian-exim", "opensmtpd", "opensmtpq", "dovecot", "dovenull", "vmail")
_FIRST_ID = 61100  # unlikely to be anybody's outside, whose limits on processes would count for both
VMAIL_ID = _FIRST_ID + USERS.index("vmail")
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}


class System:
    """``root`` is its folder; programs run in it as they would on a machine of their own."""

    def __init__(self, authority: trustme.CA) -> None:
        """Make it of the unpacked packages, linked, not copied; ``authority`` signs its certificate for 127.0.0.1."""
        # Not below a temporary folder: those may be mounted without devices, and none but root may look into pytest's.
        _sweep()
        self.root = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=BUILD)).resolve()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.real.guard", str(self.root)],
            cwd=HERE.parents[3],
            env=environment(traced=False),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        shutil.copytree(BUILD / "root", self.root, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
        self.root.chmod(0o755)
        for name in ("dev", "tmp", "proc", "var/log", "var/tmp", "var/mail", "var/empty", "run", "etc/tls"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("tmp", "var/tmp", "var/log", "var/mail"):
            (self.root / name).chmod(0o1777)
        for name, (major, minor) in _DEVICES.items():
            os.mknod(self.root / "dev" / name, stat.S_IFCHR, os.makedev(major, minor))
            (self.root / "dev" / name).chmod(0o666)
        if not (self.root / "var/run").exists():
            (self.root / "var/run").symlink_to("../run")
        self._write_users()
        self.write("/etc/hosts", "127.0.0.1 localhost\n")
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate = authority.issue_cert("127.0.0.1")
        self.write("/etc/tls/key.pem", certificate.private_key_pem.bytes().decode(), mode=0o600)
        self.write("/etc/tls/cert.pem", "".join(one.bytes().decode() for one in certificate.cert_chain_pems))

    def _write_users(self) -> None:
        names = {name: _FIRST_ID + number for number, name in enumerate(USERS)}
        groups = names | {"postdrop": _FIRST_ID + len(USERS)}
        users = [f"{name}:x:{number}:{number}::/var/empty:/bin/sh" for name, number in names.items()]
        more = ["root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/nonexistent:/bin/sh"]
        self.write("/etc/passwd", "\n".join(more + users) + "\n")
        lines = ["root:x:0:", "nogroup:x:65534:", "mail:x:8:", *(f"{name}:x:{one}:" for name, one in groups.items())]
        self.write("/etc/group", "\n".join(lines) + "\n")

    # Files

    @property
    def ca_file(self) -> Path:
        """Return the certificate of who signed those of all servers, for clients."""
        return self.inside("/etc/tls/ca.pem")

    def inside(self, path: str) -> Path:
        """Return where ``path`` of the system lies outside of it."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file anew: never into one that is shared with the unpacked packages."""
        place = self.inside(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_text(text, "utf-8")
        place.chmod(mode)

    def folder(self, path: str, owner: str = "root", *, group: str | None = None, mode: int = 0o755) -> None:
        """Make a folder that belongs to a user of the system."""
        place = self.inside(path)
        place.mkdir(parents=True, exist_ok=True)
        ids = {
            fields[0]: int(fields[2])
            for name in ("etc/group", "etc/passwd")
            for fields in (line.split(":") for line in self.inside(name).read_text().splitlines())
        }
        os.chown(place, ids[owner], ids[group or owner])
        place.chmod(mode)

    # Processes

    def start(self, *command: str, ready: Callable[[], bool]) -> None:
        """Run a server that stays in the foreground, and return as soon as it is ``ready``."""
        name = Path(command[0]).name
        with self.inside(f"/var/log/{name}.out").open("wb") as output:
            process = subprocess.Popen(
                ["chroot", str(self.root), *command],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes[name] = process

        def look() -> bool:
            assert process.poll() is None, f"{name} ended ({process.returncode}):\n{self.logs()}"
            return ready()

        wait_for(look, f"{name} answers", seconds=20.0)

    def logs(self) -> str:
        """Return what all servers wrote, the end of each."""
        files = [path for path in sorted(self.inside("/var/log").rglob("*")) if path.is_file() and path.stat().st_size]
        return "\n".join(f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-8000:]}" for path in files)

    def close(self, *, keep: bool) -> None:
        """End every process of the system; then nothing of it is left but, if it is to be kept, its folder."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):  # the guard does not ask
                process.wait(10.0)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        for process in (self._guard, *self._processes.values()):
            process.wait(DEADLINE_SECONDS)
        if not keep:
            shutil.rmtree(self.root)


def _sweep() -> None:
    """Remove what earlier runs have kept because a test failed, or because they were killed."""
    for left in BUILD.glob("run-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left)


def accepts(*ports: int) -> Callable[[], bool]:
    """Return a condition: all these ports of loopback are listened on."""
    return lambda: all(is_listening(port) for port in ports)
