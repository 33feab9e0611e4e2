"""A capture that states which way is up: every delivered file stands so, and the report tells the way back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh

from tests.rig import Rig, assert_whole


def test_what_the_sender_states_turns_every_delivered_glb(rig: Callable[..., Rig], ball: Path, tmp_path: Path) -> None:
    """A model with a material, really run and measured, of a world whose z is up."""
    lying = shutil.copytree(ball, tmp_path / "lying")
    sidecar = lying / "capture.json"
    table = json.loads(sidecar.read_text()) if sidecar.exists() else {}
    sidecar.write_text(json.dumps({**table, "world_up": [0, 0, 5]}))
    here = rig(MESHDROP_MODELS='["lit_ball"]')
    here.drop(lying)
    assert here.run_once() == 0, here.log()
    folder = here.places.outbox / "lying"
    assert_whole(folder)
    report = json.loads((folder / "report.json").read_text())
    asset = report["models"]["lit_ball"]["measured"]["files"]["asset"]
    assert (asset["world_up"], asset["world_up_from"]) == ([0, 0, 1], "world_up")
    assert report["models"]["lit_ball"]["measured"]["quality"]["mean"]["silhouette_iou"] > 0.9
    assert report["capture"]["up"]["direction"] == [0, 0, 1]
    back = np.array(asset["to_capture_world"])
    for name in ("mesh.glb", "pbr.glb"):
        scene = trimesh.load_scene(folder / "lit_ball" / name, process=False)
        turn, _ = scene.graph[scene.graph.nodes_geometry[0]]
        np.testing.assert_allclose(turn @ np.array([0, 0, 1, 0]), [0, 1, 0, 0], atol=1e-12)
        np.testing.assert_allclose(back @ turn, np.eye(4), atol=1e-12)
    assert (folder / "lit_ball/mesh.obj").read_text().startswith("# units: metre\n# up axis: +Z\n")
    page = (folder / "report.html").read_text()
    assert "Up is +Z of the capture&#39;s world, as world_up states it." in page
