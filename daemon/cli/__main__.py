"""``python -m daemon.cli``: the ``meshdrop`` command of this checkout."""

from daemon.cli.cli import main

main()
