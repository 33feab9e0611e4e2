"""`meshdrop service`: what would be installed, where, and what is refused before anything is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ConfigurationError, MeshdropError
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.install import refusals as site_check
from meshdrop.daemon.install import steps as site_install
from meshdrop.daemon.install.site import FOLDERS, UNIT, USERS, Site, usual_places
from meshdrop.daemon.install.steps import Remove, Run, Write
from meshdrop.daemon.notify.channels import ADDRESS_SETTINGS

PROJECT = Path(__file__).parents[4]


def meshdrop(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command without any of this process's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHDROP_")}
    return subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **variables},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
    )


def values(unit: str, name: str) -> list[str]:
    """Every value of one directive."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


# -- the files -----------------------------------------------------------------------------------------------------


def test_the_shipped_files_are_what_the_templates_give() -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in (PROJECT / "systemd").iterdir()}
    assert there == Site().shipped(), "`make units` writes them anew"


def test_the_settings_of_a_root_decide_about_its_unit(tmp_path: Path) -> None:
    """Times, a record elsewhere and a spool beside the share: what the service writes to is one path for the share."""
    root = tmp_path / "disk/scans"
    (root / ".meshdrop").mkdir(parents=True)
    (root / ".meshdrop/config.toml").write_text(
        f'stop_grace_s = 40\nspool_dir = "{tmp_path}/disk/spool"\nstate_dir = "{tmp_path}/own"\n'
    )
    site = site_install.site_of(root, user="scans")
    unit = site.unit()
    assert values(unit, "Environment") == [f"MESHDROP_ROOT={root}"]
    assert values(unit, "ReadWritePaths") == [f"{tmp_path}/disk", f"{tmp_path}/own"]
    assert values(unit, "RequiresMountsFor") == [f"{root} {tmp_path}/own"]
    assert values(unit, "TimeoutStopSec") == ["105"]
    assert values(unit, "User") == values(unit, "Group") == ["scans"]
    assert values(unit, "ExecStart") == [f"{Path(sys.prefix)}/bin/meshdrop run"]


@pytest.mark.parametrize(
    ("settings", "network", "families"),
    [
        ("", "none", "AF_UNIX"),
        ("metrics_port = 9464", "loopback", "AF_UNIX AF_INET AF_INET6"),
        ('metrics_port = 9464\nmetrics_address = "0.0.0.0"', "any", "AF_UNIX AF_INET AF_INET6"),
        ('webhook_url = "https://hooks.example/x"', "any", "AF_UNIX AF_INET AF_INET6"),
        ('notify_urls = ["json://hooks.example"]', "any", "AF_UNIX AF_INET AF_INET6"),
        ('ping_url_file = "/etc/meshdrop/ping"\nmetrics_port = 9464', "any", "AF_UNIX AF_INET AF_INET6"),
    ],
)
def test_the_unit_opens_as_much_network_as_the_settings_need(
    tmp_path: Path, settings: str, network: str, families: str
) -> None:
    (tmp_path / ".meshdrop").mkdir()
    (tmp_path / ".meshdrop/config.toml").write_text(settings + "\n")
    site = site_install.site_of(tmp_path)
    assert site.network == network
    assert values(site.unit(), "RestrictAddressFamilies") == [families]
    assert values(site.unit(), "PrivateNetwork") == ["true" if network == "none" else "false"]


def test_every_setting_that_names_an_address_opens_the_network() -> None:
    """One that is added later and forgotten here would fail silently behind the unit's wall."""
    named = {name for name in Settings.model_fields if re.search(r"_urls?(_file)?$", name)}
    assert named == set(ADDRESS_SETTINGS)


def test_a_record_beside_the_spool_is_no_path_of_its_own(tmp_path: Path) -> None:
    """Kernels are programs: where the record lies on the share, they do not."""
    create_root(load(tmp_path).places)
    site = site_install.site_of(tmp_path)
    assert site.writable == [tmp_path, site_install.CACHE]
    assert f"\nEnvironment=MESHDROP_CACHE_DIR={site_install.CACHE}\n" in site.unit()
    assert "MESHDROP_CACHE_DIR" not in Site().unit()


