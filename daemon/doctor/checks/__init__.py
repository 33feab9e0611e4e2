"""One file for each thing that the doctor looks at.

It may import ``base``, ``host``, ``inbox``, ``install``, ``notify``, ``outbox``, ``status``, ``weights`` and
``workers``. A check returns a ``Finding`` and changes nothing.
"""
