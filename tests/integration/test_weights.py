"""`meshdrop weights` as it is called, in processes of its own, from a hub on loopback: killed, asked, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshdrop.models.contract.weights import MANIFEST, verify
from tests.hub import CONFIG, FILES, MODEL, NETWORK, REPOSITORY, Hub, fill, running, sha256
from tests.patience import PATIENCE_S
from tests.rig import wait_for

PROJECT = Path(__file__).parents[2]
PART = 10 << 20
#: The command, with the weights of the tests beside the real ones.
PROGRAM = """
import sys
from meshdrop.daemon.weights import fetch as weights
from meshdrop.daemon.cli.main import main
from tests.hub import Hub
catalogue = Hub(url=sys.argv[1], elsewhere=sys.argv[2]).catalogue()
weights.CATALOGUES[catalogue.model] = catalogue
sys.argv[:3] = ["meshdrop"]
main()
"""

pytest.importorskip("huggingface_hub", reason="the extra `weights` is not installed: make install-dev")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Answers until the end of the test."""
    with running() as hub:
        yield hub


def begin(hub: Hub, folder: Path, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Start `meshdrop weights WORDS`; nothing of this machine's settings reaches it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_ENDPOINT": hub.url,
        "MESHDROP_WEIGHTS_DIR": str(folder),
        "COLUMNS": "200",
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, hub.url, hub.elsewhere, "weights", *words],
        cwd=PROJECT,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(hub: Hub, folder: Path, *words: str) -> tuple[int, str, str]:
    """The exit code, and what was printed."""
    process = begin(hub, folder, *words)
    said, complaints = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said, complaints


def test_fetched_verified_and_listed(hub: Hub, tmp_path: Path) -> None:
    code, said, complaints = call(hub, tmp_path, "fetch", MODEL, "--yes")
    assert (code, complaints) == (0, "")
    assert "any use" in said, "the licence's consequence is shown"
    assert f"{REPOSITORY}/{NETWORK}  25.0 MB  sha256 {sha256(FILES[NETWORK])}" in said
    assert f"The weights of {MODEL} are whole: 25.0 MB in {tmp_path / MODEL}" in said
    code, said, _ = call(hub, tmp_path, "verify", "--deep")
    assert (code, "are whole (every byte)" in said) == (0, True)
    code, said, _ = call(hub, tmp_path, "list")
    rows = [line.split() for line in said.splitlines()]
    assert code == 0
    assert [row[-1] for row in rows if row and row[0] == MODEL] == ["yes", "yes"]
    assert all(row[-1] == "no" for row in rows if row and row[0] == "reconviagen")
    (tmp_path / MODEL / REPOSITORY / CONFIG).unlink()
    code, said, _ = call(hub, tmp_path, "verify", MODEL)
    assert code == 1
    assert f"{tmp_path / MODEL / REPOSITORY / CONFIG} is missing\n  fix: meshdrop weights fetch tiny" in said


def test_a_killed_fetch_has_put_nothing_half_and_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.held[NETWORK] = 16_000_000
    process = begin(hub, tmp_path, "fetch", MODEL, "--yes")
    part = tmp_path / MODEL / ".partial" / sha256(FILES[NETWORK])
    wait_for(lambda: process.poll() is not None or (part.is_file() and part.stat().st_size == PART))
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.go_on.set()
    hub.held.clear()
    assert not (tmp_path / MODEL / REPOSITORY / NETWORK).exists()
    assert call(hub, tmp_path, "verify", MODEL)[0] == 1
    hub.sent.clear()
    code, said, complaints = call(hub, tmp_path, "fetch", MODEL, "--yes")
    assert (code, complaints) == (0, "")
    assert "14.5 MB in 2 files" in said
    assert hub.count(NETWORK) == 25_000_000 - PART
    assert verify(tmp_path / MODEL, hub.catalogue(), deep=True) == ()


