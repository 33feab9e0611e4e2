"""From finished meshes to a folder in outbox/ or failed/: measuring, the bundle, publishing, cleaning up.

It may import ``base``, ``reporting`` and ``workers``. It never looks at the inbox.
"""
