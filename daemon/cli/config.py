"""The ``meshdrop config`` commands; like the others, each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
from typing import Annotated

import typer

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.cli.options import Config, Root, out

_WIDTH = 40

app = typer.Typer(no_args_is_help=True, help="The settings: what they are, where each comes from, whether they fit.")


@app.command()
def show(
    root: Root = None,
    config: Config = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for programs.")] = False,
) -> None:
    """Show every setting with its value; secrets are masked."""
    from meshdrop.daemon.base.origins import origins

    found = origins(root, config)
    if as_json:
        print(json.dumps([one.to_json() for one in found]))
        return
    pairs = [(one.name, one.value) for one in found]
    names, values = (max(len(text) for text in column) for column in zip(*pairs, strict=True))
    for one in found:
        line = f"{one.name:{names}}  {one.value:{min(values, _WIDTH)}}  {one.origin if origin else ''}"
        out.print(line.rstrip(), markup=False, soft_wrap=True)


@app.command()
def validate(root: Root = None, config: Config = None) -> None:
    """Check all settings, the files with secrets and the addresses, without starting anything or calling anybody."""
    from meshdrop.daemon.base.origins import unknown_variables
    from meshdrop.daemon.base.settings import load
    from meshdrop.daemon.notify.targets import read_targets

    settings = load(root, config)
    complaints = [channel.complaint() for channel in read_targets(settings).channels]
    problems = [*filter(None, complaints), *unknown_variables()]
    if problems:
        raise ConfigurationError(
            "the settings have problems:\n" + "\n".join(f"  {problem}" for problem in problems),
            "correct them; `meshdrop config show --origin` tells where each setting comes from",
        )
    out.print("The settings are in order.")
