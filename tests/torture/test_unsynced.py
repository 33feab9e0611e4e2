"""The model of a forgetful disk by hand: what may be lost, what may not, and that a rename is never torn."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

from tests.torture.unsynced import Model

_CHANCES = range(80)


def operation(name: str, *paths: str, content: bytes | None = None) -> dict[str, Any]:
    facts: dict[str, Any] = {"op": name, "paths": list(paths)}
    if content is not None:
        facts |= {"content": base64.b64encode(content).decode(), "mtime_ns": 1}
    return facts


def outcomes(tmp_path: Path, *operations: dict[str, Any]) -> set[frozenset[tuple[str, bytes]]]:
    """Every tree that eighty crashes after these operations leave, as its files and their content."""
    found = set()
    for seed in _CHANCES:
        model, chance, target = Model(), random.Random(seed), tmp_path / str(seed)
        for each in operations:
            model.do(each)
        model.crash(chance)
        target.mkdir()
        model.build(target, chance)
        found.add(frozenset((str(p.relative_to(target)), p.read_bytes()) for p in target.rglob("*") if p.is_file()))
        for path in sorted(target.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        target.rmdir()
    return found


TREE = [
    operation("make_dir", "a"),
    operation("make_dir", "b"),
    operation("write_file", "a/x", content=b"12"),
    operation("sync_dir", "a"),
    operation("sync_dir", "."),
]


def test_what_was_flushed_stays(tmp_path: Path) -> None:
    assert outcomes(tmp_path, *TREE) == {frozenset({("a/x", b"12")})}


def test_a_rename_is_whole_or_never_was_until_both_folders_are_flushed(tmp_path: Path) -> None:
    moved = [*TREE, operation("rename", "a/x", "b/y")]
    either = {frozenset({("a/x", b"12")}), frozenset({("b/y", b"12")})}
    assert outcomes(tmp_path, *moved) == either
    assert outcomes(tmp_path, *moved, operation("sync_dir", "a")) == either
    assert outcomes(tmp_path, *moved, operation("sync_dir", "b")) == either
    both = [operation("sync_dir", "a"), operation("sync_dir", "b")]
    assert outcomes(tmp_path, *moved, *both) == {frozenset({("b/y", b"12")})}


def test_content_that_was_not_flushed_may_be_short_empty_or_zero(tmp_path: Path) -> None:
    written = [*TREE, operation("show_file", "a/new", content=b"34"), operation("sync_dir", "a")]
    contents = {dict(tree)["a/new"] for tree in outcomes(tmp_path, *written)}
    assert contents == {b"", b"3", b"34", b"\0\0"}
    assert outcomes(tmp_path, *written, operation("sync_file", "a/new", content=b"34")) == {
        frozenset({("a/x", b"12"), ("a/new", b"34")})
    }


def test_an_entry_may_be_lost_until_its_folder_is_flushed(tmp_path: Path) -> None:
    copied = operation("copy_file", "a/x", "b/z", content=b"12")
    assert outcomes(tmp_path, *TREE, copied) == {
        frozenset({("a/x", b"12")}),
        frozenset({("a/x", b"12"), ("b/z", b"12")}),
    }


def test_a_removal_may_stop_half_way(tmp_path: Path) -> None:
    two = [*TREE, operation("write_file", "a/y", content=b"5"), operation("sync_dir", "a")]
    left = outcomes(tmp_path, *two, operation("remove_tree", "a"))
    x, y = ("a/x", b"12"), ("a/y", b"5")
    assert left == {frozenset({x, y}), frozenset({x}), frozenset({y}), frozenset()}
    assert outcomes(tmp_path, *two, operation("remove_tree", "a"), operation("sync_dir", ".")) == {frozenset()}
