"""Fetching weights from a hub on loopback: whole, interrupted, swapped, refused. Nothing here reaches any further."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.host.machine import Room
from meshdrop.daemon.weights.fetch import MARGIN, FetchPlan, fetch
from meshdrop.daemon.weights.folder import PARTIAL, alone
from meshdrop.daemon.weights.hub import HubSource
from meshdrop.daemon.weights.sources import FolderSource, Offer, Source
from meshdrop.daemon.workers.process import Home, worker_environment
from meshdrop.models.contract.weights import MANIFEST, Catalogue, Entry, Resource, WeightFile, read_manifest, verify
from tests.hub import CODE, CONFIG, FILES, MODEL, NETWORK, REPOSITORY, Hub, entries, fill, running, sha256

BIG, SMALL, PINNED = f"{REPOSITORY}/{NETWORK}", f"{REPOSITORY}/{CONFIG}", f"torch/code/{CODE}"
#: What lies on the disk of a large file that was cut off: huggingface_hub writes so many bytes at once.
PART = 10 << 20

pytest.importorskip("huggingface_hub", reason="the extra `weights` is not installed: make install-dev")


class Watcher:
    """An onlooker that writes down what it is told, and agrees unless told otherwise."""

    def __init__(self, *, agrees: bool = True) -> None:
        self._agrees = agrees
        self.plans = list[FetchPlan]()
        self.files = dict[str, Entry]()
        self.steps = list[tuple[str, int, int]]()

    def agree(self, plan: FetchPlan) -> bool:
        self.plans.append(plan)
        return self._agrees

    def follow(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))

    def placed(self, file: str, entry: Entry) -> None:
        self.files[file] = entry


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and an environment in which nothing else is found."""
    for name in ("HF_ENDPOINT", "HF_TOKEN", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running() as hub:
        yield hub


def get(hub: Hub, folder: Path, watcher: Watcher | None = None, catalogue: Catalogue | None = None) -> Watcher:
    """Fetch everything from the hub."""
    watcher = watcher or Watcher()
    assert fetch(catalogue or hub.catalogue(), folder, lambda: HubSource(hub.url), watcher)
    return watcher


def refused(hub: Hub, folder: Path, catalogue: Catalogue | None = None) -> MeshdropError:
    """Why a fetch from the hub was refused."""
    with pytest.raises(MeshdropError) as caught:
        get(hub, folder, catalogue=catalogue)
    assert caught.value.fix
    return caught.value


# -- a fetch ---------------------------------------------------------------------------------------------------------


def test_everything_arrives_and_is_vouched_for(hub: Hub, tmp_path: Path) -> None:
    watcher = get(hub, tmp_path)
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()
    assert dict(read_manifest(tmp_path, MODEL).files) == watcher.files == entries()
    assert [(tmp_path / target).read_bytes() for target in (SMALL, BIG, PINNED)] == list(FILES.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["somebody", "torch", MANIFEST], "no parts are left"


def test_sizes_licences_and_free_space_are_shown_before_a_byte_is_sent(hub: Hub, tmp_path: Path) -> None:
    watcher = Watcher(agrees=False)
    assert not fetch(hub.catalogue(), tmp_path, lambda: HubSource(hub.url), watcher, lambda path: Room(7 * 10**9, None))
    [plan] = watcher.plans
    assert plan.left == sum(map(len, FILES.values()))
    assert plan.free == 7 * 10**9
    assert [(step.offer.target, step.pinned is not None) for step in plan.steps] == [
        (SMALL, False),
        (BIG, False),
        (PINNED, True),
    ]
    assert [answer.path for answer in hub.sent] == ["api"]
    assert not (tmp_path / MANIFEST).exists()


def test_a_second_fetch_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    get(hub, tmp_path)
    hub.sent.clear()
    watcher = get(hub, tmp_path)
    assert (hub.sent, watcher.plans) == ([], [])


def test_progress_goes_up_to_the_size(hub: Hub, tmp_path: Path) -> None:
    steps = [(done, total) for what, done, total in get(hub, tmp_path).steps if what == BIG]
    assert steps == sorted(steps)
    assert steps[-1] == (25_000_000, 25_000_000)
    assert steps[0][0] == PART


def test_the_token_is_for_the_hub_only(hub: Hub, tmp_path: Path) -> None:
    """Neither the host that large files come from nor the server of plain files is shown it."""
    get(hub, tmp_path)
    shown = {(answer.path, answer.authorization) for answer in hub.sent}
    hub_only = "Bearer hf_secret"
    assert shown == {
        ("api", hub_only),
        (CONFIG, hub_only),
        (f"resolve/{NETWORK}", hub_only),
        (NETWORK, None),
        (CODE, None),
    }


# -- interrupted -----------------------------------------------------------------------------------------------------


def broken_off(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch whose connection breaks in the middle of the large file, after which the server is busy."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.cut[NETWORK] = 16_000_000
    assert "answered 503" in str(refused(hub, folder))
    hub.cut.clear()
    hub.broken.clear()


def test_an_interrupted_fetch_goes_on_at_the_byte_where_it_was(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(hub, tmp_path, monkeypatch)
    assert (tmp_path / SMALL).is_file()
    assert not (tmp_path / BIG).exists(), "a part never stands in a file's place"
    [part] = (tmp_path / PARTIAL).iterdir()
    assert (part.name, part.stat().st_size) == (sha256(FILES[NETWORK]), PART)
    assert [damage.file for damage in verify(tmp_path, hub.catalogue(), deep=False)] == [BIG, PINNED]
    hub.sent.clear()
    watcher = get(hub, tmp_path)
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()
    assert hub.count(NETWORK) == 25_000_000 - PART
    assert hub.count(CONFIG) == 0, "what had arrived is not sent again"
    assert watcher.plans[0].left == 25_000_000 - PART + len(FILES[CODE])


def test_a_server_that_ignores_ranges_sends_the_whole_file_again(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(hub, tmp_path, monkeypatch)
    hub.ignores_range = True
    hub.sent.clear()
    get(hub, tmp_path)
    assert hub.count(NETWORK) == 25_000_000
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()


def test_a_part_that_was_damaged_on_the_disk_is_never_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(hub, tmp_path, monkeypatch)
    part = tmp_path / PARTIAL / sha256(FILES[NETWORK])
    part.write_bytes(bytes(PART))
    assert "other bytes than expected" in str(refused(hub, tmp_path))
    assert not (tmp_path / BIG).exists()
    get(hub, tmp_path)
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()


def test_a_part_that_is_too_long_is_begun_again(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / PARTIAL).mkdir()
    (tmp_path / PARTIAL / sha256(FILES[NETWORK])).write_bytes(bytes(25_000_001))
    get(hub, tmp_path)
    assert hub.count(NETWORK) == 25_000_000


def test_two_fetches_into_one_folder_refuse_each_other(hub: Hub, tmp_path: Path) -> None:
    with alone(tmp_path):
        assert "another fetch is filling" in str(refused(hub, tmp_path))
    get(hub, tmp_path)


# -- mended ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "cut", "swapped"])
def test_only_what_is_damaged_is_fetched_again(hub: Hub, tmp_path: Path, damage: str) -> None:
    fill(tmp_path)
    content = bytearray(FILES[CONFIG])
    content[3] ^= 1
    (tmp_path / SMALL).write_bytes({"gone": b"", "cut": bytes(content[:5]), "swapped": bytes(content)}[damage])
    if damage == "gone":
        (tmp_path / SMALL).unlink()
    get(hub, tmp_path)
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()
    assert [answer.path for answer in hub.sent] == ["api", CONFIG]


def test_files_without_a_manifest_are_taken_for_what_their_bytes_are(hub: Hub, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / MANIFEST).unlink()
    watcher = get(hub, tmp_path)
    assert dict(read_manifest(tmp_path, MODEL).files) == entries()
    assert ([answer.path for answer in hub.sent], watcher.plans) == (["api"], [])


def test_a_torn_manifest_is_refused_with_what_to_do(hub: Hub, tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / MANIFEST).write_text('{"schema": 1, "mod')
    error = refused(hub, tmp_path)
    assert str(tmp_path / MANIFEST) in str(error)
    assert "move it away" in error.fix


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "target"), [(NETWORK, BIG), (CONFIG, SMALL), (CODE, PINNED)])
def test_other_bytes_than_expected_are_thrown_away(hub: Hub, tmp_path: Path, name: str, target: str) -> None:
    """Held to the hub's SHA-256, to the commit's hash of a small file, and to this release's own."""
    content = bytearray(FILES[name])
    content[-2] ^= 1
    hub.swapped[name] = bytes(content)
    error = refused(hub, tmp_path)
    assert f"arrived with other bytes than expected (SHA-256 {sha256(bytes(content))}" in str(error)
    assert not (tmp_path / target).exists()
    hub.swapped.clear()
    get(hub, tmp_path)
    assert verify(tmp_path, hub.catalogue(), deep=True) == ()


def test_what_the_first_fetch_found_is_pinned(hub: Hub, tmp_path: Path) -> None:
    """The same revision with another file, as a server that was taken over would offer it."""
    get(hub, tmp_path)
    (tmp_path / BIG).unlink()
    hub.files[NETWORK] = bytes(25_000_000)
    hub.sent.clear()
    error = refused(hub, tmp_path)
    assert f"than was pinned by the first fetch, in {MANIFEST} ({sha256(FILES[NETWORK])})" in str(error)
    assert hub.count(NETWORK) == 0, "nothing is brought that would be thrown away"


def test_a_small_file_that_the_first_fetch_found_is_pinned_too(hub: Hub, tmp_path: Path) -> None:
    get(hub, tmp_path)
    (tmp_path / SMALL).unlink()
    hub.files[CONFIG] = b'{"width": 9}\n'
    assert f"expected {sha256(FILES[CONFIG])}" in str(refused(hub, tmp_path))
    assert not (tmp_path / SMALL).exists()


def test_what_this_release_pins_is_held_against_the_hub(hub: Hub, tmp_path: Path) -> None:
    first, plain = hub.catalogue().resources
    known = replace(first, files=(WeightFile(CONFIG), WeightFile(NETWORK, sha256="0" * 64)))
    error = refused(hub, tmp_path, Catalogue(MODEL, (known, plain)))
    assert "than was pinned by this release (0000" in str(error)
    sized = replace(first, files=(WeightFile(CONFIG, 99),))
    assert "offers somebody/tiny-weights/config.json with 13 bytes, and it has 99" in str(
        refused(hub, tmp_path, Catalogue(MODEL, (sized,)))
    )


def test_a_newer_revision_is_fetched_in_place_of_an_older_one(hub: Hub, tmp_path: Path) -> None:
    """Pins are of one revision: a release that uses another does not stumble over them."""
    fill(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["files"][SMALL].update(source=f"{REPOSITORY}@{'f' * 40}", sha256="f" * 64, bytes=3)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / SMALL).write_bytes(b"old")
    get(hub, tmp_path)
    assert dict(read_manifest(tmp_path, MODEL).files) == entries()


def test_too_little_space_is_refused_before_a_byte_is_sent(hub: Hub, tmp_path: Path) -> None:
    need = sum(map(len, FILES.values())) + MARGIN
    with pytest.raises(MeshdropError, match=r"has 0\.3 GB free, and 0\.3 GB are needed") as caught:
        fetch(hub.catalogue(), tmp_path, lambda: HubSource(hub.url), Watcher(), lambda path: Room(need - 1, None))
    assert "weights_dir" in caught.value.fix
    assert [answer.path for answer in hub.sent] == ["api"]
    assert fetch(hub.catalogue(), tmp_path, lambda: HubSource(hub.url), Watcher(), lambda path: Room(need, None))


class FullDisk:
    """A source whose files find no room."""

    says = "a disk"

    def __init__(self, source: Source) -> None:
        self._source = source

    def offers(self, resource: Resource, files: Sequence[WeightFile]) -> list[Offer]:
        return self._source.offers(resource, files)

    def bring(self, offer: Offer, partial: Path, follow: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(partial))


def test_a_disk_that_fills_up_meanwhile_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(MeshdropError, match=r"the disk of .* is full; what has arrived is kept") as caught:
        fetch(hub.catalogue(), tmp_path, lambda: FullDisk(HubSource(hub.url)), Watcher())
    assert "make room" in caught.value.fix


def test_without_a_network_it_says_so_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MeshdropError, match=r"127\.0\.0\.1:\d+ cannot be reached") as caught:
        fetch(Hub(url=url, elsewhere=url).catalogue(), tmp_path, lambda: HubSource(url), Watcher())
    assert "docs/weights.md" in caught.value.fix


def test_what_the_hub_lacks_is_named(hub: Hub, tmp_path: Path) -> None:
    first, plain = hub.catalogue().resources
    for resource, says in (
        (replace(first, revision="f" * 40), f"has no revision {'f' * 40}"),
        (replace(first, name="somebody/else"), "is not there, or not for everybody"),
        (replace(first, files=(WeightFile("ckpts/other.json"),)), "has no ckpts/other.json"),
    ):
        assert says in str(refused(hub, tmp_path, Catalogue(MODEL, (resource, plain))))
    hub.revision = "e" * 40
    assert f"answered with revision {'e' * 40}" in str(refused(hub, tmp_path))
    hub.revision, hub.broken["api"] = first.revision, 500
    assert "answered 500" in str(refused(hub, tmp_path))
    del hub.broken["api"]
    hub.broken[CODE] = 404
    assert f"answered 404 for {hub.elsewhere}/plain/{CODE}" in str(refused(hub, tmp_path))


def test_offline_by_the_environment_is_said(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in str(refused(hub, tmp_path))
    assert hub.sent == []


# -- closed sites ----------------------------------------------------------------------------------------------------


def copy(source: Path, folder: Path, catalogue: Catalogue) -> Watcher:
    """Fetch from a folder."""
    watcher = Watcher()
    assert fetch(catalogue, folder, lambda: FolderSource(source, catalogue), watcher)
    return watcher


@pytest.mark.parametrize("name", ["", MODEL], ids=["the model's folder", "the folder above"])
def test_a_folder_filled_elsewhere_is_copied_without_a_network(tmp_path: Path, name: str) -> None:
    catalogue = Hub().catalogue()
    fill(tmp_path / "disk" / name)
    watcher = copy(tmp_path / "disk", tmp_path / "here", catalogue)
    assert verify(tmp_path / "here", catalogue, deep=True) == ()
    assert watcher.files == entries()
    assert watcher.plans[0].source == str(tmp_path / "disk" / name)


def test_a_copy_goes_on_where_it_was(tmp_path: Path) -> None:
    catalogue, part = Hub().catalogue(), tmp_path / "here" / PARTIAL / sha256(FILES[NETWORK])
    fill(tmp_path / "disk")
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[NETWORK][:20_000_000])
    watcher = copy(tmp_path / "disk", tmp_path / "here", catalogue)
    assert next(done for what, done, _ in watcher.steps if what == BIG) > 20_000_000
    assert verify(tmp_path / "here", catalogue, deep=True) == ()


def test_a_disk_with_swapped_bytes_is_refused(tmp_path: Path) -> None:
    catalogue = Hub().catalogue()
    fill(tmp_path / "disk")
    (tmp_path / "disk" / BIG).write_bytes(bytes(25_000_000))
    with pytest.raises(MeshdropError, match="other bytes than expected"):
        copy(tmp_path / "disk", tmp_path / "here", catalogue)
    assert not (tmp_path / "here" / BIG).exists()


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ("nothing", "holds no weights of tiny"),
        ("torn", "is not a manifest"),
        ("gone", "is missing or not whole"),
        ("old", "this release uses"),
    ],
)
def test_a_folder_that_cannot_be_copied_is_refused(tmp_path: Path, do: str, says: str) -> None:
    disk = tmp_path / "disk"
    fill(disk)
    match do:
        case "nothing":
            (disk / MANIFEST).unlink()
        case "torn":
            (disk / MANIFEST).write_text("{")
        case "gone":
            (disk / BIG).unlink()
        case "old":
            (disk / MANIFEST).write_text((disk / MANIFEST).read_text().replace("c0ffee", "beefed"))
    with pytest.raises(MeshdropError, match=says) as caught:
        copy(disk, tmp_path / "here", Hub().catalogue())
    assert caught.value.fix


