"""Meshdrop as a system service: the files it consists of, what is refused, and the steps.

It may import ``base`` and ``notify``. It is for the command and the doctor: nothing of a running service imports it.
"""
