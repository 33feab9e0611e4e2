"""A model of a disk that keeps only what was flushed, and any part of the rest: in the style of ALICE and LazyFS.

A real file system flushes more than it is asked to (one fsync on ext4 commits the whole journal), so real power cuts
cannot show that a single directory flush is missing. This one can lose whatever it may:

- a file's content until the file is flushed: it is whole, cut short, empty, or what was flushed before;
- an entry of a directory, new or removed, until the directory is flushed;
- a rename, which happens as a whole or not at all, until both directories are flushed;
- each of these by itself, in any combination.

A recording (``recorder``) gives the operations; a case stops them at some point, loses some of what may be lost, builds
the tree that this leaves, starts the real recovery on it and checks the promise.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tests.torture import subject
from tests.torture.case import Case
from tests.torture.ground import Ground, RootRig, onlooker
from tests.torture.promise import Sight, check_after_power_up, check_at_rest, look
from tests.torture.recorder import OPERATIONS

#: Directories whose flush is taken away to see that the model notices; paths relative to the root. (Not state/work: a
#: working copy that is gone is made again from the claimed folder. Not kept/: an original that stands in claimed/ again
#: is put away by the next start, as tests/acceptance/test_crash.py shows.)
SINGLE_FLUSHES = {
    "inbox/": "inbox",
    "claimed/": ".meshdrop/spool/claimed",
    "staging/": ".meshdrop/spool/staging",
    "outbox/": "outbox",
    "failed/": "failed",
}
#: Operations after a flush among which its absence shows.
_SOON = 25
_DATABASE = re.compile(r"\.meshdrop/state/(meshdrop\.db.*|lock|control\.sock|status\.json)|.*\.probe-.*")


@dataclass
class Node:
    """A file or directory. ``entries`` (of a directory) and ``content`` are what is seen, ``safe_*`` what is safe."""

    is_dir: bool
    entries: dict[str, Node] = field(default_factory=dict)
    safe_entries: dict[str, Node] = field(default_factory=dict)
    content: bytes = b""
    safe_content: bytes | None = None
    mtime_ns: int = 0


@dataclass
class Change:
    """Entries that are set (None: removed) together; on disk for sure once every directory in ``open`` is flushed."""

    says: str
    sets: list[tuple[Node, str, Node | None]]
    open: list[Node]

    def keep(self, entries: Callable[[Node], dict[str, Node]]) -> None:
        """Apply it to the entries that ``entries`` picks."""
        for folder, name, node in self.sets:
            if node is None:
                entries(folder).pop(name, None)
            else:
                entries(folder)[name] = node

    def touches(self, other: Change) -> bool:
        """Whether both are about the same entry, so that their order cannot change."""
        mine = {(id(folder), name) for folder, name, _ in self.sets}
        return any((id(folder), name) in mine for folder, name, _ in other.sets)


class Model:
    """The disk while the recorded operations happen to it."""

    def __init__(self) -> None:
        self.top = Node(is_dir=True)
        self.changes: list[Change] = []
        self.commit = 0
        self.without: str | None = None

    def find(self, path: str) -> Node | None:
        """The node at a path, as it is seen."""
        node: Node | None = self.top
        for part in PurePosixPath(path).parts:
            node = node.entries.get(part) if node is not None and node.is_dir else None
        return node

    def do(self, operation: dict[str, Any]) -> None:
        """One recorded operation; paths are relative to the root."""
        name, paths = operation["op"], operation["paths"]
        if name == "commit":
            self.commit = operation["number"]
        elif any(_DATABASE.fullmatch(path) for path in paths):
            return
        elif name == "sync_dir":
            if paths[0] != self.without and (folder := self.find(paths[0])) is not None:
                self._flush_dir(folder)
        elif name == "sync_file":
            if (file := self.find(paths[0])) is not None:
                _set_content(file, operation)
                file.safe_content = file.content
        elif name == "make_dir":
            self._make_dirs(paths[0])
        elif name == "remove_tree":
            self._remove(paths[0])
        elif name == "rename":
            self._rename(*paths)
        else:
            self._write(paths[-1], operation, flushed=name in ("write_file", "copy_file"))

    def _change(self, says: str, *sets: tuple[Node, str, Node | None]) -> None:
        change = Change(says, list(sets), list({id(folder): folder for folder, _, _ in sets}.values()))
        change.keep(lambda folder: folder.entries)
        self.changes.append(change)

    def _place(self, path: str) -> tuple[Node, str]:
        where = PurePosixPath(path)
        return self._make_dirs(str(where.parent)), where.name

    def _make_dirs(self, path: str) -> Node:
        node = self.top
        for part in PurePosixPath(path).parts:
            if part not in node.entries:
                self._change(f"mkdir {path}", (node, part, Node(is_dir=True)))
            node = node.entries[part]
        return node

    def _write(self, path: str, operation: dict[str, Any], *, flushed: bool) -> None:
        folder, name = self._place(path)
        old = folder.entries.get(name)
        if operation["op"] == "wrote" and old is not None and _content_of(operation) == old.content:
            return  # seen before
        file = Node(is_dir=False)
        _set_content(file, operation)
        file.safe_content = file.content if flushed else None
        self._change(f"{operation['op']} {path}", (folder, name, file))

    def _rename(self, source: str, target: str) -> None:
        node = self.find(source)
        if node is None:
            return
        (old, old_name), (new, new_name) = self._place(source), self._place(target)
        self._change(f"rename {source} {target}", (old, old_name, None), (new, new_name, node))

    def _remove(self, path: str) -> None:
        node = self.find(path)
        if node is None:
            return
        for name in list(node.entries):
            self._remove(f"{path}/{name}")
        folder, name = self._place(path)
        self._change(f"remove {path}", (folder, name, None))

    def _flush_dir(self, folder: Node) -> None:
        for change in list(self.changes):
            change.open = [other for other in change.open if other is not folder]
            if not change.open and change in self.changes:
                for earlier in [one for one in self.changes[: self.changes.index(change)] if one.touches(change)]:
                    self._keep(earlier)
                self._keep(change)

    def _keep(self, change: Change) -> None:
        change.keep(lambda folder: folder.safe_entries)
        self.changes = [one for one in self.changes if one is not change]

    # -- the crash ------------------------------------------------------------------------------------------------

    def crash(self, chance: random.Random) -> list[str]:
        """Lose some of what may be lost; ``safe_entries`` is then what is left. Returns what was lost.

        Where a flush is left out, what waits for it is lost, and nothing else: whatever breaks then is its absence.
        """
        if self.without is not None:
            unflushed = self.find(self.without)
            keep = [all(folder is not unflushed for folder in change.open) for change in self.changes]
        else:
            keep = _which(len(self.changes), chance)
        lost = []
        for change, kept in zip(self.changes, keep, strict=True):
            if kept:
                change.keep(lambda folder: folder.safe_entries)
            else:
                lost.append(change.says)
        return lost

    def build(self, target: Path, chance: random.Random) -> None:
        """Write what is left into an empty directory."""
        _build(self.top, target, chance)


def _which(count: int, chance: random.Random) -> list[bool]:
    """Which changes survive: none, all, all but one, only one, or each with a probability of its own draw."""
    if count == 0:
        return []
    one, style = chance.randrange(count), chance.randrange(5)
    if style < 2:
        return [style == 1] * count
    if style < 4:
        return [(index == one) == (style == 3) for index in range(count)]
    share = chance.random()
    return [chance.random() < share for _ in range(count)]


def _content_of(operation: dict[str, Any]) -> bytes | None:
    return base64.b64decode(operation["content"]) if "content" in operation else None


def _set_content(file: Node, operation: dict[str, Any]) -> None:
    if (content := _content_of(operation)) is not None:
        file.content, file.mtime_ns = content, operation["mtime_ns"]


def _build(node: Node, target: Path, chance: random.Random) -> None:
    for name, child in node.safe_entries.items():
        path = target / name
        if child.is_dir:
            path.mkdir()
            _build(child, path, chance)
        else:
            path.write_bytes(_content_after(child, chance))
            os.utime(path, ns=(child.mtime_ns, child.mtime_ns))


def _content_after(file: Node, chance: random.Random) -> bytes:
    if file.safe_content == file.content:
        return file.content
    short = file.content[: chance.randrange(len(file.content) + 1)]
    return chance.choice([file.safe_content or b"", b"", short, bytes(len(file.content)), file.content])


# -- cases ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lossy(Case):
    """The crash that this seed draws from the recording, the flush of one directory perhaps left out."""

    recording: Path
    seed: int
    without: str = ""

    @property
    def id(self) -> str:
        """Unique and readable; the recording is made anew each time, so a seed draws a similar crash, not the same."""
        return "/".join(filter(None, (self.part, self.without.rstrip("/"), str(self.seed))))

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when the promise is broken."""
        operations, first = _read(self.recording)
        chance, skipped = random.Random(self.seed), SINGLE_FLUSHES.get(self.without)
        earliest, latest = first, len(operations)
        if skipped is not None:  # soon after one of its flushes it is missed, wherever in the run that stands
            flushes = [at for at, one in enumerate(operations) if (one["op"], one["paths"]) == ("sync_dir", [skipped])]
            earliest = chance.choice([at for at in flushes if at >= first]) + 1
            latest = min(earliest + _SOON, latest)
        moment = chance.randint(earliest, latest)
        model = Model()
        for operation in operations[:first]:
            model.do(operation)
        model.without = skipped
        for operation in operations[first:moment]:
            model.do(operation)
        before = _seen(model)
        lost = model.crash(chance)
        with ground.rig(ground.folder) as rig:
            for child in rig.root.iterdir():
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            model.build(rig.root, chance)
            if model.commit:
                shutil.copyfile(self.recording / f"{model.commit}.db", rig.places.database)
            try:
                self._recover(ground, rig, before)
            except Exception as error:
                last = operations[moment - 1]
                story = f"after {last['op']} {last['paths']} (operation {moment}), lost: {lost}"
                raise AssertionError(f"{story}\n{type(error).__name__}: {error}\n{rig.log()[-2000:]}") from error
        return ""

    @staticmethod
    def _recover(ground: Ground, rig: RootRig, before: Sight) -> None:
        check_after_power_up(before, look(rig))
        service = subject.launch(rig, "--once")
        with onlooker(rig):
            code = service.wait()
        assert code == 0, f"the start after the crash ended with {code}"
        check_at_rest(rig, ground.captures, before)


