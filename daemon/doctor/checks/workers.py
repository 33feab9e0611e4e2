"""How far the processes that read strangers' files are shut in on this machine."""

from __future__ import annotations

import json
import subprocess
import sys

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.models.walls.confinement import LAYERS

#: A healthy answer takes a tenth of a second.
_LIMIT_S = 20.0
_CURES = {
    "network": "let the kernel have seccomp or user namespaces (sysctl user.max_user_namespaces)",
    "files": "start a kernel of 5.13 or newer with Landlock (lsm=landlock,... on its command line)",
    "processes": "start a kernel of 6.12 or newer with Landlock",
    "rights": "let the service work as a user of its own, not as root",
    "calls": "let the kernel have seccomp (CONFIG_SECCOMP_FILTER)",
}
_OPEN = "a picture that breaks the reader, or a model of somebody else's, could do so as the service's user"


def workers(settings: Settings) -> Finding:
    """Which walls stand around a worker? A process of its own puts them up and tells."""
    wanted = settings.worker_confinement
    if wanted == "off":
        return Finding(
            "workers",
            "warn",
            "worker_confinement is off: they may do whatever the service's user may",
            _OPEN,
            'set worker_confinement = "best", or take it out of the settings',
        )
    try:
        stand, missing = _asked()
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
        return Finding("workers", "warn", f"no worker could be asked: {error}", _OPEN, "cure that, then ask again")
    if not missing:
        return Finding("workers", "ok", "; ".join(f"{layer}: {made}" for layer, made in stand.items()))
    layer, why = next(iter(missing.items()))
    return Finding(
        "workers",
        "fail" if wanted == "strict" else "warn",
        f"nothing keeps a worker from {LAYERS[layer]} ({why})",
        'worker_confinement = "strict" lets no service start like that' if wanted == "strict" else _OPEN,
        _CURES[layer],
    )


def _asked() -> tuple[dict[str, str], dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "meshdrop.models.walls.confinement"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=True,
    )
    told = json.loads(done.stdout)
    return dict(told["stand"]), dict(told["missing"])
