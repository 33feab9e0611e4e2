"""The table of files that are delivered: who writes each, who reads it back, and what it needs. Imports nothing heavy.

A new format is a writer of its own, a check in ``checks/`` that shares no code with it, and an entry here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_HERE = "meshdrop.models.mesh"


@dataclass(frozen=True)
class Package:
    """What is installed for one format alone: the module that is imported, its distribution, and what installs it."""

    module: str
    name: str
    make: str
    lock: str

    @property
    def is_installed(self) -> bool:
        """Looked for, not imported."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class OutputFormat:
    """One format. ``files`` are always delivered together; ``label`` is its name for people, "" for files that belong
    to those of other formats.

    ``check`` is the "package.module:function" that reads them back: it takes a ``delivered.DeliveredMesh``, raises
    ``MeshError``, and says how many places the vertices take, or None where they are not shared.

    Who writes it is told by what is set. ``write``: the same for a function that takes a ``mesh.FinishedMesh`` and a
    folder; such a format is always delivered. ``program``: a module that is run as a process, with the first of
    ``made_of`` that is there and the file to write; such a format is delivered where ``extra_formats`` has its name.
    Neither: the model brings the writers (``ModelResult.extra_files``), where it has something to write.
    """

    name: str
    label: str
    files: tuple[str, ...]
    check: str
    write: str = ""
    program: str = ""
    made_of: tuple[str, ...] = ()
    needs: Package | None = None


MATERIAL = OutputFormat("material", "", ("pbr.glb", "probe.hdr"), f"{_HERE}.checks.material:check")
#: In the order in which they are written, listed and checked; the GLB first, with which all others are compared.
FORMATS = (
    OutputFormat("glb", "GLB", ("mesh.glb",), f"{_HERE}.checks.glb:check", f"{_HERE}.glb:write"),
    OutputFormat("obj", "OBJ", ("mesh.obj", "mesh.mtl"), f"{_HERE}.checks.obj:check", f"{_HERE}.obj:write"),
    OutputFormat("ply", "PLY", ("mesh.ply",), f"{_HERE}.checks.ply:check", f"{_HERE}.ply:write"),
    OutputFormat(
        "textures", "", ("texture.png", "texture_seen.png"), f"{_HERE}.checks.textures:check", f"{_HERE}.textures:write"
    ),
    MATERIAL,
    OutputFormat(
        "usdz",
        "USDZ",
        ("mesh.usdz",),
        f"{_HERE}.checks.usdz:check",
        program=f"{_HERE}.usdz",
        made_of=("pbr.glb", "mesh.glb"),
        needs=Package("pxr", "usd-core", "make usd", "requirements-usd.lock"),
    ),
)
ALWAYS = tuple(found for found in FORMATS if found.write)
ON_REQUEST = {found.name: found for found in FORMATS if found.program}

#: What every model's folder holds, and what one with a material has beside it, both of them or neither.
MESH_FILES = tuple(name for found in ALWAYS for name in found.files)
MATERIAL_FILES = MATERIAL.files


def function(target: str) -> Callable[..., Any]:
    """What an entry names as "package.module:function"."""
    place, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(place), name)
    return found
