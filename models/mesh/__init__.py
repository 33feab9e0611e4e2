"""A textured mesh, and the files that it is written to and read back from.

It may import ``axes``. It knows nothing of captures.
"""
