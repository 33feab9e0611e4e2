"""How a mesh stands: plain JSON values that travel inside its files, and what speaks against them."""

from __future__ import annotations

from typing import Any

from meshdrop.models.axes.directions import direction
from meshdrop.models.axes.stance import Stance
from meshdrop.models.capture.capture import Capture
from meshdrop.models.capture.up import Up, doubt, which_up
from meshdrop.models.contract.base import ModelResult


def up_of(capture: Capture, result: ModelResult) -> Up | None:
    """Which way is up for a model's mesh; None for one that has no place in the capture's frame, which stands on +Y as
    the model made it. ``capture`` has all its views. Raises ``ValueError`` for a ``table_up`` without a direction.
    """
    if not result.registered:
        return None
    table = None
    if result.table_up is not None:
        table = direction([float(number) for number in result.table_up])
        if table is None:
            raise ValueError(f"the model's table_up is {result.table_up}, which are no three numbers with a direction")
    return which_up(capture.up, table, [view.camera for view in capture.views])


def standing(capture: Capture, up: Up | None) -> dict[str, Any]:
    """What files and report tell: ``world_up``, the direction of the vertices that the scene turns to +Y;
    ``world_up_from`` and ``world_up_says``, how that was found; ``to_capture_world``, the (4, 4) from the scene back to
    the capture's stated world; ``origin_m`` where the vertices are relative to a point of that world.
    """
    if up is None:
        return {}
    told = Stance(up.direction, capture.origin_m).facts()
    return told | {"world_up_from": up.source, "world_up_says": up.says}


def doubts(capture: Capture, up: Up | None) -> list[str]:
    """What speaks against it, as notes for people."""
    found = None if up is None else doubt(up, [view.camera for view in capture.views])
    return [] if found is None else [found]
