"""``meshdrop doctor``: what can be known before a capture arrives, what it mends, what it packs up for others.

It may import ``base``, ``doctor.checks``, ``host``, ``outbox`` and ``workers``. It is no part of a job:
nothing on a capture's way imports it.
"""
