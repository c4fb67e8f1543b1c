"""The pure decision: what makes a drop ready, what keeps it waiting, and how that is said."""

from __future__ import annotations

import pytest

from maildrop.spool.readiness import (
    IntakeSettings,
    Kind,
    Lack,
    Memory,
    Mode,
    Proof,
    Sight,
    Step,
    Verdict,
    is_eml,
    is_ignored,
    job_name,
    judge,
    problems,
    remember,
    span,
)

NOW = 1000.0
JOB = Sight(kind=Kind.DIRECTORY, names=frozenset({"envelope.toml", "body.txt"}))
MARKED = Sight(kind=Kind.DIRECTORY, names=frozenset({"envelope.toml", "READY"}), marked=True)
NO_ENVELOPE = Sight(kind=Kind.DIRECTORY, names=frozenset({"body.txt"}))
FINISHED = Sight(kind=Kind.DIRECTORY, names=frozenset({"message.eml"}))
EMPTY = Sight(kind=Kind.DIRECTORY, empty=True)
ONLY_MARKED = Sight(kind=Kind.DIRECTORY, names=frozenset({"READY"}), marked=True, empty=True)
UNREADABLE = Sight(kind=Kind.DIRECTORY, unreadable=".: Permission denied")
EML = Sight(kind=Kind.EML)
EMPTY_EML = Sight(kind=Kind.EML, empty=True)
STRAY = Sight(kind=Kind.STRAY)

FINE = Proof()
MISSING = Proof(missing=frozenset({"b.pdf", "a.pdf"}))
WRITER = Proof(writer="body.txt", missing=frozenset({"a.pdf"}))
SECRET = Proof(unreadable="body.txt: Permission denied")

A, R, M, Q = Mode.AUTO, Mode.RENAME, Mode.MARKER, Mode.QUIET
SEEN, UNSEEN = True, False


def memory(unchanged_seconds: float) -> Memory:
    """Return the memory of a drop first seen when it last changed."""
    return Memory(first_seen=NOW - unchanged_seconds, changed_at=NOW - unchanged_seconds, fingerprint=b"")


@pytest.mark.parametrize(
    ("mode", "sight", "renamed", "unchanged", "proof", "step", "lack"),
    [
        # the rename rule
        (A, JOB, SEEN, 0, None, Step.READY, None),
        (R, JOB, SEEN, 0, None, Step.READY, None),
        (R, JOB, UNSEEN, 0, None, Step.READY, None),  # whatever appears is whole
        (R, NO_ENVELOPE, UNSEEN, 0, None, Step.READY, None),  # and what is wrong with it is said at once
        (M, JOB, SEEN, 0, None, Step.WAIT, Lack.SETTLING),
        (Q, JOB, SEEN, 0, None, Step.WAIT, Lack.SETTLING),
        (A, EML, SEEN, 0, None, Step.READY, None),
        (A, EMPTY, SEEN, 0, None, Step.WAIT, Lack.SETTLING),
        (R, EMPTY, SEEN, 3, None, Step.WAIT, Lack.EMPTY),
        (R, EMPTY_EML, SEEN, 3, None, Step.WAIT, Lack.EMPTY),
        (R, UNREADABLE, SEEN, 3, None, Step.WAIT, Lack.UNREADABLE),
        (R, STRAY, SEEN, 3, None, Step.WAIT, Lack.STRAY),
        # the marker rule
        (A, MARKED, UNSEEN, 0, None, Step.READY, None),
        (M, MARKED, UNSEEN, 0, None, Step.READY, None),
        (Q, MARKED, UNSEEN, 0, None, Step.WAIT, Lack.SETTLING),
        (A, ONLY_MARKED, UNSEEN, 3, None, Step.WAIT, Lack.EMPTY),
        (M, JOB, UNSEEN, 3, None, Step.WAIT, Lack.MARKER),
        (M, EML, SEEN, 3, None, Step.WAIT, Lack.MARKER),
        # the quiet rule
        (A, JOB, UNSEEN, 1.99, FINE, Step.WAIT, Lack.SETTLING),
        (A, JOB, UNSEEN, 2, None, Step.PROVE, None),
        (A, JOB, UNSEEN, 2, FINE, Step.READY, None),
        (Q, JOB, UNSEEN, 2, FINE, Step.READY, None),
        (Q, FINISHED, UNSEEN, 2, FINE, Step.READY, None),
        (Q, EML, UNSEEN, 2, FINE, Step.READY, None),
        (A, NO_ENVELOPE, UNSEEN, 2, FINE, Step.WAIT, Lack.ENVELOPE),
        (A, JOB, UNSEEN, 2, MISSING, Step.WAIT, Lack.FILES),
        (A, JOB, UNSEEN, 2, WRITER, Step.WAIT, Lack.WRITER),
        (A, JOB, UNSEEN, 2, SECRET, Step.WAIT, Lack.UNREADABLE),
        (A, STRAY, UNSEEN, 1, None, Step.WAIT, Lack.SETTLING),
        # after incomplete_after
        (A, STRAY, UNSEEN, 3599, None, Step.WAIT, Lack.STRAY),
        (A, STRAY, UNSEEN, 3600, None, Step.OVERDUE, Lack.STRAY),
        (A, EMPTY, UNSEEN, 3600, None, Step.OVERDUE, Lack.EMPTY),
        (A, EMPTY_EML, UNSEEN, 3600, None, Step.OVERDUE, Lack.EMPTY),
        (A, NO_ENVELOPE, UNSEEN, 3600, None, Step.OVERDUE, Lack.ENVELOPE),
        (A, UNREADABLE, UNSEEN, 3600, None, Step.OVERDUE, Lack.UNREADABLE),
        (M, JOB, UNSEEN, 3600, None, Step.OVERDUE, Lack.MARKER),
        (A, JOB, UNSEEN, 3600, None, Step.PROVE, None),
        (A, JOB, UNSEEN, 3600, MISSING, Step.OVERDUE, Lack.FILES),
        (A, JOB, UNSEEN, 36000, WRITER, Step.WAIT, Lack.WRITER),  # somebody is at work, however slowly
        (A, JOB, UNSEEN, 3600, FINE, Step.READY, None),
    ],
)
def test_the_rules(
    *, mode: Mode, sight: Sight, renamed: bool, unchanged: float, proof: Proof | None, step: Step, lack: Lack | None
) -> None:
    """Each rule holds in its modes only; nothing is overdue before its time."""
    verdict = judge(
        sight, memory(unchanged), IntakeSettings(mode=mode), renamed=renamed, now_monotonic=NOW, proof=proof
    )
    assert (verdict.step, verdict.lack) == (step, lack)


