"""Durable file operations: nothing is replaced by accident, nothing foreign is read, changes are noticed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base import fsops


@pytest.fixture
def recorded() -> Iterator[list[str]]:
    operations: list[str] = []
    fsops.observer = lambda operation, *paths: operations.append(operation)
    yield operations
    fsops.observer = None


def test_rename_never_replaces_anything(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError):
        fsops.rename_new(tmp_path / "a", tmp_path / "b")
    fsops.rename_new(tmp_path / "a", tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]
    with pytest.raises(FileNotFoundError):
        fsops.rename_new(tmp_path / "a", tmp_path / "d")


def test_rename_carries_names_that_are_not_text(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9\n")
    odd.mkdir()
    fsops.rename_new(odd, tmp_path / "plain")
    assert (tmp_path / "plain").is_dir()


def test_a_copy_is_exact_and_hashed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    copied = fsops.copy_file(tmp_path / "a", tmp_path / "b", max_bytes=3)
    # SHA-256 of "abc", FIPS 180-2 appendix B.1
    assert copied == fsops.Copied(3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    assert (tmp_path / "b").read_bytes() == b"abc"


def test_a_copy_refuses_links_devices_and_size_before_reading(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"abcd")
    with pytest.raises(fsops.TooLarge):
        fsops.copy_file(tmp_path / "big", tmp_path / "out", max_bytes=3)
    (tmp_path / "link").symlink_to(tmp_path / "big")
    with pytest.raises(fsops.NotRegular):
        fsops.copy_file(tmp_path / "link", tmp_path / "out", max_bytes=100)
    os.link(tmp_path / "big", tmp_path / "twin")
    with pytest.raises(fsops.NotRegular):
        fsops.copy_file(tmp_path / "twin", tmp_path / "out", max_bytes=100)
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "aside").symlink_to(tmp_path)
    with pytest.raises(fsops.NotRegular):
        fsops.copy_file(tmp_path / "top/aside/big", tmp_path / "out", max_bytes=100)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(fsops.NotRegular):
        fsops.copy_file(tmp_path / "pipe", tmp_path / "out", max_bytes=100)
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x" * 10)
    write = fsops._write_all

    def grow_meanwhile(descriptor: int, chunk: bytes) -> None:
        write(descriptor, chunk)
        with source.open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr(fsops, "_write_all", grow_meanwhile)
    with pytest.raises(fsops.ChangedWhileRead):
        fsops.copy_file(source, tmp_path / "b", max_bytes=1000)


def test_a_written_file_appears_whole_and_a_failed_write_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page"
    fsops.write_file(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fsops.write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["page"]


def test_removing_a_tree_never_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "out").symlink_to(tmp_path / "precious")
    (tree / "locked").mkdir()
    (tree / "locked" / "file").touch()
    (tree / "locked").chmod(0o500)
    fsops.remove_tree(tree)
    assert not tree.exists()
    assert (tmp_path / "precious" / "file").exists()
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    fsops.remove_tree(tmp_path / "link")
    assert (tmp_path / "precious" / "file").exists()


def test_a_tree_is_opened_up_by_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without rights that becomes a link, between failing and trying again, gives nobody else's away."""
    precious = tmp_path / "precious"
    (precious / "inner").mkdir(parents=True)
    precious.chmod(0o500)
    (tmp_path / "tree/locked").mkdir(parents=True)
    real, calls = shutil.rmtree, []

    def swapped_meanwhile(name: str, **keywords: Any) -> None:
        calls.append(name)
        if len(calls) == 1:
            (tmp_path / "tree/locked").rmdir()
            (tmp_path / "tree/locked").symlink_to(precious)
            raise PermissionError(13, "Permission denied")
        real(name, **keywords)

    monkeypatch.setattr(shutil, "rmtree", swapped_meanwhile)
    fsops.remove_tree(tmp_path / "tree")
    assert calls == ["tree", "tree"]
    assert not (tmp_path / "tree").exists()
    assert (precious.stat().st_mode & 0o777, os.listdir(precious)) == (0o500, ["inner"])


def test_a_tree_of_a_thousand_levels_goes() -> None:
    """Not in a folder of pytest's, which could not remove what a test that was killed has left."""
    top = Path(tempfile.mkdtemp())
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    fsops.remove_tree(top / "d")
    assert os.listdir(top) == []
    top.rmdir()


