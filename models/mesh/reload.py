"""The reload check: every delivered mesh file is read again from disk, by readers that are not the writers.

The GLB is read by trimesh and is what all others are compared with, each by its own check (``output_formats.py``).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from meshdrop.models.mesh.delivered import DeliveredMesh, surface_of, textured_share, unseen_share
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.facts import MeshFacts
from meshdrop.models.mesh.glb_reader import decode_glb
from meshdrop.models.mesh.mesh import TexturedMesh, welded_mesh
from meshdrop.models.mesh.output_formats import FORMATS, OutputFormat, function
from meshdrop.models.mesh.uv_overlap import overlap_share

MIN_VERTICES = 1_000
MIN_GLB_BYTES = 1_024


def check_files(folder: Path, listed: Collection[str] | None = None) -> tuple[MeshFacts, TexturedMesh]:
    """Read every file of ``MESH_FILES`` in ``folder`` again and prove that they hold one textured surface: this one.

    The mesh is what ``mesh.glb`` and ``texture_seen.png`` hold. Files of other formats are read too where one of them
    is there. ``listed`` are the names that the model's answer vouches for: each must be known, and none that lies there
    may be missing. Raises ``MeshError`` naming the file and what is wrong: missing or unreadable files, non-finite
    numbers, indices or uv out of range, too little of the area textured, a constant texture, references that lead
    nowhere, fewer than 1,000 vertices, a GLB under 1 KB, or formats that disagree with each other.
    """
    formats = _expected(folder, listed)
    files = _delivered(folder, [name for found in formats for name in found.files])
    counts = [function(found.check)(files) for found in formats]
    places = min(count for count in counts if count is not None)
    if places <= MIN_VERTICES:
        raise MeshError(f"the mesh has {places} vertices; a real surface has more than {MIN_VERTICES:,}")
    glb = files.surface
    height, width = files.glb.texture.shape[:2]
    low, high = glb.bounds
    facts = MeshFacts(
        file_bytes={name: len(content) for name, content in files.raw.items()},
        vertices=places,
        glb_vertices=glb.vertices,
        faces=len(glb.corners),
        texture_size=(width, height),
        textured_share=textured_share(glb),
        unseen_share=unseen_share(glb, files.seen),
        overlap_share=0.0 if glb.uv is None else overlap_share(glb.uv, (width, height)),
        bounds_m=(tuple(low.tolist()), tuple(high.tolist())),
        asset=files.glb.extras,
    )
    return facts, welded_mesh(files.glb, files.seen)


def _delivered(folder: Path, names: Collection[str]) -> DeliveredMesh:
    raw = {name: _read(folder / name) for name in names}
    glb = raw["mesh.glb"]
    if len(glb) <= MIN_GLB_BYTES:
        raise MeshError(f"mesh.glb has only {len(glb)} bytes")
    content = decode_glb(glb, "mesh.glb")
    return DeliveredMesh(folder, raw, content, surface_of(content, "mesh.glb"))


def _expected(folder: Path, listed: Collection[str] | None) -> list[OutputFormat]:
    """The formats to read; raises ``MeshError`` when the list is not of those, or not of all of those, that lie there.

    All of those that every model delivers, and any other of which there is a file.
    """

    def is_there(name: str) -> bool:
        return name in (listed or ()) or (folder / name).exists()

    formats = [found for found in FORMATS if found.write or any(map(is_there, found.files))]
    names = [name for found in formats for name in found.files]
    if listed is not None:
        if strange := sorted(set(listed) - set(names)):
            raise MeshError(f"the model lists {strange[0]!r}, which is no file that models deliver")
        if missing := [name for name in names if name not in listed]:
            raise MeshError(f"{missing[0]} belongs to the files here, but the model does not list it")
    return formats


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MeshError(f"{path.name} cannot be read ({error.strerror})") from error
