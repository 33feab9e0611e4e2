"""Finished meshes against the capture: figures and pictures.

It may import ``axes``, ``capture``, ``contract``, ``files``, ``formats``, ``mesh``, ``raster``, ``surface`` and
``views``. It judges nothing: verdicts are the service's.
"""
