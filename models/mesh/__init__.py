"""A textured mesh, and the files that it is written to and read back from.

It imports no other room. It knows nothing of captures.
"""
