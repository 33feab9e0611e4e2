"""``python -m tests.machine WORK``: follow docs/operations.md on a bare machine to the letter, and disturb what stands.

Makes the smallest Debian with systemd in WORK/base if it is not there, boots a copy in a container, copies the source
onto it, and executes the commands of the page chapter by chapter. In between it looks at what only a real systemd can
show: the unit's state and its sandbox, the watchdog, a reboot, a pulled plug, the share, and who may see what.

--trust FILE  certificates that pip is to believe, where a proxy stands before the package index
--keep        leave the machine in WORK/machine, switched off
--begin STEP  go on with that machine, at this step (a_hang, a_backup_and_a_restore, ...)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.machine.container import Machine, make_base, wait_for

PROJECT = Path(__file__).parents[2]
SOURCE = "/root/meshdrop"
CHECKS: list[Callable[[Machine], None]] = []


def chapter(title: str) -> str:
    """The shell commands of one chapter of the page."""
    page = (PROJECT / "docs/operations.md").read_text(encoding="utf-8")
    text = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert text is not None, title
    return "".join(re.findall(r"^```sh\n(.*?)^```", text[1], re.MULTILINE | re.DOTALL))


def step(check: Callable[[Machine], None]) -> Callable[[Machine], None]:
    """One step of the way, in the order in which they stand here."""
    CHECKS.append(check)
    return check


def unit(machine: Machine, name: str) -> str:
    """A property of the unit, as systemd has it now."""
    return machine.says(f"systemctl show --value --property={name} meshdrop")


def drop(machine: Machine, name: str) -> None:
    """A capture as the service's own user delivers it: copied beside and renamed."""
    machine.do(
        f"cp -r {SOURCE}/samples/snail /srv/scans/.{name}; chown -R meshdrop: /srv/scans/.{name}; "
        f"mv /srv/scans/.{name} /srv/scans/inbox/{name}"
    )


def delivered(machine: Machine, name: str) -> bool:
    """Whether a capture's result is published."""
    return (machine.top / f"srv/scans/outbox/{name}.done").exists()


@step
def the_first_hour(machine: Machine) -> None:
    """Every command of the chapter; then the unit is as the page says."""
    machine.do(chapter("The first hour, with systemd"), folder=SOURCE)
    assert unit(machine, "ActiveState") == "active"
    assert unit(machine, "UnitFileState") == "enabled"
    assert unit(machine, "User") == "meshdrop"
    wait_for(lambda: unit(machine, "StatusText") == "idle, 0 waiting, 0 in the inbox")
    files = set(machine.says("ls /srv/scans/outbox/first").split())
    assert {"report.html", "report.json", "receipt.json", "fusion", "previews"} <= files
    rights = machine.says("cd /srv/scans && stat -c '%a %U:%G' inbox status /var/lib/meshdrop .meshdrop")
    assert rights.splitlines() == [
        "2770 meshdrop:meshdrop",
        "2750 meshdrop:meshdrop",
        "700 meshdrop:meshdrop",
        "700 meshdrop:meshdrop",
    ]


@step
def the_readme(machine: Machine) -> None:
    """`make demo`, as a newcomer who is not root gives it in a fresh copy; what it needs first, the page says."""
    machine.do(
        "apt-get install -y make >/dev/null; useradd --create-home newcomer; "
        f"cp -r {SOURCE} /home/newcomer/here; chown -R newcomer: /home/newcomer/here"
    )
    done = machine.do("sudo --preserve-env -u newcomer HOME=/home/newcomer make demo", folder="/home/newcomer/here")
    assert "Good mesh: take fusion" in done.stdout
    machine.do("rm -r /home/newcomer/here")