def test_a_root_without_settings_gets_the_usual_ones(tmp_path: Path) -> None:
    assert site_install.site_of(tmp_path / "new").places == usual_places(tmp_path / "new", Path("/var/lib/meshdrop"))
    assert site_install.site_of(tmp_path / "new", state=Path("/data/m")).places.state == Path("/data/m")


def test_settings_that_contradict_the_command_are_named(tmp_path: Path) -> None:
    create_root(load(tmp_path).places)
    with pytest.raises(ConfigurationError, match="put the record into"):
        site_install.site_of(tmp_path, state=Path("/var/lib/meshdrop"))


def test_a_share_on_a_server_is_left_to_the_server() -> None:
    site = Site(is_local=False)
    lines = [line for line in site.folders().splitlines() if not line.startswith("#")]
    assert lines == ["d /var/lib/meshdrop 0700 meshdrop meshdrop -"]
    ours = [step.words for step in site_install.installation(site) if isinstance(step, Run)]
    assert [words for words in ours if words[0] in ("install", "chown") and "/srv/scans" in words] == []


@pytest.mark.parametrize(
    "path", ["scans", "/srv/my scans", "/srv/50%", "/srv/a\nExecStart=/bin/sh", "/srv/$HOME", "/srv/é"]
)
def test_a_path_that_would_need_escapes_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot stand in a unit file"):
        Site(places=usual_places(Path(path), Path("/var/lib/meshdrop")))


