"""The Khronos validator by each engine: what is broken is found, and what keeps it from a judgement is said."""

from __future__ import annotations

import hashlib
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from meshdrop.models.mesh import gltf_engines
from meshdrop.models.mesh.gltf_engines import MINI_RACER, NODE, PACKAGE, Engine, engine, validator_version
from meshdrop.models.mesh.gltf_validation import CURE, MISSING, SHOWN, no_engine, validate
from tests.broken_glb import BREAKS, sound, write_broken


@pytest.fixture(params=[MINI_RACER, NODE])
def each(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn; one that is not here is skipped."""
    found = engine(request.param)
    if found is None:
        pytest.skip(f"{request.param} is not installed")
    return found


def script(path: Path, text: str) -> Path:
    """A program of this text."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_sound_file_passes(tmp_path: Path, each: Engine) -> None:
    sound(tmp_path / "mesh.glb")
    found = validate(tmp_path, ["mesh.glb"], each)
    assert found.status == "passed"
    assert (found.errors, found.warnings, found.infos, found.hints, found.truncated) == (0, 0, 0, 0, False)
    assert (found.files, found.messages, found.reason, found.fix) == (("mesh.glb",), (), None, None)
    assert found.version == validator_version()
    assert re.fullmatch(rf"{each.name} \d+\.\d+\.\d+", found.by or "")


@pytest.mark.parametrize("how", BREAKS)
def test_what_is_broken_is_found(tmp_path: Path, each: Engine, how: str) -> None:
    write_broken(tmp_path / "mesh.glb", how)
    found = validate(tmp_path, ["mesh.glb"], each)
    assert found.status == "failed"
    assert found.errors is not None
    assert found.errors > 0
    assert found.messages[0].severity == "error", "errors come first"
    assert BREAKS[how][1] in {message.code for message in found.messages}
    assert len(found.messages) <= SHOWN
    assert found.truncated is ("remarks" in how)


def test_both_engines_say_the_same(tmp_path: Path) -> None:
    one, other = engine(MINI_RACER), engine(NODE)
    if one is None or other is None:
        pytest.skip("only one engine is here")
    for index, how in enumerate(BREAKS):
        path = write_broken(tmp_path / f"{index}.glb", how)
        first, second = one.judge(path), other.judge(path)
        assert (first.counts, first.messages) == (second.counts, second.messages), how


def test_several_files_are_summed_and_named(tmp_path: Path, each: Engine) -> None:
    sound(tmp_path / "mesh.glb")
    write_broken(tmp_path / "pbr.glb", "wrong bounds")
    found = validate(tmp_path, ["mesh.glb", "pbr.glb"], each)
    assert (found.status, found.files) == ("failed", ("mesh.glb", "pbr.glb"))
    assert {message.file for message in found.messages} == {"pbr.glb"}
    assert "/accessors/0/max/1" in found.messages[0].pointer


def test_an_error_counts_even_when_another_file_could_not_be_judged(tmp_path: Path, each: Engine) -> None:
    write_broken(tmp_path / "mesh.glb", "wrong bounds")
    assert validate(tmp_path, ["mesh.glb", "gone.glb"], each).status == "failed"
    sound(tmp_path / "mesh.glb")
    unread = validate(tmp_path, ["mesh.glb", "gone.glb"], each)
    assert (unread.status, unread.errors) == ("not run", None)
    assert "gone.glb" in (unread.reason or "")


def test_a_validator_without_enough_memory_is_no_judgement(
    tmp_path: Path, each: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reports on twelve thousand unused materials do not fit into 4 MiB beside the program."""
    monkeypatch.setattr(gltf_engines, "_HEAP_MIB", 4)
    write_broken(tmp_path / "mesh.glb", "an error behind more remarks than are counted")
    found = validate(tmp_path, ["mesh.glb"], each)
    assert found.status == "not run"
    assert each.name in (found.reason or "")
    assert re.search("memory|SIG", found.reason or "")


def test_no_engine_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine() is None
    found = validate(tmp_path, ["mesh.glb"], engine())
    assert (found.status, found.reason, found.fix) == ("not run", MISSING, CURE)
    assert "make validate" in CURE


def test_mini_racer_comes_first_and_node_is_found_by_either_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script(tmp_path / "nodejs", "exit 0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert [found and found.name for found in (engine(), engine(NODE), engine(MINI_RACER))] == [NODE, NODE, None]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert [found and found.name for found in (engine(), engine(NODE))] == [MINI_RACER, NODE]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("kill -SEGV $$", "was ended by SIGSEGV"),
        ("exit 3", "exit code 3 and no report"),
        ("echo hello", "exit code 0 and no report"),
        ('echo \'{"node": "20", "text": "[]"}\'', "exit code 0 and no report"),
    ],
)
def test_a_node_that_misbehaves_is_no_judgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, says: str
) -> None:
    script(tmp_path / "node", does)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sound(tmp_path / "mesh.glb")
    found = validate(tmp_path, ["mesh.glb"], engine(NODE))
    assert found.status == "not run"
    assert says in (found.reason or "")
    assert found.fix


def test_the_memory_that_a_validating_process_may_write_to_is_limited() -> None:
    program = (
        "from meshdrop.models.mesh.gltf_engines import MEMORY_MIB, limit_memory\nlimit_memory()\n"
        "try: bytearray(MEMORY_MIB << 20)\nexcept MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY, "and ours is not"


def test_the_vendored_files_are_those_that_were_published() -> None:
    told = dict(re.findall(r"^\| `([\w.]+)` \| `(\w{64})` \|$", (PACKAGE.parent / "README.md").read_text(), re.M))
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in PACKAGE.iterdir()}
    assert found == told
    assert f"gltf-validator {validator_version()}" in (PACKAGE.parent / "README.md").read_text()


def test_the_page_about_outputs_names_every_key_of_the_result() -> None:
    page = (PACKAGE.parents[3] / "docs" / "outputs.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page.split("## The Khronos validator")[1].split("| key |")[1], re.M)
    told = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert told == set(no_engine().to_json()) - {"reason", "fix", "truncated"}
    assert all(f"`{word}`" in page for word in ("reason", "fix", "truncated"))
