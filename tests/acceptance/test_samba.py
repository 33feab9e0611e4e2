"""The share as rigs use it: a real Samba server on this machine and its own client, over a real connection.

The server exports the four public folders with what `meshdrop service print samba` prints; only the user's name and
who may come in differ: the tests' service runs as root, and guests come in where nothing else is said. It needs
Debian's packages samba and smbclient and root (smbd changes users); everything it writes lies in a temporary folder,
and it listens on a free port of the loopback interface only. The service runs with stand-ins for its workers; its
intake is the real one.
"""

from __future__ import annotations

import contextlib
import os
import re
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

from meshdrop.daemon.install.site import Site
from tests.patience import PATIENCE_S
from tests.receivers import free_port
from tests.rig import Rig, assert_whole, contents, stop, wait_for

SMBD = shutil.which("smbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
#: smbclient sends what it reads from a pipe in one piece of this size; only a whole one leaves it before the end.
PIECE = 1 << 24

pytestmark = [
    pytest.mark.skipif(
        SMBD is None or shutil.which("smbclient") is None,
        reason="needs smbd and smbclient (Debian: apt-get install samba smbclient)",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="smbd needs root to act as another user"),
]


@dataclass(frozen=True)
class Server:
    """A running smbd with the four folders of a rig's root."""

    configuration: Path
    port: int

    def client(self, share: str, commands: str, who: str = "") -> subprocess.Popen[str]:
        """Start smbclient with these commands, as a guest or as ``who`` (name%password)."""
        return subprocess.Popen(
            [
                "smbclient",
                "-s",
                str(self.configuration),
                "-p",
                str(self.port),
                *(["-U", who] if who else ["-N"]),
                f"//127.0.0.1/{share}",
                "-c",
                commands,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def do(self, share: str, commands: str) -> str:
        """Run smbclient to its end; what it said."""
        client = self.client(share, commands)
        said, _ = client.communicate(timeout=PATIENCE_S)
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
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers, and ends them with the test."""
    with contextlib.ExitStack() as until_the_end:
        yield lambda rig, **how: until_the_end.enter_context(_server(rig, **how))


def exported(rig: Rig, *, guests: bool) -> str:
    """The shipped part of smb.conf for this root, for a service that works as root."""
    text = Site(places=rig.places).samba()
    if guests:
        text = re.sub(r"(?m)^( +)valid users = .*$", r"\1guest ok = yes", text)
    return re.sub(r"(?m)^( +(?:valid users|force user|force group) = @?)meshdrop$", r"\1root", text)


@contextlib.contextmanager
def _server(rig: Rig, *, guests: bool = True) -> Iterator[Server]:
    # Not pytest's folder: a path of a Unix socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="smbd-") as folder:
        own = Path(folder)
        port = free_port()
        folders = ("private dir", "lock directory", "state directory", "cache directory", "pid directory")
        head = [
            "[global]",
            "server role = standalone server",
            "map to guest = Bad User",
            "interfaces = lo",
            "bind interfaces only = yes",
            f"smb ports = {port}",
            "disable netbios = yes",
            "disable spoolss = yes",
            "load printers = no",
            f"log file = {own / 'log'}",
            f"ncalrpc dir = {own / 'rpc'}",
            *(f"{name} = {own}" for name in folders),
        ]
        server = Server(own / "smb.conf", port)
        server.configuration.write_text("\n".join([*head, exported(rig, guests=guests)]), encoding="utf-8")
        process = subprocess.Popen(
            [str(SMBD), "--foreground", "--no-process-group", "-s", str(server.configuration)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=(own / "out").open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, (own / "out").read_text(errors="replace")
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
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
    light_rig: Callable[..., Rig], serve: Callable[..., Server], pictures: dict[str, Path], tmp_path: Path
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
            wait_for(lambda: there.exists() and there.read_bytes()[-12:] == content[-12:], timeout=120)
        if not there.exists() or there.read_bytes()[-12:] != content[-12:]:
            client.kill()
            pytest.skip("smbclient kept the last piece of the picture back, so its end is not on the server")
        wait_for(lambda: f"{last} is still being written" in here.status_page())
        time.sleep(1.5)  # seven settle windows
        assert there.exists()
        page = server.get("status", "STATUS.txt", tmp_path / "pages").read_text()
        assert f"slow: {last} is still being written" in page
    said, _ = client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 0, said
    wait_for((here.places.outbox / "slow.done").exists)
    assert (here.places.outbox / "slow" / "capture" / last).read_bytes() == whole
    assert stop(daemon) == 0
    here.assert_at_rest()


def test_a_capture_that_is_copied_and_renamed_over_smb_is_taken_without_the_settle_window(
    light_rig: Callable[..., Rig], serve: Callable[..., Server], pictures: dict[str, Path], tmp_path: Path
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
    light_rig: Callable[..., Rig], serve: Callable[..., Server], pictures: dict[str, Path]
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


def test_only_the_four_folders_are_there_and_no_way_leads_beside_them(
    light_rig: Callable[..., Rig], serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Neither by another share, nor upwards, nor by a link that somebody left in the inbox."""
    here = light_rig()
    server = serve(here)
    secret = here.places.spool / "secret.txt"
    secret.write_text("private")
    (here.places.inbox / "link").symlink_to(here.root)
    (here.places.inbox / "hard").mkdir()
    listed = subprocess.run(
        ["smbclient", "-s", str(server.configuration), "-p", str(server.port), "-N", "-g", "-L", "127.0.0.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    shares = {line.split("|")[1] for line in listed.splitlines() if line.startswith("Disk|")}
    assert shares == {"inbox", "outbox", "failed", "status"}
    for share in (".meshdrop", here.root.name, "C$"):
        client = server.client(share, "ls")
        assert "NT_STATUS_BAD_NETWORK_NAME" in client.communicate(timeout=PATIENCE_S)[0]
    for way in ("../.meshdrop/spool", "..\\.meshdrop\\spool", "link/.meshdrop/spool", "hard/../../.meshdrop/spool"):
        client = server.client("inbox", f'lcd "{tmp_path}"; cd "{way}"; get secret.txt')
        client.communicate(timeout=PATIENCE_S)
        assert not (tmp_path / "secret.txt").exists(), way
    client = server.client("inbox", f'lcd "{tmp_path}"; get "link/.meshdrop/spool/secret.txt"')
    assert "NT_STATUS" in client.communicate(timeout=PATIENCE_S)[0]
    assert not (tmp_path / "secret.txt").exists()


def test_results_can_be_taken_away_and_the_status_page_only_read(
    light_rig: Callable[..., Rig], serve: Callable[..., Server], pictures: dict[str, Path], tmp_path: Path
) -> None:
    here = light_rig()
    server = serve(here)
    daemon = here.start()
    server.put(pictures, "chair")
    wait_for((here.places.outbox / "chair.done").exists)
    modes = {path.stat().st_mode & 0o777 for path in (here.places.outbox / "chair/capture").rglob("*.png")}
    assert modes, "there is a capture in it"
    server.do("outbox", 'deltree "chair"; del "chair.done"')
    assert list(here.places.outbox.iterdir()) == []
    (tmp_path / "mine").write_text("mine")
    client = server.client("status", f'put "{tmp_path}/mine" "mine"')
    assert "NT_STATUS_ACCESS_DENIED" in client.communicate(timeout=PATIENCE_S)[0]
    assert stop(daemon) == 0


def test_what_is_copied_belongs_to_the_service_and_its_group(
    light_rig: Callable[..., Rig], serve: Callable[..., Server], pictures: dict[str, Path]
) -> None:
    """Without a service to take it: the rights that clients give are the ones it needs, whatever their umask."""
    here = light_rig()
    serve(here).put(pictures, "chair")
    folders = [here.places.inbox / "chair", here.places.inbox / "chair/views"]
    assert {folder.stat().st_mode & 0o7777 for folder in folders} == {0o2770}
    assert {path.stat().st_mode & 0o7777 for path in (here.places.inbox / "chair/views").iterdir()} == {0o660}


def test_strangers_are_turned_away_where_accounts_are_asked_for(
    light_rig: Callable[..., Rig], serve: Callable[..., Server]
) -> None:
    """As printed, only members of the group come in, with their password."""
    here = light_rig()
    server = serve(here, guests=False)
    subprocess.run(
        ["smbpasswd", "-c", str(server.configuration), "-s", "-a", "root"],
        input="pass-word\npass-word\n",
        text=True,
        capture_output=True,
        check=True,
    )
    client = server.client("inbox", "mkdir mine", who="root%pass-word")
    assert client.communicate(timeout=PATIENCE_S)[0].strip() == ""
    assert (here.places.inbox / "mine").is_dir()
    for who in ("", "root%wrong"):
        said = server.client("inbox", "mkdir yours", who=who).communicate(timeout=PATIENCE_S)[0]
        assert "NT_STATUS_ACCESS_DENIED" in said or "NT_STATUS_LOGON_FAILURE" in said, said
    assert sorted(os.listdir(here.places.inbox)) == ["mine"]


def test_testparm_reads_every_line_without_complaint() -> None:
    """Every parameter is known to Samba, and nothing was taken for another."""
    testparm = shutil.which("testparm")
    if testparm is None:
        pytest.skip("testparm is not installed here (Debian: apt-get install samba-common-bin)")
    with tempfile.TemporaryDirectory(prefix="smbd-") as folder:
        main, part = Path(folder, "smb.conf"), Path(folder, "meshdrop.conf")
        part.write_text(Site().samba(), encoding="utf-8")
        main.write_text(f"[global]\n    server role = standalone server\n\n[homes]\n\ninclude = {part}\n")
        done = subprocess.run([testparm, "-s", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Unknown parameter" not in done.stderr
    wanted = {line.strip() for line in Site().samba().splitlines() if line.startswith("    path")}
    assert wanted <= {line.strip() for line in done.stdout.splitlines()}