@pytest.mark.parametrize("user", ["root", "a b", "", "-x", "a\nUser=root"])
def test_the_service_never_works_as_root_or_as_a_line(user: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot work as"):
        Site(user=user)


def test_share_and_spool_without_a_common_folder_are_refused() -> None:
    places = replace(Site().places, spool=Path("/mnt/spool"))
    with pytest.raises(ConfigurationError, match="nothing above them"):
        Site(places=places).unit()


# -- the machine's own tools, on a folder that stands for the machine ----------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root folder as an installation finds it."""
    (tmp_path / "machine/etc").mkdir(parents=True)
    (tmp_path / "machine/srv").mkdir()
    return tmp_path / "machine"


def tool(name: str) -> str:
    """The path of a program, or a skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def test_the_files_are_staged_and_systemds_own_tools_accept_them(machine: Path) -> None:
    """User and groups are really made in the staged folder, and the folders get their owners and rights."""
    if os.geteuid() != 0:
        pytest.skip("making users and folders of others needs root")
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    done = meshdrop("service", "install", "--root", "/srv/scans", "--into", str(machine))
    assert (done.returncode, done.stderr) == (0, "")
    for path in (UNIT, USERS, FOLDERS):
        assert (machine / path.relative_to("/")).stat().st_mode & 0o777 == 0o644
    subprocess.run([sysusers, f"--root={machine}"], check=True, capture_output=True)
    account = next(line.split(":") for line in (machine / "etc/passwd").read_text().splitlines() if "meshdrop" in line)
    assert account[5:] == ["/var/lib/meshdrop", "/usr/sbin/nologin"]
    members = {line.split(":")[0]: line.split(":")[3] for line in (machine / "etc/group").read_text().splitlines()}
    assert (members["video"], members["render"]) == ("meshdrop", "meshdrop"), "for the GPU's device nodes"
    number = int(account[2])
    for name in ("inbox", "outbox", "failed", "status", ".meshdrop"):
        folder = machine / "srv/scans" / name
        folder.mkdir(parents=True)
        os.chown(folder, number, number)
    os.chown(machine / "srv/scans", number, number)
    done = subprocess.run([tmpfiles, f"--root={machine}", "--create"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modes = {
        name: (folder.stat().st_mode & 0o7777, folder.stat().st_uid)
        for name in ("srv/scans", "srv/scans/inbox", "srv/scans/status", "srv/scans/.meshdrop", "var/lib/meshdrop")
        for folder in [machine / name]
    }
    assert modes == {
        "srv/scans": (0o755, number),
        "srv/scans/inbox": (0o2770, number),
        "srv/scans/status": (0o2750, number),
        "srv/scans/.meshdrop": (0o700, number),
        "var/lib/meshdrop": (0o700, number),
    }


def test_an_inbox_of_an_unmounted_disk_is_not_made(machine: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("making users and folders of others needs root")
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    site_install.stage(site_install.installation(Site()), machine)
    subprocess.run([sysusers, f"--root={machine}"], check=True, capture_output=True)
    subprocess.run([tmpfiles, f"--root={machine}", "--create"], check=True, capture_output=True)
    assert list((machine / "srv/scans").iterdir()) == []


def test_a_file_that_was_changed_by_hand_is_kept_beside_the_new_one(machine: Path) -> None:
    steps = site_install.installation(Site())
    site_install.stage(steps, machine)
    unit = machine / UNIT.relative_to("/")
    unit.write_text("[Service]\nNice=5\n")
    site_install.stage(steps, machine)
    assert unit.read_text() == Site().unit()
    assert unit.with_name("meshdrop.service.old").read_text() == "[Service]\nNice=5\n"
    site_install.stage(steps, machine)
    assert unit.with_name("meshdrop.service.old").read_text() == "[Service]\nNice=5\n", "the same text changes nothing"
    assert sorted(path.name for path in unit.parent.iterdir()) == ["meshdrop.service", "meshdrop.service.old"]


# -- the steps -----------------------------------------------------------------------------------------------------


def test_the_steps_make_users_before_folders_and_folders_before_the_service() -> None:
    """On a machine that has none of the folders yet; what is there already changes hands, see below."""
    if any(path.exists() for path in (Path("/srv/scans"), Path("/var/lib/meshdrop"))):
        pytest.skip("Meshdrop is installed on this machine")
    told = [str(step) for step in site_install.installation(Site())]
    assert told == [
        "write /etc/sysusers.d/meshdrop.conf",
        "run systemd-sysusers /etc/sysusers.d/meshdrop.conf",
        "run install -d -o meshdrop -g meshdrop -m 0755 /srv/scans",
        "run install -d -o meshdrop -g meshdrop -m 0700 /var/lib/meshdrop",
        "run runuser -u meshdrop -- /opt/meshdrop/venv/bin/meshdrop init /srv/scans --state /var/lib/meshdrop",
        "write /etc/tmpfiles.d/meshdrop.conf",
        "run systemd-tmpfiles --create /etc/tmpfiles.d/meshdrop.conf",
        "write /etc/systemd/system/meshdrop.service",
        "run systemctl daemon-reload",
        "run systemctl enable meshdrop.service",
        "run systemctl restart meshdrop.service",
    ]


def test_only_what_is_meshdrops_changes_hands(tmp_path: Path) -> None:
    """Somebody else's folder beside the inbox stays his; the record and a spool elsewhere come with the service."""
    root, spool, state = (tmp_path / name for name in ("scans", "spool", "state"))
    create_root(load(root, spool_dir=spool, state_dir=state).places)
    (root / "others").mkdir()
    site = replace(Site(), places=load(root, spool_dir=spool, state_dir=state).places, user="scans")
    words = [step.words for step in site_install.installation(site) if isinstance(step, Run)]
    made = [step[-3:] for step in words if step[0] == "install"]
    assert made == [("-m", "0755", f"{root}"), ("-m", "0700", f"{spool}"), ("-m", "0700", f"{state}")]
    [given] = [step for step in words if step[0] == "chown"]
    assert given == (
        "chown",
        "-hR",
        "scans:scans",
        f"{root}/inbox",
        f"{root}/outbox",
        f"{root}/failed",
        f"{root}/status",
        f"{root}/.meshdrop",
        f"{root}/.meshdrop-id",
        f"{spool}",
        f"{state}",
    )


@pytest.mark.parametrize("taken", ["root", "spool", "state", "cache"])
def test_a_folder_that_is_used_for_something_else_is_refused(tmp_path: Path, taken: str) -> None:
    """`--root /etc` would give every file in it to the service; `--state /var/lib` would shut everybody else out."""
    places = Places(*(tmp_path / name for name in ("root", "spool", "state", "cache", "state/weights")))
    site = replace(Site(Path("/usr/bin/env")), places=places)
    site_check.check(site, code=[], hidden=[], installed=tmp_path / "none")
    (tmp_path / taken).mkdir()
    (tmp_path / taken / "lost+found").mkdir()
    site_check.check(site, code=[], hidden=[], installed=tmp_path / "none")
    (tmp_path / taken / "passwd").touch()
    with pytest.raises(ConfigurationError, match="would be given to meshdrop, and holds 'passwd'") as refused:
        site_check.check(site, code=[], hidden=[], installed=tmp_path / "none")
    assert str(tmp_path / taken / "meshdrop") in refused.value.fix


def test_a_service_that_has_worked_can_be_installed_again_beside_what_people_added(tmp_path: Path) -> None:
    settings = load(tmp_path / "scans", state_dir=tmp_path / "state")
    create_root(settings.places)
    site = Site(Path("/usr/bin/env"), settings.places)
    site_check.check(site, code=[], hidden=[], installed=tmp_path / "none")
    settings.places.database.touch()
    for folder in (settings.places.root, settings.places.state):
        (folder / "notes.txt").touch()
    (settings.places.cache / "numba-0123456789ab").mkdir()
    site_check.check(site, code=[], hidden=[], installed=tmp_path / "none")


def test_the_service_of_another_folder_is_not_taken_away_silently(tmp_path: Path) -> None:
    """There is one unit: installing it for a second root would leave the first without a service."""
    installed = tmp_path / "meshdrop.service"
    site = Site(Path("/usr/bin/env"))
    installed.write_text(site.unit())
    site_check.check(site, code=[], hidden=[], installed=installed)
    other = replace(site, places=usual_places(Path("/srv/others"), Path("/var/lib/others")))
    with pytest.raises(ConfigurationError, match="works on /srv/scans, not /srv/others") as refused:
        site_check.check(other, code=[], hidden=[], installed=installed)
    assert "service uninstall" in refused.value.fix
    with pytest.raises(ConfigurationError, match="works as the user meshdrop, not scans"):
        site_check.check(replace(site, user="scans"), code=[], hidden=[], installed=installed)


def test_a_link_into_somebodys_home_is_seen_through(tmp_path: Path) -> None:
    """ProtectHome= hides what the link leads to: the service would wait for its share for ever."""
    (tmp_path / "home/scans").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "home/scans")
    site = Site(Path("/usr/bin/env"), usual_places(tmp_path / "linked", Path("/var/lib/meshdrop")))
    with pytest.raises(ConfigurationError, match="home/scans lies where no service can see it"):
        site_check.check(site, code=[], hidden=[tmp_path / "home"], installed=tmp_path / "none")