def test_what_keeps_changing_is_never_overdue() -> None:
    """The hour of patience begins anew with each change, so that a slow upload is not cut off."""
    slow = Memory(first_seen=NOW - 90000, changed_at=NOW - 3599, fingerprint=b"")
    verdict = judge(NO_ENVELOPE, slow, IntakeSettings(), renamed=False, now_monotonic=NOW)
    assert verdict.step is Step.WAIT


def test_what_lay_there_before_the_start_gets_its_full_time() -> None:
    """Quiet by its time stamps is not yet overdue: that is counted from when we first saw it."""
    seen = remember(None, STRAY, IntakeSettings(), lying=True, now_monotonic=NOW, now_wall=1e9)
    early = judge(STRAY, seen, IntakeSettings(), renamed=False, now_monotonic=NOW + 3599)
    late = judge(STRAY, seen, IntakeSettings(), renamed=False, now_monotonic=NOW + 3600)
    assert (early.step, late.step) == (Step.WAIT, Step.OVERDUE)


@pytest.mark.parametrize(
    ("lying", "age_seconds", "quiet"),
    [
        (True, 2.0, True),
        (True, 1.9, False),
        (True, -50.0, False),  # a time stamp in the future proves nothing
        (False, 5000.0, False),  # a copy carries old time stamps along: only our own clock counts
    ],
)
def test_time_stamps_count_only_for_what_was_there_first(*, lying: bool, age_seconds: float, quiet: bool) -> None:
    """What lies there at the start is quiet if its newest time stamp is old; all else is observed."""
    sight = Sight(kind=Kind.EML, newest=1e9 - age_seconds)
    seen = remember(None, sight, IntakeSettings(), lying=lying, now_monotonic=NOW, now_wall=1e9)
    verdict = judge(sight, seen, IntakeSettings(), renamed=False, now_monotonic=NOW, proof=FINE)
    assert (verdict.step is Step.READY) is quiet


def test_a_change_begins_the_quiet_time_anew() -> None:
    """An unchanged look keeps the time of the last change, a changed one sets it to now."""
    settings = IntakeSettings()
    one, other = Sight(kind=Kind.EML, fingerprint=b"1"), Sight(kind=Kind.EML, fingerprint=b"2")
    first = remember(None, one, settings, lying=False, now_monotonic=10.0, now_wall=0.0)
    same = remember(first, one, settings, lying=False, now_monotonic=11.0, now_wall=0.0)
    changed = remember(same, other, settings, lying=False, now_monotonic=11.5, now_wall=0.0)
    assert (same.changed_at, changed.changed_at, changed.first_seen) == (10.0, 11.5, 10.0)


