"""The README is true: its tables, examples, commands and links are compared with the program."""

from __future__ import annotations

import re
import shlex
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest

from maildrop import cli, config, log
from maildrop.config.document import Document as Configuration
from maildrop.mail.document import AttachmentTable
from maildrop.mail.document import Document as Envelope
from maildrop.mail.envelope import Defaults, Limits, named_files, parse_envelope
from maildrop.schema import Model, validate
from maildrop.spool import record

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")
_NONE = "\N{EN DASH}"
_LATER = "(not available in this version)"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
_QUOTED = re.compile(r"`([^`]+)`")


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [text for found, text in _BLOCK.findall(README) if found == language]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the first table in the text, without its two head lines."""
    table = text[text.index("\n| ") :].lstrip("\n").split("\n\n", 1)[0]
    return [row.split(" | ") for row in _ROW.findall(table)][1:]


def table_under(head: str) -> list[list[str]]:
    """Return the rows of the table that has this head line, or that follows this line."""
    start = README.index(f"\n{head}")
    return rows(README[start:])


def quoted(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return _QUOTED.findall(cell)


def keys(model: type[Model]) -> set[str]:
    """Return the names of a table's keys that work in this version."""
    fields = model.model_fields.items()
    return {field.alias or name for name, field in fields if _LATER not in (field.description or "")}


def models(model: type[Model], path: str = "") -> Iterator[tuple[str, type[Model]]]:
    """Yield each table of the configuration with its path, ``NAME`` for a name that is the user's."""
    for name, field in model.model_fields.items():
        for kind in _parts(field.annotation):
            if isinstance(kind, type) and issubclass(kind, Model):
                below = f"{path}{name}"
                if get_origin(field.annotation) is dict:
                    below += ".NAME"
                yield below, kind
                yield from models(kind, f"{below}.")


