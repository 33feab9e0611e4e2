"""Modules in place of those that upstream imports and that our path never calls.

``import trellis`` wants two dozen packages at once: background removal, perceptual losses, mesh repair, renderers. Our
path from photographs to mesh calls none of them. A stand-in lets the import pass, is gone from ``sys.modules``
afterwards, so that nobody else meets it, and says its name if anything of it is called after all.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class StandInCalled(RuntimeError):
    """Code was reached that needs a package which was left out on purpose."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was called, but Meshdrop imports ReconViaGen without it: nothing on the way from photographs to "
            "mesh needs it. Use upstream's own scripts for this function"
        )
        self.name = name


class _Absent(type):
    """A class that can be named and inherited from, and refuses everything else."""

    place: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise StandInCalled(cls.place)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise StandInCalled(f"{cls.place}.{name}")


class StandIn(ModuleType):
    """A module with every name in it, and nothing behind the names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"place": f"{self.__name__}.{name}"})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for the packages of ``names`` and all their submodules, before anything real is looked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


@contextmanager
def standing_in(names: Sequence[str]) -> Iterator[None]:
    """Let imports of ``names`` find stand-ins. Packages that are loaded already stay what they are."""
    wanted = [name for name in names if name not in sys.modules]
    finder = _Finder(wanted)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in wanted]:
            if isinstance(sys.modules[name], StandIn):
                del sys.modules[name]
