"""``meshdrop pause``, ``resume`` and ``drain``; like the others, each imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from meshdrop.daemon.base.errors import MeshdropError, NoService
from meshdrop.daemon.cli.options import Config, Root, out, places_of

if TYPE_CHECKING:
    from meshdrop.daemon.base.places import Places

_LOOK_EVERY_S = 0.5


def pause(root: Root = None, config: Config = None) -> None:
    """Begin nothing new: what runs is finished, what comes waits. Holds over restarts, until `meshdrop resume`."""
    from meshdrop.daemon.base.pause import Pause

    places = places_of(root, config)
    Pause(places.pause).begin()
    running = _tell(places)
    out.print("Paused." if running else "No service runs here; it will be paused when it is started.")


def resume(root: Root = None, config: Config = None) -> None:
    """End the pause."""
    from meshdrop.daemon.base.pause import Pause

    places = places_of(root, config)
    if not Pause(places.pause).end():
        raise MeshdropError("there is no pause", "`meshdrop status` tells what the service does")
    running = _tell(places)
    out.print("It goes on." if running else "The pause is over; no service runs here.")


def drain(
    root: Root = None,
    config: Config = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when the service has ended.")] = True,
) -> None:
    """Finish what runs, then end the service; what waits is taken up at its next start."""
    from meshdrop.daemon.base.control import ask
    from meshdrop.daemon.cli.views import is_alive, service_pid

    places = places_of(root, config)
    pid = service_pid(places)
    out.print(f"The service: {ask(places.control, 'drain')}.")
    while wait and is_alive(pid):
        time.sleep(_LOOK_EVERY_S)
    if wait:
        out.print("It has ended.")


def _tell(places: Places) -> bool:
    """Let the running service notice at once; whether there is one."""
    from meshdrop.daemon.base.control import ask

    try:
        ask(places.control, "look")
    except NoService:
        return False
    return True
