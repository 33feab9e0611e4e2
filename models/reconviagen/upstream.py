"""The published code: where it is, whether it is what we call, and how it is imported.

Vendor code stays outside the tree. A checkout of `GAP-LAB-CUHK-SZ/ReconViaGen` (folders ``trellis`` and
``wheels/vggt``) is named by the setting, by the environment's ``MESHDROP_TRELLIS``, or found beside an installed
``trellis``. This file needs no torch until ``load``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.reconviagen.settings import PLACE_VARIABLE
from meshdrop.models.reconviagen.substitutes.contract import broken_promises
from meshdrop.models.reconviagen.substitutes.stand_ins import standing_in

PINNED = "GAP-LAB-CUHK-SZ/ReconViaGen f672092"
FIX = (
    "git clone https://github.com/GAP-LAB-CUHK-SZ/ReconViaGen, git checkout f6720923260927333e22761fa722144d214733d9, "
    f"and name that folder in {PLACE_VARIABLE}"
)
#: What must be in a checkout for it to be one.
MARKS = (
    "trellis/models/structured_latent_flow.py",
    "trellis/pipelines/samplers",
    "wheels/vggt/vggt/models/aggregator.py",
)
#: Imported by upstream's modules and really used on our path.
NEEDED = ("torch", "safetensors", "easydict", "tqdm", "trimesh", "scipy")
#: Imported by upstream's modules and never called on our path.
UNUSED = ("transformers", "torchvision", "rembg", "dreamsim", "lpips", "huggingface_hub", "einops", "plyfile", "open3d")
#: What upstream's own ``to_glb`` calls; stand-ins too, unless it is asked for.
FOR_TO_GLB = ("utils3d", "nvdiffrast", "xatlas", "pyvista", "pymeshfix", "igraph", "cv2", "diff_gaussian_rasterization")
#: Read by upstream when it is imported. spconv's other algorithms tune themselves for minutes, or crash.
ENVIRONMENT = {
    "SPCONV_ALGO": "native",
    "SPARSE_BACKEND": "spconv",
    "ATTN_BACKEND": "sdpa",
    "SPARSE_ATTN_BACKEND": "flash_attn",
    "XFORMERS_DISABLED": "1",
}
#: Dies of SIGFPE in its first convolution.
BROKEN_SPCONV = "spconv-cu120"
_HASHED = (
    "trellis/models",
    "trellis/modules",
    "trellis/representations",
    "trellis/pipelines/samplers",
    "wheels/vggt/vggt",
)
_DIGESTS = {"4b12b3c786a18dc10e319cd9d7d3e3c514a950f8bb18c869c58dbd9aa00c8b42": PINNED}


@dataclass(frozen=True)
class Upstream:
    """Upstream's code, imported. ``revision`` names it for the record; ``notes`` say what was put in its place."""

    root: Path
    revision: str
    notes: tuple[str, ...]

    def module(self, name: str) -> Any:
        """A module of upstream by its dotted name."""
        return importlib.import_module(name)

    def build(self, name: str, arguments: dict[str, Any]) -> Any:
        """An instance of a model class of ``trellis.models``, named as in a checkpoint's json file."""
        return getattr(self.module("trellis.models"), name)(**arguments)


def find(place: Path | None = None) -> Path:
    """The checkout's root; cheap, imports nothing. Raises ``ModelUnavailable``."""
    named = place or (Path(os.environ[PLACE_VARIABLE]) if os.environ.get(PLACE_VARIABLE) else None)
    root = named or _installed()
    if root is None:
        raise ModelUnavailable("reconviagen needs ReconViaGen's own code, which is not installed", FIX)
    missing = [mark for mark in MARKS if not (root / mark).exists()]
    if missing:
        raise ModelUnavailable(f"{root} is no checkout of ReconViaGen: {', '.join(missing)} is not there", FIX)
    return root.resolve()


def probe(place: Path | None = None) -> Path:
    """``find``, and that the packages are there which upstream really uses. Cheap, imports nothing heavy."""
    root = find(place)
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if absent:
        raise ModelUnavailable(
            f"reconviagen needs {', '.join(absent)}, which is not installed", f"pip install {' '.join(absent)}"
        )
    return root


