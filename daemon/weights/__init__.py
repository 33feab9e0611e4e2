"""Fetching, proving and placing the weights of models.

It may import ``base`` and ``host``. It is for the command and the doctor: no job fetches anything.
"""
