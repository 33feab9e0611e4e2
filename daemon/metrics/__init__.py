"""Figures for Prometheus, and the server that shows them.

It may import ``base``, ``host``, ``notify``, ``reporting`` and ``status``. It reads the record and what goes on, and
nothing depends on it.
"""
