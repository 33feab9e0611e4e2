"""What a reconstruction model promises, and the values that cross its boundary.

Nothing heavy is imported here: the daemon reads this file too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from meshdrop.models.contract.entry import ModelEntry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from meshdrop.models.capture.capture import Capture
    from meshdrop.models.mesh.mesh import TexturedMesh

#: ``write(path, extras)``: makes one whole file at ``path``; ``extras`` (plain JSON values) say which program and model
#: made it, for formats that have room for that.
Writer = Callable[[Path, Mapping[str, Any]], None]
#: ``report(percent, step)``: percent of the whole model run in 0..100, step as a short name for people.
Progress = Callable[[float, str], None]


def silent(percent: float, step: str) -> None:
    """Progress of a part whose share of the bar is too small to show."""


class ModelUnavailable(Exception):
    """A model cannot run on this machine. ``reason`` says why, ``fix`` is the command or step that cures it."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class NoResult(Exception):
    """A model came to its end without a usable object, and would again. The message is a sentence; ``fix`` says what
    else to try, where another seed would not help."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class ModelResult:
    """One model's outcome before it is written: the mesh and the facts that only the model knows.

    ``figures`` holds plain JSON values: seconds per stage, settings used, counts. ``notes`` are sentences for
    the operator ("no depth: shape from silhouettes"). ``unseen_fraction`` is the share of textured surface
    area, 0..1, that no camera saw and that was filled in. ``made_by`` names the model whose mesh this is when the
    model that ran could not better it. ``registered`` is False for a mesh that could not be brought into the capture's
    frame: it is delivered, but not compared with the photographs. ``extra_files`` are delivered beside the mesh's own
    files; their names are those of ``models.mesh.output_formats.MATERIAL_FILES``, all or none. ``provenance`` holds
    plain JSON values that travel inside the files: which revision of foreign code and which weights (by SHA-256) made
    it. ``masks`` (H, W) 0..1 and ``cameras`` (camera-to-world (4, 4), OpenGL axes, metres), by the view's name, are
    what the capture does not hold and the mesh must be compared by: of an object that was cut free from its
    surroundings, a mask for each view that shows it; and refined poses. ``table_up``: the normal of the plane that the
    object stands on, pointing to the object's side, in the world of the capture; it says which way is up where nothing
    states it.
    """

    mesh: TexturedMesh
    figures: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unseen_fraction: float = 0.0
    made_by: str | None = None
    registered: bool = True
    extra_files: Mapping[str, Writer] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    table_up: tuple[float, float, float] | None = None
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    cameras: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


class ReconstructionModel(ABC):
    """One way to turn a capture into a textured mesh. Lives in its own process; knows no job, inbox or outbox.

    The worker calls ``probe``, ``load_weights``, ``inference``, ``cleanup`` in this order; ``cleanup`` also
    after an error. ``settings`` are the model's own options; the constructor raises ``WrongSettings`` for those that
    ``entry.settings`` refuses. ``entry`` says what is known of the model: what it needs, its licences, its weights.
    """

    name: ClassVar[str]
    entry: ClassVar[ModelEntry] = ModelEntry()

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        if self.entry.settings is not None:
            self.entry.settings.from_mapping(settings)
        self.settings = settings
        self.report_progress = progress

    @classmethod
    def probe(cls) -> None:
        """Raise ``ModelUnavailable`` when this machine cannot run the model. Cheap; imports nothing heavy."""

    def load_weights(self) -> None:
        """Bring weights into memory. Models without weights have nothing to do."""

    @abstractmethod
    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """Reconstruct. ``output_dir`` is an empty private folder for intermediate files, kept with the attempt."""

    def cleanup(self) -> None:
        """Release what the run held."""
