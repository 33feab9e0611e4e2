"""The model ``reconviagen``: TRELLIS conditioned by VGGT, by its authors' own code where that is installed.

It may import ``capture``, ``contract``, ``files``, ``mesh``, ``reconviagen.substitutes``, ``registration``,
``surface`` and ``views``. Other models import nothing of it.
"""
