"""All that the house knows of a model beside its name, by which captures ask for it and its results' folder is called.

Standard library only, and so is whatever an entry of ours names: the service and every worker read it before anything
else, and only to run a model is its class imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from meshdrop.models.contract.weights import Catalogue


@dataclass(frozen=True)
class Needs:
    """What a run asks of the machine. ``gpu_mib`` is the least GPU memory that it takes in MiB, 0 where nobody knows.

    A model that needs CUDA computes with torch or with something else; ``torch`` says that it is skipped without it.
    """

    torch: bool = False
    cuda: bool = False
    gpu_mib: int = 0


def no_needs(settings: Mapping[str, Any]) -> Needs:
    """Any machine will do."""
    return Needs()


class SettingsClass(Protocol):
    """The checked value of a model's options: a dataclass as in ``models.contract.options``."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> object:
        """Settings from plain values; raises ``WrongSettings`` naming every wrong one."""


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a model. One of ours states it in ``settings.py`` of its folder, one of somebody's own as
    ``entry`` of its class, and both are treated alike.

    ``target`` is "package.module:Class"; of a custom model the settings say it. ``needs`` and ``code`` are given the
    model's settings as they are written. ``licences``: one line for each part that may not be used for everything, None
    where nothing is known. ``weights``: what ``meshdrop weights fetch`` brings. ``code``: for a model that calls a
    program of others, which one is there, in words; raises ``ModelUnavailable``. ``code_variable`` names that program's
    folder to the workers; a custom model takes it from its settings, whose paths its worker may read.
    """

    target: str = ""
    settings: type[SettingsClass] | None = None
    needs: Callable[[Mapping[str, Any]], Needs] = no_needs
    licences: tuple[str, ...] | None = None
    weights: Catalogue | None = None
    code: Callable[[Mapping[str, Any]], str] | None = None
    code_variable: str = ""
