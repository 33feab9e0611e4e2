"""What a model promises, and what the house knows of each: settings, needs, weights, stages.

It may import ``capture``, ``files`` and ``mesh``. Nothing here reconstructs.
"""
