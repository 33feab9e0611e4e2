"""Worker processes, and the executor that runs a job's models in them.

It may import ``base`` and ``host``. It knows nothing of inbox and outbox.
"""
