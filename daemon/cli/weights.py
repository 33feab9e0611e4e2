"""The ``meshdrop weights`` commands; like the others, each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode, MeshdropError
from meshdrop.daemon.cli.options import Config, Root, out

if TYPE_CHECKING:
    from meshdrop.daemon.weights.sources import Source

app = typer.Typer(no_args_is_help=True, help="The models' weights: fetched once, proven, and never during a job.")

_MOST_SHOWN = 10

Model = Annotated[str, typer.Argument(help="A model that has weights: reconviagen.")]
Folder = Annotated[Path | None, typer.Option("--folder", help="Where they are (default: weights_dir of the settings).")]


@app.command()
def fetch(
    model: Model,
    root: Root = None,
    config: Config = None,
    folder: Folder = None,
    origin: Annotated[
        Path | None, typer.Option("--from", help="Copy from this folder, filled on another machine, without a network.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to sizes and licences without being asked.")] = False,
) -> None:
    """Fetch what is missing of a model's weights, after showing size, licences and free space; goes on where it was."""
    from meshdrop.daemon.weights import fetch as weights
    from meshdrop.daemon.weights.views import Terminal, size, total_size

    catalogue = weights.catalogue_of(model)
    place = _top(root, config, folder) / model

    def open_source() -> Source:
        if origin is not None:
            from meshdrop.daemon.weights.sources import FolderSource

            return FolderSource(origin, catalogue)
        from meshdrop.daemon.weights.hub import HubSource

        return HubSource()

    with Terminal(out, yes=yes) as terminal:
        fetched = weights.fetch(catalogue, place, open_source, terminal)
    if not fetched:
        out.print("Nothing was fetched.")
        raise typer.Exit(ExitCode.PROBLEM)
    out.print(
        f"The weights of {model} are whole: {size(total_size(catalogue, place))} in {place}",
        markup=False,
        soft_wrap=True,
    )


@app.command()
def verify(
    model: Annotated[str | None, typer.Argument(help="A model that has weights (default: all that are here).")] = None,
    root: Root = None,
    config: Config = None,
    folder: Folder = None,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte (gigabytes: seconds to minutes).")] = False,
) -> None:
    """Say whether weights are whole: every file there with its size, with --deep also with its SHA-256."""
    from meshdrop.daemon.weights import fetch as weights
    from meshdrop.daemon.weights.views import Terminal, size, total_size

    top = _top(root, config, folder)
    chosen = (
        [weights.catalogue_of(model)]
        if model
        else [catalogue for catalogue in weights.CATALOGUES.values() if (top / catalogue.model).is_dir()]
    )
    if not chosen:
        raise MeshdropError(f"there are no weights in {top}", "meshdrop weights fetch reconviagen")
    bad = False
    for catalogue in chosen:
        place = top / catalogue.model
        with Terminal(out, yes=True) as terminal:
            damages = weights.check(catalogue, place, deep, terminal.follow)
        bad = bad or bool(damages)
        for damage in damages[:_MOST_SHOWN]:
            out.print(f"{place}/{damage}", markup=False, soft_wrap=True)
        if len(damages) > _MOST_SHOWN:
            out.print(f"and {len(damages) - _MOST_SHOWN} more files")
        if damages:
            out.print(f"  fix: {weights.cure(catalogue, damages)}", markup=False, soft_wrap=True)
        else:
            how = "every byte" if deep else "sizes only; --deep reads every byte"
            whole = f"{catalogue.model}: {size(total_size(catalogue, place))} in {place} are whole ({how})"
            out.print(whole, markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(ExitCode.PROBLEM)


@app.command("list")
def list_(root: Root = None, config: Config = None, folder: Folder = None) -> None:
    """List the weights that models use: size, licence and its consequence, and whether they are here."""
    from meshdrop.daemon.weights import fetch as weights
    from meshdrop.daemon.weights.views import catalogue_view

    top = _top(root, config, folder)
    out.print(catalogue_view(list(weights.CATALOGUES.values()), top))
    out.print(f"Folder: {top}", markup=False, soft_wrap=True)


def _top(root: Path | None, config: Path | None, folder: Path | None) -> Path:
    """The folder of all models' weights: the option, the settings, or the variable alone where there is no root."""
    from meshdrop.daemon.base.settings import find_root, load
    from meshdrop.models.contract.weights import WEIGHTS_KEY

    if folder is not None:
        return folder.absolute()
    try:
        found = find_root(root)
    except ConfigurationError as error:
        if config is None and (named := os.environ.get(WEIGHTS_KEY)):
            return Path(named).absolute()
        raise ConfigurationError(
            str(error), "name a Meshdrop folder with --root, or a folder for the weights with --folder"
        ) from error
    return load(found, config).places.weights.absolute()
