"""The share as rigs use it: a real Samba server on this machine and its own client, over a real connection.

The server exports the four public folders, as the README says. It needs Debian's packages samba and smbclient and root
(smbd changes users); everything it writes lies in a temporary folder, and it listens on a free port of the loopback
interface only. The service runs with stand-ins for its workers; its intake is the real one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig import Rig, assert_whole, contents, stop, wait_for

SHARES = ("inbox", "outbox", "failed", "status")
SMBD = shutil.which("smbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
#: smbclient sends what it reads from a pipe in one piece of this size; only a whole one leaves it before the end.
PIECE = 1 << 24

pytestmark = [
    pytest.mark.skipif(SMBD is None or shutil.which("smbclient") is None, reason="needs smbd and smbclient (Debian: "
                       "apt-get install samba smbclient)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="smbd needs root to act as another user"),
]  # fmt: skip


@dataclass(frozen=True)
class Server:
    """A running smbd with the four folders of a rig's root."""

    configuration: Path
    port: int

    def client(self, share: str, commands: str) -> subprocess.Popen[str]:
        """Start smbclient with these commands."""
        return subprocess.Popen(
            ["smbclient", "-s", str(self.configuration), "-p", str(self.port), "-N", f"//127.0.0.1/{share}", "-c",
             commands], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip

    def do(self, share: str, commands: str) -> str:
        """Run smbclient to its end; what it said."""
        client = self.client(share, commands)
        said, _ = client.communicate(timeout=60)
        assert client.returncode == 0, said
        return said

    def put(self, files: dict[str, Path], folder: str) -> None:
        """Copy files into a folder of the inbox that they make on their way."""
        made = {f"{folder}/{name}".rpartition("/")[0] for name in files}
        steps = [f'mkdir "{name}"' for name in sorted({folder, *made})]
        steps += [f'put "{file}" "{folder}/{name}"' for name, file in sorted(files.items())]
        self.do("inbox", "; ".join(steps))

    def get(self, share: str, name: str, into: Path) -> Path:
        """Fetch one file or folder."""
        into.mkdir(exist_ok=True)
        self.do(share, f'lcd "{into}"; recurse on; prompt off; mget "{name}"')
        return into / name


@pytest.fixture
def serve() -> Iterator[Callable[[Rig], Server]]:
    """Starts servers, and ends them with the test."""
    with contextlib.ExitStack() as until_the_end:
        yield lambda rig: until_the_end.enter_context(_server(rig))


@contextlib.contextmanager
def _server(rig: Rig) -> Iterator[Server]:
    # Not pytest's folder: a path of a Unix socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="smbd-") as folder:
        own = Path(folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        folders = ("private dir", "lock directory", "state directory", "cache directory", "pid directory")
        lines = [
            "[global]", "server role = standalone server", "map to guest = Bad User", "interfaces = lo",
            "bind interfaces only = yes", f"smb ports = {port}", "disable netbios = yes", "disable spoolss = yes",
            "load printers = no", f"log file = {own / 'log'}", f"ncalrpc dir = {own / 'rpc'}",
            *(f"{name} = {own}" for name in folders),
        ]  # fmt: skip
        for share in SHARES:
            lines += [f"[{share}]", f"path = {rig.root / share}", "guest ok = yes", "force user = root",
                      f"read only = {'no' if share == 'inbox' else 'yes'}"]  # fmt: skip
        server = Server(own / "smb.conf", port)
        server.configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        process = subprocess.Popen(
            [str(SMBD), "--foreground", "--no-process-group", "-s", str(server.configuration)], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=(own / "out").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait_for(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, (own / "out").read_text(errors="replace")
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def pictures(ball: Path) -> dict[str, Path]:
    """The files of a good capture by their names."""
    return {name: ball / name for name in contents(ball)}


def test_a_picture_that_smbd_still_holds_open_is_waited_for(
    light_rig: Callable[..., Rig], serve: Callable[[Rig], Server], pictures: dict[str, Path], tmp_path: Path
) -> None:
    """All files are there with their ends, for many settle windows; only the open handle tells that one is not done."""
    here = light_rig()
    server = serve(here)
    daemon = here.start()
    last = "views/view_05.png"
    content = pictures[last].read_bytes()
    text = b"tEXt" + b"Comment\0" + b"x" * (PIECE - len(content) - 20)
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    whole = content[:-12] + chunk + content[-12:]
    server.put({name: file for name, file in pictures.items() if name != last}, "slow")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    client = server.client("inbox", f'put "{pipe}" "slow/{last}"')
    with pipe.open("wb") as file:
        file.write(whole)
        file.flush()
        there = here.places.inbox / "slow" / last
        with contextlib.suppress(AssertionError):
            wait_for(lambda: there.exists() and there.read_bytes()[-12:] == content[-12:])
        if not there.exists() or there.read_bytes()[-12:] != content[-12:]:
            client.kill()
            pytest.skip("smbclient kept the last piece of the picture back, so its end is not on the server")
        wait_for(lambda: f"{last} is still being written" in here.status_page())
        time.sleep(1.5)  # seven settle windows
        assert there.exists()
        page = server.get("status", "STATUS.txt", tmp_path / "pages").read_text()
        assert f"slow: {last} is still being written" in page
    said, _ = client.communicate(timeout=60)
    assert client.returncode == 0, said
    wait_for((here.places.outbox / "slow.done").exists)
    assert (here.places.outbox / "slow" / "capture" / last).read_bytes() == whole
    assert stop(daemon) == 0
    here.assert_at_rest()


def test_a_capture_that_is_copied_and_renamed_over_smb_is_taken_without_the_settle_window(
    light_rig: Callable[..., Rig], serve: Callable[[Rig], Server], pictures: dict[str, Path], tmp_path: Path
) -> None:
    """With a window of ten minutes, only the rename can be the reason. The result is fetched over SMB too."""
    here = light_rig(MESHDROP_SETTLE_S="600")
    server = serve(here)
    daemon = here.start()
    server.put(pictures, "chair.part")
    (here.places.inbox / "later").mkdir()
    wait_for(lambda: "later: " in here.status_page())  # so the inbox was listed since
    assert sorted(os.listdir(here.places.inbox)) == ["chair.part", "later"]
    server.do("inbox", 'rename "chair.part" "chair"')
    wait_for((here.places.outbox / "chair.done").exists)
    fetched = server.get("outbox", "chair", tmp_path / "fetched")
    assert_whole(fetched)
    assert contents(fetched / "capture") == {name: file.read_bytes() for name, file in pictures.items()}
    assert server.get("outbox", "chair.done", tmp_path / "fetched").read_text().strip()
    wait_for(lambda: "outbox/chair" in server.get("status", "STATUS.txt", tmp_path / "pages").read_text())
    assert stop(daemon) == 0
    here.assert_at_rest()


def test_a_client_that_sets_old_times_after_its_copy_gets_its_capture_through(
    light_rig: Callable[..., Rig], serve: Callable[[Rig], Server], pictures: dict[str, Path]
) -> None:
    """`utimes` is what Explorer and `smbclient` with archives do after closing: it restarts the window, no more."""
    here = light_rig(MESHDROP_SETTLE_S="1")
    server = serve(here)
    daemon = here.start()
    server.put(pictures, "dated")
    server.do("inbox", "; ".join(f'utimes "dated/{name}" -1 -1 2015:06:01-12:00:00 -1' for name in sorted(pictures)))
    wait_for((here.places.outbox / "dated.done").exists)
    assert (here.places.outbox / "dated").is_dir()
    assert stop(daemon) == 0
    here.assert_at_rest()
