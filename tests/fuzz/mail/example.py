"""One job by hand that has a bit of everything, with all that its message has to say: the one that tests damage."""

from __future__ import annotations

from maildrop.mail.message import Identity
from tests.fuzz.mail.expectation import Expectation, Reference, Wanted
from tests.fuzz.mail.jobs import DEFAULT_DATE, Job

STEM = "0123456789abcdef" * 2
ID = f"<{STEM}@host.example>"
PICTURE = bytes(range(256))
INNER = b"Subject: inner\r\n\r\ntext\r\n"
CALENDAR = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"
PARAGRAPH = "many words " * 12 + "end"
SUBJECT = "Größe " * 30 + "end"
TO = [('a "q" (c), d', "a", "x.example"), ("", "b", "xn--fa-hia.example"), ("Plain Name", "c", "x.example")]
SHOWN = f"1.{STEM}@host.example"
UTF8 = {"charset": "utf-8"}

JOB = Job(
    table={
        "from": {"name": "Müller, Hans", "address": "h@x.example"},
        "to": [{"name": 'a "q" (c), d', "address": "a@x.example"}, "b@faß.example", "Plain Name <c@x.example>"],
        "cc": [f"person{number}@x.example" for number in range(6)],
        "subject": SUBJECT,
        "references": ["<1@x.example>", "<2@x.example>"],
        "headers": {"X-Long": "word " * 30 + "end", "X-Two": ["one", "two"]},
        "flowed": True,
        "alternatives": [{"path": "invite.ics", "type": "text/calendar"}],
        "attachments": [
            {"path": "a.bin", "name": "Übersicht; 100%.pdf", "description": "für Dich"},
            {"path": "b.bin", "name": "inner.eml"},
            {"path": "c.bin", "name": "n" * 90 + "名.png"},
        ],
    },
    files={
        "body.txt": f"{PARAGRAPH}\nÄ=\n".encode(),
        "body.html": '<p>é</p><img src="logo.png">\n'.encode(),
        "logo.png": b"logo",
        "invite.ics": CALENDAR.encode(),
        "a.bin": PICTURE,
        "b.bin": INNER,
        "c.bin": b"",
    },
    identity=Identity(message_id=ID, date=DEFAULT_DATE, boundary=STEM),
    expected=Expectation(
        fields=(
            ("Date", DEFAULT_DATE),
            ("From", [("Müller, Hans", "h", "x.example")]),
            (
                "To",
                [('a "q" (c), d', "a", "x.example"), ("", "b", "xn--fa-hia.example"), ("Plain Name", "c", "x.example")],
            ),
            ("Cc", [("", f"person{number}", "x.example") for number in range(6)]),
            ("Subject", SUBJECT),
            ("Message-ID", (ID,)),
            ("References", ("<1@x.example>", "<2@x.example>")),
            ("X-Long", "word " * 30 + "end"),
            ("X-Two", "one"),
            ("X-Two", "two"),
            ("MIME-Version", "1.0"),
        ),
        root=Wanted(
            type="multipart/mixed",
            children=(
                Wanted(
                    type="multipart/related",
                    parameters={"type": "multipart/alternative"},
                    children=(
                        Wanted(
                            type="multipart/alternative",
                            children=(
                                Wanted(
                                    type="text/plain",
                                    parameters={**UTF8, "format": "flowed"},
                                    paragraphs=((0, PARAGRAPH), (0, "Ä="), (0, "")),
                                ),
                                Wanted(
                                    type="text/html",
                                    parameters=UTF8,
                                    pieces=(
                                        '<p>é</p><img src="',
                                        Reference(content_id=SHOWN),
                                        '">\r\n',
                                    ),
                                ),
                                Wanted(type="text/calendar", parameters={**UTF8, "method": "REQUEST"}, text=CALENDAR),
                            ),
                        ),
                        Wanted(
                            type="image/png",
                            octets=b"logo",
                            name="logo.png",
                            disposition="inline",
                            content_id=SHOWN,
                        ),
                    ),
                ),
                Wanted(
                    type="application/pdf",
                    octets=PICTURE,
                    name="Übersicht; 100%.pdf",
                    disposition="attachment",
                    description="für Dich",
                ),
                Wanted(type="message/rfc822", octets=INNER, name="inner.eml", disposition="attachment"),
                Wanted(type="image/png", octets=b"", name="n" * 90 + "名.png", disposition="attachment"),
            ),
        ),
    ),
)
