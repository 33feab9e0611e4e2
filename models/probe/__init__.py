"""Everything that can be said about a capture without a model, and whether its cameras hold.

It may import ``capture``, ``files`` and ``formats``. It refuses and mends nothing.
"""
