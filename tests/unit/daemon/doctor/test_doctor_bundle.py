"""``doctor --bundle``: what is in it, and above all what is not."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.redaction import REMOVED, scrubbed
from meshdrop.daemon.base.settings import config_file, load
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.examine import examine
from meshdrop.daemon.doctor.support_bundle import FAILED, write_bundle
from meshdrop.daemon.host.machine import Machine
from tests.unit.daemon.doctor.ailments import add_job, add_run, insert, script

SECRETS = {
    "webhook_url": "https://hooks.example.org/T000/B111/xyzzy-token",
    "webhook_secret": "hunter2hunter2",
    "ping_url": "https://hc.example.org/5f1e-uuid",
    "notify": "tgram://123456:ABCDEF/998877",
}
PICTURE = b"\x89PNG\r\n\x1a\n" + b"pixels" * 100


@pytest.fixture
def busy(root: Path, quick_models: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with secrets, jobs, a failed folder, and a log that repeats the secrets."""
    file = root / "notify.txt"
    file.write_text(SECRETS["notify"] + "\n")
    config_file(root).write_text(
        f'webhook_url = "{SECRETS["webhook_url"]}"\nwebhook_secret = "{SECRETS["webhook_secret"]}"\n'
        f'ping_url = "{SECRETS["ping_url"]}"\nnotify_urls_file = "{file}"\n'
    )
    job = add_job(root, "FAILED_CLEAN", reason_code="models", reason=f"said {SECRETS['webhook_secret']}", dest=b"chair")
    add_run(root, job, "fusion", "failed", "crash")
    insert(root, "event", {"job_id": job, "at": 1.0, "kind": "claimed"})
    for number in range(FAILED + 2):
        folder = root / f"failed/chair{number}"
        (folder / "capture/views").mkdir(parents=True)
        (folder / "capture/views/view_00.png").write_bytes(PICTURE)
        (folder / "failure.json").write_text(json.dumps({"code": "models", "name": "chair"}))
        (folder / "log.txt").write_text(f"POST {SECRETS['webhook_url']} failed\ntoken=abc123\nPassword: swordfish\n")
    return root


