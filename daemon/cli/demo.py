"""`meshdrop demo`: a root of its own, the sample capture, and the whole way to a mesh before the user's eyes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from meshdrop.daemon.base import log
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings, config_file, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.service.main import run_service
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.pages import clock_time
from meshdrop.models.mesh.output_formats import ALWAYS

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
SAMPLE = "snail"


def run_demo(folder: Path, out: Console, *, broken: bool = False) -> None:
    """Set up ``folder``, drop the sample (or its broken variants) and work until everything is published.

    Raises ``MeshdropError`` where the samples are not there: they belong to the source checkout.
    """
    if not (SAMPLES / SAMPLE).is_dir():
        raise MeshdropError(f"the sample capture is not at {SAMPLES / SAMPLE}", "run the demo from a source checkout")
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(folder)
    create_root(settings.places)
    before = _published(settings.places)
    if broken:
        _drop_broken(settings.places)
    else:
        _drop(SAMPLES / SAMPLE, settings.places, SAMPLE)
    out.print(f"Meshdrop works in {folder}", markup=False)
    with open(settings.places.state / "demo.log", "a", encoding="utf-8") as file, _Show(out) as show:
        log.configure(file=file)
        run_service(settings, once=True, on_turn=show.turn)
    _tell(settings.places, _published(settings.places) - before, out, broken=broken)


def _settings(folder: Path) -> Settings:
    """Quick ones. A new folder has its own record, whatever the environment says: in a container that names the
    service's, which would tell of the demo for ever after. Compiled kernels go where the service finds them.
    """
    quick = partial(load, folder, settle_s=1.0, incomplete_after_s=3.0)
    if config_file(folder).exists():
        return quick()
    private = folder / ".meshdrop"
    return quick(state_dir=private / "state", spool_dir=private / "spool", cache_dir=quick().places.cache)


def _drop(source: Path, places: Places, name: str) -> None:
    """Copy beside the inbox and rename: the way a careful rig delivers."""
    partial = places.inbox / f".{name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)
    partial.rename(places.inbox / name)


def _drop_broken(places: Places) -> None:
    """The variants are made in a process of their own: this one never touches a pixel."""
    subprocess.run([sys.executable, str(SAMPLES / "broken.py"), str(SAMPLES / SAMPLE), str(places.inbox)], check=True)


def _published(places: Places) -> set[Path]:
    return {folder for shelf in (places.outbox, places.failed) for folder in shelf.iterdir() if folder.is_dir()}


def _tell(places: Places, fresh: set[Path], out: Console, *, broken: bool) -> None:
    out.print()
    for folder in sorted(fresh):
        if folder.parent == places.failed:
            why = json.loads((folder / "failure.json").read_text(encoding="utf-8"))
            said = f"failed/{folder.name}: {why['reason'] or why['says']}"
            out.print(said, style=None if broken else "red", markup=False, soft_wrap=True)
            continue
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        out.print(report["headline"], style="bold green", markup=False, soft_wrap=True)
        files = (found.files[0] for found in ALWAYS if found.label)
        out.print(f"  meshes   {folder}/{report['best']}/{'  '.join(files)}", markup=False, soft_wrap=True)
        out.print(f"  pictures {folder}/previews/", markup=False, soft_wrap=True)
        out.print(f"  report   {folder}/report.html", markup=False, soft_wrap=True)
    if not broken and not any(folder.parent == places.outbox for folder in fresh):
        raise MeshdropError("the demo did not produce a mesh", f"see {places.state / 'demo.log'}")


@dataclass
class _Show:
    """One line that says what is going on, with a bar on a terminal and one line per step elsewhere."""

    out: Console
    _bar: Progress = field(init=False)
    _task: TaskID = field(init=False)
    _last: str = ""

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self.out, transient=True, disable=not self.out.is_terminal)
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> _Show:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def turn(self, activity: Activity) -> None:
        """Show what the daemon is doing now."""
        text, done = _in_words(activity)
        self._bar.update(self._task, description=text, completed=done)
        step = text.split(" %: ")[-1]
        if step and step != self._last and not self.out.is_terminal:
            self.out.print(f"{clock_time(time.time())}  {text}", markup=False, soft_wrap=True)
        self._last = step


def _in_words(activity: Activity) -> tuple[str, float | None]:
    if (working := activity.working) is not None:
        return f"{working.name}: {working.note}", working.progress
    if activity.finishing is not None:
        return f"{activity.finishing}: measuring and drawing pictures", None
    if activity.inbox:
        return f"{activity.inbox[0].name}: {activity.inbox[0].sentence}", None
    return "reading the capture" if not activity.finished else "done", None
