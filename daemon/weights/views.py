"""What `meshdrop weights` shows: the plan before anything is brought, progress, and what is here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.weights.fetch import FetchPlan, check
from meshdrop.models.contract.weights import Catalogue, Damage, Entry, plain_size


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


class Terminal:
    """The onlooker of a fetch at a console: shows the plan, asks unless ``yes``, draws a bar, names what is placed.

    Use as a context: the bar is on the screen while it is entered.
    """

    def __init__(self, console: Console, *, yes: bool) -> None:
        self._console, self._yes = console, yes
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._what = ""

    def __enter__(self) -> Terminal:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def agree(self, plan: FetchPlan) -> bool:
        """Show sizes, licences and free space; then ask."""
        self._bar.stop()
        self._console.print(plan_view(plan))
        known = sum(step.pinned is not None for step in plan.steps)
        self._console.print(
            f"From {plan.source} into {plan.folder}: {size(plan.left)} in {len(plan.steps)} files; "
            f"{size(plan.free)} are free there.\n"
            f"The SHA-256 of {known} of them is known beforehand; the others are held to what the source says of the "
            f"pinned revision, and to the same from now on.",
            markup=False,
            soft_wrap=True,
        )
        agreed = self._yes or self._asked()
        self._bar.start()
        return agreed

    def _asked(self) -> bool:
        if not sys.stdin.isatty():
            raise MeshdropError("nobody is here to be asked", "read the licences above and give --yes")
        return self._console.input("Fetch them under these licences? [y/N] ").strip().lower() in ("y", "yes")

    def follow(self, what: str, done: int, total: int) -> None:
        """Move the bar; a new ``what`` begins a new one."""
        if what != self._what:
            self._what = what
            verb = "checking " * what.startswith("checking ")
            name = what.removeprefix(verb).rpartition("/")[2]
            self._bar.reset(self._task, total=total, completed=done, description=verb + name, visible=True)
        self._bar.update(self._task, completed=done)

    def placed(self, file: str, entry: Entry) -> None:
        """One line for each file, with the hash that is pinned from now on."""
        self._console.print(f"{file}  {size(entry.bytes)}  sha256 {entry.sha256}", markup=False, soft_wrap=True)


def plan_view(plan: FetchPlan) -> RenderableType:
    """One row for each resource of which something is brought."""
    table = _table("resource", "revision", "to fetch", "licence", "which means")
    for resource in plan.catalogue.resources:
        steps = [step for step in plan.steps if step.resource is resource]
        if steps:
            left = sum(step.left for step in steps)
            table.add_row(resource.name, resource.revision[:12], size(left), resource.licence, resource.means)
    return table


def catalogue_view(catalogues: Sequence[Catalogue], top: Path) -> RenderableType:
    """One row for each resource of every model: how large, under which licence, and how much of it is here."""
    table = _table("model", "resource", "revision", "size", "licence", "which means", "here")
    for catalogue in catalogues:
        damaged = {damage.file for damage in _quick(catalogue, top / catalogue.model)}
        for resource in catalogue.resources:
            good = sum(resource.target(file) not in damaged for file in resource.files)
            here = "yes" if good == len(resource.files) else f"{good} of {len(resource.files)} files"
            table.add_row(
                catalogue.model,
                resource.name,
                resource.revision[:12],
                "about " + size(resource.about_bytes),
                resource.licence,
                resource.means,
                "no" if good == 0 else here,
            )
    return table


def _quick(catalogue: Catalogue, folder: Path) -> tuple[Damage, ...]:
    damages = check(catalogue, folder, False, lambda what, done, total: None)
    if any(damage.kind == "manifest" for damage in damages):
        return tuple(Damage(resource.target(file), "manifest", "") for resource, file in catalogue.files())
    return damages


def total_size(catalogue: Catalogue, folder: Path) -> int:
    """Bytes that the files of the catalogue take."""
    return sum(plain_size(folder / resource.target(file)) or 0 for resource, file in catalogue.files())


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table
