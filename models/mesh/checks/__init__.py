"""Delivered files read again, by readers that are not their writers: one file a format.

It may import ``mesh``. ``models/mesh/reload.py`` goes through all of them, as the table of formats names them.
"""