@pytest.mark.parametrize("name", [".x", ".eml", "x.tmp", "x.part", "x.filepart", "x.partial", "x.crdownload"])
def test_ignored_names(name: str) -> None:
    """Hidden names and those of uploads under way are not looked at."""
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["x", "x.eml", "tmp", "x.tmp.eml", "part", "x.TMP"])
def test_other_names_are_not_ignored(name: str) -> None:
    """Nothing else is ignored silently."""
    assert not is_ignored(name)


@pytest.mark.parametrize(
    ("name", "bare", "job"), [("a.eml", True, "a"), ("A.EML", True, "A"), ("eml", False, ""), ("a.eml.txt", False, "")]
)
def test_a_bare_message_gives_the_job_its_name(*, name: str, bare: bool, job: str) -> None:
    """NAME.eml becomes the job NAME, also where Windows wrote it."""
    assert is_eml(name) is bare
    if bare:
        assert job_name(name, Kind.EML) == job


def test_a_folder_keeps_its_name() -> None:
    """A folder that is called like a message is the job of that name."""
    assert job_name("x.eml", Kind.DIRECTORY) == "x.eml"


@pytest.mark.parametrize(
    ("sight", "lack", "details", "words"),
    [
        (STRAY, Lack.STRAY, (), ["incoming/x", "is not a job", "put it into a folder"]),
        (UNREADABLE, Lack.UNREADABLE, (".: Permission denied",), ["can't be read", "denied", "chmod -R g+rwX"]),
        (EMPTY, Lack.EMPTY, (), ["is an empty folder"]),
        (EMPTY_EML, Lack.EMPTY, (), ["is an empty file"]),
        (JOB, Lack.MARKER, (), ["the folder does not hold the marker READY", "when all is written"]),
        (EML, Lack.MARKER, (), ["a bare .eml file does not hold", "put it into a folder with"]),
        (JOB, Lack.WRITER, ("body.txt",), ["a process still has 'body.txt' open", "closes"]),
        (NO_ENVELOPE, Lack.ENVELOPE, (), ["holds neither envelope.toml nor message.eml"]),
    ],
)  # fmt: skip
def test_what_is_lacking_is_said_for_people(
    sight: Sight, lack: Lack, details: tuple[str, ...], words: list[str]
) -> None:
    """Each lack has a sentence with the place, what is wrong and, where there is one, the way out."""
    (problem,) = problems("x", sight, Verdict(step=Step.WAIT, lack=lack, details=details))
    assert all(word in str(problem) for word in words)


def test_the_waiting_is_said_in_a_result() -> None:
    """An overdue drop's reason tells how long it was waited for."""
    (problem,) = problems("x", EMPTY, Verdict(step=Step.OVERDUE, lack=Lack.EMPTY), waited_seconds=3600.0)
    assert "is an empty folder after 1 h without a change" in problem.what


def test_a_misspelt_envelope_is_recognised() -> None:
    """The likely typing error is named."""
    sight = Sight(kind=Kind.DIRECTORY, names=frozenset({"envelop.toml", "body.txt"}))
    (problem,) = problems("x", sight, Verdict(step=Step.OVERDUE, lack=Lack.ENVELOPE))
    assert problem.hint == "did you mean 'envelop.toml'?"


def test_each_missing_file_is_a_problem_of_its_own() -> None:
    """All that never came is listed, with the file that may have been meant."""
    sight = Sight(kind=Kind.DIRECTORY, names=frozenset({"envelope.toml", "report.pdf"}))
    verdict = Verdict(step=Step.OVERDUE, lack=Lack.FILES, details=("other.txt", "repport.pdf"))
    first, second = problems("x", sight, verdict)
    assert "'other.txt' is not in the job" in first.what
    assert second.hint == "did you mean 'report.pdf'?"


def test_names_are_shown_harmlessly() -> None:
    """Octets that are not UTF-8 and controls reach neither log nor result as they are."""
    (problem,) = problems("\udcffa\x1b[31m", EMPTY, Verdict(step=Step.WAIT, lack=Lack.EMPTY))
    assert problem.where == "incoming/\\xffa\\x1b[31m"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (90, "90 s"), (300, "5 min"), (3600, "1 h"), (3605, "1 h"), (172800, "2 d")]
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    """A duration is said in the unit that a person would take."""
    assert span(seconds) == text
