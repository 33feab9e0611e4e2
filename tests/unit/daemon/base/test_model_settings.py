"""Wrong settings of a model are told before anything is started, whole and with what is allowed."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.base.share import create_root
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.contract.registry import BUILT_IN, load_class, wrong_settings


def refused(tmp_path: Path, toml: str) -> str:
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, file)
    assert caught.value.fix
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("fusion = {resolutoin = 384}", "fusion: there is no 'resolutoin'; is resolution meant?"),
        ("fusion = {speed = 3}", "fusion: there is no 'speed'; there are resolution, max_faces, texture_size"),
        ("fusion = {resolution = 1000}", "fusion: resolution = 1000 is outside 48..512 (default: auto)"),
        ('fusion = {resolution = "fine"}', "resolution must be a whole number from 48 to 512 or \"auto\", not 'fine'"),
        ("fusion = {resolution = 99.5}", 'must be a whole number from 48 to 512 or "auto", not 99.5'),
        ("fusion = {resolution = true}", 'must be a whole number from 48 to 512 or "auto", not True'),
        ("fusion = {resolution = inf}", "fusion: only texts, whole and finite numbers"),
        ("fusion = {resolution = 2024-01-01}", "fusion: only texts, whole and finite numbers"),
        ('nvdiffrec = {preset = "best"}', "nvdiffrec: preset must be one of fine, normal, small, not 'best'"),
        ("nvdiffrec = {iterations = 0}", "nvdiffrec: iterations = 0 is outside 1..100000 (default: 500)"),
        ('reconviagen = {preset = ["seeds"]}', "reconviagen: preset must be one of gap-main, seeds"),
        ("reconviagen = {code = 7}", "reconviagen: code must be a text, not 7"),
    ],
)
def test_each_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, settings: str, told: str) -> None:
    said = refused(tmp_path, f"[model_settings]\n{settings}")
    assert told in said
    assert "model_settings" in said


def test_all_wrong_values_of_all_models_are_told_together(tmp_path: Path) -> None:
    said = refused(tmp_path, '[model_settings]\nfusion = {a = 1, resolution = 1}\nnvdiffrec = {device = "tpu"}')
    for told in ("fusion: there is no 'a'", "fusion: resolution = 1 is outside", "nvdiffrec: device must be one of"):
        assert told in said


@pytest.mark.parametrize("value", ["9" * 5000, '"' + "x" * 100_000 + '"'])
def test_a_value_of_pages_is_told_in_a_line(tmp_path: Path, value: str) -> None:
    assert len(refused(tmp_path, f"model_settings.fusion.resolution = {value}")) < 1000


def test_brackets_by_the_thousand_are_refused_too(tmp_path: Path) -> None:
    assert "cannot be understood" in refused(tmp_path, f"model_settings = {'[' * 100_000}")


def test_settings_of_ones_own_model_are_its_own_affair(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[custom_models]\nmine = "/m.py:Mine"\nfusion = "/f.py:F"\n[model_settings]\nmine = {a = 1}\nfusion = {b = "c"}'
    )
    assert load(tmp_path, file).model_settings == {"mine": {"a": 1}, "fusion": {"b": "c"}}


@pytest.mark.parametrize(
    "name", ["capture", "Previews", "measure", "receipt.json", ".mine", "a/b", "", "x" * 200, ".git"]
)
def test_a_model_is_called_by_what_its_results_folder_can_be(tmp_path: Path, name: str) -> None:
    assert "results lie in a folder" in refused(tmp_path, f'[custom_models]\n{json.dumps(name)} = "/m.py:Mine"')


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"reconviagen"}))
@pytest.mark.parametrize("values", [{}, {"no such": 1}, {"first of its own": None}])
def test_the_daemon_says_what_the_model_itself_would(name: str, values: dict[str, Any]) -> None:
    if values and "no such" not in values:
        values = {next(iter(inspect.get_annotations(cast("type", BUILT_IN[name].settings)))): None}
    told: tuple[str, ...] = ()
    try:
        load_class(name, {})(values | ({"device": "cpu"} if name == "nvdiffrec" else {}), lambda percent, step: None)
    except WrongSettings as error:
        told = error.problems
    assert wrong_settings(name, values, {}) == told
    assert bool(told) is bool(values)


def test_checking_loads_nothing_heavy() -> None:
    script = (
        "import sys; from meshdrop.models.contract.registry import BUILT_IN, wrong_settings\n"
        "assert all(wrong_settings(name, {'no such': 1}, {}) for name in BUILT_IN)\n"
        "print(sorted({'numpy', 'numba', 'scipy', 'torch', 'PIL'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["config", "validate"], ["run", "--once"]])
def test_the_commands_refuse_and_nothing_starts(tmp_path: Path, arguments: list[str]) -> None:
    create_root(load(tmp_path).places)
    values = json.dumps({"fusion": {"resolution": 9999}})
    done = subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", *arguments, "--root", str(tmp_path)],
        text=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "MESHDROP_MODEL_SETTINGS": values},
        check=False,
    )
    assert done.returncode == ExitCode.CONFIGURATION
    assert "resolution = 9999 is outside 48..512" in " ".join(done.stderr.split())
    assert not load(tmp_path).places.database.exists()
