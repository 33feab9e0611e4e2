"""The table of delivered files: every entry can be written, is checked, and is told of in the docs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.models.mesh.output_formats import ALWAYS, FORMATS, MESH_FILES, ON_REQUEST, OutputFormat, function
from tests.unit.test_docs import PROJECT, README, quoted, section, table

each_format = pytest.mark.parametrize("found", FORMATS, ids=lambda found: found.name)


@each_format
def test_what_an_entry_names_is_there(found: OutputFormat) -> None:
    assert callable(function(found.check))
    assert not (found.write and found.program), "one writer"
    if found.write:
        assert callable(function(found.write))
    if found.program:
        assert importlib.util.find_spec(found.program) is not None
        assert len(found.files) == 1
        assert "mesh.glb" in found.made_of, "which is always there"
    if found.needs is not None:
        assert (PROJECT / found.needs.lock).is_file()
        target = found.needs.make.removeprefix("make ")
        assert f"\n{target}:" in (PROJECT / "Makefile").read_text("utf-8")


def test_no_file_belongs_to_two_formats_and_the_glb_comes_first() -> None:
    names = [name for found in FORMATS for name in found.files]
    assert len(set(names)) == len(names)
    assert len({found.name for found in FORMATS}) == len(FORMATS)
    assert MESH_FILES[0] == "mesh.glb"


def test_the_table_is_read_without_any_library_of_numbers() -> None:
    """The settings read it in the service."""
    program = (
        "import sys, meshdrop.models.mesh.output_formats\n"
        "print([name for name in ('numpy', 'PIL', 'trimesh', 'pxr') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_mesh_is_told_of_with_its_unit_and_every_optional_one_with_its_setting() -> None:
    page = (PROJECT / "docs/outputs.md").read_text("utf-8")
    units = {name for row in table(section(page, "Units, axes, frame")) for name in quoted(row[0]) or row[:1]}
    assert units == {found.files[0] for found in FORMATS if found.name != "textures"}
    [row] = [line for line in README.splitlines() if line.startswith("| `extra_formats` |")]
    for name, found in ON_REQUEST.items():
        assert f'`["{name}"]` writes `{found.files[0]}`' in row
        assert found.needs is None or found.needs.make in row
    drawn = section(README, "What comes out")
    assert [name for found in ALWAYS for name in found.files if f"/{name}" not in drawn] == []


def test_only_what_is_written_on_request_can_be_asked_for(tmp_path: Path) -> None:
    assert Settings(root=tmp_path, extra_formats=tuple(ON_REQUEST)).extra_formats == tuple(ON_REQUEST)
    for name in ("glb", "material", "USDZ", ""):
        with pytest.raises(ConfigurationError, match=r"extra_formats\.0: Input should be 'usdz'"):
            load(tmp_path, extra_formats=[name])
