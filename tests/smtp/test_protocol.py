"""`maildrop.smtp.protocol`: the machine against servers that say anything at all, without a network."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildrop.smtp import Credentials, Secret, Security, Transaction, Transcript
from maildrop.smtp.protocol import Client
from maildrop.smtp.reply import Stage
from maildrop.smtp.steps import Event, Phase, Step

PASSWORD = "correct horse"
SEGMENTS = st.one_of(
    st.sampled_from(
        [
            b"220 mx\r\n", b"250 ok\r\n", b"250-mx\r\n250 PIPELINING\r\n", b"354 go\r\n", b"334 \r\n", b"235 ok\r\n",
            b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", b"421 bye\r\n", b"450 no\r\n", b"550 no\r\n",
            b"251 ok\r\n", b"503 no\r\n", b"500 what\r\n", b"530 first STARTTLS\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n",
            b"250 ok\r\n550 no\r\n", b"250 ok\r\n550 no\r\n354 go\r\n", b"250-a\r\n550 b\r\n", b"25", b"0 ok\r\n", b"",
            b"\r\n", b"garbage\r\n",
        ]
    ),
    st.binary(max_size=40),
)  # fmt: skip


def transaction(
    recipients: int = 1, *, all_or_nothing: bool = False, reverse_path: str = "s@example.org"
) -> Transaction:
    """Return a transaction without a message: the machine never sees one."""
    return Transaction(
        reverse_path=reverse_path,
        forward_paths=tuple(f"r{number}@example.net" for number in range(recipients)),
        size=100,
        chunks=lambda: iter(()),
        all_or_nothing=all_or_nothing,
    )


def client(security: Security = Security.NONE, credentials: Credentials | None = None) -> Client:
    """Return a machine that awaits the greeting."""
    return Client(
        hostname="client.example",
        security=security,
        transcript=Transcript(),
        credentials=credentials,
        plaintext_auth=True,
    )


def ready(extensions: bytes = b"250 PIPELINING\r\n") -> Client:
    """Return a machine that is ready for MAIL."""
    machine = client()
    machine.receive(b"220 mx\r\n")
    machine.receive(b"250-mx\r\n" + extensions)
    assert machine.phase is Phase.READY
    machine.take_output()
    return machine


class Driver:
    """Does with the machine what a session does, and watches over what may never happen."""

    def __init__(self, security: Security, *, all_or_nothing: bool, credentials: bool) -> None:
        secret = Credentials(user="anna", password=Secret(PASSWORD)) if credentials else None
        self.client = client(security, secret)
        self.all_or_nothing = all_or_nothing
        self.dots = self.accepted = 0
        self.act()

    def hear(self, octets: bytes) -> None:
        """Feed octets and check what they led to."""
        ending = self.client.phase is Phase.END
        first, ended = octets, self.client.progress
        for event in self.client.receive(octets):
            if event is Event.ACCEPTED:
                self.accepted += 1
                end = ended.result.end
                assert ending, "accepted without a final dot"
                assert end is not None
                assert end.severity == 2
            else:
                assert self.client.phase in (Phase.TLS, Phase.OVER), first
        assert self.accepted <= self.dots
        self.act()

    def act(self) -> None:
        """Do what the phase asks for, until the server's word is needed."""
        machine = self.client
        if machine.phase is Phase.TLS:
            machine.tls_established()
        if machine.phase is Phase.READY:
            machine.begin(transaction(2, all_or_nothing=self.all_or_nothing))
        if machine.phase is Phase.BODY:
            assert machine.progress.result.accepted
            self.dots += 1
            machine.handed_over(100)
        sent = machine.take_output()
        assert sent.endswith(b"\r\n") or not sent
        assert PASSWORD.encode() not in sent
        if machine.phase is Phase.OVER:
            assert machine.fault is not None
            assert sent == b""


@settings(max_examples=400, deadline=None)
@given(
    security=st.sampled_from(Security),
    all_or_nothing=st.booleans(),
    credentials=st.booleans(),
    segments=st.lists(SEGMENTS, max_size=25),
)
def test_a_server_may_say_anything(
    *, security: Security, all_or_nothing: bool, credentials: bool, segments: list[bytes]
) -> None:
    """No octets raise, none are a delivery without a 2yz after the dot, and doubt begins with a dot only."""
    driver = Driver(security, all_or_nothing=all_or_nothing, credentials=credentials)
    for segment in segments:
        driver.hear(segment)
    driver.client.lose("over")
    assert driver.client.over
    assert not driver.client.progress.in_doubt or driver.dots > driver.accepted
    assert PASSWORD not in driver.client.transcript.text()


def test_a_plausible_server_that_errs() -> None:
    """Half a thousand walks of a server that mostly answers well reach deliveries, doubts and refusals alike."""
    dice = random.Random(4711)
    usual = {
        Stage.GREETING: b"220 mx\r\n",
        Stage.EHLO: b"250-mx\r\n250 PIPELINING\r\n",
        Stage.DATA: b"354 go\r\n",
    }
    seen = {"accepted": 0, "doubt": 0, "refused": 0}
    for _ in range(500):
        driver = Driver(Security.NONE, all_or_nothing=False, credentials=False)
        for _ in range(30):
            wild = dice.choice(
                [b"550 no\r\n", b"450 no\r\n", b"421 bye\r\n", b"#!\r\n", b"354 go\r\n", b"250 a\r\n250 b\r\n"]
            )
            if driver.client.progress.mail_refused and driver.client.stage is Stage.RCPT:
                wild = b"503 first MAIL\r\n"
            octets = (
                wild
                if dice.random() < 0.08 or wild.startswith(b"503")
                else usual.get(driver.client.stage, b"250 ok\r\n")
            )
            driver.hear(octets)
        seen["accepted"] += driver.accepted
        seen["doubt"] += driver.client.progress.in_doubt
        seen["refused"] += driver.client.progress.concluded and driver.client.progress.result.end is None
    assert min(seen.values()) > 5


