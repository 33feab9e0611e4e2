"""What is known of a model stands in one place, and a model of somebody's own can state the same."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.contract import stated
from meshdrop.models.contract.base import ModelUnavailable, Progress, ReconstructionModel
from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.contract.registry import BUILT_IN, load_class
from meshdrop.models.contract.weights import Catalogue, Resource, WeightFile
from meshdrop.models.fusion.settings import FusionSettings

ROOT = Path(__file__).parents[4]
#: Files outside the models' folders that name one of them, and why they must.
MAY_NAME_ONE = {
    "models/files/names.py",  # the list
    "daemon/base/settings.py",  # the model that is used where nothing is set, and an example in a message
    "models/warming.py",  # compiles the kernels that all share, by running the model that needs nothing else
}


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"reconviagen"}))
def test_a_class_states_what_the_list_says_of_it(name: str) -> None:
    found = load_class(name, {})
    assert (found.name, found.entry) == (name, BUILT_IN[name])


def test_a_model_that_is_called_for_code_of_others_says_what_it_lacks(tmp_path: Path) -> None:
    code = BUILT_IN["reconviagen"].code
    assert code is not None
    with pytest.raises(ModelUnavailable, match="is no checkout"):
        code({"code": str(tmp_path)})


def named_in(file: Path) -> Iterator[str]:
    """Our models that a program's values and imports name; sentences for people are let be."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    words += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    words += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for word in words:
        yield from (name for name in BUILT_IN if word == name or f"models.{name}" in word.split(":")[0].split("\n")[0])


def test_nobody_but_the_list_names_a_model() -> None:
    """So that one more needs its own folder and a word in that list."""
    files = [file for house in ("daemon", "db", "models") for file in (ROOT / house).rglob("*.py")]
    theirs = {ROOT / "models" / name for name in BUILT_IN}
    found = {str(file.relative_to(ROOT)) for file in files if not theirs & {*file.parents} and any(named_in(file))}
    assert found - MAY_NAME_ONE == set()
    assert MAY_NAME_ONE - found == set(), "these name none any more"


def test_the_recipe_is_how_ours_are_made() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## Add a model\n")[2].partition("\n## ")[0]
    paths = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert "models/files/names.py" in paths
    for name in BUILT_IN:
        missing = [path for path in paths if not (ROOT / path.replace("NAME", name)).exists()]
        assert missing in ([], ["docs/NAME.md"]), "a page of its own is for those that need one"


FOURTH_SETTINGS = """
from dataclasses import dataclass
from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.options import settings_of, whole

@dataclass(frozen=True)
class FourthSettings:
    cells: int = whole(64, 8, 256)

    @classmethod
    def from_mapping(cls, values):
        return settings_of("fourth", cls, values)

ENTRY = ModelEntry("meshdrop.models.fourth.model:Fourth", FourthSettings, lambda settings: Needs(cuda=True), ("a",))
"""
FOURTH_MODEL = """
from meshdrop.models.contract.base import ReconstructionModel
from meshdrop.models.fourth.settings import ENTRY

class Fourth(ReconstructionModel):
    name, entry = "fourth", ENTRY
    def inference(self, capture, output_dir): raise NotImplementedError
"""
ASK = """
import sys
from pathlib import Path
import meshdrop.models
meshdrop.models.__path__.append(sys.argv[1])
from meshdrop.models.files import names
names.MODELS += ("fourth",)
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.gpu import Wanted
from meshdrop.daemon.doctor.checks.settings import licences
from meshdrop.models.contract.registry import BUILT_IN, load_class, wrong_settings
assert Settings(root=Path("/x"), models=["fourth"], model_settings={"fourth": {"cells": 8}})
assert wrong_settings("fourth", {"cells": 7}, {}) == ("cells = 7 is outside 8..256 (default: 64)",)
assert load_class("fourth", {}).entry is BUILT_IN["fourth"]
assert Wanted({"fourth": {}}).cuda == ["fourth"]
assert licences(BUILT_IN, ["fourth"]).says == "fourth: a"
"""


def test_a_fourth_model_is_a_folder_and_a_word(tmp_path: Path) -> None:
    (tmp_path / "fourth").mkdir()
    for name, text in (("__init__", ""), ("settings", FOURTH_SETTINGS), ("model", FOURTH_MODEL)):
        (tmp_path / f"fourth/{name}.py").write_text(text)
    done = subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WEIGHTS = Catalogue("other", (Resource("ann/net", "c" * 40, None, "net", (WeightFile("a", 1, "d"),), 1, "MIT", "any"),))


def told(entry: ModelEntry, settings: Mapping[str, Any]) -> ModelEntry:
    """What another process learns of it."""
    return stated.from_json("mine", json.loads(json.dumps(stated.to_json(entry, settings))))


def test_what_a_model_states_arrives_in_another_process() -> None:
    entry = ModelEntry(
        needs=lambda settings: Needs(True, settings["fast"], 7),
        licences=("a", "b"),
        weights=WEIGHTS,
        code=lambda settings: "program 3",
    )
    found = told(entry, {"fast": True})
    assert found.needs({}) == Needs(True, True, 7)
    assert found.licences == ("a", "b")
    assert found.weights == Catalogue("mine", WEIGHTS.resources), "its folder is called as the model is"
    assert found.code is not None
    assert found.code({}) == "program 3"


def test_what_it_does_not_state_is_not_known_there_either() -> None:
    found = told(ModelEntry(), {})
    assert (found.needs({}), found.licences, found.weights, found.code) == (Needs(), None, None, None)
    assert told(ModelEntry(licences=()), {}).licences == ()


def test_code_that_is_not_there_is_missed_in_another_process_too() -> None:
    def absent(settings: Mapping[str, Any]) -> str:
        raise ModelUnavailable("no program", "install it")

    code = told(ModelEntry(code=absent), {}).code
    assert code is not None
    with pytest.raises(ModelUnavailable, match="no program") as caught:
        code({})
    assert caught.value.fix == "install it"


@pytest.mark.parametrize("words", [{}, {"needs": 3}, {"needs": {"wings": 2}, "code": None}, {"needs": {}, "code": "x"}])
def test_what_is_no_statement_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="states nothing that can be read"):
        stated.from_json("mine", words)


class Mine(ReconstructionModel):
    """A model of somebody's own that leaves the checking of its settings to the house."""

    name = "mine"
    entry = ModelEntry(settings=FusionSettings)

    def __init__(self, settings: Mapping[str, Any], progress: Progress) -> None:
        super().__init__(settings, progress)

    def inference(self, *_: object) -> Any:
        """Not called."""


def test_settings_that_its_class_refuses_are_told_before_it_runs() -> None:
    assert Mine({"resolution": 64}, lambda *_: None).settings == {"resolution": 64}
    with pytest.raises(WrongSettings, match="outside 48"):
        Mine({"resolution": 1}, lambda *_: None)
