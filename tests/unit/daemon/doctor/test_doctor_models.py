"""Faults of settings and models, and what is told when there is no root at all."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.doctor.checks import models as check_models
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.host.machine import Machine, Torch
from meshdrop.daemon.weights.fetch import CATALOGUES
from meshdrop.models.contract.weights import MANIFEST
from meshdrop.models.reconviagen import upstream
from tests.unit.daemon.doctor.ailments import by_name, changed, troubles

# -- settings ----------------------------------------------------------------------------------------------------------


def test_wrong_settings_are_one_failure_with_all_problems_and_end_the_look_at_folders(
    root: Path, healthy: Machine
) -> None:
    config_file(root).write_text('settle_s = -1\nmodels = ["fusoin"]\nsettel = 3\n')
    findings = by_name(examine(root, None, healthy))
    assert troubles(list(findings.values())) == ["settings"]
    assert "settle_s" in findings["settings"].says
    assert "settel" in findings["settings"].says
    assert {findings[name].result for name in ("root", "moving", "record", "service")} == {"skip"}
    assert not any(name.startswith("model ") for name in findings)


def test_settings_that_this_user_may_not_read_name_the_user_who_may(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is forbidden to root, so the refusal of the kernel is raised in its place, as ``load`` passes it on."""

    def refused(*_: object) -> None:
        because = PermissionError(13, "Permission denied", str(config_file(root)))
        raise ConfigurationError("cannot be read", "as another user") from because

    monkeypatch.setattr("meshdrop.daemon.doctor.checks.settings.load", refused)
    own = by_name(examine(root, None, healthy))["settings"]
    assert own.fix.startswith("sudo chown -R "), "whom the root belongs to is told to open it"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    findings = by_name(examine(root, None, healthy))
    assert troubles(list(findings.values())) == ["settings"]
    assert str(config_file(root)) in findings["settings"].says
    assert findings["settings"].fix.startswith(f"sudo -u {root.owner()} meshdrop doctor --root {root}")