_OPERATIONS: dict[str, Callable[[Path], object]] = {
    "sync_file": lambda at: fsops.sync_file(at / "file"),
    "sync_dir": lambda at: fsops.sync_dir(at / "inner"),
    "sync_below": lambda at: fsops.sync_below(at, ["file"], [""]),
    "sync_tree": lambda at: fsops.sync_tree(at / "inner"),
    "rename from": lambda at: fsops.rename_new(at / "inner", at.parent / "out"),
    "rename to": lambda at: fsops.rename_new(at.parent / "own", at / "new"),
    "write": lambda at: fsops.write_file(at / "new", b"x"),
    "show": lambda at: fsops.show_file(at / "file", b"x"),
    "copy from": lambda at: fsops.copy_file(at / "file", at.parent / "out", 100),
    "copy to": lambda at: fsops.copy_file(at.parent / "plain", at / "new", 100),
    "make": lambda at: fsops.make_dir(at / "new/deep"),
    "make below": lambda at: fsops.make_dir_below(at.parent, at / "new/deep"),
    "fresh": lambda at: fsops.fresh_dir(at / "inner"),
    "remove": lambda at: fsops.remove_tree(at / "inner"),
    "remove a file": lambda at: fsops.remove_tree(at / "file"),
    "rights": lambda at: fsops.is_writable(at / "inner"),
    "emptying": lambda at: fsops.may_be_emptied(at.parent, [f"{at.name}/inner"]),
    "hash": lambda at: fsops.sha256_of(at / "file"),
}


@pytest.mark.parametrize("name", _OPERATIONS)
def test_no_operation_passes_through_a_link(tmp_path: Path, name: str) -> None:
    """What lies behind it stays as it is, and so does what is this side of it."""
    (tmp_path / "foreign/inner/deep").mkdir(parents=True)
    (tmp_path / "foreign/file").write_bytes(b"theirs")
    (tmp_path / "own").mkdir()
    (tmp_path / "plain").write_bytes(b"ours")
    (tmp_path / "place").symlink_to(tmp_path / "foreign")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(OSError, match="link"):
        _OPERATIONS[name](tmp_path / "place")
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_every_operation_can_be_watched_and_made_to_fail(tmp_path: Path, recorded: list[str]) -> None:
    fsops.write_file(tmp_path / "a", b"x")
    fsops.copy_file(tmp_path / "a", tmp_path / "b", 10)
    fsops.rename_new(tmp_path / "b", tmp_path / "c")
    fsops.sync_tree(tmp_path)
    assert recorded == ["write_file", "sync_dir", "copy_file", "rename", "sync_file", "sync_file", "sync_dir"]


def test_folders_are_made_only_below_one_that_is_there(tmp_path: Path) -> None:
    """Where a share is not mounted, its folders must not come into being."""
    share = tmp_path / "share"
    with pytest.raises(FileNotFoundError):
        fsops.make_dir_below(share / "staging", share / "staging" / "a" / "b")
    with pytest.raises(FileNotFoundError):
        fsops.fresh_dir(share / "staging")
    assert not share.exists()
    (share / "staging").mkdir(parents=True)
    fsops.make_dir_below(share / "staging", share / "staging" / "a" / "b")
    fsops.make_dir_below(share / "staging", share / "staging" / "a" / "b")
    assert (share / "staging" / "a" / "b").is_dir()
    (share / "staging" / "a" / "b" / "old").touch()
    fsops.fresh_dir(share / "staging" / "a")
    assert list((share / "staging" / "a").iterdir()) == []


def test_the_recorder_hears_of_what_has_taken_effect_and_of_nothing_else(tmp_path: Path) -> None:
    heard: list[tuple[str, list[str]]] = []
    fsops.recorder = lambda operation, *paths: heard.append((operation, sorted(os.listdir(tmp_path))))
    try:
        fsops.write_file(tmp_path / "a", b"1")
        fsops.rename_new(tmp_path / "a", tmp_path / "b")
        with pytest.raises(FileNotFoundError):
            fsops.rename_new(tmp_path / "a", tmp_path / "c")
        fsops.copy_file(tmp_path / "b", tmp_path / "c", 10)
        fsops.remove_tree(tmp_path / "b")
    finally:
        fsops.recorder = None
    assert heard == [
        ("write_file", ["a"]),
        ("sync_dir", ["a"]),
        ("rename", ["b"]),
        ("copy_file", ["b", "c"]),
        ("remove_tree", ["c"]),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_could_never_be_emptied_is_known_before_it_is_taken() -> None:
    """Another's folder inside one that everybody may write to; our own folders are opened up, whatever their rights."""
    with tempfile.TemporaryDirectory() as parent:
        os.chmod(parent, 0o755)
        top = Path(parent, "top")
        for name, owner, mode in (("ours", 12345, 0o555), ("others", 0, 0o755), ("shared", 0, 0o777)):
            (top / name).mkdir(parents=True)
            os.chown(top / name, owner, owner)
            (top / name).chmod(mode)
        top.chmod(0o777)
        child = os.fork()
        if child == 0:
            answer = 0
            try:
                os.setgroups([])
                os.setgid(12345)
                os.setuid(12345)
                for bit, folders in enumerate((("", "ours", "shared"), ("",), ("", "others"))):
                    answer |= fsops.may_be_emptied(top, folders) << bit
            finally:
                os._exit(answer)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0b011
        assert fsops.may_be_emptied(top, ("", "others")), "root may do anything"
