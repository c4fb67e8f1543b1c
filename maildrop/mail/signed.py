"""Which change of a finished message would break a signature that it carries (DKIM, RFC 6376).

A verifier sees the message as it arrives, in CRLF form. Whether the signature is good now is not asked here: that takes
the signer's key, which is in the DNS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from maildrop.mail.fieldlist import Field
from maildrop.mail.lines import has_one_line_end


def signature_faults(
    fields: Sequence[Field], changed: AbstractSet[str], *, raw: Callable[[], Iterable[bytes]], is_guess: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield the field, what is wrong, and the way out for each change that no signature survives.

    ``changed`` are the names of fields to be removed or added, ``raw`` the file as it is, and ``is_guess`` says that
    leading dots are to be removed though nobody said that they were added.
    """
    signatures = [field for field in fields if field.name == "dkim-signature"]
    for field in signatures:
        broken = sorted(changed & field.signed_names())
        if broken:
            what = f"the signature covers {', '.join(broken)}, which would have to be removed or added"
            yield field.title, what, "sign the message as it is to be sent"
    if not signatures:
        return
    title = signatures[0].title
    if not has_one_line_end(raw()):
        what = "line ends are mixed: no signature covers them as the CRLF that they would become"
        yield title, what, "write CRLF at the end of every line, then sign"
    if is_guess:
        what = "it can't be told whether the dots at the front of lines were doubled after the message was signed"
        yield title, what, "say so with intake.eml_dialect: 'iis' if they were, 'plain' if not"
