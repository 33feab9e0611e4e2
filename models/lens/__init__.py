"""Lenses undone: pictures of any lens, as a pinhole would have taken them; and coarse depth in a picture's size.

It may import ``files`` and ``formats``. OpenCV is loaded by the first picture that has a lens.
"""
