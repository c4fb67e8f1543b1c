"""Which recipients may or may not have the mail, as the shape of the records tells: pure, after a crash as well.

A record is prepared before the final dot with its recipients ``delivered`` and neither code nor text; the reply's words
come after the move that makes it count. Where the move is missing, the recipients without words are in doubt.
"""

from __future__ import annotations

from dataclasses import replace

from maildrop.spool.record import Outcome, RecipientResult, Result, Status

_LOST_TEXT = "accepted; the reply's words were lost when maildropd ended"
_DOUBT_TEXT = "maildropd ended before the relay's reply was recorded"


def is_prepared(recipient: RecipientResult) -> bool:
    """Tell whether this is what ``Job.prepare`` writes of a recipient: delivered, with the reply still to come."""
    return recipient.status is Status.DELIVERED and recipient.code is None and recipient.text is None


def in_doubt(current: Result | None, following: Result | None) -> tuple[str, ...]:
    """Return the addresses that may or may not have been delivered when the daemon ended.

    ``current`` is ``result.toml`` and ``following`` is ``result.next`` of a job found in active.
    """
    if following is not None:
        return tuple(one.address for one in following.recipients if is_prepared(one))
    if current is None or current.outcome is Outcome.DEFERRED:
        return ()
    return tuple(one.address for one in current.recipients if is_prepared(one))


def after_crash(current: Result | None, following: Result | None) -> Result | None:
    """Return what is known of a job found in active, the recipients in doubt marked as such; None if nothing is."""
    known = following or current
    addresses = frozenset(in_doubt(current, following))
    if known is None or not addresses:
        return None if known is None else with_lost_replies(known)
    marked = tuple(
        replace(one, status=Status.IN_DOUBT, text=_DOUBT_TEXT) if one.address in addresses else one
        for one in known.recipients
    )
    return replace(known, outcome=Outcome.IN_DOUBT, recipients=marked)


def with_lost_replies(result: Result) -> Result:
    """Return a record that leaves no doubt about delivered recipients: the move proved that they were accepted."""
    if not any(map(is_prepared, result.recipients)):
        return result
    told = tuple(replace(one, text=_LOST_TEXT) if is_prepared(one) else one for one in result.recipients)
    return replace(result, recipients=told)
