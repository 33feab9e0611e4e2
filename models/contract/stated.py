"""What a model of somebody's own states of itself, on its way from the process that has imported its file, and that no
other does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.weights import Catalogue, Resource, WeightFile


@dataclass(frozen=True)
class _NoProgram:
    """Why there is no program of others that could be called."""

    reason: str
    fix: str

    def tell(self, settings: Mapping[str, Any]) -> str:
        raise ModelUnavailable(self.reason, self.fix)


def to_json(entry: ModelEntry, settings: Mapping[str, Any]) -> dict[str, Any]:
    """An entry as plain JSON values, as far as it goes for these settings. Looks for the code of others, if it calls
    some."""
    return {
        "needs": asdict(entry.needs(settings)),
        "licences": entry.licences,
        "weights": asdict(entry.weights) if entry.weights else None,
        "code": _code(entry, settings),
    }


def from_json(model: str, told: Mapping[str, Any]) -> ModelEntry:
    """The entry of ``model`` again; its answers are those for the settings that were asked about, whatever it is given.

    Its weights lie in the folder of its name. Raises ``ValueError`` for what ``to_json`` has not made.
    """
    try:
        needs, code = Needs(**told["needs"]), told["code"]
        licences = None if told["licences"] is None else tuple(map(str, told["licences"]))
        weights = told["weights"]
        return ModelEntry(
            needs=lambda settings: needs,
            licences=licences,
            weights=Catalogue(model, tuple(map(_resource, weights["resources"]))) if weights else None,
            code=_answer(code) if code else None,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{model} states nothing that can be read: {error}") from error


def _code(entry: ModelEntry, settings: Mapping[str, Any]) -> dict[str, str] | None:
    if entry.code is None:
        return None
    try:
        return {"says": entry.code(settings)}
    except ModelUnavailable as error:
        return asdict(_NoProgram(error.reason, error.fix))


def _answer(told: Mapping[str, str]) -> Callable[[Mapping[str, Any]], str]:
    if "says" not in told:
        return _NoProgram(**told).tell
    says = str(told["says"])
    return lambda settings: says


def _resource(told: Mapping[str, Any]) -> Resource:
    return Resource(**{**told, "files": tuple(WeightFile(**file) for file in told["files"])})
