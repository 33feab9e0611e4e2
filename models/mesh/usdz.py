"""USDZ, the package that Apple's viewers open: ``python -I -m meshdrop.models.mesh.usdz SOURCE.glb TARGET.usdz``.

Made from a finished GLB and read back by USD itself before the program ends well. Needs usd-core.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, Vt  # type: ignore[import-untyped,unused-ignore]

from meshdrop.models.axes.stance import Stance
from meshdrop.models.mesh.glb_reader import decode_glb
from meshdrop.models.mesh.mesh import MeshError, TexturedMesh, encode_picture, welded_mesh
from meshdrop.models.mesh.pbr import Material, read_material

LAYER = "mesh.usdc"
_SURFACE = "/mesh/surface"
_MATERIAL = "/mesh/materials/surface"
#: 1 January 1981: an archive's dates begin in 1980.
_NO_DATE = 347_155_200
_TURN_TOLERANCE = 1e-6


def convert(source: Path, target: Path) -> None:
    """Write ``target`` from a GLB of ours, and prove it. Raises ``MeshError`` or ``OSError``.

    Metres, +Y up (by a turn of the root, as the GLB's node has it), one mesh with its normals and a
    ``UsdPreviewSurface``: the GLB's base colour with its factors, or all three textures of ``pbr.glb``. The GLB's
    ``asset.extras`` stand in the layer's ``customLayerData``.
    """
    content = decode_glb(source.read_bytes(), source.name)
    mesh = welded_mesh(content, np.ones(content.texture.shape[:2], np.bool_)).cleaned()
    material = read_material(source) if source.name == "pbr.glb" else None
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".usd-") as name:
        folder = Path(name)
        pictures = {"texture.png": mesh.texture if material is None else material.kd}
        if material is not None:
            pictures |= {"orm.png": material.orm, "normal.png": material.normal}
        for file, pixels in pictures.items():
            (folder / file).write_bytes(encode_picture(pixels))
        _write_layer(folder / LAYER, mesh, material, content.extras)
        _pack(target, folder, [LAYER, *pictures])
    prove(target, mesh, len(pictures), Stance.of(content.extras))


def _write_layer(path: Path, mesh: TexturedMesh, material: Material | None, extras: Mapping[str, Any]) -> None:
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, UsdGeom.LinearUnits.meters)
    root = UsdGeom.Xform.Define(stage, "/mesh")
    stage.SetDefaultPrim(root.GetPrim())
    stance = Stance.of(extras)
    if not stance.is_upright:
        x, y, z, w = stance.quaternion
        root.AddOrientOp(UsdGeom.XformOp.PrecisionDouble).Set(Gf.Quatd(w, x, y, z))
    surface = _define_surface(stage, mesh)
    _define_material(stage, mesh, material)
    UsdShade.MaterialBindingAPI.Apply(surface.GetPrim()).Bind(UsdShade.Material.Get(stage, _MATERIAL))
    stage.GetRootLayer().customLayerData = {
        "generator": str(extras.get("generator", "meshdrop")),
        "asset": _plain(extras),
    }
    stage.GetRootLayer().Save()


def _define_surface(stage: Any, mesh: TexturedMesh) -> Any:
    surface = UsdGeom.Mesh.Define(stage, _SURFACE)
    surface.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    surface.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    surface.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    surface.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.ravel()))
    surface.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertex_normals()))
    surface.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    surface.CreateExtentAttr([Gf.Vec3f(*low.tolist()), Gf.Vec3f(*high.tolist())])
    # USD's texture coordinates have v up, as ours have
    texcoords, corner = np.unique(mesh.uv.reshape(-1, 2), axis=0, return_inverse=True)
    named = UsdGeom.PrimvarsAPI(surface).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
    )
    named.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(texcoords)))
    named.SetIndices(Vt.IntArray.FromNumpy(corner.ravel().astype(np.int32)))
    return surface


def _define_material(stage: Any, mesh: TexturedMesh, material: Material | None) -> None:
    UsdGeom.Scope.Define(stage, "/mesh/materials")
    surface = UsdShade.Material.Define(stage, _MATERIAL)
    shader = UsdShade.Shader.Define(stage, f"{_MATERIAL}/preview")
    shader.CreateIdAttr("UsdPreviewSurface")
    surface.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    reader = UsdShade.Shader.Define(stage, f"{_MATERIAL}/coordinates")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    kinds = Sdf.ValueTypeNames

    def picture(name: str, file: str, space: str) -> Any:
        node = UsdShade.Shader.Define(stage, f"{_MATERIAL}/{name}")
        node.CreateIdAttr("UsdUVTexture")
        node.CreateInput("file", kinds.Asset).Set(file)
        node.CreateInput("sourceColorSpace", kinds.Token).Set(space)
        for direction in ("wrapS", "wrapT"):  # an atlas must not repeat
            node.CreateInput(direction, kinds.Token).Set("clamp")
        node.CreateInput("st", kinds.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
        return node

    def drive(target: str, kind: Any, node: Any, channel: str) -> None:
        shader.CreateInput(target, kind).ConnectToSource(node.ConnectableAPI(), channel)

    drive("diffuseColor", kinds.Color3f, picture("colour", "texture.png", "sRGB"), "rgb")
    if material is None:
        shader.CreateInput("roughness", kinds.Float).Set(mesh.roughness)
        shader.CreateInput("metallic", kinds.Float).Set(mesh.metallic)
        return
    orm, normal = picture("orm", "orm.png", "raw"), picture("normal", "normal.png", "raw")
    normal.CreateInput("scale", kinds.Float4).Set(Gf.Vec4f(2, 2, 2, 1))  # 0..1 in the picture is -1..1
    normal.CreateInput("bias", kinds.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
    for target, channel in (("occlusion", "r"), ("roughness", "g"), ("metallic", "b")):
        drive(target, kinds.Float, orm, channel)
    drive("normal", kinds.Normal3f, normal, "rgb")


def _pack(target: Path, folder: Path, names: list[str]) -> None:
    """One uncompressed archive with the layer first, every file on a multiple of 64 bytes: USD's own writer knows."""
    archive = Sdf.ZipFileWriter.CreateNew(str(target))
    for name in names:
        os.utime(folder / name, (_NO_DATE, _NO_DATE))  # the same mesh gives the same bytes
        if not archive.AddFile(str(folder / name), name):
            raise MeshError(f"{target.name}: {name} could not be packed")
    if not archive.Save():
        raise MeshError(f"{target.name} could not be written")


def prove(path: Path, mesh: TexturedMesh, pictures: int, stance: Stance) -> None:
    """Open a package afresh and compare it with its mesh; raises ``MeshError`` naming what is different."""
    stage = Usd.Stage.Open(str(path))
    if stage is None:
        raise MeshError(f"{path.name} cannot be opened again")
    surface = UsdGeom.Mesh.Get(stage, _SURFACE)
    points = np.array(surface.GetPointsAttr().Get(), np.float32)
    faces = np.array(surface.GetFaceVertexIndicesAttr().Get(), np.int32).reshape(-1, 3)
    if not (np.array_equal(points, mesh.vertices) and np.array_equal(faces, mesh.faces)):
        raise MeshError(f"{path.name} holds another surface than the GLB")
    if UsdGeom.GetStageMetersPerUnit(stage) != 1.0 or UsdGeom.GetStageUpAxis(stage) != UsdGeom.Tokens.y:
        raise MeshError(f"{path.name} is not in metres with +Y up")
    # USD has a matrix's points as rows
    turn = np.array(surface.ComputeLocalToWorldTransform(Usd.TimeCode.Default())).T
    if np.abs(turn[:3, :3] - stance.rotation).max() > _TURN_TOLERANCE or np.abs(turn[:3, 3]).max() > 0:
        raise MeshError(f"{path.name} does not stand as the GLB does")
    found = [
        UsdShade.Shader(prim).GetInput("file").Get().resolvedPath
        for prim in stage.Traverse()
        if UsdShade.Shader(prim) and UsdShade.Shader(prim).GetInput("file")
    ]
    if len(found) != pictures or not all(found):
        raise MeshError(f"{path.name} shows {sum(map(bool, found))} of {pictures} textures")


def _plain(value: Any) -> Any:
    """JSON values as USD's dictionaries take them: no null, no mixed lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return Vt.StringArray([str(item) for item in value])
    return value


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except (MeshError, OSError) as error:
        sys.exit(str(error))
