"""What several commands of ``meshdrop`` share: where they print, and the options that mean the same everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from meshdrop.daemon.base.errors import MeshdropError

if TYPE_CHECKING:
    from meshdrop.daemon.base.places import Places

#: Without a terminal there is no edge at which lines would have to be broken; tables become no wider than they need.
_PIPE_COLUMNS = 200

out = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)

# Taken as they stand (``parser``): whether a path can be read is told by whoever uses it, with the cure, and asking
# about one on a mount whose server is away would hang before anything can be said.
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", parser=Path, metavar="<path>", help="The Meshdrop folder (default: here, or MESHDROP_ROOT)."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", parser=Path, metavar="<path>", help="Settings file (default: ROOT/.meshdrop/config.toml)."
    ),
]


def places_of(root: Path | None, config: Path | None) -> Places:
    """The folders of a root that is there and was set up."""
    from meshdrop.daemon.base.settings import load  # noqa: PLC0415 - help and completion must answer at once

    places = load(root, config).places
    if not places.sentinel.is_file():
        raise MeshdropError(
            f"{places.root} is not a Meshdrop folder, or it is not mounted: it has no {places.sentinel.name}",
            f"name another with --root, or make it one with `meshdrop init {places.root}`",
        )
    return places
