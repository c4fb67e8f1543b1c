"""The house keeps its floors: read from every import in ``maildrop/``, not from good intentions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "maildrop"

# A unit (a package or a module at the top) imports only from lower floors and from itself.
FLOORS = {
    "errors": 1,
    "log": 1,
    "schema": 1,
    "systemd": 1,
    "mail": 2,
    "smtp": 2,
    "spool": 3,
    "delivery": 4,
    "config": 5,
    "status": 5,
    "daemon": 6,
    "cli": 7,
    "__main__": 7,
}
# On one floor only these know each other. The first floor is one unit that may be used in any order without circles.
NEIGHBOURS = {("__main__", "cli")}

# Where a third-party package is at home; nothing else imports it, so replacing one touches one place.
HOMES = {
    "aiosmtpd": {"cli"},
    "authlib": {"smtp.tokenserver"},
    "click": {"cli"},
    "dkim": {"mail.dkim"},
    "dns": {"delivery.resolver"},
    "httpx": {"smtp.tokenserver"},
    "icalendar": {"mail.calendar"},
    "idna": {"mail.address"},
    "inscriptis": {"mail.plaintext"},
    "joserfc": {"smtp.tokenserver"},
    "nacl": {"mail.dkim"},
    "pydantic": {"schema"},
    "pydantic_core": {"schema"},
    "rich": {"cli"},
    "scramp": {"smtp.scram"},
    "sdnotify": {"systemd"},
    "structlog": {"log"},
    "tomli_w": {"spool.record"},
    "trustme": {"cli"},
    "watchdog": {"spool.intake", "spool.watch"},
}

WIRE = {"smtp.session", "smtp.pump", "smtp.wire", "smtp.waiting"}

# The wire and the loop have few homes; everything else is plain functions from values to values.
STDLIB_HOMES = {
    "asyncio": WIRE
    | {"smtp.sources", "smtp.oauth", "smtp.tokenserver"}
    | {
        "delivery.courier",
        "delivery.visit",
        "delivery.relay",
        "delivery.commit",
        "delivery.resolver",
        "status.probe",
        "daemon",
        "cli.demo",
    },
    "smtplib": set[str](),  # serves in the tests, as a second opinion
    "socket": WIRE | {"cli.demo"},  # which looks for a free port for its sink
    "socketserver": set[str](),
}
STREAMS = {"open_connection", "open_unix_connection", "start_server", "StreamReader", "StreamWriter", "Protocol"}

# What decides whether a job is lost: in one module, where the crash tests look.
DURABLE = "spool.durable"
PRODUCER = "cli.demo"  # plays the part of producers, who rename their own folders
DURABLE_CALLS = {"rename", "renames", "replace", "link", "symlink", "fsync", "fdatasync", "sync"}
DURABLE_METHODS = {"rename", "hardlink_to", "symlink_to"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module, with where it stands."""

    module: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One module of the package: its name without ``maildrop.``, and its syntax tree."""

    name: str
    tree: ast.Module
    is_package: bool

    @property
    def unit(self) -> str:
        """The floor's name: the first part."""
        return self.name.partition(".")[0]


def read_package(root: Path) -> dict[str, Source]:
    """Parse every module below ``root``; the package itself is named by an empty string."""
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources[name] = Source(name=name, tree=ast.parse(path.read_text("utf-8"), str(path)), is_package=is_package)
    return sources


