"""The model ``fusion``: depth and silhouettes fused on any CPU.

It may import ``capture``, ``contract`` and ``surface``. What other models need of it lies in ``surface``.
"""
