"""The kernel cache: whose it is, what of it is believed, and what reaches a worker."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.cli.main import app
from meshdrop.daemon.doctor.start_checks import refuse_open_workers
from meshdrop.daemon.workers import kernels

STRANGER = 20002


def warmed(state: Path, cache: Path, **files: bytes) -> None:
    """As if a worker had compiled these."""
    folder = kernels.warming_folder(state, cache)
    (folder / "tmp/numba/fuse_1").mkdir(parents=True)
    for name, content in files.items():
        (folder / "tmp/numba/fuse_1" / name).write_bytes(content)
    kernels.keep(cache, folder)
    kernels.forget(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its relative path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_each_worker_has_a_copy_of_its_own_of_what_was_compiled(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {}
    assert not kernels.are_kept(cache)
    warmed(tmp_path, cache, one=b"1", two=b"2")
    assert kernels.are_kept(cache)
    first = kernels.copy_for_worker(tmp_path, cache)
    assert contents(first) == {"fuse_1/one": b"1", "fuse_1/two": b"2"}
    assert stat.S_IMODE(first.stat().st_mode) == stat.S_IMODE(cache.stat().st_mode) == 0o700
    (first / "fuse_1/one").write_bytes(b"spoiled")
    (first / "fuse_1/three").write_bytes(b"more")
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {"fuse_1/one": b"1", "fuse_1/two": b"2"}


def test_what_the_service_keeps_is_closed_to_others_whatever_its_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose files a group of people may change (umask 002) must not refuse what it has made itself."""
    monkeypatch.setattr("meshdrop.daemon.base.users._is_private", lambda _: False)
    before = os.umask(0o002)
    try:
        warmed(tmp_path, tmp_path / "cache", one=b"1")
    finally:
        os.umask(before)
    assert kernels.unsafe(tmp_path / "cache") is None
    assert contents(kernels.copy_for_worker(tmp_path, tmp_path / "cache")) == {"fuse_1/one": b"1"}


def test_a_folder_that_was_moved_into_the_cache_is_not_used(tmp_path: Path) -> None:
    """Under the very name that the kernels of this version have, before there are any and beside them."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    strange = cache / f"numba-{kernels.kernel_digest()}"
    strange.mkdir(mode=0o700)
    (strange / "evil.nbi").write_bytes(b"a pickle")
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {}
    warmed(tmp_path, cache, one=b"1")
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {"fuse_1/one": b"1"}


def test_a_kernel_that_is_not_as_it_was_compiled_is_left_out_and_compiled_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    warmed(tmp_path, cache, one=b"1", two=b"2")
    [changed] = cache.glob("numba-*/fuse_1/one")
    changed.write_bytes(b"evil")
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {"fuse_1/two": b"2"}
    assert not kernels.are_kept(cache)
    warmed(tmp_path, cache, one=b"1", two=b"2")
    [one] = cache.glob("numba-*/fuse_1/two")
    one.unlink()
    one.symlink_to("/etc/passwd")
    assert contents(kernels.copy_for_worker(tmp_path, cache)) == {"fuse_1/one": b"1"}


def spoil_mode(cache: Path) -> None:
    """Everybody may write to the cache."""
    cache.chmod(0o777)


def spoil_group(cache: Path) -> None:
    """A group of others may."""
    os.chown(cache, -1, STRANGER)
    cache.chmod(0o770)


def spoil_way(cache: Path) -> None:
    """Everybody may write to a folder above it."""
    cache.parent.chmod(0o777)


def spoil_owner(cache: Path) -> None:
    """The cache is somebody else's."""
    os.chown(cache, STRANGER, STRANGER)


def spoil_link(cache: Path) -> None:
    """Somebody else's link stands for it."""
    cache.rename(cache.with_name("real"))
    cache.symlink_to("real")
    os.chown(cache, STRANGER, STRANGER, follow_symlinks=False)


def spoil_list(cache: Path) -> None:
    """The list of hashes is somebody else's."""
    os.chown(next(cache.glob("numba-*.json")), STRANGER, STRANGER)


def spoil_entry(cache: Path) -> None:
    """A link stands for the list."""
    file = next(cache.glob("numba-*.json"))
    file.rename(file.with_name("list"))
    file.symlink_to("list")


@pytest.mark.parametrize(
    "spoil",
    [spoil_mode, spoil_group, spoil_way, spoil_owner, spoil_link, spoil_list, spoil_entry],
    ids=lambda spoil: spoil.__name__,
)
def test_a_cache_that_others_may_write_to_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """At the start and before each worker, with the cause and the cure."""
    cache = tmp_path / "above" / "cache"
    warmed(tmp_path, cache, one=b"1")
    settings = load(tmp_path / "root", cache_dir=cache)
    refuse_open_workers(settings)
    try:
        spoil(cache)
    except PermissionError:
        pytest.skip("only root can give a folder away")
    found = kernels.unsafe(cache)
    assert found is not None
    assert str(tmp_path / "above") in found.says
    with pytest.raises(ConfigurationError) as refused:
        refuse_open_workers(settings)
    assert refused.value.fix == found.fix
    with pytest.raises(PermissionError, match="nobody else may write there"):
        kernels.copy_for_worker(tmp_path, cache)


def test_a_link_of_the_services_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    assert kernels.unsafe(tmp_path / "cache") is None
    (tmp_path / "disk").chmod(0o777)
    assert kernels.unsafe(tmp_path / "cache") is not None
    (tmp_path / "round").symlink_to("round")
    assert kernels.unsafe(tmp_path / "round") is not None


def test_what_a_killed_service_left_is_cleared_by_its_next_start_and_by_no_other(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    ours, theirs = (kernels.copy_for_worker(tmp_path / name, cache) for name in ("ours", "theirs"))
    kernels.tidy(tmp_path / "ours", cache)
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_the_cache_never_lies_below_the_root_unless_somebody_puts_it_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "scans"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load(root).places.cache == tmp_path / "xdg/meshdrop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(root).places.cache == tmp_path / ".cache/meshdrop"
    monkeypatch.setenv("HOME", "/nonexistent")
    assert load(root).places.cache == Path(f"/var/tmp/meshdrop-{os.getuid()}")
    assert load(root, state_dir=tmp_path / "state").places.cache == tmp_path / "state/cache"
    assert load(root, cache_dir=root / "cache").places.cache == root / "cache"


def test_what_init_writes_is_closed_to_others(tmp_path: Path) -> None:
    """Settings may hold addresses and keys, and rigs are the operator's."""
    before = os.umask(0)
    try:
        done = CliRunner().invoke(app, ["init", str(tmp_path / "scans")], catch_exceptions=False)
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.output
    hidden = tmp_path / "scans/.meshdrop"
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o700
    assert stat.S_IMODE((hidden / "config.toml").stat().st_mode) == 0o600
    for folder in ("spool", "state", "spool/claimed", "state/work"):
        assert stat.S_IMODE((hidden / folder).stat().st_mode) == 0o700
