"""The quality report: its figures, their tables, the page.

It may import ``base``. It measures nothing: what it writes was measured by a worker.
"""
