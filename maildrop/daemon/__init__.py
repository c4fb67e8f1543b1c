"""The coordinator: watches, hands out, stops cleanly.

``service`` is the daemon as systemd and signals see it; ``coordinator`` the loop; ``admission`` brings jobs in from
incoming/, deferred/ and what an earlier run left in active/; ``dispatch`` hands them to couriers and counts;
``deferred`` knows when deferred jobs are due; ``fleet`` has the relays and their holds; ``pause`` is for trouble of
this machine, which no job is blamed for; ``news`` shows what is going on.
"""
