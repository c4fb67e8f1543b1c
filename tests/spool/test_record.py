"""``result.toml``: the shape that scripts rely on, and what is not a record."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildrop.errors import Problem
from maildrop.spool.doubt import after_crash, in_doubt, with_lost_replies
from maildrop.spool.record import (
    AttemptResult,
    Outcome,
    RecipientResult,
    RecordError,
    Result,
    Status,
    dump,
    dump_answer,
    load,
)

CLAIMED = datetime(2026, 11, 23, 8, 0, 0, 120000, UTC)

FULL = Result(
    job="invoice-4711",
    outcome=Outcome.SENT,
    reason="accepted by relay office365 for 2 recipients",
    message_id="<018f3a@example.com>",
    size=48213,
    digest="sha256:00ff",
    claimed=CLAIMED,
    finished=CLAIMED + timedelta(milliseconds=793),
    recipients=(
        RecipientResult(
            address="alice@example.org",
            status=Status.DELIVERED,
            relay="office365",
            stage="data-end",
            code=250,
            enhanced="2.0.0",
            text="2.0.0 Ok: queued as 4F2x",
            queue_id="4F2x",
        ),
        RecipientResult(address="bob@example.org", status=Status.PENDING),
    ),
    attempts=(
        AttemptResult(
            number=1,
            started=CLAIMED + timedelta(milliseconds=10),
            seconds=0.78,
            relay="office365",
            peer="smtp.office365.com [192.0.2.7]:587",
            tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
            result="delivered 2, deferred 0, rejected 0",
        ),
    ),
    problems=(Problem(where="envelope.toml: attachments[1]", what="file 'x' is not in the job", hint="y"),),
    meta={"invoice": 4711, "nested": {"list": [1, 2]}},
)

TEXT = """\
job = "invoice-4711"
outcome = "sent"
reason = "accepted by relay office365 for 2 recipients"
message_id = "<018f3a@example.com>"
size = 48213
digest = "sha256:00ff"
claimed = 2026-11-23T08:00:00.120Z
finished = 2026-11-23T08:00:00.913Z
possible_duplicate = false

[[attempts]]
number = 1
started = 2026-11-23T08:00:00.130Z
seconds = 0.78
relay = "office365"
peer = "smtp.office365.com [192.0.2.7]:587"
tls = "TLSv1.3 TLS_AES_256_GCM_SHA384"
result = "delivered 2, deferred 0, rejected 0"

[[problems]]
where = "envelope.toml: attachments[1]"
what = "file 'x' is not in the job"
hint = "y"

[meta]
invoice = 4711

[meta.nested]
list = [
    1,
    2,
]

[[recipients]]
address = "alice@example.org"
status = "delivered"
relay = "office365"
stage = "data-end"
code = 250
enhanced = "2.0.0"
text = "2.0.0 Ok: queued as 4F2x"
queue_id = "4F2x"

[[recipients]]
address = "bob@example.org"
status = "pending"
# end of record
"""


def test_the_shape() -> None:
    """Keys, their order, tables and times are as documented."""
    assert dump(FULL).decode() == TEXT


def test_a_small_record_has_no_empty_keys() -> None:
    """What is unknown is not written."""
    small = Result(job="j", outcome=Outcome.DEFERRED, reason="", claimed=CLAIMED, next_attempt=CLAIMED)
    assert dump(small).decode() == (
        'job = "j"\noutcome = "deferred"\nreason = ""\nclaimed = 2026-11-23T08:00:00.120Z\n'
        "possible_duplicate = false\nnext_attempt = 2026-11-23T08:00:00.120Z\n# end of record\n"
    )
    assert load(dump(small)) == small


def test_an_answer_is_appended() -> None:
    """The prepared record and the reply's words behind it are the whole record; cut off anywhere it is one of both."""
    told = RecipientResult(
        address="a@x.example", status=Status.DELIVERED, relay="r", code=250, text="ok", queue_id="4F"
    )
    whole = replace(FULL, recipients=(told,), problems=())
    prepared = replace(whole, recipients=(replace(told, code=None, text=None, queue_id=None),))
    answer = dump_answer(whole)
    assert answer is not None
    for end in range(len(answer)):
        assert load(dump(prepared) + answer[:end]) in (prepared, whole)
    assert load(dump(prepared) + answer) == whole


