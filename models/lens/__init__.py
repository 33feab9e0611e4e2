"""Lenses undone: pictures of any lens that files can state, as a pinhole would have taken them, and coarse depth enlarged.

It may import ``files`` and ``formats``. OpenCV is loaded by the first picture that has a lens.
"""