@pytest.mark.parametrize(("answer", "code", "bytes_sent"), [("n", 1, 0), ("", 1, 0), ("y", 0, 25_000_000)])
def test_at_a_terminal_it_asks_first(hub: Hub, tmp_path: Path, answer: str, code: int, bytes_sent: int) -> None:
    ours, theirs = os.openpty()
    process = begin(hub, tmp_path, "fetch", MODEL, stdin=theirs)
    os.write(ours, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=PATIENCE_S)
    os.close(ours)
    os.close(theirs)
    assert "under these licences?" in said
    assert (process.returncode, hub.count(NETWORK)) == (code, bytes_sent)
    assert ("Nothing was fetched." in said) == (code == 1)


def test_without_a_terminal_it_wants_to_be_told(hub: Hub, tmp_path: Path) -> None:
    code, _, complaints = call(hub, tmp_path, "fetch", MODEL)
    assert code == 1
    assert "fix: read the licences above and give --yes" in complaints
    assert hub.count(NETWORK) == 0


def test_with_the_network_off(tmp_path: Path) -> None:
    """Nothing to fetch needs no network, a copy neither; a fetch says what is wrong and what to do."""
    with running() as hub:
        pass
    code, _, complaints = call(hub, tmp_path, "fetch", MODEL, "--yes")
    assert code == 1
    assert f"meshdrop: {hub.url.removeprefix('http://')} cannot be reached" in complaints
    assert "docs/weights.md" in complaints
    fill(tmp_path / "disk" / MODEL)
    assert call(hub, tmp_path, "fetch", MODEL, "--yes", "--from", str(tmp_path / "disk"))[0] == 0
    assert call(hub, tmp_path, "fetch", MODEL)[0] == 0
    assert verify(tmp_path / MODEL, hub.catalogue(), deep=True) == ()


def test_what_is_asked_wrongly_is_refused_with_a_cure(hub: Hub, tmp_path: Path) -> None:
    for words, says in (
        (("fetch", "fusion"), "fusion has no weights"),
        (("verify",), f"there are no weights in {tmp_path}"),
        (("fetch", MODEL, "--from", str(tmp_path)), f"there is no {MANIFEST}"),
    ):
        code, _, complaints = call(hub, tmp_path, *words)
        assert code == 1
        assert says in complaints
        assert "\n  fix: " in complaints


def test_the_library_that_is_not_installed_is_named(hub: Hub, tmp_path: Path) -> None:
    """An environment without the extra: here the import is made to fail."""
    program = f"import sys; sys.modules['huggingface_hub'] = None\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program, hub.url, hub.elsewhere, "weights", "fetch", MODEL, "--folder", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "huggingface_hub, which is not installed" in done.stderr
    assert "fix: make weights" in done.stderr


def test_a_model_of_ones_own_may_have_weights_too(tmp_path: Path) -> None:
    """It states them as ours do; its file is run by no process but its own."""
    file, root = tmp_path / "mine.py", tmp_path / "root"
    file.write_text(
        "import sys; assert 'meshdrop.daemon' not in sys.modules\n"
        "from meshdrop.models.contract.base import ReconstructionModel\n"
        "from meshdrop.models.contract.entry import ModelEntry\n"
        "from meshdrop.models.contract.weights import Catalogue, Resource, WeightFile\n"
        "files = (WeightFile('a.bin', 3, 'ab' * 32),)\n"
        "class Mine(ReconstructionModel):\n"
        "    name = 'mine'\n"
        "    entry = ModelEntry(weights=Catalogue('mine', (\n"
        "        Resource('ann/mine', 'c' * 40, None, 'net', files, 3, 'L', 'any use'),)))\n"
        "    def inference(self, capture, output_dir): raise NotImplementedError\n"
    )
    (root / ".meshdrop").mkdir(parents=True)
    (root / ".meshdrop/config.toml").write_text(f'[custom_models]\nmine = "{file}:Mine"\n')

    def weights(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "meshdrop.daemon.cli", "weights", *words, "--root", str(root)]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "200"}
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = weights("list")
    assert code == 0
    assert [line.split()[1] for line in said.splitlines() if line.split()[:1] == ["mine"]] == ["ann/mine"]
    code, said = weights("verify", "mine")
    assert code == 1
    assert "mine/net/a.bin was never fetched" in said
    assert "fix: meshdrop weights fetch mine" in said
    code, said = weights("fetch", "fusion", "--yes")
    assert code == 1
    assert "fix: models with weights: reconviagen, mine" in said
