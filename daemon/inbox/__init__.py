"""From a folder in the inbox to a queued job: listing, observing, settling, claiming, reading.

It may import ``base``, ``outbox`` and ``workers``. It starts no model and publishes nothing.
"""
