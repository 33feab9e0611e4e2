"""Which way is up in a capture's world: what its sender or its format states, else how its cameras were held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.axes.conventions import CONVENTIONS
from meshdrop.models.axes.directions import AXES, Direction, direction, name_of
from meshdrop.models.capture.expectation import Expectation
from meshdrop.models.formats.cameras import Camera

Array = NDArray[np.float64]
Source = Literal["world_up", "format", "table", "cameras", "nothing"]

#: Cameras whose own up has a mean shorter than this do not agree on anything.
LEAST_AGREEMENT = 0.15
#: Pictures lie on their side where their left edges agree this well, and so much better than their upper ones.
SIDEWAYS, BETTER = 0.5, 2.0
#: How much the cameras' mean up counts against that their pictures' lower edges are level (1 for all of them).
MEAN_WEIGHT = 0.05
#: Cameras that agree this well and lie so far off (degrees) contradict what a format has for up.
SURE, CONTRADICTING = 0.5, 60.0


@dataclass(frozen=True)
class Up:
    """``direction`` is a unit vector in the capture's world, ``source`` how it was found, ``says`` that in words."""

    direction: Direction
    source: Source
    says: str

    @property
    def sentence(self) -> str:
        """For people: ``+Z, as nerfstudio, instant-ngp and Blender have it``."""
        return f"{name_of(self.direction)}, {self.says}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values under the names above."""
        return {"direction": list(self.direction), "source": self.source, "says": self.says}


def stated_up(expectation: Expectation) -> Up | None:
    """What is stated: by ``world_up``, which amends its format like every key of ours, else by the format."""
    stated = expectation.stated
    if stated.world_up is not None:
        return Up(stated.world_up, "world_up", "as world_up states it")
    if expectation.kind == "canonical":
        return _by_convention("canonical", CONVENTIONS["canonical"].up)
    if stated.format_up is None:
        return None
    up: Direction | None = stated.format_up
    if stated.applied_transform is not None:
        try:
            world = np.linalg.inv(np.array(stated.applied_transform, np.float64)[:3, :3]) @ np.array(up)
        except np.linalg.LinAlgError:
            return None  # and the cameras are refused for it
        up = direction(world.tolist())
    return _by_convention(expectation.layout, up)


def _by_convention(layout: str, up: Direction | None) -> Up | None:
    found = CONVENTIONS.get(layout)
    source = found.source if found is not None else "the file's own cameras"
    return None if up is None else Up(up, "format", f"by the convention of {source}")


def which_up(stated: Up | None, table: Direction | None, cameras: Sequence[Camera]) -> Up:
    """The first that is known: what is ``stated``, the normal of the ``table`` below the object, how the cameras were
    held; the world's own +Y where nothing tells.
    """
    if stated is not None:
        return stated
    if table is not None:
        return Up(table, "table", "upright on the plane that the object stands on")
    held = cameras_up(cameras)
    if held is not None:
        return Up(held, "cameras", "by how the cameras were held (their mean up)")
    return Up(AXES["+y"], "nothing", "because nothing states it and the cameras do not agree")


def cameras_up(cameras: Sequence[Camera]) -> Direction | None:
    """How the cameras were held: the mean of their own up, turned so that as many as can be are level.

    The mean alone leans towards whatever side most pictures were taken from. Whoever holds a camera keeps it level
    rather than upright, so the answer is the direction u with the least mean of (u . x)^2, x being the cameras' right,
    plus ``MEAN_WEIGHT`` times its distance to the mean. Where the pictures lie on their side (a phone held upright, and
    stored as its sensor reads) their left edge takes the place of the upper one, or the right one where that would have
    the cameras look up. None when the cameras do not agree.
    """
    if not cameras:
        return None
    axes = np.stack([camera.c2w[:3, :3] for camera in cameras]).astype(np.float64)
    right, up, back = axes[..., 0], axes[..., 1], axes[..., 2]
    mean, aside = up.mean(axis=0), right.mean(axis=0)
    level = right
    if np.linalg.norm(aside) > max(SIDEWAYS, BETTER * float(np.linalg.norm(mean))):
        level = up
        mean = aside if float(aside @ back.mean(axis=0)) > 0 else -aside
    if np.linalg.norm(mean) < LEAST_AGREEMENT:
        return None
    spread = level.T @ level / len(cameras)
    found: Array = np.linalg.solve(spread + MEAN_WEIGHT * np.eye(3), mean)
    return direction(found.tolist())


def doubt(up: Up, cameras: Sequence[Camera]) -> str | None:
    """What speaks against an answer of ``which_up``, as a sentence with its cure."""
    if up.source == "nothing":
        return (
            "Nothing states which way is up, and the cameras do not agree: the world's +Y is taken. State it in "
            'capture.json, for example "world_up": "+z".'
        )
    held = cameras_up(cameras)
    if up.source != "format" or held is None:
        return None
    agreement = float(np.linalg.norm(np.mean([camera.c2w[:3, 1] for camera in cameras], axis=0)))
    degrees = float(np.degrees(np.arccos(np.clip(np.dot(held, up.direction), -1, 1))))
    if agreement < SURE or degrees < CONTRADICTING:
        return None
    return (
        f"Up is {up.sentence}, but the cameras were held {degrees:.0f} degrees from that: if the mesh does not "
        'stand, state the right direction in capture.json, for example "world_up": "+y".'
    )