@step
def the_sandbox(machine: Machine) -> None:
    """What the running service can reach, seen from inside its own namespaces and limits."""
    status = machine.says(f"cat /proc/{unit(machine, 'MainPID')}/status")
    facts = dict(re.findall(r"(?m)^(\w+):\s+(.*)$", status))
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert {int(facts[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    inside = f"nsenter --target {unit(machine, 'MainPID')} --mount --net --setuid $(id -u meshdrop)"
    for path in ("/etc/x", "/usr/x", "/opt/meshdrop/x", "/srv/x", "/var/lib/x", "/root/x"):
        assert machine.do(f"{inside} touch {path}", check=False).returncode != 0, path
    machine.do(
        f"{inside} sh -c 'touch /srv/scans/inbox/.x && mv /srv/scans/inbox/.x /srv/scans/.meshdrop/spool/.x "
        "&& rm /srv/scans/.meshdrop/spool/.x && touch /var/lib/meshdrop/.x && rm /var/lib/meshdrop/.x'"
    )
    assert machine.do(f"{inside} ls /home", check=False).returncode != 0
    links = machine.says(f"{inside} cat /proc/net/dev").splitlines()[2:]
    assert [line.split(":")[0].strip() for line in links] == ["lo"]
    assert "meshdrop.service" in machine.says("systemd-analyze security --no-pager --threshold=15 meshdrop | tail -1")


@step
def the_share(machine: Machine) -> None:
    """A person with an account sees four folders, drops a capture and takes the result away; a stranger sees none."""
    machine.do(
        "id visitor >/dev/null || useradd --create-home visitor; usermod -aG meshdrop visitor; "
        "apt-get install -y smbclient >/dev/null"
    )
    machine.do("printf 'pass-word\\npass-word\\n' | smbpasswd -s -a visitor")
    smb = "smbclient -U visitor%pass-word //127.0.0.1"
    listed = machine.says("smbclient -g -L 127.0.0.1 -U visitor%pass-word")
    shares = set(re.findall(r"(?m)^Disk\|(\w+)\|", listed)) - {"homes", "visitor", "print"}
    assert shares == {"inbox", "outbox", "failed", "status"}
    machine.do(f"mkdir -p copies; cp -r {SOURCE}/samples/snail copies/shared")
    machine.do(f"{smb}/inbox -c 'lcd copies; recurse on; prompt off; mput shared'")
    wait_for(lambda: delivered(machine, "shared"))
    machine.do(f"{smb}/outbox -c 'lcd /root; get shared/report.html report.html; deltree shared; del shared.done'")
    assert "<html" in machine.says("cat report.html")
    assert machine.says("ls -d /srv/scans/outbox/shared* || true") == ""
    assert machine.do("smbclient -N //127.0.0.1/inbox -c ls", check=False).returncode != 0


@step
def a_hang(machine: Machine) -> None:
    """A stopped process is silent; systemd ends and restarts it, and the capture that was in hand arrives once."""
    drop_in = "/run/systemd/system/meshdrop.service.d"
    machine.do(
        f"mkdir -p {drop_in}; printf '[Service]\\nWatchdogSec=5\\nRestartSec=1\\n' >{drop_in}/quick.conf; "
        "systemctl daemon-reload; systemctl restart meshdrop"
    )
    wait_for(lambda: unit(machine, "ActiveState") == "active")
    assert unit(machine, "WatchdogUSec") == "5s"
    before = unit(machine, "MainPID")
    drop(machine, "hung")
    wait_for(lambda: "hung: fusion" in unit(machine, "StatusText"))
    machine.do(f"kill -STOP {before}")
    wait_for(lambda: unit(machine, "NRestarts") == "1" and unit(machine, "ActiveState") == "active")
    assert unit(machine, "MainPID") != before
    assert "Watchdog timeout" in machine.says("journalctl --unit=meshdrop --no-pager")
    wait_for(lambda: delivered(machine, "hung"))
    machine.do(f"rm -r {drop_in}; systemctl daemon-reload; systemctl restart meshdrop")


@step
def a_disk_that_comes_late(machine: Machine) -> None:
    """Without its share the service is up and says what it waits for; when the share is there it works on."""
    machine.do("systemctl stop meshdrop; mv /srv/scans/.meshdrop-id /root/; systemctl start meshdrop")
    wait_for(lambda: unit(machine, "StatusText").startswith("waiting: /srv/scans has no readable .meshdrop-id"))
    assert unit(machine, "ActiveState") == "active"
    assert unit(machine, "WatchdogUSec") == "10min"
    machine.do("mv /root/.meshdrop-id /srv/scans/")
    wait_for(lambda: unit(machine, "StatusText").startswith("idle"))
    assert unit(machine, "WatchdogUSec") == "1min"


@step
def settings_that_do_not_fit(machine: Machine) -> None:
    """The service ends at once, is not tried again, and the journal says why."""
    machine.do(
        "systemctl stop meshdrop; cp /srv/scans/.meshdrop/config.toml /root/; "
        "echo 'settle_s = -1' >>/srv/scans/.meshdrop/config.toml; systemctl start meshdrop || true"
    )
    wait_for(lambda: unit(machine, "ActiveState") == "failed")
    assert unit(machine, "ExecMainStatus") == "78"
    assert "settle_s" in machine.says("journalctl --unit=meshdrop --no-pager --lines=20")
    machine.do(
        "cat /root/config.toml >/srv/scans/.meshdrop/config.toml; systemctl reset-failed meshdrop; "
        "systemctl start meshdrop"
    )


@step
def messages_from_behind_the_wall(machine: Machine) -> None:
    """With addresses in the settings the next installation opens the unit just so far that webhook and mail arrive."""
    settings = "/srv/scans/.meshdrop/config.toml"
    machine.do(
        "/opt/meshdrop/venv/bin/pip install --quiet --require-hashes -r requirements-notify.lock; "
        "systemd-run --quiet --unit=sink -p StandardOutput=file:/root/heard python3 $PWD/tests/machine/sink.py",
        folder=SOURCE,
    )
    added = (
        'webhook_url = "http://127.0.0.1:8780/hook"\n'
        'notify_urls = ["mailto://127.0.0.1:8725?from=a@site.example&to=b@site.example&mode=insecure"]\n'
    )
    machine.do(f"cp -p {settings} /root/before.toml")
    kept = (machine.top / settings[1:]).read_text(encoding="utf-8")
    (machine.top / settings[1:]).write_text(added + kept, encoding="utf-8")
    machine.do("meshdrop service install --root /srv/scans --yes")
    assert (unit(machine, "PrivateNetwork"), unit(machine, "PrivateUsers")) == ("no", "yes")
    machine.do("systemd-analyze security --no-pager --threshold=15 meshdrop")
    # Somebody else's folder, as the people of this machine copy it: from inside it looks like nobody's.
    machine.do(
        f"useradd guest; usermod -aG meshdrop guest; cd /srv/scans; cp -r {SOURCE}/samples/snail .told; "
        "cp .told/views/view_00.png .told/depth/depth_01.png; chown -R guest:meshdrop .told; "
        "chmod -R g+w .told; mv .told inbox/told"
    )
    wait_for(lambda: "MAIL Subject: Meshdrop: told failed" in machine.says("cat heard"))
    wait_for(lambda: '"event": "failed"' in machine.says("grep 'POST /hook' heard || true"))
    machine.do(
        f"systemctl stop sink; cp -p /root/before.toml {settings}; meshdrop service install --root /srv/scans --yes"
    )
    assert unit(machine, "PrivateNetwork") == "yes"


@step
def another_place_and_a_second_service(machine: Machine) -> None:
    """Every command of the chapter; another folder than the installed one is refused, and so is one of others."""
    for wrong in ("--root /srv/elsewhere", "--root /etc", "--root /srv/scans --user other"):
        refused = machine.do(f"meshdrop service install {wrong} --yes", check=False)
        assert refused.returncode == 78, wrong
        assert unit(machine, "ActiveState") == "active"
    machine.do(chapter("Another place, another user, a second service"), folder=SOURCE)
    wait_for(lambda: unit(machine, "StatusText").startswith("idle"))
    assert machine.says("systemctl is-active meshdrop second").split() == ["active", "active"]
    machine.do(f"cp -r {SOURCE}/samples/snail /srv/second/inbox/two; chmod -R g+w /srv/second/inbox/two")
    wait_for((machine.top / "srv/second/outbox/two.done").exists)
    machine.do(
        "systemctl disable --now second; rm -r /etc/systemd/system/second.service /etc/tmpfiles.d/second.conf "
        "/srv/second /var/lib/second; meshdrop service uninstall --yes; mv /srv/moved /srv/scans; "
        "meshdrop service install --root /srv/scans --yes"
    )


@step
def a_reboot_and_a_pulled_plug(machine: Machine) -> None:
    """The service comes back by itself, and what was in hand is delivered once."""

    def interrupt(name: str, end: Callable[[], None]) -> None:
        drop(machine, name)
        wait_for(lambda: unit(machine, "StatusText").startswith(f"{name}: "))
        end()
        machine.switch_on()
        wait_for(lambda: delivered(machine, name))

    interrupt("interrupted0", machine.switch_off)
    interrupt("interrupted1", machine.kill)
    assert unit(machine, "ActiveState") == "active"


@step
def an_upgrade(machine: Machine) -> None:
    """Every command of the chapter; a unit that was changed by hand is kept beside the new one."""
    machine.do("echo '# mine' >>/etc/systemd/system/meshdrop.service")
    machine.do(chapter("Upgrade"), folder=SOURCE)
    assert unit(machine, "ActiveState") == "active"
    assert "# mine" in machine.says("cat /etc/systemd/system/meshdrop.service.old")
    assert "# mine" not in machine.says("cat /etc/systemd/system/meshdrop.service")


@step
def a_drain(machine: Machine) -> None:
    """It ends with 0 and systemd leaves it at that."""
    machine.do("sudo -u meshdrop meshdrop drain --root /srv/scans")
    wait_for(lambda: unit(machine, "ActiveState") == "inactive")
    time.sleep(12)  # longer than RestartSec: it is not started again
    assert unit(machine, "ActiveState") == "inactive"
    machine.do("systemctl start meshdrop")


@step
def a_backup_and_a_restore(machine: Machine) -> None:
    """Every command of the two chapters, with all results in between deleted."""
    results = machine.says("cd /srv/scans/outbox && find . -type f -exec sha256sum {} + | sort")
    assert results.count("receipt.json") >= 3
    machine.do(chapter("Backup"))
    machine.do("rm -r /srv/scans/outbox/*")
    drop(machine, "later")
    wait_for(lambda: delivered(machine, "later"))
    machine.do(chapter("Restore"))
    assert machine.says("cd /srv/scans/outbox && find . -type f -exec sha256sum {} + | sort") == results
    drop(machine, "afterwards")
    wait_for(lambda: delivered(machine, "afterwards"))


@step
def the_end(machine: Machine) -> None:
    """Nothing of the service is left, and everything of the people is."""
    machine.do(chapter("Taking it away"))
    assert machine.do("systemctl cat meshdrop", check=False).returncode != 0
    assert machine.says("ls /etc/sysusers.d /etc/tmpfiles.d | grep -c meshdrop || true") == "0"
    assert delivered(machine, "afterwards")


def main() -> int:
    """Make the machine and go the whole way; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", usage=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--trust", type=Path)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--begin", choices=[check.__name__ for check in CHECKS])
    options = parser.parse_args()
    work = options.work.resolve()
    base = work / "base"
    if not base.is_dir():
        make_base(base)
    machine = Machine(work / "machine")
    if options.begin is None:
        machine.install(base)
        _copy_source(machine.top / SOURCE.lstrip("/"))
    if options.trust is not None:
        machine.trust(options.trust)
    machine.switch_on()
    names = [check.__name__ for check in CHECKS]
    try:
        for check in CHECKS[names.index(options.begin) if options.begin else 0 :]:
            begun = time.monotonic()
            check(machine)
            print(f"{check.__name__.replace('_', ' ')}: {time.monotonic() - begun:.0f} s", flush=True)
    finally:
        machine.switch_off()
        if not options.keep:
            subprocess.run(["rm", "-r", str(machine.top)], check=True)
    print("the page was followed to its end")
    return 0


def _copy_source(target: Path) -> None:
    """The files of the checkout, changed ones as they are now."""
    target.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    there = b"\0".join(name for name in listed if name and (PROJECT / name.decode()).is_file())
    packed = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"], cwd=PROJECT, input=there, capture_output=True, check=True
    )
    subprocess.run(["tar", "--extract", "-C", str(target)], input=packed.stdout, check=True)


if __name__ == "__main__":
    sys.exit(main())
