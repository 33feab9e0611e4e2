"""The running service: its start, recovery, the loop and its threads.

It may import ``base``, ``doctor``, ``host``, ``inbox``, ``metrics``, ``notify``, ``outbox``, ``status`` and
``workers``. It wires, and decides nothing that a room could decide.
"""
