"""Faults of the GPU, its driver and torch, told by a program that answers as nvidia-smi does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.settings import config_file
from meshdrop.daemon.doctor.checks import gpu as check_gpu
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.host import gpus
from meshdrop.daemon.host.machine import Machine, Torch, gpu_seen, torch_installed
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.models.contract.entry import ModelEntry
from tests.unit.daemon.doctor.ailments import by_name, changed, script, troubles, write_smi

PROJECT = Path(__file__).parents[4]


def test_a_card_is_told_with_name_memory_and_driver(root: Path, with_gpu: Machine) -> None:
    found = by_name(examine(root, None, with_gpu))
    assert found["gpu"].says == "NVIDIA L4 (23,034 MiB), driver 580.95.05"
    assert found["torch"].says == "torch 2.11.0+cu130, CUDA 13.0"
    assert found["gpu memory"].says == "22,000 of 23,034 MiB are free"


def test_what_the_kernel_shows_is_enough_without_nvidia_smi(root: Path, with_gpu: Machine) -> None:
    Path(str(with_gpu.path), "nvidia-smi").unlink()
    found = by_name(examine(root, None, with_gpu))
    assert {finding.result for finding in found.values()} == {"ok"}
    assert "driver 580.95.05; nvidia-smi is not here" in found["gpu"].says
    assert found["gpu memory"].says == "not known"


def test_a_gpu_is_told_from_what_the_kernel_shows(with_gpu: Machine) -> None:
    seen = gpu_seen(with_gpu.proc, with_gpu.dev)
    assert (seen.driver, [card.name for card in seen.cards]) == ("580.95.05", ["nvidia0"])


def no_driver(machine: Machine) -> None:
    (machine.proc / "driver/nvidia/version").unlink()
    for node in machine.dev.glob("nvidia*"):
        node.unlink()


def too_new(machine: Machine) -> Machine:
    write_smi(machine, {"name": "RTX 5090", "compute_cap": "12.0"})
    return replace(machine, torch=lambda: Torch("2.6.0+cu124", "12.4"))


FAULTS: dict[str, tuple[Callable[[Machine], object], str, str]] = {
    "no driver": (no_driver, "gpu", "no NVIDIA driver, but the settings name nvdiffrec"),
    "no card node": (lambda m: (m.dev / "nvidia0").unlink(), "gpu", "no device node for the card"),
    "no uvm node": (lambda m: (m.dev / "nvidia-uvm").unlink(), "gpu", "no device node for the nvidia-uvm"),
    "not openable": (lambda m: replace(m, may_use=lambda path: False), "gpu", "may not be opened"),
    "updated under the kernel": (
        lambda m: script(m, "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"),
        "gpu",
        "version mismatch",
    ),
    "driver not loaded": (
        lambda m: script(m, "nvidia-smi", 'echo "couldn\'t communicate with the NVIDIA driver"; exit 9'),
        "gpu",
        "communicate",
    ),
    "compute forbidden": (lambda m: write_smi(m, {"compute_mode": "Prohibited"}), "gpu", "compute mode Prohibited"),
    "hidden": (lambda m: replace(m, environ={"CUDA_VISIBLE_DEVICES": ""}), "gpu", "hides every GPU"),
    "hidden by a wrong number": (lambda m: replace(m, environ={"CUDA_VISIBLE_DEVICES": "3"}), "gpu", "hides every"),
    "hidden by a number twice": (lambda m: replace(m, environ={"CUDA_VISIBLE_DEVICES": "0,0"}), "gpu", "hides every"),
    "no torch": (lambda m: replace(m, torch=lambda: None), "torch", "torch is not installed"),
    "torch for the CPU": (lambda m: replace(m, torch=lambda: Torch("2.13.0+cpu", None)), "torch", "on the CPU only"),
    "driver too old": (lambda m: write_smi(m, {"driver_version": "570.1.2"}), "torch", "needs driver 580.65 or newer"),
    "card too old": (lambda m: write_smi(m, {"name": "Tesla V100", "compute_cap": "7.0"}), "torch", "no longer serves"),
    "card too new": (too_new, "torch", "does not know it yet"),
    "card too small": (
        lambda m: write_smi(m, {"memory.total": "2048", "memory.free": "2048"}),
        "gpu memory",
        "has 2,048 MiB, and nvdiffrec takes 3,000",
    ),
    "card in use": (
        lambda m: write_smi(m, {"memory.free": "500"}, users=["GPU-aaaa, 4711, /usr/bin/python3, 22500"]),
        "gpu memory",
        "python3 (process 4711, 22,500 MiB)",
    ),
    "memory errors": (
        lambda m: write_smi(m, {"ecc.errors.uncorrected.volatile.total": "7"}),
        "gpu health",
        "counts 7 uncorrected",
    ),
    "falls asleep": (lambda m: write_smi(m, {"persistence_mode": "Disabled"}), "gpu health", "persistence mode of"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_one_fault_changes_one_line(root: Path, with_gpu: Machine, case: str) -> None:
    fault, name, says = FAULTS[case]
    found = changed(root, with_gpu, lambda: fault(with_gpu))
    assert (found.name, found.result) == (name, "warn")
    assert says in found.says


@pytest.mark.parametrize("case", ["no driver", "no torch", "torch for the CPU", "card too small"])
def test_what_takes_the_only_model_away_is_a_failure(root: Path, with_gpu: Machine, case: str) -> None:
    config_file(root).write_text('models = ["nvdiffrec"]\n')
    found = changed(root, with_gpu, lambda: FAULTS[case][0](with_gpu))
    assert (found.name, found.result) == (FAULTS[case][1], "fail")
    assert "no capture is served" in found.why


@pytest.mark.parametrize("case", sorted(set(FAULTS) - {"not openable"}))
def test_no_fault_of_the_gpu_matters_where_nobody_uses_it(root: Path, with_gpu: Machine, case: str) -> None:
    config_file(root).write_text('models = ["fusion"]\n')
    faulty = FAULTS[case][0](with_gpu)
    assert troubles(examine(root, None, faulty if isinstance(faulty, Machine) else with_gpu)) == []


def test_a_model_on_the_cpu_needs_torch_and_no_gpu(root: Path, with_gpu: Machine) -> None:
    config_file(root).write_text('models = ["nvdiffrec"]\n[model_settings.nvdiffrec]\ndevice = "cpu"\n')
    no_driver(with_gpu)
    on_cpu = replace(with_gpu, torch=lambda: Torch("2.13.0+cpu", None))
    found = changed(root, on_cpu, lambda: replace(on_cpu, torch=lambda: None))
    assert (found.name, found.result) == ("torch", "fail")


def test_a_driver_that_does_not_answer_is_left_behind(
    root: Path, with_gpu: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "LIMIT_S", 0.2)
    found = changed(root, replace(with_gpu), lambda: script(with_gpu, "nvidia-smi", "exec /bin/sleep 30"))
    assert (found.name, found.says) == ("gpu", "the driver does not answer nvidia-smi")


def test_an_older_driver_that_does_not_know_every_field_is_asked_again(root: Path, with_gpu: Machine) -> None:
    """Before driver 510 the whole question is refused for the one field."""
    smi = Path(str(with_gpu.path), "nvidia-smi")
    known = smi.read_text().replace("#!/bin/sh\n", "", 1)
    says = 'Field \\"compute_cap\\" is not a valid field to query.'
    refusal = f'case "$1" in *compute_cap*) echo "{says}"; exit 2;; esac\n'
    script(with_gpu, "nvidia-smi", refusal + known)
    cards = Path(str(with_gpu.path), "cards.csv")
    cards.write_text(cards.read_text().rpartition(", ")[0] + "\n")
    found = by_name(examine(root, None, with_gpu))
    assert troubles(list(found.values())) == []
    assert found["gpu"].says.startswith("NVIDIA L4")


def test_the_services_own_run_is_no_stranger_on_the_card(root: Path, with_gpu: Machine) -> None:
    """Process 4711 is a child of 4710, and that is the service."""
    write_smi(with_gpu, {"memory.free": "500"}, users=["GPU-aaaa, 4711, python, 22500"])
    for pid, parent in ((4711, 4710), (4710, 1)):
        folder = with_gpu.proc / str(pid)
        folder.mkdir()
        (folder / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1 0 -1\n")
    wanted = check_gpu.Wanted({"nvdiffrec": {}})
    question = gpus.SmiQuery(with_gpu.path)
    cards = question.cards() or ()
    service = ProcessFacts(with_gpu.proc, 4710)
    assert check_gpu.memory(wanted, cards, service).result == "ok"
    assert check_gpu.memory(wanted, cards, ProcessFacts(with_gpu.proc, 9)).result == "warn"


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["A", "B"]),
        ("0", ["A"]),
        ("1,0", ["B", "A"]),
        ("GPU-bb", ["B"]),
        ("1,7,0", ["B"]),
        ("-1", []),
        ("", []),
        ("GPU-", []),
    ],
)
def test_cards_are_shown_as_cuda_shows_them(with_gpu: Machine, chosen: str | None, names: list[str]) -> None:
    write_smi(with_gpu, {"name": "A", "uuid": "GPU-aa1"}, {"name": "B", "uuid": "GPU-bb1", "index": "1"})
    cards = gpus.SmiQuery(with_gpu.path).cards()
    assert cards is not None
    assert [card.name for card in gpus.visible(cards, chosen)] == names


@pytest.mark.parametrize(
    ("profile", "total", "result"),
    [
        ("auto", 8000, "ok"),
        ("auto", 6000, "warn"),
        ("resident", 16_000, "warn"),
        ("staged", 8000, "ok"),
        ("tiny", 2000, "ok"),
    ],
)
def test_reconviagen_needs_what_its_profile_needs(with_gpu: Machine, profile: str, total: int, result: str) -> None:
    write_smi(with_gpu, {"memory.total": str(total), "memory.free": str(total)})
    wanted = check_gpu.Wanted({"fusion": {}, "reconviagen": {"profile": profile}})
    found = check_gpu.memory(wanted, gpus.SmiQuery(with_gpu.path).cards() or (), ProcessFacts(Path("/"), 1))
    assert found.result == result


def test_the_needs_are_those_that_the_models_state() -> None:
    wanted = check_gpu.Wanted({"fusion": {}, "nvdiffrec": {"device": "cpu"}, "reconviagen": {"profile": "resident"}})
    assert (wanted.cuda, wanted.torch) == (["reconviagen"], ["nvdiffrec", "reconviagen"])
    assert wanted.needs["reconviagen"].gpu_mib == 22_000
    readme = " ".join((PROJECT / "README.md").read_text(encoding="utf-8").split())
    assert f"{wanted.needs['nvdiffrec'].gpu_mib // 1000} GB free suffice" in readme


def test_a_model_that_states_nothing_is_taken_to_need_nothing() -> None:
    wanted = check_gpu.Wanted({"mine": {}}, {"mine": ModelEntry()})
    assert (wanted.cuda, wanted.torch) == ([], [])


def test_torch_is_told_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "torch", raising=False)
    for text, version, cuda in (
        ("__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n", "2.11.0+cu130", "13.0"),
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n", "2.13.0+cpu", None),
        ("__version__ = '1.9'\ncuda = '11.1'\n", "1.9", "11.1"),
    ):
        (package / "version.py").write_text(text)
        assert torch_installed() == Torch(version, cuda)