def load(place: Path | None = None, *, to_glb: bool = False, spconv: bool = True) -> Upstream:
    """Import upstream from its checkout, or return it when that has been done; seconds, needs torch.

    ``to_glb`` imports what upstream's own ``to_glb`` calls as well; without ``spconv`` convolutions are done in plain
    torch even where spconv is installed, which also works on the CPU. Raises ``ModelUnavailable`` when something is
    missing, when another ``trellis`` is imported already, or when the code is not the one that we know how to call.
    """
    root = probe(place)
    if to_glb:
        _need_all(FOR_TO_GLB)
    os.environ.update(ENVIRONMENT)
    notes = _put_kernels(spconv)
    out_of_the_way = UNUSED if to_glb else (*UNUSED, *FOR_TO_GLB)
    try:
        with _on_path(root), standing_in(out_of_the_way), contextlib.redirect_stdout(io.StringIO()):
            trellis = importlib.import_module("trellis")
            importlib.import_module("trellis.pipelines")
            broken = broken_promises()
    except ImportError as error:
        raise ModelUnavailable(f"ReconViaGen's code in {root} cannot be imported: {error}", FIX) from error
    found = Path(str(trellis.__file__)).resolve().parents[1]
    if found != root:
        raise ModelUnavailable(f"another trellis, in {found}, hides the one in {root}", f"remove it, or: {FIX}")
    if broken:
        raise ModelUnavailable(f"the code in {root} is not {PINNED}: " + "; ".join(broken), FIX)
    return Upstream(root, revision(root), notes)


def revision(root: Path) -> str:
    """The name of a checkout's revision where its files are known, else a digest of them."""
    digest = _digest(root)
    return _DIGESTS.get(digest, f"unknown revision, sha256 {digest[:16]}")


def _digest(root: Path) -> str:
    """SHA-256 over the Python files that our path runs, with their places."""
    whole = hashlib.sha256()
    for file in sorted(file for folder in _HASHED for file in (root / folder).rglob("*.py")):
        whole.update(f"{file.relative_to(root).as_posix()}\0".encode())
        whole.update(hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")).digest())
    return whole.hexdigest()


@contextlib.contextmanager
def _on_path(root: Path) -> Iterator[None]:
    """Inside, upstream's packages are found, after everything else: nothing of theirs can hide a module of ours."""
    added = [str(root), str(root / "wheels" / "vggt")]
    sys.path += added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)


def _installed() -> Path | None:
    spec = importlib.machinery.PathFinder.find_spec("trellis")  # not util.find_spec, which knows what is imported too
    return Path(spec.origin).parents[1] if spec is not None and spec.origin else None


def _need_all(names: Sequence[str]) -> None:
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    if absent:
        raise ModelUnavailable(
            f"upstream's to_glb needs {', '.join(absent)}, which is not installed",
            "install them as ReconViaGen's setup.sh does, or use Meshdrop's own export",
        )


def _put_kernels(spconv: bool) -> tuple[str, ...]:
    """Attention always by torch, convolution by spconv where it works; both stay in ``sys.modules``."""
    from meshdrop.models.reconviagen.substitutes import sdpa, submanifold  # noqa: PLC0415 - torch takes seconds

    sys.modules.setdefault("flash_attn", sdpa.module())
    why = _no_spconv() if spconv else "asked for"
    if why is None:
        return ()
    if "spconv" not in sys.modules:
        sys.modules.update(submanifold.modules())
    return (f"sparse convolutions run in plain torch: {why}",)


def _no_spconv() -> str | None:
    """Why spconv cannot be used, or None."""
    import torch  # noqa: PLC0415 - takes seconds

    if "spconv" in sys.modules:
        return None if hasattr(sys.modules["spconv"], "__version__") else "spconv is not installed"
    if importlib.util.find_spec("spconv") is None:
        return "spconv is not installed"
    if not torch.cuda.is_available():
        return "spconv needs CUDA"
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return f"{BROKEN_SPCONV} {importlib.metadata.version(BROKEN_SPCONV)} crashes; install spconv-cu126 2.3.8"
    try:
        importlib.import_module("spconv.pytorch")
    except Exception as error:  # a native library, whatever it says
        for name in [name for name in sys.modules if name.partition(".")[0] == "spconv"]:
            del sys.modules[name]
        return f"spconv cannot be imported ({error})"
    return None
