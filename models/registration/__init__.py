"""Where a mesh that was generated without a frame lies in the capture's.

It may import ``capture``, ``contract``, ``formats``, ``raster`` and ``surface``. It is no model, and imports none.
"""