def test_a_file_that_cannot_be_written_is_named_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "etc").touch()
    for step in (Write(tmp_path / "etc/x.conf", "text\n"), Remove(tmp_path / "etc/x.conf")):
        with pytest.raises(MeshdropError, match=r"etc/x\.conf cannot be changed") as failed:
            site_install.perform([step], lambda _: None)
        assert "writable" in failed.value.fix


def test_the_steps_are_done_in_order_and_a_failed_one_ends_them(tmp_path: Path) -> None:
    file, said = tmp_path / "etc/x.conf", list[str]()
    site_install.perform([Write(file, "text\n"), Run(("false",), may_fail=True), Run(("cat", str(file)))], said.append)
    assert said == [f"write {file}", "run false", f"run cat {file}"]
    with pytest.raises(MeshdropError, match=r"cat /nonexistent failed: .*No such file") as failed:
        site_install.perform([Run(("cat", "/nonexistent")), Remove(file)], said.append)
    assert "give the same command again" in failed.value.fix
    assert file.exists()
    site_install.perform([Remove(file), Remove(file)], said.append)
    assert not file.exists()


def test_removing_leaves_everything_that_people_own() -> None:
    removed = [step.path for step in site_install.removal() if isinstance(step, Remove)]
    assert set(removed) == set(Site().files()), "what an installation writes, and nothing else"


