"""Is a spool as it should be? Each way to be otherwise, with the exit code that it stands for and the way out."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maildrop.spool import volume
from maildrop.spool.layout import init
from maildrop.status.findings import Finding, Grade, exit_code
from maildrop.status.soundness import inspect

ME = getpass.getuser()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Make a spool as ``init`` does."""
    path = tmp_path / "spool"
    init(str(path), user=ME)
    return path


def look(path: Path, *, volatile: bool = True, min_free: float = 0.0) -> list[Finding]:
    """Return all findings."""
    return list(inspect(str(path), volatile=volatile, min_free=min_free))


def only(findings: list[Finding], step: str) -> Finding:
    """Return the one finding of a step."""
    (found,) = (finding for finding in findings if finding.step == step)
    return found


def test_a_spool_as_init_makes_it(spool: Path) -> None:
    """Nothing is at fault, and the daemon's user is named."""
    findings = look(spool)
    assert exit_code(findings) == 0
    assert only(findings, "folders").what.startswith(f"7 folders of user {ME} on one filesystem")
    assert only(findings, "claim").what == f"{ME} can claim what others drop"
    assert {finding.grade for finding in findings if finding.step != "producers"} == {Grade.OK}


def _mode(name: str, mode: int) -> Callable[[Path], object]:
    return lambda path: (path / name).chmod(mode)


@pytest.mark.parametrize(
    ("spoil", "step", "code", "words", "hint"),
    [
        (_mode("sent", 0o777), "folders", 78, "sent/ is writable for others (mode 0777)", "chmod go-w"),
        (_mode("incoming", 0o777), "folders", 78, "incoming/ is not sticky (mode 0777)", "chmod +t"),
        (_mode("tmp", 0o777), "folders", 78, "tmp/ is not sticky", "chmod +t"),
        (_mode("active", 0o755), "folders", 0, "active/ can be looked into by others", "chmod 700"),
        (lambda path: (path / "held").rmdir(), "folders", 0, "held/ missing", "make what is missing"),
        (
            _mode("incoming", 0o755),
            "producers",
            77,
            f"only {ME} may write into incoming/ (mode 0755)",
            "maildropd init",
        ),
        (_mode("", 0o700), "producers", 0, "everybody may write into incoming/, but can't get there", "chmod o+x"),
    ],
    ids=["sent", "incoming", "tmp", "active", "missing", "closed", "unreachable"],
)
def test_what_can_be_wrong(
    spoil: Callable[[Path], object], step: str, spool: Path, *, code: int, words: str, hint: str
) -> None:
    """Each fault is told alone, with the command that mends it."""
    spoil(spool)
    findings = look(spool)
    found = only(findings, step)
    assert (exit_code(findings), found.grade) == (code, Grade.FAIL if code else Grade.WARN)
    assert words in found.what
    assert hint in found.hint


def test_a_link_is_no_folder(spool: Path, tmp_path: Path) -> None:
    """A folder that is a link is not followed."""
    (spool / "sent").rmdir()
    (spool / "sent").symlink_to(tmp_path)
    found = only(look(spool), "folders")
    assert (found.code, found.what) == (78, "sent is not a folder, or is a link")


def test_a_group_of_producers(spool: Path) -> None:
    """With 1770 the group is named; the way there needs only its bit."""
    spool.chmod(0o750)
    (spool / "incoming").chmod(0o1770)
    (spool / "tmp").chmod(0o1770)
    found = only(look(spool), "producers")
    assert found.grade is not Grade.FAIL
    assert found.what.startswith("members of group ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away: run it as root")
def test_folders_of_several_users(spool: Path) -> None:
    """77: the daemon could not move jobs there."""
    os.chown(spool / "sent", 65534, -1)
    found = only(look(spool), "folders")
    assert found.code == 77
    assert "sent/ belongs to nobody, but active/ to root" in found.what


@pytest.mark.parametrize(
    ("acl", "grade", "words"),
    [
        (b"", Grade.FAIL, "incoming/ has no default ACL: daemon can't move what others make in it"),
        (volume.default_acl(4711), Grade.WARN, "incoming/ has another default ACL than maildropd gives it"),
        (None, Grade.WARN, "this filesystem has no ACLs"),
        (volume.default_acl(1), Grade.OK, "daemon can claim what others drop"),
    ],
    ids=["none", "another", "not supported", "right"],
)
def test_the_default_acl(
    acl: bytes | None, grade: Grade, words: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the daemon's user can't claim other users' jobs; root always can."""
    real, pretended = os.stat, 1  # a daemon that is not root

    def stat(*args: object, **options: object) -> os.stat_result:
        found = real(*args, **options)  # type: ignore[arg-type]
        return os.stat_result((*found[:4], pretended, *found[5:])) if options else found

    monkeypatch.setattr("maildrop.status.soundness.os.stat", stat)
    monkeypatch.setattr("maildrop.spool.volume.read_default_acl", lambda _descriptor: acl)
    monkeypatch.setattr("maildrop.status.soundness.user_name", lambda uid: "daemon" if uid == pretended else "?")
    found = only([one for one in look(spool) if one.step == "claim"], "claim")
    assert (found.grade, found.what.startswith(words)) == (grade, True)


def test_the_disk(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volatile disk is refused unless it is meant; a network's is slower; too little space waits (75)."""
    monkeypatch.setattr("maildrop.spool.volume.filesystem_type", lambda _descriptor: "tmpfs")
    assert only(look(spool, volatile=False), "disk").code == 78
    assert only(look(spool), "disk").grade is Grade.OK
    monkeypatch.setattr("maildrop.spool.volume.filesystem_type", lambda _descriptor: "nfs4")
    assert "events don't reach the daemon" in only(look(spool), "disk").what
    findings = look(spool, min_free=0.999999)
    assert (exit_code(findings), only(findings, "space").code) == (75, 75)


def test_no_spool(tmp_path: Path) -> None:
    """A folder that is not there, and one that is something else: make one."""
    for path in (tmp_path / "nowhere", tmp_path):
        (found,) = look(path)
        assert (found.code, found.step) == (78, "folders")
        assert found.hint == f"make a spool: maildropd init {path}"
