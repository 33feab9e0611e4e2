"""Which models there are, where their classes live, and whether they can run here. Imports nothing heavy."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from meshdrop.models.contract import former_names
from meshdrop.models.contract.base import ModelUnavailable, ReconstructionModel
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.files.names import MODELS

#: What each of our own models states of itself, in ``settings.py`` of the folder of its name.
BUILT_IN: dict[str, ModelEntry] = {
    name: importlib.import_module(f"meshdrop.models.{name}.settings").ENTRY for name in MODELS
}
#: Variables of the environment by which workers find the programs of others that our models call.
CODE_VARIABLES = frozenset(entry.code_variable for entry in BUILT_IN.values() if entry.code_variable)


def known(custom: Mapping[str, str]) -> frozenset[str]:
    """Every model name that may stand in settings or in capture.json."""
    return frozenset(BUILT_IN) | frozenset(custom)


def wrong_settings(name: str, values: Mapping[str, Any], custom: Mapping[str, str]) -> tuple[str, ...]:
    """What is wrong with a model's settings, a sentence each. Of a custom model only its own process knows more than
    whether they can be handed to it.
    """
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ("only texts, whole and finite numbers, true, false, lists and tables can be handed to a model",)
    if name in custom:
        return ()
    return _wrong(BUILT_IN[name], values)


def _wrong(entry: ModelEntry, values: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        if entry.settings is not None:
            entry.settings.from_mapping(values)
    except WrongSettings as error:
        return error.problems
    return ()


def load_class(name: str, custom: Mapping[str, str]) -> type[ReconstructionModel]:
    """Import the class behind a model name; raises ``ModelUnavailable`` with the reason and the cure."""
    entry = BUILT_IN.get(name)
    target = custom.get(name) or (entry.target if entry else None)
    if target is None:
        raise ModelUnavailable(
            f"there is no model called {name}", "take it out of `models` in capture.json or in the settings"
        )
    place, _, attribute = target.rpartition(":")
    if name in custom:
        former_names.allow()
    try:
        found = getattr(_load_module(place), attribute)
    except (ImportError, AttributeError, OSError) as error:
        raise ModelUnavailable(
            f"{name} could not be loaded from {target}: {error}",
            "install what it needs, or correct `custom_models` in the settings"
            if name in custom
            else "install the program's packages again: make install",
        ) from error
    if not (isinstance(found, type) and issubclass(found, ReconstructionModel)):
        raise ModelUnavailable(f"{target} is not a ReconstructionModel", "correct `custom_models` in the settings")
    if not isinstance(found.entry, ModelEntry):
        raise ModelUnavailable(f"`entry` of {target} is no ModelEntry", "see models/contract/entry.py")
    return found


def places_of(place: str) -> list[Path]:
    """The file of a model of somebody's own, or where its package lies; nothing of it is run."""
    if place.endswith(".py"):
        return [Path(place)]
    try:
        spec = importlib.util.find_spec(place.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    return [Path(folder) for folder in spec.submodule_search_locations or () if os.path.isabs(folder)] or [
        Path(spec.origin or "")
    ]


def _load_module(place: str) -> ModuleType:
    """Import ``package.module``, or the file itself when ``place`` is the path of a .py file."""
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(f"custom_{Path(place).stem}", place)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
