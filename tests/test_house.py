"""The house rules that no linter knows: every module says what it is for, and none outgrows its reader."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "maildrop"
MODULES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = sorted(path for folder in ("maildrop", "tests", "examples") for path in (ROOT / folder).rglob("*.py"))

MODULE_LINES = 300  # more wants to be two modules
FUNCTION_LINES = 45  # more wants to be two functions
_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def names(paths: list[Path]) -> list[str]:
    """Return ids for parametrized tests: the paths as a reader knows them."""
    return [str(path.relative_to(ROOT)) for path in paths]


def faults(text: str, *, may_print: bool) -> list[str]:
    """Return one sentence for each rule that a module breaks."""
    tree = ast.parse(text)
    found = [] if ast.get_docstring(tree) else ["has no docstring: what does it answer, what does it refuse to know?"]
    lines = text.count("\n")
    if lines > MODULE_LINES:
        found.append(f"has {lines} lines; more than {MODULE_LINES} wants to be two modules")
    for node in ast.walk(tree):
        found += _faults_at(node, text.splitlines(), may_print=may_print)
    return found


def _faults_at(node: ast.AST, lines_of_module: list[str], *, may_print: bool) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES:
            return [f"line {node.lineno}: {node.name}() has {lines} lines; more than {FUNCTION_LINES} wants to be two"]
    if isinstance(node, ast.ExceptHandler) and all(_is_nothing(statement) for statement in node.body):
        explained = any("#" in line for line in lines_of_module[node.lineno - 1 : node.end_lineno])
        return [] if explained else [f"line {node.lineno}: a handler that does nothing and does not say why"]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and not may_print:
        return [f"line {node.lineno}: print() belongs to cli"]
    return []


def _is_nothing(statement: ast.stmt) -> bool:
    is_ellipsis = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or is_ellipsis


def unfinished(text: str) -> list[str]:
    """Return the comments that promise later work."""
    return [
        f"line {token.start[0]}: {token.string}"
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT and _UNFINISHED.search(token.string)
    ]


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_modules_keep_the_rules(path: Path) -> None:
    """A module has a docstring, no unexplained silence, no print outside cli; it and its functions stay short."""
    may_print = path.relative_to(PACKAGE).parts[0] == "cli"
    assert faults(path.read_text("utf-8"), may_print=may_print) == []


@pytest.mark.parametrize("path", EVERYTHING, ids=names(EVERYTHING))
def test_nothing_is_left_for_later(path: Path) -> None:
    """No comment promises work that is not done."""
    assert unfinished(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "has no docstring"),
        ('"""Doc."""\n' + "x = 1\n" * 300, "has 301 lines"),
        ('"""Doc."""\ndef long():\n' + "    x = 1\n" * 45, "long() has 46 lines"),
        ('"""Doc."""\ntry:\n    x = 1\nexcept OSError:\n    pass\n', "line 4: a handler that does nothing"),
        ('"""Doc."""\ntry:\n    x = 1\nexcept OSError:\n    ...\n', "line 4: a handler that does nothing"),
        ('"""Doc."""\nprint(1)\n', "line 2: print() belongs to cli"),
    ],
)
def test_each_rule_can_be_broken(text: str, words: str) -> None:
    """Each rule, broken alone, is reported alone."""
    (fault,) = faults(text, may_print=False)
    assert fault.startswith(words) or words in fault


def test_silence_may_be_explained() -> None:
    """A handler may do nothing if a comment in it says why."""
    assert faults('"""Doc."""\ntry:\n    x = 1\nexcept OSError:\n    pass  # gone is fine\n', may_print=False) == []


def test_cli_may_print() -> None:
    """What a person asked for is printed by ``cli``."""
    assert faults('"""Doc."""\nprint(1)\n', may_print=True) == []


def test_promises_in_comments_are_seen() -> None:
    """The word counts in a comment, not in a string."""
    assert unfinished('x = "TODO"\n# TODO: later\n') == ["line 2: # TODO: later"]
