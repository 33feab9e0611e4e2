"""`meshdrop status --watch`: the status again and again, also while the service stops, starts or is replaced."""

from __future__ import annotations

import json
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from meshdrop.daemon.base.places import Places
from meshdrop.daemon.cli.views import live_facts, status_view
from meshdrop.daemon.host.gpu_memory import GpuMemory, gpu_memory
from meshdrop.db.schema import SchemaError

_EVERY_S, _GPU_EVERY_S = 1.0, 3.0


@dataclass
class Watch:
    """What is shown, from one look to the next. A look that fails shows what was seen last and says why."""

    places: Places
    gpus: Callable[[], list[GpuMemory]] = gpu_memory
    _last: dict[str, Any] | None = None
    _memory: list[GpuMemory] = field(default_factory=list)

    def look(self) -> tuple[dict[str, Any] | None, str]:
        """(the facts, what is wrong with them): None before the first that could be read."""
        trouble = ""
        try:
            self._last = live_facts(self.places)
        except SchemaError as error:
            trouble = str(error)
        except (OSError, SQLAlchemyError) as error:  # a start sets the record aside, migrates it, puts a copy there
            trouble = f"the record cannot be read now ({type(error).__name__}); trying again"
        if self._last is not None:
            self._last["gpus"] = [asdict(gpu) for gpu in self._memory]
        return self._last, trouble

    @contextmanager
    def watching_gpus(self) -> Iterator[None]:
        """Ask the driver beside everything else: it may take seconds to answer, or never do."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                self._memory = self.gpus()
                ended.wait(_GPU_EVERY_S)

        threading.Thread(target=ask, daemon=True, name="gpu memory").start()
        try:
            yield
        finally:
            ended.set()


def watch(places: Places, out: Console, *, as_json: bool = False) -> None:
    """Show the status until Ctrl-C or SIGTERM. On a terminal the page stands still and changes; elsewhere, and on one
    that cannot place its cursor, each new version is printed, or with ``as_json`` one object a line and second.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the terminal must get its own picture back
    seen = Watch(places)
    try:
        with seen.watching_gpus():
            if as_json:
                _print_json(seen)
            elif out.is_terminal and not out.is_dumb_terminal:
                _show(seen, out)
            else:
                _print(seen, out)
    except KeyboardInterrupt:
        return


def _show(seen: Watch, out: Console) -> None:
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_page(*seen.look()), refresh=True)
            time.sleep(_EVERY_S)


def _print(seen: Watch, out: Console) -> None:
    before = ""
    gone = select.poll()
    gone.register(out.file.fileno(), 0)
    while not gone.poll(0):  # a reader that went away would be noticed at the next change only, perhaps never
        with out.capture() as captured:
            out.print(_page(*seen.look()))
        if (page := captured.get()) != before:
            before = page
            out.file.write(page + "\n")
            out.file.flush()
        time.sleep(_EVERY_S)


def _print_json(seen: Watch) -> None:
    while True:
        facts, trouble = seen.look()
        print(json.dumps({**(facts or {}), "trouble": trouble or None}), flush=True)
        time.sleep(_EVERY_S)


def _page(facts: dict[str, Any] | None, trouble: str) -> Group:
    parts = [Text(trouble, style="yellow")] if trouble else []
    return Group(*parts, Text("nothing is known yet") if facts is None else status_view(facts))
