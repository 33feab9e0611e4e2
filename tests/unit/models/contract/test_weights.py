"""What a folder of weights is held to, and what a worker is told when it is not that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.contract.base import ModelUnavailable
from meshdrop.models.contract.weights import (
    MANIFEST,
    WEIGHTS_KEY,
    Catalogue,
    Resource,
    WeightFile,
    read_manifest,
    require,
    verify,
    where,
)
from meshdrop.models.reconviagen import dinov2_source
from meshdrop.models.reconviagen import weights as reconviagen
from tests import hub
from tests.hub import CODE, CONFIG, MODEL, NETWORK, REPOSITORY

ROOT = Path(__file__).parents[4]
BIG = f"{REPOSITORY}/{NETWORK}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Whole weights."""
    hub.fill(tmp_path / MODEL)
    return tmp_path / MODEL


def catalogue() -> Catalogue:
    """As the hub of the tests has it."""
    return hub.Hub().catalogue()


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    told = json.loads((folder / MANIFEST).read_text())
    change(told)
    (folder / MANIFEST).write_text(json.dumps(told))


def test_whole_weights_have_no_damage(folder: Path) -> None:
    read = list[int]()
    assert verify(folder, catalogue(), deep=False) == ()
    assert verify(folder, catalogue(), deep=True, tell=read.append) == ()
    assert sum(read) == sum(map(len, hub.FILES.values()))


def test_the_manifest_survives_writing_and_reading(folder: Path) -> None:
    manifest = read_manifest(folder, MODEL)
    (folder / MANIFEST).write_text(json.dumps(manifest.to_json()))
    assert read_manifest(folder, MODEL) == manifest
    assert dict(manifest.files) == hub.entries()


