"""``python -m daemon.cli``: the ``meshdrop`` command of this checkout."""

from daemon.cli.main import main

main()