def record(ground: Ground) -> Path:
    """Record one undisturbed run of a good and a bad capture, beginning with the tree before it."""
    folder = ground.folder / f"recording-{len(list(ground.folder.glob('recording-*')))}"
    folder.mkdir()
    with ground.rig(ground.folder) as rig:
        ground.drop(rig)
        tree = [json.dumps(operation) + "\n" for operation in _tree(rig)]
        (folder / OPERATIONS).write_text("".join(tree), encoding="utf-8")
        (folder / "root").write_text(f"{rig.root}\n{len(tree)}")
        code = subject.run_once(rig, LIGHT_RECORD=str(folder))
        assert code == 0, rig.log()
        check_at_rest(rig, ground.captures, look(rig))
    return folder


def _tree(rig: RootRig) -> Iterator[dict[str, Any]]:
    """The tree before the run as operations: all of it flushed, but not what a rig wrote into the inbox."""
    for place, folders, names in os.walk(rig.root):
        for name in folders:
            yield {"op": "make_dir", "paths": [os.path.join(place, name)]}
        for name in names:
            path = Path(place, name)
            facts = {"content": base64.b64encode(path.read_bytes()).decode(), "mtime_ns": path.stat().st_mtime_ns}
            yield {"op": "wrote", "paths": [str(path)], **facts}
            if rig.places.inbox not in path.parents:
                yield {"op": "sync_file", "paths": [str(path)], **facts}
    for place, _, _ in os.walk(rig.root, topdown=False):
        if rig.places.inbox not in Path(place).parents:
            yield {"op": "sync_dir", "paths": [place]}


