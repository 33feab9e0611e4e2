"""Stand-ins let an import pass, say their name when called, and are gone afterwards."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from meshdrop.models.reconviagen.substitutes.stand_ins import StandInCalled, standing_in


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that imports in all ways from packages that there are not."""
    (tmp_path / "wants_much.py").write_text(
        "import absent_a\nimport absent_a.deep.er as er\nfrom absent_b import thing, Base\n"
        "import colorsys\n"
        "class Mine(Base):\n    value = 3\n"
        "def use():\n    return thing(1)\n"
        "def reach():\n    return thing.inner\n"
        "def deeper():\n    return er.call()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wants_much", raising=False)
    return "wants_much"


def test_the_import_passes_and_nothing_stays(module: str) -> None:
    finders = list(sys.meta_path)
    with standing_in(["absent_a", "absent_b"]):
        made = importlib.import_module(module)
    assert made.Mine.value == 3
    assert sys.meta_path == finders
    assert not [name for name in sys.modules if name.startswith("absent_")]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("absent_a")


@pytest.mark.parametrize(
    ("function", "name"),
    [("use", "absent_b.thing"), ("reach", "absent_b.thing.inner"), ("deeper", "absent_a.deep.er.call")],
)
def test_a_call_names_what_is_missing(module: str, function: str, name: str) -> None:
    with standing_in(["absent_a", "absent_b"]):
        made = importlib.import_module(module)
    with pytest.raises(StandInCalled) as refused:
        getattr(made, function)()
    assert refused.value.name == name
    assert str(refused.value).startswith(f"{name} was called")


def test_what_is_loaded_already_stays_itself() -> None:
    import json  # noqa: PLC0415

    with standing_in(["json"]):
        assert importlib.import_module("json") is json
    assert sys.modules["json"] is json


def test_stand_ins_are_gone_after_an_error_too() -> None:
    def run() -> None:
        with standing_in(["absent_c"]):
            importlib.import_module("absent_c.inner")
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert not [name for name in sys.modules if name.startswith("absent_")]
