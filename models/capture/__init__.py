"""A capture: which files it has, which cameras, and its pictures, masks and depth in memory.

It may import ``axes``, ``files``, ``formats`` and ``lens``. It is the only way from a stranger's folder to arrays.
"""
