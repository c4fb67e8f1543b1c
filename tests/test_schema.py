"""Strict TOML documents: bounded in time, every problem with its path and a hint."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.config.document import Document
from maildrop.errors import Problem
from maildrop.schema import (
    Adapter,
    Duration,
    Field,
    Model,
    TomlError,
    ValidationError,
    read_toml,
    toml_string,
    validate,
)

ENVELOPE_OCTETS = 64 * 1024
FULL = ENVELOPE_OCTETS - 64
SLOWNESS = 1 if sys.gettrace() is None else 5  # tracing for coverage costs several times the work


class Inner(Model):
    """A table in a table."""

    port: int = 25
    name: str = ""


class Outer(Model):
    """A document for these tests."""

    from_: Annotated[str | None, Field(alias="from")] = None
    wait: Duration = 1.0
    inner: Inner = Inner()
    many: Annotated[dict[str, Inner], Field(default_factory=dict)]
    rows: Annotated[list[Inner], Field(default_factory=list)]
    size: float = 0.0
    on: bool = False
    texts: Annotated[list[str], Field(default_factory=list)]


def problems(document: dict[str, Any], model: type[Model] = Outer) -> list[str]:
    """Return the sentences about a document, or fail if it has none."""
    found = validate(model, document, where="doc")
    assert isinstance(found, list)
    return [str(problem) for problem in found]


def fastest(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the best of three runs: the processor may be shared."""
    best = 60.0
    for _ in range(3):
        begin = time.process_time()
        with contextlib.suppress(TomlError):
            work()
        best = min(best, time.process_time() - begin)
    return best


