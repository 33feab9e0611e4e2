"""What the glTF validator says reaches report.json, decides the verdict, and never costs a job its delivery."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshdrop.models.mesh.gltf_engines import engine, validator_version
from meshdrop.models.mesh.gltf_validation import MISSING
from tests.broken_glb import sound, write_broken
from tests.rig import Rig, assert_whole, wait_for

pytestmark = pytest.mark.skipif(engine() is None, reason=MISSING)


def delivered(rig: Rig, ball: Path, name: str = "ball", **environment: str) -> dict[str, Any]:
    """Drop a capture under this name, run until nothing is left, and return the published report."""
    rig.drop(ball, name)
    assert rig.run_once(**environment) == 0, rig.log()
    folder = rig.places.outbox / name
    assert_whole(folder)
    rig.assert_at_rest()
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def test_a_sound_file_passes_in_the_delivered_report(light_rig: Callable[..., Rig], ball: Path, tmp_path: Path) -> None:
    """The real validating process looks at a real GLB; the other processes are stand-ins."""
    sound(tmp_path / "sound.glb")
    report = delivered(light_rig(), ball, LIGHT_REAL="validate", LIGHT_GLB=str(tmp_path / "sound.glb"))
    assert report["verdict"] == "normal"
    validation = report["models"]["ball"]["validation"]
    by = validation.pop("by")
    assert validation == {
        "status": "passed",
        "files": ["mesh.glb"],
        "errors": 0,
        "warnings": 0,
        "infos": 0,
        "hints": 0,
        "truncated": False,
        "messages": [],
        "version": validator_version(),
        "reason": None,
        "fix": None,
    }
    assert by.startswith(("mini-racer ", "Node "))


def test_a_broken_file_is_delivered_with_a_warning_and_its_messages(
    light_rig: Callable[..., Rig], ball: Path, tmp_path: Path
) -> None:
    broken = write_broken(tmp_path / "broken.glb", "a normal without length")
    report = delivered(light_rig(), ball, LIGHT_REAL="validate", LIGHT_GLB=str(broken))
    model = report["models"]["ball"]
    assert (report["verdict"], model["verdict"], report["best"]) == ("warning", "warning", "ball")
    assert (model["validation"]["status"], model["validation"]["errors"]) == ("failed", 1)
    assert model["validation"]["messages"][0]["code"] == "ACCESSOR_VECTOR3_NON_UNIT"
    assert any("mesh.glb breaks the glTF standard (1 error " in note for note in model["notes"])


def test_the_report_tells_of_the_last_captures_of_the_same_rig(light_rig: Callable[..., Rig], ball: Path) -> None:
    here = light_rig()
    assert delivered(here, ball, "first")["trend"] == []
    (earlier,) = delivered(here, ball, "second")["trend"]
    assert (earlier["name"], earlier["verdict"], earlier["psnr_masked_db"]) == ("first", "normal", 31.0)


def test_the_report_tells_the_stages_and_the_versions(light_rig: Callable[..., Rig], ball: Path) -> None:
    report = delivered(light_rig(), ball)
    assert list(report["stages"]) == ["reading and waiting", "ball", "measuring and validating"]
    assert min(report["stages"].values()) >= 0
    assert {"python", "meshdrop", "numpy"} <= set(report["versions"])
    assert report["settings"] == {"models": ["ball"], "extra_formats": []}


@pytest.mark.parametrize(
    ("how", "says"), [("crash", "died"), ("hang", "longer than 0.3 s"), ("garbage", "no valid result")]
)
def test_a_validator_that_fails_costs_nothing(light_rig: Callable[..., Rig], ball: Path, how: str, says: str) -> None:
    here = light_rig(MESHDROP_CHECK_LIMIT_S="0.3")
    report = delivered(here, ball, f"poison-validate-{how}")
    assert report["verdict"] == "normal"
    validation = report["models"]["ball"]["validation"]
    assert (validation["status"], validation["errors"], validation["messages"]) == ("not run", None, [])
    assert says in validation["reason"]
    assert validation["fix"]


def test_a_full_disk_is_no_result_of_validating(light_rig: Callable[..., Rig], ball: Path) -> None:
    """The machine is at fault: the job waits, and is neither failed nor delivered without its validation."""
    here = light_rig()
    here.drop(ball, "poison-validate-disk")
    daemon = here.start()
    try:
        wait_for(lambda: "HELD" in here.status_page())
        assert list(here.places.outbox.iterdir()) == list(here.places.failed.iterdir()) == []
    finally:
        daemon.kill()
        daemon.wait()


def test_every_file_of_a_real_run_says_where_it_comes_from(rig: Callable[..., Rig], ball: Path) -> None:
    """A model with a material, really run, measured and validated: both GLBs, the report and the USDZ."""
    formats = {"MESHDROP_EXTRA_FORMATS": '["usdz"]'} if importlib.util.find_spec("pxr") else {}
    here = rig(MESHDROP_MODELS='["lit_ball"]', **formats)
    report = delivered(here, ball)
    model = report["models"]["lit_ball"]
    assert (model["validation"]["status"], model["validation"]["files"]) == ("passed", ["mesh.glb", "pbr.glb"])
    assert report["verdict"] == "normal", model["notes"]
    folder = here.places.outbox / "ball" / "lit_ball"
    for name in ("mesh.glb", "pbr.glb"):
        raw = (folder / name).read_bytes()
        extras = json.loads(raw[20 : 20 + struct.unpack_from("<I", raw, 12)[0]])["asset"]["extras"]
        assert (extras["units"], extras["up_axis"], extras["frame"]) == ("metre", "+Y", "capture")
        assert (extras["model"], extras["capture_sha256"]) == ("lit_ball", report["input_digest"])
        assert extras["versions"] == model["versions"]
        assert model["measured"]["files"]["asset"] == extras
    assert (folder / "mesh.usdz").exists() is bool(formats)
    assert not any("usdz" in note for note in model["notes"])
