"""HTML that refers to files of the job in every way there is, and in some that are none."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from random import Random
from urllib.parse import quote

from tests.fuzz.mail.attached import Attached
from tests.fuzz.mail.expectation import Reference

WORDS = ("Alpha4711", "Größe", "株式会社", "omega")  # what a text made of the HTML has to hold

# A place for a reference, and whether only one without marks of HTML and CSS may stand there.
_PLACES = (
    ('<img src="{}">', False),
    ("<IMG alt='a > b' SRC\n=\n'{}'/>", False),
    ("<table><tr><td background={}>x</table>", True),
    ('<video poster="{}"></video>', False),
    ('<p style="background:url({})">', True),
    ("<p style='color: red; background: URL( {} )'>", True),
    ("<p style=\"background:url('{}')\">", True),
    ('<style>.x {{ background: url("{}") }}</style>', True),
    ("<style type='text/css'>\n<!-- .x{{background:url({}) no-repeat}} --></style>", True),
    ('<!--[if mso]><v:fill src="{}"/><![endif]-->', False),
)
_LITERALS = (
    '<img src="https://x.example/a.png">',
    '<img src="//x.example/a.png">',
    '<img src="data:image/png;base64,AAAA">',
    '<img src="/absolute.png"><img src="#f"><img src="">',
    '<img src="missing.png"><img src=cid:nobody@x.example>',
    '<a href="img/logo.png">img/logo.png</a>',
    '<img data-src="img/logo.png" srcset="img/logo.png 2x">',
    '<p>src="img/logo.png" url(img/logo.png)</p>',
    "<!-- <img src='img/logo.png'> -->",
    "<script>x = '<img src=\"img/logo.png\">'</script>",
    "<p style=\"font-family:'A',&quot;B&quot;\">&nbsp;&copy;&#39;<br/>",
    "<pre>.\n..\n  x\n</pre>",
    "< img src=x>",
    '&lt;img src="x"&gt;',
)
_RAW_IS_CUT = frozenset("?#")  # which begin a query and a fragment


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypertext:
    """An HTML text: as the file says it, as it has to arrive, and the paths it refers to in their order."""

    written: str
    pieces: tuple[str | Reference, ...]
    shown: tuple[str, ...]


def hypertext(random: Random, files: Sequence[Attached], *, folder: str, suffix: str) -> Hypertext:
    """Return HTML in ``folder`` that may refer to ``files``; their Content-IDs by rule end in ``suffix``."""
    written: list[str] = []
    pieces: list[str | Reference] = []
    shown: dict[str, str] = {}
    for _ in range(random.randrange(1, 7)):
        if files and random.randrange(3):
            one = random.choice(files)
            template, is_strict = random.choice(_PLACES)
            before, after = template.format("\0").split("\0")
            shown.setdefault(one.path, one.table.get("content_id") or f"{len(shown) + 1}{suffix}")
            written += [before, _spelled(random, one, folder=folder, strict=is_strict), after]
            pieces += [before, Reference(content_id=shown[one.path]), after]
        else:
            literal = random.choice(_LITERALS)
            written.append(literal)
            pieces.append(literal)
    ending = "<p>" + " ".join(WORDS) + "</p>\n"
    pieces = [piece.replace("\n", "\r\n") if isinstance(piece, str) else piece for piece in (*pieces, ending)]
    return Hypertext(written="".join([*written, ending]), pieces=tuple(pieces), shown=tuple(shown))


def _spelled(random: Random, one: Attached, *, folder: str, strict: bool) -> str:
    """Return a reference to a file as a writer of HTML may spell it."""
    relative = posixpath.relpath(one.path, folder) if folder else one.path
    path = random.choice((relative, one.path, f"./{relative}"))
    kind = random.randrange(5)
    if kind == 4 and not strict:
        return f"\n {quote(path)} "
    if kind == 0 and not strict and not _RAW_IS_CUT & set(path):
        return escape(path)
    if kind == 1 and not strict and not _RAW_IS_CUT & set(path):
        return "".join([f"&#{ord(character)};" for character in path])
    if kind == 2:
        ids = [one.path]
        if "content_id" in one.table:
            ids.append(one.table["content_id"])
        return random.choice(("cid:", "CID:")) + quote(random.choice(ids), safe="@")
    return quote(path)
