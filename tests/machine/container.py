"""A Debian that systemd runs, in a container of this machine (systemd-nspawn); needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

#: What the smallest Debian with systemd has beside itself, as cloud images and installers leave it.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "sudo", "ca-certificates", "procps")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_base(folder: Path) -> None:
    """Install the smallest Debian with systemd into ``folder``, absolute; DEBOOTSTRAP_MIRROR may name where from."""
    mirror = [os.environ["DEBOOTSTRAP_MIRROR"]] if "DEBOOTSTRAP_MIRROR" in os.environ else []
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    subprocess.run(["rm", "-rf", str(unfinished)], check=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", str(unfinished), *mirror],
        check=True,
    )
    unfinished.rename(folder)


class Machine:
    """A machine that can be switched on and off. What is done on it stays in ``top``."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def install(self, base: Path) -> None:
        """Begin with a copy of ``base``."""
        if self.top.exists():
            shutil.rmtree(self.top)
        subprocess.run(["cp", "-a", str(base), str(self.top)], check=True)

    def switch_on(self) -> None:
        """Boot, and wait until systemd has started everything."""
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn",
                "--quiet",
                "--directory",
                str(self.top),
                "--boot",
                "--register=no",
                "--keep-unit",
                "--console=pipe",
                "--resolv-conf=copy-host",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._has_booted)

    def _has_booted(self) -> bool:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise RuntimeError("systemd-nspawn could not start the machine")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        if not children:
            return False
        self._init = int(children[0])
        return self.do("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def trust(self, certificates: Path) -> None:
        """Let pip believe these certificates too, as behind a site's own proxy."""
        shutil.copyfile(certificates, self.top / "usr/local/share/site.crt")
        (self.top / "etc/pip.conf").write_text("[global]\ncert = /usr/local/share/site.crt\n")

    def switch_off(self) -> None:
        """Shut down in good order, as `reboot` does."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            self.do("systemctl poweroff", check=False)
            self._nspawn.wait(120)

    def kill(self) -> None:
        """Pull the plug: every process on it is gone at once."""
        if self._nspawn is not None:
            os.kill(self._init, signal.SIGKILL)
            self._nspawn.wait()

    def do(self, script: str, *, folder: str = "/root", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Execute shell commands as root on it; prints what fails."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._init), "--all", "/bin/bash", "-e", "-c", f"cd {folder}\n{script}"],
            env={"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{script.strip()}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def says(self, script: str) -> str:
        """What commands print."""
        return self.do(script).stdout.strip()


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until ``what`` is true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.5)
