"""Modules that models of somebody's own may import by the names of 0.1: for one release, and not without a word.

Those names are looked for last, so that another package called ``models`` is never hidden.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    f"models.{before}": f"meshdrop.models.{now}"
    for before, now in {
        "base": "contract.base",
        "options": "contract.options",
        "stages": "contract.stages",
        "capture": "capture.capture",
        "masks": "capture.masks",
        "cameras": "formats.cameras",
        "limits": "files.limits",
        "problem": "files.problem",
        "provenance": "measure.provenance",
        "mesh": "mesh.mesh",
        "mesh_pbr": "mesh.pbr",
        "mesh_cleaning": "mesh.cleaning",
        "topology": "measure.topology",
        "radiance_hdr": "mesh.radiance_hdr",
        "raster": "raster",
        "raster.render": "raster.render",
    }.items()
}


class _Finder(MetaPathFinder, Loader):
    """Finds the former names, and a package ``models`` for them to lie in where there is no other."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing but the names above."""
        if fullname != "models" and fullname not in FORMER:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in ("models", "models.raster"))

    def exec_module(self, module: ModuleType) -> None:
        """Pass on to the module of now whatever is asked for."""
        now = FORMER.get(module.__name__)
        if now is None:
            return
        self.used.add(module.__name__)
        warnings.warn(f"{module.__name__} is {now} now: the former name goes with 0.3", FutureWarning, stacklevel=2)
        vars(module)["__getattr__"] = importlib.import_module(now).__getattribute__


_finder = _Finder()


def allow() -> None:
    """From now on the former names can be imported in this process."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def note() -> str | None:
    """A sentence for the report about the former names that were used; None when there were none."""
    if not _finder.used:
        return None
    names = ", ".join(f"`{name}`" for name in sorted(_finder.used))
    return f"this model imports {names}, which goes with Meshdrop 0.3: CHANGELOG.md has the names of now"
