"""What to do about a job: which relay, what its replies mean, what next, and carrying it the whole way.

``route``, ``outcome`` and ``retry`` are functions of values; clock and jitter are passed in. ``relay`` keeps the live
state of each relay, ``commit`` syncs once for a whole loop turn, ``courier`` carries one job from claim to settled.
"""
