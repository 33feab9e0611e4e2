"""How a mesh stands: vertices stay in the capture's world, and what shows them turns their up to +Y.

Said in a file's extras (plain JSON values): ``world_up``, the direction of the vertices that is up, (0, 1, 0) where it
is missing, and ``origin_m``, the point of the capture's world that is (0, 0, 0) in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshdrop.models.axes.directions import AXES, Direction

Array = NDArray[np.float64]
Quaternion = tuple[float, float, float, float]

#: A unit vector's length may be off by this: it went through a file.
_TOLERANCE = 1e-6
#: Below this 1 + y up is down to the last digit.
_DOWN = 1e-24


@dataclass(frozen=True)
class Stance:
    """``up``: the unit vector of the vertices' frame that is up. ``origin``: where that frame begins, metres."""

    up: Direction = (0.0, 1.0, 0.0)
    origin: Direction = (0.0, 0.0, 0.0)

    @classmethod
    def of(cls, extras: Mapping[str, Any]) -> Stance:
        """As a file's extras say it; raises ``ValueError`` for an up that is no unit vector, or an origin that is no
        place."""
        up, origin = _numbers(extras, "world_up", cls.up), _numbers(extras, "origin_m", cls.origin)
        if abs(math.hypot(*up) - 1) > _TOLERANCE:
            raise ValueError(f"world_up is {list(up)}, which is no unit vector")
        return cls(up, origin)

    @property
    def quaternion(self) -> Quaternion:
        """``rotation`` as x, y, z, w."""
        x, _, z = self.up
        if self._above_down < _DOWN:
            return 1.0, 0.0, 0.0, 0.0
        # (up x +Y, 1 + up . +Y) has the direction of the shortest turn
        turn = (-z, 0.0, x, self._above_down)
        length = math.hypot(*turn)
        a, b, c, w = (part / length + 0.0 for part in turn)
        return a, b, c, w

    @property
    def is_upright(self) -> bool:
        """Whether +Y is up already."""
        return self.quaternion == (0.0, 0.0, 0.0, 1.0)

    @property
    def rotation(self) -> Array:
        """The shortest turn (3, 3) that takes ``up`` to +Y, half a turn about X where there are many: from columns of
        the vertices' frame to columns of the scene. Exact where up is an axis."""
        x, y, z = self.up
        above = self._above_down
        if above < _DOWN:
            return np.diag([1.0, -1.0, -1.0])
        cross = -x * z / above
        return np.array([(1 - x * x / above, -x, cross), (x, y, z), (cross, -z, 1 - z * z / above)]) + 0.0

    @property
    def _above_down(self) -> float:
        """1 + y of ``up``, to its last digit also where up is nearly down."""
        x, y, z = self.up
        return 1 + y if y > 0 else (x * x + z * z) / (1 - y)

    @property
    def to_capture_world(self) -> Array:
        """(4, 4) for columns: from where the scene shows a point to where the capture's stated world has it."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation.T, self.origin
        return matrix

    def stand(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where the scene shows ``vertices`` (V, 3)."""
        if self.is_upright:
            return vertices
        return (vertices.astype(np.float64) @ self.rotation.T).astype(np.float32)

    @property
    def axis(self) -> str:
        """Up as a text file says it: ``+Z``, or three numbers to the last digit where it is along no axis."""
        for word, axis in AXES.items():
            if self.up == axis:
                return word.upper()
        return " ".join(map(repr, self.up))

    def facts(self) -> dict[str, Any]:
        """What a file's extras say of it; ``origin_m`` only where it is another than the capture's own."""
        told: dict[str, Any] = {"world_up": list(self.up), "to_capture_world": self.to_capture_world.tolist()}
        return told | ({"origin_m": list(self.origin)} if any(self.origin) else {})


def _numbers(extras: Mapping[str, Any], key: str, default: Direction) -> Direction:
    value = extras.get(key)
    if value is None:
        return default
    try:
        x, y, z = (float(number) for number in value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key} is {value!r:.80}, which are no three numbers") from error
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"{key} is {value!r:.80}, which are no finite numbers")
    return x, y, z
