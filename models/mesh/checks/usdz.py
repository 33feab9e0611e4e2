"""A USDZ package as a program without USD can check it: the archive, not what the layer in it means.

What it means is proven by USD itself, in the process that writes it (``models/mesh/usdz.py``).
"""

from __future__ import annotations

import io
import struct
import zipfile

from meshdrop.models.mesh.delivered import DeliveredMesh
from meshdrop.models.mesh.errors import MeshError

#: USD maps the files into memory where they lie in the archive.
ALIGNMENT = 64
_LOCAL_HEADER = 30
_TEXTURE = "texture.png"


def check(files: DeliveredMesh) -> None:
    """A package as viewers want it."""
    check_usdz(files.raw["mesh.usdz"], "mesh.usdz")


def check_usdz(raw: bytes, name: str) -> None:
    """Raise ``MeshError`` unless this is a whole archive as USDZ demands: nothing packed or encrypted, a layer first,
    every file on a multiple of 64 bytes; and the texture is in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise MeshError(f"{name}: not a readable package ({error})") from error
    if damaged is not None:
        raise MeshError(f"{name}: {damaged} in it is damaged")
    if not entries or not entries[0].filename.endswith((".usdc", ".usda", ".usd")):
        raise MeshError(f"{name}: its first file is no layer")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:
            raise MeshError(f"{name}: {entry.filename} in it is compressed")
        lengths = struct.unpack_from("<HH", raw, entry.header_offset + 26)
        if (entry.header_offset + _LOCAL_HEADER + sum(lengths)) % ALIGNMENT:
            raise MeshError(f"{name}: {entry.filename} does not begin on a multiple of {ALIGNMENT} bytes")
    if _TEXTURE not in archive.namelist():
        raise MeshError(f"{name}: {_TEXTURE} is not in it")