def test_nothing_is_installed_where_systemd_does_not_run_or_by_somebody_else(tmp_path: Path) -> None:
    tool("systemctl")
    with pytest.raises(MeshdropError, match="systemd does not run this machine"):
        site_check.check_machine(0, tmp_path / "absent")
    with pytest.raises(MeshdropError, match="by root") as refused:
        site_check.check_machine(1000, tmp_path)
    assert "sudo" in refused.value.fix
    site_check.check_machine(0, tmp_path)


def test_a_program_that_the_service_could_not_see_is_refused(tmp_path: Path) -> None:
    """A venv in somebody's home, and one that only its owner may read; the message names what to mend."""
    program = tmp_path / "venv/bin/meshdrop"
    program.parent.mkdir(parents=True)
    program.touch()
    program.chmod(0o755)
    site = replace(Site(), program=program)
    for folder in (tmp_path, tmp_path.parent):
        folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match="no service can see"):
        site_check.check(site, code=[], hidden=[tmp_path])
    with pytest.raises(ConfigurationError, match="no service can see"):
        site_check.check(site, code=[tmp_path / "venv"], hidden=[tmp_path / "venv"])
    (tmp_path / "venv").chmod(0o700)
    hidden = [Path("/home")]
    outside = [folder for folder in program.parents if not folder.stat().st_mode & 0o001]
    with pytest.raises(ConfigurationError, match="may not be read by everybody") as refused:
        site_check.check(site, code=[], hidden=hidden)
    assert refused.value.fix == f"sudo chmod -R go+rX {outside[-1]}"


@pytest.mark.parametrize("root", ["/home/scans", "/root/scans", "/tmp/scans"])
def test_a_share_that_the_service_could_not_see_is_refused(root: str) -> None:
    site = Site(Path("/usr/bin/env"), usual_places(Path(root), Path("/var/lib/meshdrop")))
    with pytest.raises(ConfigurationError, match="where no service can see it"):
        site_check.check(site, code=[])


def test_a_dry_run_shows_the_steps_and_print_the_files(machine: Path) -> None:
    for file, text in (("unit", "[Unit]"), ("users", "u meshdrop"), ("folders", "d /var/lib"), ("samba", "[inbox]")):
        assert text in meshdrop("service", "print", file).stdout
    done = meshdrop("service", "uninstall", "--dry-run")
    assert done.stdout.splitlines()[0] == "would run systemctl disable --now meshdrop.service"
    done = meshdrop("service", "print", "unit", MESHDROP_ROOT="/mnt/other")
    assert "Environment=MESHDROP_ROOT=/mnt/other\n" in done.stdout


# -- `meshdrop init`, which an installation calls as the service's user ---------------------------------------------


def test_init_writes_where_the_record_lives_into_a_new_settings_file(tmp_path: Path) -> None:
    root, state = tmp_path / "scans", tmp_path / "state"
    assert meshdrop("init", str(root), "--state", str(state)).returncode == 0
    assert load(root).places.state == state
    assert state.is_dir()
    assert not (root / ".meshdrop/state").exists()
    assert meshdrop("init", str(root), "--state", str(state)).returncode == 0, "again changes nothing"


def test_init_where_this_user_may_not_write_names_the_command_that_helps() -> None:
    """As in a container whose user is not the owner of the folder on the host."""
    words = [sys.executable, "-m", "meshdrop.daemon.cli", "init", "/meshdrop-of-a-test"]
    number = os.geteuid() or 65534
    if os.geteuid() == 0:
        words = [tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=PROJECT)
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("this checkout may not be read by another user")
    assert done.returncode == 78
    assert f"fix: give it a folder first: sudo install -d -o {number} " in done.stderr


def test_init_does_not_move_a_record_that_is_elsewhere(tmp_path: Path) -> None:
    assert meshdrop("init", str(tmp_path / "scans")).returncode == 0
    done = meshdrop("init", str(tmp_path / "scans"), "--state", str(tmp_path / "state"))
    assert done.returncode == 78
    assert "change state_dir there" in done.stderr
    assert not (tmp_path / "state").exists()
