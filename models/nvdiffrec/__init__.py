"""The model ``nvdiffrec``: inverse rendering that begins from a fused or carved draft.

It may import ``axes``, ``capture``, ``contract``, ``formats``, ``fusion``, ``measure``, ``mesh``,
``nvdiffrec.search``, ``raster``, ``surface`` and ``views``. Other models import nothing of it.
"""