def imports_of(source: Source, known: Mapping[str, Source]) -> Iterator[Import]:
    """Yield what a module imports, anywhere in it; submodules are told from names by what exists."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module=alias.name, line=node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                is_module = inner.removeprefix("maildrop.") in known
                yield Import(module=inner if is_module else base, line=node.lineno)


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    here = ["maildrop", *filter(None, source.name.split("."))]
    base = here[: len(here) - node.level + source.is_package]
    return ".".join([*base, *filter(None, [node.module])])


def inner_imports(source: Source, known: Mapping[str, Source]) -> Iterator[Import]:
    """Yield the imports of our own modules, without ``maildrop.`` in front."""
    for found in imports_of(source, known):
        head, _, rest = found.module.partition(".")
        if head == "maildrop":
            yield Import(module=rest, line=found.line)


def floor_faults(sources: Mapping[str, Source]) -> list[str]:
    """Return one sentence for each import that goes up, or sideways between strangers."""
    faults = []
    for source in sources.values():
        if source.name and source.unit not in FLOORS:
            faults.append(
                f"maildrop.{source.name}: '{source.unit}' has no floor; give it one here and in the docstring"
            )
            continue
        for found in inner_imports(source, sources):
            unit = found.module.partition(".")[0]
            if not unit or unit == source.unit or (source.unit, unit) in NEIGHBOURS:
                continue
            own, other = FLOORS.get(source.unit, 0), FLOORS.get(unit, 99)
            if other > own or (other == own and own != 1):
                faults.append(f"maildrop.{source.name}:{found.line} (floor {own}) imports {unit} (floor {other})")
    return faults


def circles(sources: Mapping[str, Source]) -> list[str]:
    """Return the first circle of imports, in packages too, as a list of names; empty when there is none."""
    graph = {
        source.name: {found.module for found in inner_imports(source, sources) if found.module in sources}
        for source in sources.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def _lives_in(source: Source, homes: set[str]) -> bool:
    return any(source.name == home or source.name.startswith(f"{home}.") for home in homes)


def home_faults(sources: Mapping[str, Source]) -> list[str]:
    """Return one sentence for each package that is imported outside of its home, or has none."""
    faults = []
    for source in sources.values():
        for found in imports_of(source, sources):
            top = found.module.partition(".")[0]
            homes = HOMES.get(top) if top not in sys.stdlib_module_names else STDLIB_HOMES.get(top)
            if top == "maildrop" or (homes is None and top in sys.stdlib_module_names):
                continue
            if homes is None:
                faults.append(f"maildrop.{source.name}:{found.line}: '{top}' has no home; argue for it here")
            elif not _lives_in(source, homes):
                places = ", ".join(sorted(homes)) or "the tests only"
                faults.append(f"maildrop.{source.name}:{found.line}: '{top}' is at home in {places}")
    return faults


def stream_faults(sources: Mapping[str, Source]) -> list[str]:
    """Return one sentence for each use of asyncio's streams and protocols outside of the wire."""
    return [
        f"maildrop.{source.name}:{node.lineno}: asyncio.{node.attr} is at home in smtp.wire"
        for source in sources.values()
        if source.name not in WIRE
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and node.attr in STREAMS and _name_of(node.value) == "asyncio"
    ]


def durable_faults(sources: Mapping[str, Source]) -> list[str]:
    """Return one sentence for each rename, link or sync outside of ``spool.durable``."""
    faults = []
    for source in sources.values():
        if source.name in (DURABLE, PRODUCER):
            continue
        for node in ast.walk(source.tree):
            call = _durable_call(node)
            if call:
                faults.append(f"maildrop.{source.name}:{getattr(node, 'lineno', 0)}: {call} is {DURABLE}'s to call")
    return faults


def _durable_call(node: ast.AST) -> str:
    if isinstance(node, ast.ImportFrom) and node.module in ("os", "shutil"):
        taken = {alias.name for alias in node.names} & (DURABLE_CALLS | {"move"})
        return f"{node.module}.{min(taken)}" if taken else ""
    if not isinstance(node, ast.Attribute):
        return ""
    owner = _name_of(node.value)
    if (owner == "os" and node.attr in DURABLE_CALLS) or (owner == "shutil" and node.attr == "move"):
        return f"{owner}.{node.attr}"
    if owner != "durable" and node.attr in DURABLE_METHODS:  # pathlib's
        return f".{node.attr}()"
    return ""


def _name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.fixture(scope="module")
def house() -> dict[str, Source]:
    """Every module of the package, parsed once."""
    return read_package(PACKAGE)


def make(root: Path, modules: Mapping[str, str]) -> dict[str, Source]:
    """Write a small package of ``{"spool/job": "import os"}`` and read it."""
    for name, text in modules.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_package(root)


def test_the_package_is_read(house: dict[str, Source]) -> None:
    """The checks below look at the real package, not at an empty folder."""
    assert {"", "errors", "schema"} <= set(house)


