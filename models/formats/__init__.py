"""Cameras as other programs write them, one file a format, and our own axes.

It may import ``axes`` and ``files``. It reads text and numbers and no picture.
"""