HOSTILE = {
    "dotted key": "a." * (FULL // 2) + "a = 1",
    "dotted key with blanks": "a . " * (FULL // 4) + "a = 1",
    "dotted keys of quoted parts": '"a".' * (FULL // 4) + '"a" = 1',
    "dotted table headers": "[" + "a." * (FULL // 2) + "a]",
    "long dotted keys again and again": ("a." * 15 + "b%d = 1\n") * 1,
    "nested arrays": "a = " + "[" * (FULL // 2) + "]" * (FULL // 2),
    "nested inline tables": "a = " + "{a=" * (FULL // 4) + "1" + "}" * (FULL // 4),
    "open brackets": "a = " + "[" * FULL,
    "closing brackets": "]" * FULL,
    "open strings": '"' * FULL,
    "open triple strings": '"""' + "\\" * (FULL - 8),
    "apostrophes": "'" * FULL,
    "escapes": 'a = "' + "\\n" * (FULL // 2) + '"',
    "line continuations": 'a = """' + "\\\n" * (FULL // 2 - 8) + '"""',
    "blanks": "a" + " " * FULL,
    "blanks between words": "a " * (FULL // 2),
    "digits": "a = " + "1" * FULL,
    "hexadecimal digits": "a = 0x" + "f" * (FULL - 8),
    "float": "a = 1." + "1" * (FULL - 8),
    "underscores": "a = " + "1_" * (FULL // 2),
    "comments": "#\n" * (FULL // 2),
    "one long comment": "#" * FULL,
    "array tables": "[[a]]\n" * (FULL // 6),
    "sub-tables of array tables": "[[a]]\n[a.b]\n" * (FULL // 12),
    "commas": "a = [" + "1," * (FULL // 2 - 8) + "]",
    "inline keys": "a = {" + ",".join(f"k{number}=1" for number in range(7000)) + "}",
    "control characters": "a = '" + "\x01" * FULL + "'",
    "carriage returns": "\r" * FULL,
    "NUL": "\0" * FULL,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_document_takes_long(text: str) -> None:
    """TOML of a legal size is read or refused within 100 ms, whatever it is made of."""
    assert fastest(lambda: read_toml(text.encode(), max_octets=ENVELOPE_OCTETS)) < 0.1 * SLOWNESS


def test_thousands_of_unknown_keys_do_not_take_long() -> None:
    """A document with more unknown keys than anybody would mend is judged within a fraction of a second."""
    document = {f"key{number}": 1 for number in range(10_000)}
    assert fastest(lambda: problems(document, Document)) < 0.5 * SLOWNESS
    assert len(problems(document, Document)) >= 100


def test_deep_dotted_keys_are_refused() -> None:
    """A key of more parts than anybody writes is refused before the parser sees it."""
    with pytest.raises(TomlError, match="a key of more than 8 dotted parts"):
        read_toml(b"a." * 8 + b"a = 1", max_octets=1000)
    assert read_toml(b"a." * 7 + b"a = 1", max_octets=1000)


def test_thousands_of_tables_are_refused() -> None:
    """More tables than anybody writes are refused before the parser sees them."""
    with pytest.raises(TomlError, match="more than 1000 tables"):
        read_toml("\n".join(f"[a{number}]" for number in range(1001)).encode(), max_octets=20_000)
    assert len(read_toml("\n".join(f"[a{number}]" for number in range(1000)).encode(), max_octets=20_000)) == 1000


def test_deep_nesting_is_refused() -> None:
    """Brackets in brackets beyond any sane depth are refused before the parser recurses."""
    with pytest.raises(TomlError, match="nested more than 32 levels"):
        read_toml(b"a = " + b"[" * 33 + b"]" * 33, max_octets=1000)
    assert read_toml(b"a = " + b"[" * 32 + b"]" * 32, max_octets=1000)


@pytest.mark.parametrize(
    "text",
    [
        'a = "' + "[" * 100 + '"',
        "a = '" + "b." * 100 + "'",
        'a = """' + "[\n" * 100 + '"""',
        "a = '''" + "{\n" * 100 + "'''",
        "# " + "[" * 100,
        'a = "\\"' + "[" * 100 + '"',
    ],
)
def test_brackets_and_dots_in_strings_and_comments_do_not_count(text: str) -> None:
    """Only the document's own structure is limited, never what its texts say."""
    read_toml(text.encode(), max_octets=1000)


def test_too_many_octets_are_not_parsed() -> None:
    """A document over its limit is refused by its size."""
    with pytest.raises(TomlError, match="1001 octets; at most 1000"):
        read_toml(b"#" * 1001, max_octets=1000)


def test_octets_that_are_not_utf_8_are_named_by_line() -> None:
    """The line and the octet of what is not UTF-8 are said."""
    with pytest.raises(TomlError, match="line 2: octet 9 is not UTF-8"):
        read_toml(b"a = 1\nb='\xff'\n", max_octets=1000)


def test_a_byte_order_mark_is_passed_over() -> None:
    """Windows editors put a mark in front; that is no error."""
    assert read_toml(b"\xef\xbb\xbfa = 1\n", max_octets=100) == {"a": 1}


@pytest.mark.parametrize("octets", [b"a = ", b"a = 1\na = 2", b"= 1", b"a = 1 b = 2", b"a = 2026-13-01", b"[a\n"])
def test_what_is_not_toml_is_refused_with_the_place(octets: bytes) -> None:
    """A syntax error says that it is one, and where."""
    with pytest.raises(TomlError, match=r"not valid TOML: .*(line|column|document|Invalid|Expected|after)"):
        read_toml(octets, max_octets=1000)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0), ("5d", 432_000.0), ("1w", 604_800.0), ("250ms", 0.25),
        ("1.5h", 5400.0), (" 2 h ", 7200.0), (5, 5.0), (0.5, 0.5), (0, 0.0), ("0s", 0.0),
    ],
)  # fmt: skip
def test_durations(written: object, seconds: float) -> None:
    """A duration is a number of seconds or a number with a unit, fractions too."""
    assert Adapter(Duration).validate_python(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "5",
        "s",
        "-5s",
        -1,
        "5 days",
        "5M",
        "1e3s",
        "1h30m",
        "∞",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
        "\u0665s",
    ],
)
def test_what_is_no_duration(written: object) -> None:
    """Negative, endless, unitless and half-written durations are refused, and so is a boolean."""
    with pytest.raises(ValidationError):
        Adapter(Duration).validate_python(written)


def test_no_duration_is_longer_than_a_calendar() -> None:
    """A duration that no clock can be moved by is refused where it is written, not where it is used."""
    with pytest.raises(ValidationError, match="at most"):
        Adapter(Duration).validate_python("99999999999d")
    assert Adapter(Duration).validate_python("3650d") == 3650 * 86400.0


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"frmo": "x"}, "doc: frmo: unknown key; did you mean 'from'?"),
        ({"from_": "x"}, "doc: from_: unknown key; did you mean 'from'?"),
        ({"inner": {"prot": 1}}, "doc: inner.prot: unknown key; did you mean 'port'?"),
        ({"many": {"a": {"nmae": ""}}}, "doc: many.a.nmae: unknown key; did you mean 'name'?"),
        ({"rows": [{}, {"prt": 1}]}, "doc: rows[1].prt: unknown key; did you mean 'port'?"),
        ({"zzzzzz": 1}, "doc: zzzzzz: unknown key"),
        ({"from": 5}, "doc: from: must be text in quotes"),
        ({"inner": 5}, "doc: inner: must be a table"),
        ({"inner": {"port": "x"}}, "doc: inner.port: must be a whole number"),
        ({"inner": {"port": 1.5}}, "doc: inner.port: must be a whole number"),
        ({"inner": {"port": True}}, "doc: inner.port: must be a whole number"),
        ({"size": "x"}, "doc: size: must be a number"),
        ({"on": 1}, "doc: on: must be true or false"),
        ({"texts": "x"}, "doc: texts: must be a list [ … ]"),
        ({"many": []}, "doc: many: must be a table"),
        ({"wait": "soon"}, 'doc: wait: is not a duration; expected a number with a unit such as "90s"'),
        ({"bad\nkey": 1}, "doc: bad\\x0akey: unknown key"),
    ],
)
def test_problems_have_path_words_and_hint(document: dict[str, Any], sentence: str) -> None:
    """Each problem names the key's path and says what is wrong in a person's words."""
    (found,) = problems(document)
    assert found.startswith(sentence)


def test_all_problems_come_at_once() -> None:
    """Two wrong keys and a wrong type are three problems, not one after the other."""
    assert len(problems({"frmo": 1, "inner": {"port": "x"}, "on": "yes"})) == 3


def test_the_document_itself_has_a_name() -> None:
    """What is wrong with the whole is said of the document."""
    found = validate(Outer, [], where="doc")  # type: ignore[arg-type]
    assert isinstance(found, list)
    assert [problem.where for problem in found] == ["doc: document"]


def test_a_valid_document_is_a_model() -> None:
    """A document without problems comes back typed, and can't be changed."""
    found = validate(Outer, {"from": "a", "wait": "2s"}, where="doc")
    assert isinstance(found, Outer)
    assert (found.from_, found.wait) == ("a", 2.0)
    with pytest.raises(ValidationError):
        found.wait = 3.0


def test_no_value_is_quoted_in_an_error() -> None:
    """A secret in the wrong place does not come back in the words about it."""
    with pytest.raises(ValidationError) as error:
        Outer.model_validate({"from": ["hunter2"], "hunter2key": "hunter2"})
    assert "hunter2'" not in str(error.value)
    assert all("hunter2" not in problem.what for problem in _as_problems({"from": ["hunter2"]}))


def _as_problems(document: dict[str, Any]) -> list[Problem]:
    found = validate(Outer, document, where="doc")
    assert isinstance(found, list)
    return found


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_toml_string_comes_back_as_it_was(text: str) -> None:
    """Any text written as a TOML string is read as the same text."""
    assert read_toml(f"a = {toml_string(text)}".encode(), max_octets=100_000) == {"a": text}
