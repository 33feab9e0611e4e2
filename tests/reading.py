"""The service with its real reader, and stand-ins (``tests.light``) for the worker processes that come after it.

``python -m tests.reading run`` takes the same arguments and settings as ``meshdrop``. Every picture is checked and
decoded by the real ``inspect`` worker in its own limited process; no mesh is made or measured.
"""

from __future__ import annotations

import os

from tests import light

if __name__ == "__main__":
    os.environ["LIGHT_REAL"] = "inspect"
    light.main()