def test_several_answers_are_not_appended() -> None:
    """What belongs to several recipients can't stand behind the last one."""
    assert dump_answer(FULL) is None


def test_what_is_written_is_read() -> None:
    """A record survives the disk."""
    assert load(dump(FULL)) == FULL


def test_every_torn_record_is_seen() -> None:
    """Cut off anywhere, between two tables too, a record is refused; only the last line end may be missing."""
    octets = dump(FULL)
    for length in range(len(octets) - 1):
        with pytest.raises(RecordError):
            load(octets[:length])
    assert load(octets[:-1]) == FULL


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\0" * 512,
        b"\xff# end of record\n",
        b"# end of record\n",
        b'job = "x"\n# end of record\n',
        b"[[[[[[# end of record\n",
        dump(FULL).replace(b"size = 48213", b'size = "48213"'),
        dump(FULL).replace(b"size = 48213", b"size = true"),
        dump(FULL).replace(b'"sent"', b'"lost"'),
        dump(FULL).replace(b"08:00:00.120Z", b"08:00:00.120"),
        dump(FULL).replace(b"[[recipients]]", b"[recipients]", 1),
        dump(FULL).replace(b"[[recipients]]", b"[[x]]").replace(b"invoice-4711", b'x"\nrecipients = [1]\ny = "'),
        dump(FULL).replace(b"[meta]", b"[[meta]]").replace(b"[meta.nested]", b"[x]"),
        b"a = " + b"[" * 5000 + b"]" * 5000 + b"\n# end of record\n",
    ],
)
def test_foreign_octets_are_refused(octets: bytes) -> None:
    """What is not a record of ours raises RecordError, whatever it is."""
    with pytest.raises(RecordError):
        load(octets)


@given(st.binary(max_size=300))
def test_nothing_but_record_error(octets: bytes) -> None:
    """Random octets never raise anything else."""
    with pytest.raises(RecordError):
        load(octets + b"\n# end of record\n")


def test_later_keys_are_passed_over() -> None:
    """A record of a later version is still read."""
    assert load(dump(FULL).replace(b"size =", b'later = "x"\nsize =')) == FULL


def test_times_are_utc_and_milliseconds() -> None:
    """Other zones are converted, microseconds are cut; a time without a zone is a mistake."""
    there = datetime(2026, 11, 23, 9, 30, 0, 999999, timezone(timedelta(hours=1)))
    assert b"claimed = 2026-11-23T08:30:00.999Z\n" in dump(
        Result(job="", outcome=Outcome.SENT, reason="", claimed=there)
    )
    with pytest.raises(ValueError, match="time zone"):
        dump(Result(job="", outcome=Outcome.SENT, reason="", claimed=datetime(2026, 1, 1)))  # noqa: DTZ001


def test_foreign_text_is_harmless() -> None:
    r"""Controls, escapes and directions that a server or a file name smuggles in are shown as ``\xNN``."""
    evil = 'a"\\\x1b[2J\r\n\u202e\udcff'
    recipient = RecipientResult(address="a@b", status=Status.REJECTED, text=evil, enhanced=evil, queue_id=evil)
    octets = dump(Result(job=evil, outcome=Outcome.FAILED, reason=evil, claimed=CLAIMED, recipients=(recipient,)))
    shown = 'a"\\\\x1b[2J\\x0d\\x0a\\u202e\\xff'
    read = load(octets)
    assert read.job == read.reason == read.recipients[0].text == shown
    assert octets.isascii()
    assert b"\x1b" not in octets
    assert b"\r" not in octets


def test_long_foreign_text_is_shortened() -> None:
    """A megabyte of reply does not fill the disk."""
    recipient = RecipientResult(address="a@b", status=Status.REJECTED, text="x" * 1_000_000)
    assert len(dump(Result(job="", outcome=Outcome.FAILED, reason="", claimed=CLAIMED, recipients=(recipient,)))) < 2000


