"""What a start refuses: settings that somebody else could have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.doctor.checks.settings import open_settings, read_settings
from meshdrop.daemon.doctor.start_checks import refuse_open_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a settings file, closed to others."""
    create_root(load(tmp_path / "root").places)
    config_file(tmp_path / "root").write_text("settle_s = 1.0\n")
    for place in (tmp_path / "root", config_file(tmp_path / "root").parent, config_file(tmp_path / "root")):
        place.chmod(place.stat().st_mode & ~0o022)
    return tmp_path / "root"


@pytest.mark.parametrize("place", [".", ".meshdrop", ".meshdrop/config.toml"])
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_settings_that_others_could_replace_are_refused(root: Path, place: str, mode: int) -> None:
    """At any place on the way: whoever may write to a folder moves what lies in it away."""
    refuse_open_settings(load(root))
    target = root / place
    try:
        os.chown(target, -1, 12345)  # a group that nobody has for himself
    except PermissionError:
        pytest.skip("only root can give a folder to another group")
    target.chmod(target.stat().st_mode | mode)
    with pytest.raises(ConfigurationError) as refused:
        refuse_open_settings(load(root))
    assert str(target) in str(refused.value)
    assert f"chmod go-w {target}" in refused.value.fix
    finding, settings = read_settings(root, None)
    assert (finding.name, finding.result) == ("settings", "fail")
    assert settings is not None  # the doctor goes on to everything else


def test_a_root_in_a_folder_that_everybody_uses_is_safe(root: Path) -> None:
    """In /tmp nobody may move what is not his; a root that is missing is for others to say."""
    root.parent.chmod(0o1777)
    assert open_settings(root) is None
    root.chmod(0o1777)
    assert open_settings(root) is None
    assert open_settings(root / "nowhere") is None
