"""Cameras as other programs write them, one file a format, and our own axes.

It may import ``files``. It reads text and numbers and no picture.
"""
