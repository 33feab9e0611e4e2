"""What several commands of ``meshdrop`` share: where they print, and the options that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

out = Console(highlight=False)

Root = Annotated[Path | None, typer.Option("--root", help="The Meshdrop folder (default: here, or MESHDROP_ROOT).")]
Config = Annotated[Path | None, typer.Option("--config", help="Settings file (default: ROOT/.meshdrop/config.toml).")]
