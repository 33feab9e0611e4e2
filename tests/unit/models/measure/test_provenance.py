"""What a result says of its making: enough to know it by the file alone, and nothing of this machine's places."""

from __future__ import annotations

import json
import re
from pathlib import Path

from meshdrop.models.contract.base import ModelResult
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.weights import Entry, Manifest
from meshdrop.models.measure.provenance import provenance, software_versions
from tests import meshes

MESH = meshes.torus()
BOUND = ModelEntry(licences=("no commercial use",))
VERSIONS = {"python": "3.11.9", "meshdrop": "1.2.3"}


def test_it_names_program_model_settings_capture_and_licences() -> None:
    result = ModelResult(MESH, provenance={"weights_sha256": "ab" * 32, "code_revision": "main of May"})
    told = provenance("reconviagen", BOUND, {"seed": 7, "up": "auto"}, "cd" * 32, result, VERSIONS)
    assert told == {
        "generator": "meshdrop 1.2.3",
        "units": "metre",
        "up_axis": "+Y",
        "frame": "capture",
        "model": "reconviagen",
        "settings": {"seed": 7, "up": "auto"},
        "versions": VERSIONS,
        "capture_sha256": "cd" * 32,
        "licences": ["no commercial use"],
        "weights_sha256": "ab" * 32,
        "code_revision": "main of May",
    }
    assert json.loads(json.dumps(told)) == told, "plain JSON values"


def test_a_mesh_without_a_known_place_claims_no_unit() -> None:
    told = provenance("mine", ModelEntry(), {}, None, ModelResult(MESH, registered=False), VERSIONS)
    assert (told["units"], told["frame"], told["licences"]) == ("arbitrary", "own", [])


def test_who_made_the_mesh_is_named_and_not_who_was_asked() -> None:
    """nvdiffrec that was no better than its draft delivers fusion's mesh, free of nvdiffrast's licence."""
    told = provenance("nvdiffrec", BOUND, {}, None, ModelResult(MESH, made_by="fusion"), VERSIONS)
    assert (told["model"], told["licences"]) == ("fusion", [])


def test_places_of_this_machine_stay_out_of_it() -> None:
    told = provenance(
        "mine", ModelEntry(), {"code": "/home/ann/trellis", "preset": "fast"}, None, ModelResult(MESH), VERSIONS
    )
    assert told["settings"] == {"preset": "fast"}


def test_the_versions_are_those_that_are_installed() -> None:
    found = software_versions()
    assert {"python", "meshdrop", "numpy", "trimesh"} <= set(found)


def test_weights_have_one_sum_that_any_other_file_changes() -> None:
    one, other = Entry(1, "1" * 64, "x"), Entry(2, "2" * 64, "y")
    manifest = Manifest("m", {"b/c": other, "a": one})
    # of the two lines that `sha256sum` prints for such files, in the order of their names
    assert manifest.digest == "0ed2682c6b81afac7b414ee100a3118554bf0ceb415185bbe8081d4616495271"
    assert manifest.digest == Manifest("m", {"a": one, "b/c": other}).digest
    assert manifest.digest != Manifest("m", {"a": one, "b/d": other}).digest
    assert manifest.digest != Manifest("m", {"a": one, "b/c": one}).digest
    assert Manifest("m", {}).digest is None


def test_the_page_about_outputs_names_every_key() -> None:
    page = (Path(__file__).parents[4] / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page.split("## Where a file comes from")[1].split("##")[0], re.M)
    told = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    everything = provenance("reconviagen", BOUND, {}, None, ModelResult(MESH), VERSIONS)
    assert told == {*everything, "origin_m", "code_revision", "weights_sha256"}
