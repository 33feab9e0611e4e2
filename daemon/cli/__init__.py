"""The ``meshdrop`` command: it parses, asks other rooms and prints.

It may import ``base``, ``doctor``, ``doctor.checks``, ``host``, ``inbox``, ``install``, ``notify``, ``outbox``,
``service``, ``status`` and ``weights``. No work is done here, and nothing is imported before a command needs it, so
that help answers at once.
"""
