"""The coordinator: watches, hands out, stops cleanly.

``coordinator`` is the loop that owns agenda, relays and counters; ``admission`` brings jobs into the agenda from
incoming/, deferred/ and what an earlier run left in active/; ``deferred`` knows when deferred jobs are due; ``pause``
is for trouble of this machine, which no job is blamed for.
"""
