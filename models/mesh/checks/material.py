"""A lit mesh and the light that it was found under, each read back by its own reader."""

from __future__ import annotations

from meshdrop.models.mesh.delivered import DeliveredMesh, check_agreement, check_surface, surface_of
from meshdrop.models.mesh.errors import MeshError
from meshdrop.models.mesh.glb_reader import decode_glb
from meshdrop.models.mesh.pbr import read_material
from meshdrop.models.mesh.radiance_hdr import HdrError, read_hdr


def check(files: DeliveredMesh) -> None:
    """``pbr.glb`` is the same surface with a whole material, ``probe.hdr`` a picture of the whole sphere with light."""
    surface = surface_of(decode_glb(files.raw["pbr.glb"], "pbr.glb"), "pbr.glb")
    check_surface("pbr.glb", surface)
    check_agreement("pbr.glb", surface, files.surface)
    read_material(files.folder / "pbr.glb").check()
    try:
        light = read_hdr(files.folder / "probe.hdr")
    except HdrError as error:
        raise MeshError(f"probe.hdr cannot be read back ({error})") from error
    height, width = light.shape[:2]
    if width != 2 * height or not light.max() > 0:
        raise MeshError(f"probe.hdr is {width}x{height}, at most {light.max():.3g} bright: no light from all around")