# -- in service ------------------------------------------------------------------------------------------------------


def test_workers_are_told_where_weights_are_and_kept_off_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("MESHDROP_WEIGHTS_DIR", "/elsewhere")
    told = worker_environment("key", tmp_path, Home(tmp_path, tmp_path / "cache", tmp_path / "weights"))
    assert told["MESHDROP_WEIGHTS_DIR"] == str(tmp_path / "weights")
    assert told["HF_HUB_OFFLINE"] == told["TRANSFORMERS_OFFLINE"] == "1"
    assert "HF_ENDPOINT" not in told
    assert "MESHDROP_WEIGHTS_DIR" not in worker_environment("key", tmp_path, Home(tmp_path, tmp_path / "cache"))


def test_weights_are_on_the_disk_of_the_state_unless_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(tmp_path).places.weights == tmp_path / ".meshdrop/state/weights"
    assert load(tmp_path, state_dir=Path("/var/lib/x")).places.weights == Path("/var/lib/x/weights")
    monkeypatch.setenv("MESHDROP_WEIGHTS_DIR", "/data/weights")
    assert load(tmp_path).places.weights == Path("/data/weights")


def test_where_the_published_code_lies_reaches_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_TRELLIS", "/opt/reconviagen")
    told = worker_environment("key", tmp_path, Home(tmp_path, tmp_path / "cache"))
    assert told["MESHDROP_TRELLIS"] == "/opt/reconviagen"