def contents(path: Path) -> Mapping[str, str]:
    """Every member as text."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def bundled(root: Path, target: Path, machine: Machine) -> Mapping[str, str]:
    """The bundle of this root."""
    made = write_bundle(target, examine(root, None, machine), load(root), None, machine)
    assert made.path.exists()
    assert sorted(contents(made.path)) == sorted(made.members)
    return contents(made.path)


def test_it_holds_what_its_page_says(busy: Path, healthy: Machine, tmp_path: Path) -> None:
    script(healthy, "journalctl", 'echo "a line of the journal: $*"')
    told = bundled(busy, tmp_path, healthy)
    listed = {line.split("  ")[0] for line in told["README.txt"].splitlines() if "  " in line}
    assert {"doctor.json", "settings.json", "versions.json", "record.json", "journal.txt"} <= listed & told.keys()
    assert json.loads(told["doctor.json"])["schema"] == "meshdrop.doctor/1"
    record = json.loads(told["record.json"])
    assert record["jobs"][0]["name"] == "chair"
    assert [run["error_class"] for run in record["jobs"][0]["runs"]] == ["crash"]
    assert [event["kind"] for event in record["jobs"][0]["events"]] == ["claimed"]
    assert any("CREATE TABLE job" in statement for statement in record["schema"])
    assert "--unit=meshdrop" in told["journal.txt"]
    assert "numpy" in json.loads(told["versions.json"])["packages"]
    assert told["proc/self/limits.txt"].startswith("Limit")
    assert len([name for name in told if name.endswith("failure.json")]) == FAILED


def test_no_secret_is_in_it_wherever_it_stood(busy: Path, healthy: Machine, tmp_path: Path) -> None:
    script(healthy, "journalctl", f"echo 'calling {SECRETS['ping_url']} with {SECRETS['notify']}'")
    known = replace(healthy, environ={"HF_TOKEN": "hf_abcdefgh", "MESHDROP_WEBHOOK_SECRET": "another-one"})
    told = bundled(busy, tmp_path, known)
    everything = "\n".join(told.values())
    for secret in (*SECRETS.values(), "hooks.example.org", "hf_abcdefgh", "another-one", "abc123", "swordfish"):
        assert secret not in everything, secret
    assert all(REMOVED in text for name, text in told.items() if name.endswith("log.txt"))
    assert "MESHDROP_WEBHOOK_SECRET" in told["versions.json"], "names are told"


def test_no_picture_is_in_it(busy: Path, healthy: Machine, tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.zip", [], load(busy), None, healthy)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert not any(b"pixels" in archive.read(name) for name in archive.namelist())


def test_links_on_the_share_lead_nowhere(busy: Path, healthy: Machine, tmp_path: Path) -> None:
    """Whoever may write to failed/ must not choose what a bundle made by root holds."""
    (tmp_path / "private").write_text("root's own")
    evil = busy / "failed/evil"
    evil.mkdir()
    (evil / "log.txt").symlink_to(tmp_path / "private")
    (evil / "failure.json").symlink_to(tmp_path / "private")
    told = bundled(busy, tmp_path, healthy)
    assert told["failed/01-evil/failure.json"] == "{}"
    assert "root's own" not in "\n".join(told.values())


def test_hostile_names_and_huge_logs_are_packed_as_any_system_can_unpack_them(
    busy: Path, healthy: Machine, tmp_path: Path
) -> None:
    """Two gigabytes that take no room; names that are no text, that look alike, and that lead elsewhere on Windows."""
    for name in (b"C:\\evil", b"a\x1b[31m\n<b>", b"st\xfchl", b"st\\udcfchl", b"x" * 250):
        folder = os.fsencode(busy / "failed") + b"/" + name
        os.mkdir(folder)
        for inner in (b"log.txt", b"failure.json"):
            with open(folder + b"/" + inner, "wb") as file:
                file.truncate(2 << 30)
    line = Finding("root", "fail", os.fsdecode(b"/srv/st\xfchl"), "why", "fix")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = write_bundle(tmp_path / "b.zip", [line], load(busy), None, healthy)
    assert len(set(made.members)) == len(made.members)
    assert all(re.fullmatch(r"[\w ./@-]{1,120}", name) for name in made.members), made.members
    assert "/srv/st" in contents(made.path)["doctor.json"]
    assert made.path.stat().st_size < 1 << 20


def test_a_disk_without_room_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    """A file that may not become larger is refused as on a full disk."""
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from meshdrop.daemon.doctor.support_bundle import write_bundle\n"
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\nwrite_bundle(Path(sys.argv[1]), [], None, None)\n"
    )
    target = tmp_path / "full"
    target.mkdir()
    command = [sys.executable, "-c", code, str(target / "b.zip")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot be written: File too large" in done.stderr
    assert list(target.iterdir()) == []


def test_only_its_owner_may_read_it_and_nothing_is_replaced(busy: Path, healthy: Machine, tmp_path: Path) -> None:
    target = tmp_path / "support.zip"
    write_bundle(target, [], load(busy), None, healthy)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    with pytest.raises(MeshdropError, match="nothing is ever replaced"):
        write_bundle(target, [], load(busy), None, healthy)
    assert target.read_bytes() == before
    with pytest.raises(MeshdropError, match="cannot be written"):
        write_bundle(tmp_path / "gone/support.zip", [], load(busy), None, healthy)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_it_is_made_where_everything_is_broken(root: Path, healthy: Machine, tmp_path: Path) -> None:
    settings = load(root)
    settings.places.database.write_bytes(b"no database")
    (root / "failed").rmdir()
    lines = [Finding("settings", "fail", "see https://example.org/x?token=1", "why", "fix")]
    made = write_bundle(tmp_path / "a.zip", lines, settings, None, healthy)
    told = contents(made.path)
    assert "cannot be told" in told["record.json"]
    assert "example.org" not in told["doctor.json"]
    without = contents(write_bundle(tmp_path / "b.zip", lines, None, None, healthy).path)
    assert "record.json" not in without
    assert "doctor.json" in without


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("GET https://user:pw@host/x ok", f"GET {REMOVED} ok"),
        ('{"api_key": "k-1"}', f'{{"api_key": {REMOVED}}}'),
        ("Authorization: Bearer abc.def rest", f"Authorization: {REMOVED} rest"),
        ("see file:///srv/x", "see file:///srv/x"),
        ("http://127.0.0.1:9464/metrics", "http://127.0.0.1:9464/metrics"),
        ("https://127.0.0.1.evil.org/x", REMOVED),
        ("a plain sentence: nothing", "a plain sentence: nothing"),
        ("my-own-secret-word", f"my-{REMOVED}-word"),
        ("rw,user=joe,pass=pw1,uid=0", f"rw,user=joe,pass={REMOVED},uid=0"),
        ("smbclient //nas/x -U joe%pw1 -c ls", f"smbclient //nas/x -U joe%{REMOVED} -c ls"),
        ("curl -u joe:pw1 host", f"curl -u joe:{REMOVED} host"),
        ("pass 2 of 3: bypass=1", "pass 2 of 3: bypass=1"),
    ],
)
def test_what_looks_like_a_secret_is_one(text: str, rest: str) -> None:
    assert scrubbed(text, ("own-secret",)) == rest