def test_without_any_root_the_machine_is_still_examined(
    tmp_path: Path, healthy: Machine, quick_models: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESHDROP_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    findings = by_name(examine(None, None, healthy))
    assert troubles(list(findings.values())) == ["settings"]
    assert findings["settings"].result == "warn"
    assert "meshdrop init" in findings["settings"].fix
    assert findings["gpu"].result == findings["model fusion"].result == "ok"


@pytest.mark.parametrize(
    ("name", "says", "result"),
    [
        ("MESHDROP_SETLE_S", "did you mean MESHDROP_SETTLE_S?", "warn"),
        ("MESHDROP_FOO", "is no setting", "warn"),
        ("meshdrop_setle_s", "is no setting", "warn"),
        ("MESHDROP_CRASH_AT", "is set in this shell", "fail"),
    ],
)
def test_a_variable_that_nobody_reads_is_told(
    root: Path, healthy: Machine, quick_models: None, name: str, says: str, result: str
) -> None:
    known = {"MESHDROP_SETTLE_S": "2", "MESHDROP_MODEL_SETTINGS__fusion__resolution": "64", "MESHDROP_TRELLIS": "/x"}
    fine = replace(healthy, environ=known)
    found = changed(root, fine, lambda: replace(healthy, environ={**known, name: "1"}))
    assert (found.name, found.result) == ("environment", result)
    assert says in found.says
    assert found.fix.startswith(f"unset {name}")


def test_secrets_that_everybody_may_read_are_a_warning(
    root: Path, healthy: Machine, quick_models: None, open_way: None
) -> None:
    file = config_file(root)
    file.write_text('webhook_url = "https://example.org/hook/1234"\n')
    file.chmod(0o640)
    for folder in (root, file.parent):
        folder.chmod(0o755)
    found = changed(root, healthy, lambda: file.chmod(0o644))
    assert (found.name, found.result) == ("secrets", "warn")
    assert "webhook_url" in found.says
    assert "1234" not in found.says


def test_secrets_in_a_folder_that_is_closed_to_strangers_are_closed_to_them(
    root: Path, healthy: Machine, quick_models: None, open_way: None
) -> None:
    file = config_file(root)
    file.write_text('webhook_url = "https://example.org/hook/1234"\n')
    file.chmod(0o644)
    file.parent.chmod(0o700)
    assert by_name(examine(root, None, healthy))["secrets"].result == "ok"


def test_notifications_that_are_not_complete_fail_as_the_service_would(
    root: Path, healthy: Machine, quick_models: None
) -> None:

    def state_a_secret_alone() -> None:
        config_file(root).write_text('webhook_secret = "abcdef"\n')
        config_file(root).chmod(0o600)

    found = changed(root, healthy, state_a_secret_alone)
    assert (found.name, found.result) == ("notifications", "fail")
    assert "abcdef" not in found.says


def test_a_port_for_metrics_that_is_taken_fails(root: Path, healthy: Machine, quick_models: None) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = changed(root, healthy, lambda: config_file(root).write_text(f"metrics_port = {port}\n"))
    assert (found.name, found.result) == ("metrics", "fail")
    assert troubles(examine(root, None, healthy)) == [], "it is free again"


# -- models ------------------------------------------------------------------------------------------------------------


def test_a_model_that_cannot_run_is_a_warning_beside_one_that_can(root: Path, healthy: Machine) -> None:
    config_file(root).write_text('models = ["fusion", "mine"]\n[custom_models]\nmine = "no_such_package.model:Mine"\n')
    findings = by_name(examine(root, None, healthy))
    assert findings["model fusion"].result == "ok"
    assert findings["model mine"].result == "warn"
    assert "no_such_package" in findings["model mine"].says


BROKEN_MODELS = {
    "it says so itself": (
        "@classmethod\n    def probe(cls):\n        raise ModelUnavailable('no luck', 'try again')",
        "no luck",
    ),
    "it refuses its settings": (
        "def __init__(self, settings, progress):\n        raise ValueError('odd size')",
        "odd size",
    ),
    "its process dies": ("@classmethod\n    def probe(cls):\n        import os; os._exit(9)", "code 9"),
    "it raises anything": ("@classmethod\n    def probe(cls):\n        raise RuntimeError('boom')", "boom"),
}


@pytest.mark.parametrize("case", BROKEN_MODELS)
def test_a_root_whose_only_model_cannot_run_fails_whatever_the_reason(
    root: Path, healthy: Machine, tmp_path: Path, case: str
) -> None:
    body, says = BROKEN_MODELS[case]
    file = tmp_path / "mine.py"
    file.write_text(
        "from meshdrop.models.contract.base import ModelUnavailable, ReconstructionModel\n"
        "print('chatter on stdout')\n"
        f"class Mine(ReconstructionModel):\n    name = 'mine'\n    {body}\n"
        "    def inference(self, capture, output_dir): raise NotImplementedError\n"
    )
    config_file(root).write_text(f'models = ["mine"]\n[custom_models]\nmine = "{file}:Mine"\n')
    findings = by_name(examine(root, None, healthy))
    found = findings.pop("model mine")
    assert found.result == "fail"
    assert says in found.says
    assert {finding.result for finding in findings.values()} == {"ok"}


def test_a_model_that_does_not_answer_is_a_finding(
    root: Path, healthy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_models, "_ASK", "import time; time.sleep(3600)")
    monkeypatch.setattr(check_models, "LIMIT_S", 0.2)
    assert troubles(examine(root, None, healthy)) == ["model fusion"]


#: What the fixtures of other tests replace.
REALLY_ASK = check_models._ASK
STATED = """
import json, os, sys
from pathlib import Path
from meshdrop.models.contract.base import ModelUnavailable, ReconstructionModel
from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.contract.weights import Catalogue, Resource, WeightFile

class Options:
    @classmethod
    def from_mapping(cls, values):
        if values.get("size", 0) > 9:
            raise WrongSettings("mine", ["size is outside 0..9"])

def code(settings):
    if not Path(settings["code"]).is_dir():
        raise ModelUnavailable("its program is not there", "git clone it")
    return "its program"

class Mine(ReconstructionModel):
    name = "mine"
    entry = ModelEntry(
        settings=Options,
        needs=lambda settings: Needs(torch=True, cuda=settings.get("device") != "cpu", gpu_mib=500_000),
        licences=("its weights: for tests alone",),
        weights=Catalogue("mine", (Resource("ann/mine", "c" * 40, None, "net", (WeightFile("a.bin"),), 3, "L", "m"),)),
        code=code,
    )
    def inference(self, capture, output_dir): raise NotImplementedError
"""


@pytest.fixture
def stated(
    root: Path, with_gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Finding]]:
    """The doctor's lines on a machine with a GPU and torch, for a model that states what it needs, with settings."""
    monkeypatch.setattr(check_models, "_ASK", REALLY_ASK)
    file, folder = tmp_path / "mine.py", load(root).places.weights / "mine"
    file.write_text(STATED)
    (folder / "net").mkdir(parents=True)
    (folder / "net/a.bin").write_bytes(b"abc")
    there = {"net/a.bin": {"bytes": 3, "sha256": "0" * 64, "source": f"ann/mine@{'c' * 40}"}}
    (folder / MANIFEST).write_text(json.dumps({"schema": 1, "model": "mine", "files": there}))
    machine = replace(with_gpu, torch=lambda: Torch("2.11.0+cu130", "13.0"))

    def examined(size: int = 1, device: str = "cpu", code: Path = tmp_path) -> dict[str, Finding]:
        options = f'size = {size}\ndevice = "{device}"\ncode = "{code}"\n'
        config_file(root).write_text(
            f'models = ["fusion", "mine"]\n[custom_models]\nmine = "{file}:Mine"\n[model_settings.mine]\n{options}'
        )
        return by_name(examine(root, None, machine))

    return examined