def test_meta_keeps_its_values_in_a_harmless_file() -> None:
    """The producer's own values come back exactly, yet the file shows no control character."""
    meta = {"k\u202e": "line\nbreak \x1b\x7f\x85 \u2028 ü", "t": [{"a": 1}], "d": CLAIMED, "f": 0.5, "empty": {}}
    octets = dump(Result(job="", outcome=Outcome.SENT, reason="", claimed=CLAIMED, meta=meta))
    assert load(octets).meta == meta
    text = octets.decode()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "ü" in text


_texts = st.text(max_size=40)
_shown = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40)
_recipients = st.builds(
    RecipientResult,
    address=st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    status=st.sampled_from(Status),
    relay=st.none() | _shown,
    code=st.none() | st.integers(200, 599),
    text=st.none() | _shown,
)


@given(st.lists(_recipients, max_size=4), _shown)
def test_any_record_survives(recipients: list[RecipientResult], reason: str) -> None:
    """Whatever the addresses and replies are, what is written is read."""
    result = Result(
        job="j", outcome=Outcome.PARTIAL, reason=reason, claimed=CLAIMED, recipients=tuple(recipients), size=0
    )
    assert load(dump(result)) == result


@given(_texts, st.dictionaries(_texts, _texts, max_size=3))
def test_any_text_can_be_written(text: str, meta: dict[str, Any]) -> None:
    """No text, lone surrogates included, keeps a record from being written and read."""
    read = load(dump(Result(job=text, outcome=Outcome.SENT, reason=text, claimed=CLAIMED, message_id=text, meta=meta)))
    assert read.outcome is Outcome.SENT
    assert tomllib.loads(dump(read).decode())


def prepared(outcome: Outcome, **statuses: object) -> Result:
    """Make a record as it is prepared: a status alone has neither code nor text."""
    rows = tuple(
        RecipientResult(address=name, status=Status(str(word)))
        if isinstance(word, Status)
        else RecipientResult(address=name, status=Status.DELIVERED, code=250, text="2.0.0 ok")
        for name, word in statuses.items()
    )
    return Result(job="j", outcome=outcome, reason="", claimed=CLAIMED, recipients=rows)


def test_doubt_of_a_completing_record() -> None:
    """Delivered without a reply in a terminal record is in doubt; delivered with one is not."""
    assert in_doubt(prepared(Outcome.SENT, a=Status.DELIVERED, b=250), None) == ("a",)
    assert in_doubt(prepared(Outcome.PARTIAL, a=Status.DELIVERED, b=Status.REJECTED), None) == ("a",)
    assert in_doubt(prepared(Outcome.SENT, a=250), None) == ()


def test_no_doubt_in_a_record_that_was_accepted() -> None:
    """In a deferred record the rename has proved the acceptance."""
    assert in_doubt(prepared(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING), None) == ()
    assert in_doubt(None, None) == ()


def test_doubt_of_a_following_record() -> None:
    """A following record decides, whatever the current one says."""
    following = prepared(Outcome.DEFERRED, a=Status.DELIVERED, b=Status.PENDING)
    assert in_doubt(None, following) == ("a",)
    assert in_doubt(prepared(Outcome.DEFERRED, a=Status.DEFERRED), following) == ("a",)
    assert in_doubt(None, prepared(Outcome.DEFERRED, a=250)) == ()


def test_after_a_crash_doubt_is_marked() -> None:
    """What is known after a crash shows the recipients in doubt as such, and leaves the others."""
    known = after_crash(None, prepared(Outcome.DEFERRED, a=Status.DELIVERED, b=250, c=Status.PENDING))
    assert known is not None
    assert known.outcome is Outcome.IN_DOUBT
    assert [one.status for one in known.recipients] == [Status.IN_DOUBT, Status.DELIVERED, Status.PENDING]
    assert after_crash(None, None) is None


def test_lost_replies_are_told() -> None:
    """A delivered recipient whose reply was lost says so, and is never taken for one in doubt again."""
    told = with_lost_replies(prepared(Outcome.DEFERRED, a=Status.DELIVERED, b=250))
    assert told.recipients[0].status is Status.DELIVERED
    assert "lost" in (told.recipients[0].text or "")
    assert in_doubt(None, told) == ()
    same = prepared(Outcome.SENT, b=250)
    assert with_lost_replies(same) is same
