"""A capture: which files it has, which cameras, and its pictures, masks and depth in memory.

It may import ``axes``, ``files`` and ``formats``. It is the only way from a stranger's folder to arrays.
"""
