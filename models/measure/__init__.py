"""Finished meshes against the capture: figures and pictures.

It may import ``capture``, ``contract``, ``files``, ``formats``, ``mesh`` and ``raster``. It judges nothing: verdicts
are the service's.
"""
