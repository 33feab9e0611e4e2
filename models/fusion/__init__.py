"""The model ``fusion``: depth and silhouettes fused on any CPU.

It may import ``capture``, ``contract``, ``surface`` and ``views``. What other models need of it lies in ``surface``.
"""
