"""Telling people and programs outside: the wording, the queue of messages, the process that sends.

It may import ``base``, ``status`` and ``workers``. What is sent is taken from the record, so that nothing is told twice
or forgotten.
"""
