"""``python -m meshdrop.daemon.cli``: the ``meshdrop`` command of this checkout."""

from meshdrop.daemon.cli.main import main

main()