def test_a_model_of_ones_own_gets_the_lines_that_ours_get(stated: Callable[..., dict[str, Finding]]) -> None:
    found = stated()
    assert troubles(list(found.values())) == []
    assert found["licences"].says == "mine: its weights: for tests alone"
    assert found["code mine"].says == "its program"
    assert found["weights mine"].says.startswith("1 files in ")
    assert found["torch"].says != "not needed by the models in the settings"
    assert found["model mine"].says == "can run here"


@pytest.mark.parametrize(
    ("settings", "line", "says"),
    [
        ({"device": "cuda"}, "gpu memory", "and mine takes 500,000"),
        ({"code": Path("/no/such")}, "code mine", "its program is not there"),
        ({"size": 10}, "model mine", "size is outside 0..9"),
    ],
)
def test_what_it_lacks_is_told_in_the_line_about_that(
    stated: Callable[..., dict[str, Finding]], settings: dict[str, Any], line: str, says: str
) -> None:
    found = stated(**settings)
    assert troubles(list(found.values())) == [line]
    assert says in found[line].says


def test_its_weights_are_looked_at(root: Path, stated: Callable[..., dict[str, Finding]]) -> None:
    (load(root).places.weights / "mine/net/a.bin").write_bytes(b"ab")
    found = stated()
    assert troubles(list(found.values())) == ["weights mine"]
    assert "meshdrop weights fetch mine" in found["weights mine"].fix


def test_a_model_of_ones_own_that_states_no_licence_is_not_called_free(root: Path, healthy: Machine) -> None:
    config_file(root).write_text('models = ["mine"]\n[custom_models]\nmine = "no_such_package.model:Mine"\n')
    assert by_name(examine(root, None, healthy))["licences"].says == "mine: its licences are for you to know"


# -- reconviagen: its weights and its published program ----------------------------------------------------------------


@pytest.fixture
def equipped(root: Path, with_gpu: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has everything reconviagen wants; weights of three bytes, and a checkout of empty files."""
    monkeypatch.setattr(upstream, "NEEDED", ())
    checkout = tmp_path / "checkout"
    for mark in upstream.MARKS:
        (checkout / mark).parent.mkdir(parents=True, exist_ok=True)
        (checkout / mark).touch()
    config_file(root).write_text(
        f'models = ["fusion", "reconviagen"]\n[model_settings.reconviagen]\ncode = "{checkout}"\n'
    )
    folder, catalogue = load(root).places.weights / "reconviagen", CATALOGUES["reconviagen"]
    files = {}
    for resource, file in catalogue.files():
        target = folder / resource.target(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"abc")
        digest = file.sha256 or "0" * 64
        files[resource.target(file)] = {"bytes": 3, "sha256": digest, "source": resource.source}
    (folder / MANIFEST).write_text(json.dumps({"schema": 1, "model": "reconviagen", "files": files}))
    return replace(with_gpu, torch=lambda: Torch("2.11.0+cu130", "13.0"))


def one_weight(root: Path) -> Path:
    """Some file of the weights."""
    return sorted((load(root).places.weights / "reconviagen/torch").rglob("*.pth"))[0]


def manifest(root: Path) -> Path:
    """What vouches for the weights."""
    return load(root).places.weights / "reconviagen" / MANIFEST


MISSING_PARTS: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "a weight is gone": (lambda root, _: one_weight(root).unlink(), "weights reconviagen", "is missing"),
    "a weight is cut off": (lambda root, _: one_weight(root).write_bytes(b"ab"), "weights reconviagen", "2 bytes"),
    "the manifest is gone": (lambda root, _: manifest(root).unlink(), "weights reconviagen", "not in"),
    "the manifest is torn": (lambda root, _: manifest(root).write_text("{"), "weights reconviagen", "not a manifest"),
    "the checkout is gone": (
        lambda _, tmp: (tmp / "checkout").rename(tmp / "elsewhere"),
        "code reconviagen",
        "is no checkout",
    ),
    "the checkout is another program's": (
        lambda _, tmp: (tmp / "checkout" / upstream.MARKS[0]).unlink(),
        "code reconviagen",
        upstream.MARKS[0],
    ),
}


@pytest.mark.parametrize("case", MISSING_PARTS)
def test_a_part_that_is_missing_is_one_line_and_the_model_is_not_blamed(
    root: Path, equipped: Machine, tmp_path: Path, case: str
) -> None:
    fault, name, says = MISSING_PARTS[case]
    found = changed(root, equipped, lambda: fault(root, tmp_path))
    assert (found.name, found.result) == (name, "warn")
    assert says in found.says
    assert "meshdrop weights fetch reconviagen" in found.fix or "git clone" in found.fix


def test_licences_are_told_of_what_is_switched_on(root: Path, equipped: Machine) -> None:
    found = by_name(examine(root, None, equipped))["licences"]
    assert "no commercial use" in found.says
    assert found.why
    config_file(root).write_text('models = ["fusion"]\n')
    quiet = by_name(examine(root, None, equipped))["licences"]
    assert quiet.says.startswith("everything here is free for any use; not so ")
    assert not quiet.why