@lru_cache(maxsize=2)
def _read(recording: Path) -> tuple[list[dict[str, Any]], int]:
    """The operations with paths relative to the root (what lies elsewhere is left out), and where the run begins."""
    root, tree = (recording / "root").read_text().split("\n")
    operations = []
    for line in (recording / OPERATIONS).read_text(encoding="utf-8").splitlines():
        operation = json.loads(line)
        if all(path == root or path.startswith(f"{root}/") for path in operation["paths"]):
            operation["paths"] = [path[len(root) + 1 :] or "." for path in operation["paths"]]
            operations.append(operation)
    return operations, int(tree)


def _seen(model: Model) -> Sight:
    """What somebody saw at the share when the power went."""
    published, vouched = {}, set()
    for shelf in ("outbox", "failed"):
        node = model.find(shelf)
        for name, child in (node.entries if node else {}).items():
            if child.is_dir:
                published[f"{shelf}/{name}"] = json.loads(child.entries["receipt.json"].content)["job"]
            elif shelf == "outbox" and name.endswith(".done"):
                vouched.add(name.removesuffix(".done"))
    inbox = model.find("inbox")
    return Sight(frozenset(inbox.entries if inbox else ()), published, frozenset(vouched))


def lossy(ground: Ground, count: int, chance: random.Random) -> list[Lossy]:
    """Crashes of the service as it is."""
    recording = record(ground)
    return [Lossy("model", recording, chance.randrange(10**9)) for _ in range(count)]


def without_one_flush(ground: Ground, each: int, chance: random.Random) -> list[Lossy]:
    """Crashes of a service that leaves out the flush of one directory: some of them must break the promise."""
    recording = record(ground)
    return [
        Lossy("model-sensitivity", recording, chance.randrange(10**9), name)
        for name in SINGLE_FLUSHES
        for _ in range(each)
    ]
