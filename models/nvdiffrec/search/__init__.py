"""Pass 1 of ``nvdiffrec``: the search for a topology, by gradients through pictures, on a lattice of tetrahedra.

It may import ``raster`` and ``surface``. It draws no texture and knows no material.
"""