def _parts(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if arguments and (isinstance(annotation, types.UnionType) or get_origin(annotation) in (dict, list)):
        for argument in arguments:
            yield from _parts(argument)
    else:
        yield annotation


TABLES = dict(models(Configuration))


def test_the_events_are_those_of_the_log() -> None:
    """Name, level and meaning of each event, in the order of the program, and no other."""
    expected = [[f"`{event.name}`", event.level.value, event.meaning] for event in log.EVENTS.values()]
    assert table_under("| event | level | meaning |") == expected


@pytest.mark.parametrize(
    ("head", "model"),
    [("| key | type | meaning; default |", Envelope), ("| key of an attachment | type |", AttachmentTable)],
    ids=["envelope", "attachment"],
)
def test_the_envelope_keys_are_those_that_work(head: str, model: type[Model]) -> None:
    """Each key of this version is explained once; keys of later versions are not promised."""
    named = [key for row in table_under(head) for key in quoted(row[0])]
    assert len(named) == len(set(named))
    assert set(named) == keys(model)


def test_the_tables_of_the_configuration_are_all_there() -> None:
    """Each table of the configuration has a table in the README, and the other way round."""
    headed = re.findall(r"^\*\*`\[+([\w.]+)\]+`\*\*", README, re.MULTILINE)
    assert sorted(headed) == sorted(TABLES)


@pytest.mark.parametrize("path", TABLES)
def test_the_configuration_keys_have_their_defaults(path: str) -> None:
    """Each key is there, and a default that is shown gives the same value as leaving the key out."""
    model = TABLES[path]
    shown = {
        quoted(row[0])[0]: row[1] for row in table_under(f"**`{'[[routes]]' if path == 'routes' else f'[{path}]'}`**")
    }
    tables = {
        name for name, field in model.model_fields.items() if set(_parts(field.annotation)) & set(TABLES.values())
    }
    assert set(shown) == keys(model) - tables
    fields = {field.alias or name: (name, field) for name, field in model.model_fields.items()}
    needed = {key: _SAMPLES[key] for key, (_, field) in fields.items() if field.is_required()}
    assert {key for key, cell in shown.items() if cell == "required"} == set(needed)
    assert {key for key, cell in shown.items() if cell == _NONE} == {
        key for key in shown if not fields[key][1].is_required() and fields[key][1].default is None
    }
    text = "\n".join(f"{key} = {quoted(cell)[0]}" for key, cell in shown.items() if quoted(cell))
    as_shown = validate(model, tomllib.loads(text) | needed, where=path)
    assert as_shown == validate(model, needed, where=path)


_SAMPLES: dict[str, Any] = {
    "path": "/s", "host": "h", "flow": "jwt_bearer", "relays": ["main"], "selector": "s", "domains": ["d"],
}  # fmt: skip


def kind_of(block: str) -> str:
    """Tell which document a TOML block is an example of."""
    named = set(tomllib.loads(block))
    if "outcome" in named:
        return "result"
    return "configuration" if named <= set(Configuration.model_fields) else "envelope"


@pytest.mark.parametrize("block", blocks("toml"), ids=range(len(blocks("toml"))))
def test_each_toml_example_is_valid(block: str) -> None:
    """What a person copies from here is accepted as it is."""
    match kind_of(block):
        case "result":
            assert record.load(block.encode()).job
        case "configuration":
            found = validate(Configuration, {"spool": {"path": "/s"}} | tomllib.loads(block), where="README.md")
            assert isinstance(found, Configuration), found
        case _:
            limits = Limits()
            octets = block.encode()
            parse_envelope(octets, files=named_files(octets, limits=limits), defaults=Defaults(), limits=limits)


def test_the_examples_hold_one_of_each_document() -> None:
    """The README shows an envelope, a configuration and a result."""
    assert {kind_of(block) for block in blocks("toml")} == {"envelope", "configuration", "result"}


def test_the_smallest_configuration_starts(tmp_path: Path) -> None:
    """The first configuration of its chapter needs nothing else, not even a password."""
    path = tmp_path / "maildropd.toml"
    path.write_text(next(block for block in blocks("toml") if kind_of(block) == "configuration"))
    assert set(config.load(str(path)).relays) == {"main"}


def _command_lines() -> Iterator[list[str]]:
    """Yield the words of each call of maildropd in the shell examples, without redirections and other programs."""
    for block in blocks("sh"):
        for line in block.splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if not set(word) <= set("|&;<>()"):
                    words.append(word)
                elif words:
                    if words[0].rpartition("/")[2] == "maildropd":
                        yield words[1:]
                    words = []


COMMAND_LINES = list(_command_lines())


def test_there_are_command_lines() -> None:
    """Each command is shown at least once."""
    assert {words[0] for words in COMMAND_LINES} == set(cli._COMMANDS)


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_each_command_line_is_understood(words: list[str]) -> None:
    """Command, options and arguments of each example parse."""
    command = cli.group.get_command(click.Context(cli.group), words[0])
    assert command is not None
    with command.make_context(words[0], words[1:]):
        pass


def test_the_commands_are_those_of_the_program() -> None:
    """The list of commands is complete and in the order of the help."""
    assert [quoted(row[0])[0] for row in table_under("| command | does |")] == list(cli._COMMANDS)


def test_the_producers_are_those_in_the_folder() -> None:
    """Each example producer is in the table."""
    there = {path.name for path in (ROOT / "examples" / "producers").iterdir() if path.name != "README.md"}
    assert {quoted(row[0])[0] for row in table_under("| program | language |")} == there


def test_what_one_sees_when_something_fails_is_what_the_program_says() -> None:
    """Each wording in the table of failures can be found in the program, its figures and the server's part aside."""
    source = "".join(path.read_text("utf-8") for path in sorted((ROOT / "maildrop").rglob("*.py")))
    source = re.sub(r'"\s*\n?\s*f?"', "", source)  # a sentence may be written in two pieces
    seen = [text for row in table_under("| you see | why | do |") for text in quoted(row[0])]
    missing = [text for text in seen if text not in _FOREIGN and _own(text) not in source]
    assert missing == []
    assert len(seen) >= 25


_FOREIGN = {  # words of the system, of a server, of this page
    "Connection refused", "auth: refused: 535", "530 5.7.0 Authentication required",
    "rejected at rcpt: 550", "rejected at mail: 550", "rejected at data-end: 554", "incoming/", "daemon.paused",
}  # fmt: skip


def _own(text: str) -> str:
    """Return the part that the program says in one piece."""
    for foreign in (
        "greeting: ",
        " main takes at most",
        "(mode 0644)",
        ": Permission denied",
        "envelope.toml nor message.eml",
    ):
        text = text.replace(foreign, "")
    return text.strip()


def slug(heading: str) -> str:
    """Return the anchor that a heading gets on the usual sites."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_links_resolve() -> None:
    """A link inside the page has a heading, a link to a file has a file."""
    prose = _BLOCK.sub("", README)
    anchors = {slug(heading) for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    assert len(targets) > 10
    broken = [
        target
        for target in targets
        if not (target.startswith("https://") or target.removeprefix("#") in anchors or (ROOT / target).is_file())
    ]
    assert broken == []


def test_files_that_are_named_exist() -> None:
    """Paths of the repository in backticks and in commands are there."""
    named = set(re.findall(r"(?<![\w/])(?:examples|systemd|tests)/[\w./-]+", README))
    assert [path for path in sorted(named) if not (ROOT / path.rstrip("./")).exists()] == []