def test_no_import_goes_up(house: dict[str, Source]) -> None:
    """A module imports only from floors below its own and from its own package."""
    assert floor_faults(house) == []


def test_no_circles(house: dict[str, Source]) -> None:
    """No chain of imports comes back to where it began, inside packages neither."""
    assert circles(house) == []


def test_packages_stay_at_home(house: dict[str, Source]) -> None:
    """Each third-party package has one home module; sockets, asyncio and smtplib are where they belong."""
    assert home_faults(house) == []


def test_streams_are_the_wires(house: dict[str, Source]) -> None:
    """Only the session and its wire open connections."""
    assert stream_faults(house) == []


def test_one_module_makes_things_durable(house: dict[str, Source]) -> None:
    """Only ``spool.durable`` renames, links or syncs."""
    assert durable_faults(house) == []


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("errors", "from maildrop.mail import address"),
        ("mail/part", "import maildrop.smtp.reply"),
        ("spool/job", "from ..delivery import retry"),
        ("config", "def late():\n    from maildrop.status import view"),
        ("cli/run", "import maildrop.__main__"),
    ],
)
def test_going_up_is_seen(tmp_path: Path, importer: str, statement: str) -> None:
    """The check catches imports of every form: absolute, relative, of a name, inside a function."""
    assert len(floor_faults(make(tmp_path, {importer: statement}))) == 1


def test_going_down_is_fine(tmp_path: Path) -> None:
    """The lower floor, the own package, and ``cli`` from ``__main__`` may be imported."""
    sources = make(
        tmp_path,
        {
            "__init__": "",
            "cli/__init__": "",
            "__main__": "from maildrop.cli import main",
            "daemon": "from maildrop import config\nfrom maildrop.delivery.courier import Courier",
            "delivery/courier": "from . import retry\nfrom ..errors import MaildropError",
            "schema": "from maildrop.errors import Problem",
        },
    )
    assert floor_faults(sources) == []
    assert circles(sources) == []


def test_a_stranger_is_seen(tmp_path: Path) -> None:
    """A new top-level module needs a floor of its own."""
    assert floor_faults(make(tmp_path, {"utils": ""})) == [
        "maildrop.utils: 'utils' has no floor; give it one here and in the docstring"
    ]


def test_circles_inside_a_package_are_seen(tmp_path: Path) -> None:
    """Two modules of one package that import each other are a circle, however the import is written."""
    sources = make(
        tmp_path,
        {
            "mail/a": "from maildrop.mail.b import x",
            "mail/b": "from maildrop.mail import c",
            "mail/c": "from . import a",
        },
    )
    assert set(circles(sources)) == {"mail.a", "mail.b", "mail.c"}


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("mail/header", "import idna"),
        ("config", "from pydantic import BaseModel"),
        ("delivery/route", "import asyncio"),
        ("smtp/protocol", "import socket"),
        ("smtp/session", "import smtplib"),
        ("cli/page", "import requests"),
    ],
)
def test_strangers_in_a_home_are_seen(tmp_path: Path, importer: str, statement: str) -> None:
    """A package outside of its home, or without one, is a fault."""
    assert len(home_faults(make(tmp_path, {importer: statement}))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "import os\nos.rename('a', 'b')",
        "from os import fsync",
        "import shutil\nmove = shutil.move",
        "from pathlib import Path\nPath('a').rename('b')",
    ],
)
def test_renames_elsewhere_are_seen(tmp_path: Path, statement: str) -> None:
    """A rename or sync in another module is a fault, and none in ``spool.durable``."""
    assert len(durable_faults(make(tmp_path / "job", {"spool/job": statement}))) == 1
    assert durable_faults(make(tmp_path / "durable", {"spool/durable": statement})) == []


def test_streams_elsewhere_are_seen(tmp_path: Path) -> None:
    """A connection opened by the daemon itself is a fault, though it may use asyncio."""
    statement = "import asyncio\nasync def go():\n    await asyncio.open_connection('h', 25)"
    assert len(stream_faults(make(tmp_path, {"daemon": statement}))) == 1