def test_the_table_is_whole() -> None:
    """Every step has a meaning for every kind of reply."""
    assert set(Client.TABLE) == set(Step)
    assert all(len(row) == 5 for row in Client.TABLE.values())


def test_one_flight() -> None:
    """With PIPELINING, MAIL, all RCPT and DATA go out together."""
    machine = ready(b"250-SIZE 1000\r\n250 PIPELINING\r\n")
    machine.begin(transaction(2))
    assert machine.take_output() == (
        b"MAIL FROM:<s@example.org> SIZE=100\r\nRCPT TO:<r0@example.net>\r\nRCPT TO:<r1@example.net>\r\nDATA\r\n"
    )


def test_parameters() -> None:
    """8BITMIME and SMTPUTF8 are asked for when needed, and addresses then go out as UTF-8."""
    machine = ready(b"250-8BITMIME\r\n250 SMTPUTF8\r\n")
    machine.begin(
        Transaction(
            reverse_path="j\u00f6rg@example.org",
            forward_paths=("a@example.net",),
            size=1,
            chunks=lambda: iter(()),
            smtputf8=True,
            eightbitmime=True,
        )
    )
    assert machine.take_output() == "MAIL FROM:<j\u00f6rg@example.org> BODY=8BITMIME SMTPUTF8\r\n".encode()


def test_the_null_reverse_path() -> None:
    """An empty reverse-path is written as <>."""
    machine = ready()
    machine.begin(transaction(reverse_path=""))
    assert machine.take_output().startswith(b"MAIL FROM:<>\r\n")


@pytest.mark.parametrize(
    "bad",
    [
        transaction(reverse_path="a@b>\r\nRCPT TO:<evil@example.org"),
        transaction(reverse_path="a\n@b"),
        transaction(reverse_path="a\x00@b"),
        transaction(reverse_path="\u00e4@example.org"),
        transaction(0),
        Transaction(reverse_path="", forward_paths=("a@b", "a@b"), size=1, chunks=lambda: iter(())),
        Transaction(reverse_path="", forward_paths=("a@b\x7f",), size=1, chunks=lambda: iter(())),
        Transaction(reverse_path="", forward_paths=("a@b",), size=1, chunks=lambda: iter(()), smtputf8=True),
        Transaction(reverse_path="", forward_paths=("a@b",), size=1, chunks=lambda: iter(()), eightbitmime=True),
    ],
)
def test_what_no_caller_may_pass(bad: Transaction) -> None:
    """Arguments that would be a second command, or need what the relay lacks, never reach the wire."""
    machine = ready()
    with pytest.raises(ValueError, match=r"."):
        machine.begin(bad)
    assert machine.take_output() == b""


def test_a_hostname_with_controls_is_refused() -> None:
    """The EHLO name can't smuggle a command either."""
    with pytest.raises(ValueError, match="control"):
        Client(hostname="a\r\nMAIL FROM:<>", security=Security.NONE, transcript=Transcript())


def test_extensions_are_forgotten_when_tls_starts() -> None:
    """What was announced in the clear does not count once the session is encrypted."""
    machine = client(Security.STARTTLS)
    machine.receive(b"220 mx\r\n")
    machine.receive(b"250-mx\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n")
    assert machine.receive(b"220 go\r\n") == [Event.START_TLS]
    machine.take_output()
    machine.tls_established()
    assert machine.take_output() == b"EHLO client.example\r\n"
    assert not machine.extensions.names
    machine.receive(b"250 mx\r\n")
    assert machine.phase is Phase.READY
    assert not machine.extensions.pipelining


def test_untried_recipients() -> None:
    """A result tells which recipients got no answer of their own."""
    machine = ready()
    machine.begin(transaction(3))
    machine.receive(b"250 ok\r\n250 ok\r\n")
    assert machine.progress.result.untried == ("r1@example.net", "r2@example.net")
    machine.lose("gone")
    assert machine.progress.result.accepted == ("r0@example.net",)
    assert not machine.progress.in_doubt


def test_a_refused_flight_is_concluded_before_it_is_settled() -> None:
    """The answer is clear with the last RCPT; the reply to DATA and to RSET are collected afterwards."""
    machine = ready()
    machine.begin(transaction())
    machine.take_output()
    phases = []
    for octets in (b"250 ok\r\n550 no\r\n", b"503 no\r\n", b"250 ok\r\n"):
        machine.receive(octets)
        assert machine.progress.concluded
        phases.append((machine.phase, machine.take_output()))
    assert phases == [(Phase.SETTLING, b""), (Phase.SETTLING, b"RSET\r\n"), (Phase.READY, b"")]
    assert machine.progress.result.data is None
