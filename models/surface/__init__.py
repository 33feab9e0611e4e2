"""Geometry that every model shares: from views to a field, from a field to a mesh, its charts and texture.

It may import ``capture``, ``contract``, ``files``, ``formats``, ``mesh`` and ``raster``. It is no model, and imports
none.
"""
