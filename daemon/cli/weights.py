"""The ``meshdrop weights`` commands; like the others, each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode, MeshdropError
from meshdrop.daemon.cli.options import Config, Root, out
from meshdrop.models.contract.weights import WEIGHTS_KEY

if TYPE_CHECKING:
    from meshdrop.daemon.base.settings import Settings
    from meshdrop.daemon.weights.sources import Source
    from meshdrop.models.contract.weights import Catalogue

app = typer.Typer(no_args_is_help=True, help="The models' weights: fetched once, proven, and never during a job.")

_MOST_SHOWN = 10

Model = Annotated[str, typer.Argument(help="A model that has weights; `meshdrop weights list` names them.")]
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

    here = _here(root, config, folder, model)
    catalogue = weights.catalogue_of(model, here.known)
    place = here.top / model

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

    here = _here(root, config, folder, model)
    chosen = (
        [weights.catalogue_of(model, here.known)]
        if model
        else [catalogue for catalogue in here.known.values() if (here.top / catalogue.model).is_dir()]
    )
    if not chosen:
        raise MeshdropError(f"there are no weights in {here.top}", f"meshdrop weights fetch {next(iter(here.known))}")
    bad = False
    for catalogue in chosen:
        place = here.top / catalogue.model
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
    from meshdrop.daemon.weights.views import catalogue_view

    here = _here(root, config, folder)
    out.print(catalogue_view(list(here.known.values()), here.top))
    out.print(f"Folder: {here.top}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Here:
    """``top`` is the folder of all models' weights, ``known`` what each model has of them, by its name."""

    top: Path
    known: Mapping[str, Catalogue]


def _here(root: Path | None, config: Path | None, folder: Path | None, model: str | None = None) -> _Here:
    """What the settings say, or, where an option names the folder and no root, what needs no settings."""
    from meshdrop.daemon.weights.fetch import CATALOGUES

    if folder is not None and root is None and config is None and (model is None or model in CATALOGUES):
        return _Here(folder.absolute(), CATALOGUES)
    settings = _settings(root, config)
    if settings is None:
        return _Here((folder or Path(os.environ[WEIGHTS_KEY])).absolute(), CATALOGUES)
    return _Here((folder or settings.places.weights).absolute(), {**CATALOGUES, **_of_ones_own(settings)})


def _of_ones_own(settings: Settings) -> dict[str, Catalogue]:
    """What the models of somebody's own state; each is asked in a process of its own, where there are any."""
    if not settings.custom_models:
        return {}
    from meshdrop.daemon.doctor.checks.models import asked

    models = {name: settings.model_settings.get(name, {}) for name in settings.custom_models}
    with asked(models, settings.custom_models, settings.places.weights) as questions:
        stated = {question.model: question.entry().weights for question in questions}
    return {name: weights for name, weights in stated.items() if weights is not None}


def _settings(root: Path | None, config: Path | None) -> Settings | None:
    """The settings; None where there is no root, and a variable names the folder of the weights."""
    from meshdrop.daemon.base.settings import find_root, load

    try:
        found = find_root(root)
    except ConfigurationError as error:
        if config is None and os.environ.get(WEIGHTS_KEY):
            return None
        raise ConfigurationError(
            str(error), "name a Meshdrop folder with --root, or a folder for the weights with --folder"
        ) from error
    return load(found, config)