def swap_byte(path: Path) -> None:
    """One byte in the middle, the size stays."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_a_swapped_byte_is_found_by_reading_it_only(folder: Path) -> None:
    swap_byte(folder / BIG)
    assert verify(folder, catalogue(), deep=False) == ()
    [damage] = verify(folder, catalogue(), deep=True)
    assert (damage.file, damage.kind) == (BIG, "hash")


@pytest.mark.parametrize(
    ("do", "file", "kind", "says"),
    [
        (lambda at: (at / BIG).unlink(), BIG, "missing", "is missing"),
        (lambda at: os.truncate(at / BIG, 24_999_999), BIG, "size", "has 24,999,999 bytes instead of 25,000,000"),
        (lambda at: ((at / BIG).unlink(), (at / BIG).mkdir()), BIG, "missing", "is missing"),
        (lambda at: edit(at, lambda told: told["files"].pop(BIG)), BIG, "missing", f"is there, but {MANIFEST}"),
        (lambda at: edit(at, lambda told: told["files"][BIG].update(source="x@old")), BIG, "source", "is from x@old"),
        (
            lambda at: edit(at, lambda told: told["files"][f"torch/code/{CODE}"].update(sha256="0" * 64)),
            f"torch/code/{CODE}",
            "source",
            "is another file than the one this release uses",
        ),
        (lambda at: (at / MANIFEST).write_text("{"), MANIFEST, "manifest", "is not a manifest"),
        (lambda at: (at / MANIFEST).write_text("[]"), MANIFEST, "manifest", "is not a manifest"),
        (lambda at: (at / MANIFEST).write_bytes(b"\xff"), MANIFEST, "manifest", "is not a manifest"),
        (lambda at: edit(at, lambda told: told.update(schema=2)), MANIFEST, "manifest", "is of schema 2"),
        (lambda at: edit(at, lambda told: told.update(model="other")), MANIFEST, "manifest", "is of other"),
    ],
    ids=["gone", "cut", "folder", "unlisted", "old", "repinned", "torn", "list", "binary", "newer", "another model"],
)
def test_each_kind_of_damage_is_named(
    folder: Path, do: Callable[[Path], object], file: str, kind: str, says: str
) -> None:
    do(folder)
    [damage] = verify(folder, catalogue(), deep=False)
    assert (damage.file, damage.kind) == (file, kind)
    assert damage.says.startswith(says)


def test_an_empty_folder_lacks_every_file(tmp_path: Path) -> None:
    damages = verify(tmp_path, catalogue(), deep=True)
    assert [(damage.kind, damage.says) for damage in damages] == [("missing", "was never fetched")] * 3


def test_a_model_without_weights_says_which_command_brings_them(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="the weights of tiny are not in") as caught:
        require(tmp_path / MODEL, catalogue())
    assert caught.value.fix == "meshdrop weights fetch tiny"


def test_damaged_weights_keep_a_model_from_running(folder: Path) -> None:
    require(folder, catalogue())
    (folder / BIG).unlink()
    (folder / REPOSITORY / CONFIG).unlink()
    with pytest.raises(ModelUnavailable, match=r"not whole: .*config.json is missing \(and 1 more\)"):
        require(folder, catalogue())


def test_a_worker_finds_its_weights_by_the_variable(tmp_path: Path) -> None:
    assert where("reconviagen", {WEIGHTS_KEY: str(tmp_path)}) == tmp_path / "reconviagen"
    with pytest.raises(ModelUnavailable, match=WEIGHTS_KEY):
        where("reconviagen", {})


def test_files_outside_the_hub_must_be_pinned() -> None:
    with pytest.raises(ValueError, match="nobody vouches"):
        Resource("code", "1", "https://example.org", "code", (WeightFile("hubconf.py", 17),), 17, "MIT", "any use")


# -- reconviagen's own ---------------------------------------------------------------------------------------------


def test_every_path_given_to_the_model_is_in_the_catalogue(tmp_path: Path) -> None:
    paths, targets = (
        reconviagen.paths(tmp_path),
        {resource.target(file) for resource, file in reconviagen.CATALOGUE.files()},
    )
    given = [
        paths.trellis / "pipeline.json",
        paths.vggt / "config.json",
        paths.vggt / "model.safetensors",
        paths.dinov2_source / "hubconf.py",
        paths.dinov2_checkpoint,
        *(file for name in reconviagen.NETWORKS for file in paths.network(name)),
    ]
    assert {str(path.relative_to(tmp_path)) for path in given} <= targets
    assert len(targets) == len(list(reconviagen.CATALOGUE.files())), "no two files share a place"
    left = targets - {str(path.relative_to(tmp_path)) for path in given}
    assert all(target.startswith("torch/hub/facebookresearch_dinov2_main/") for target in left)


def test_every_resource_of_reconviagen_is_pinned() -> None:
    for resource, file in reconviagen.CATALOGUE.files():
        assert resource.licence
        assert resource.means
        assert len(resource.revision) == 40 or (resource.base_url and not resource.revision)
        assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))
    assert 9e9 < reconviagen.CATALOGUE.about_bytes < 10e9


def test_the_page_about_weights_says_what_the_catalogue_says() -> None:
    page = (ROOT / "docs/weights.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    files = list(reconviagen.CATALOGUE.files())
    for resource in reconviagen.CATALOGUE.resources:
        told = [row for row in rows if row.endswith(f"| {resource.licence} | {resource.means} |")]
        assert told, resource.name
        assert any(resource.revision[:12] in row for row in told)
    known = sum(file.sha256 is not None for _, file in files)
    assert f"{known} of the {len(files)} files have their SHA-256 in the source" in page
    assert f"the other {len(files) - known} are held to what the Hub says" in page
    assert f"{len(dinov2_source.FILES)} files of commit `{dinov2_source.COMMIT[:12]}`" in page
    assert f"needs {reconviagen.CATALOGUE.about_bytes / 1e9:.1f} GB" in page
    assert all(len(line) <= 120 or line.startswith("|") for line in page.splitlines())


def test_dinov2s_code_is_complete() -> None:
    """Every module that a listed one imports is listed too, but for the text models (see the module's first lines)."""
    names = {file.path for file in dinov2_source.FILES}
    assert {"LICENSE", "hubconf.py", "dinov2/hub/backbones.py", "dinov2/models/vision_transformer.py"} <= names
    for name in names:
        for parent in Path(name).parents:
            assert str(parent) == "." or f"{parent}/__init__.py" in names


def test_the_environment_is_offline_and_of_this_folder(tmp_path: Path) -> None:
    environment = reconviagen.environment(tmp_path)
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    source = reconviagen.paths(tmp_path).dinov2_source
    assert source.is_relative_to(Path(environment["TORCH_HOME"]) / "hub"), "torch.hub looks there"


def test_reading_about_weights_imports_nothing_heavy() -> None:
    program = (
        "import sys, meshdrop.models.reconviagen.weights, meshdrop.daemon.weights.fetch, meshdrop.daemon.weights.hub\n"
        "import meshdrop.daemon.cli.weights\n"
        "print([name for name in ('torch', 'numpy', 'huggingface_hub', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
