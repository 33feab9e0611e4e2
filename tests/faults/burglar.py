"""A model that breaks out of its worker, or tries to: it reports what each try came to, and delivers a ball.

Named in settings as ``custom_models = {burglar = "<this file>:Burglar"}``; ``plan`` names the file that lists the
places it goes for.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.base import ModelResult
from models.capture import Capture
from tests.faults.engines import Ball

_PTRACE_ATTACH, _MS_BIND, _NEW_USERS, _NEW_NETWORK = 16, 4096, 0x10000000, 0x40000000


class Burglar(Ball):
    """Tries every door."""

    name = "burglar"

    def inference(self, capture: Capture, output_dir: Path) -> ModelResult:
        """The ball, and ``loot.json`` beside the scratch folder: by try, what it came to."""
        plan = json.loads(Path(self.settings["plan"]).read_text(encoding="utf-8"))
        loot = {name: _outcome(attempt) for name, attempt in _attempts(plan).items()}
        (output_dir.parent / "loot.json").write_text(json.dumps(loot), encoding="utf-8")
        return super().inference(capture, output_dir)


def _outcome(attempt: Callable[[], object]) -> str:
    """``done``, or the error's name."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    except subprocess.CalledProcessError:
        return "CalledProcessError"
    return "done"


def _attempts(plan: dict[str, Any]) -> dict[str, Callable[[], object]]:
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    found: dict[str, Callable[[], object]] = {
        "tcp": lambda: socket.create_connection(("127.0.0.1", plan["port"]), 5),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", plan["port"])),
        "ipv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "control socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(plan["control"]),
        "a pair turned round": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect(plan["control"]),
        "by a child": lambda: subprocess.run(
            [sys.executable, "-I", "-c", f"import socket; socket.create_connection(('127.0.0.1', {plan['port']}), 5)"],
            check=True, stderr=subprocess.DEVNULL,
        ),
        "trace the service": lambda: call("ptrace", _PTRACE_ATTACH, plan["service"], None, None),
        "stop the service": lambda: os.kill(plan["service"], signal.SIGCONT),
        "signal a sibling": lambda: os.kill(plan["sibling"], signal.SIGCONT),
        "read a sibling's memory": lambda: Path(f"/proc/{plan['sibling']}/mem").open("rb"),
        "read the service's environment": lambda: Path(f"/proc/{plan['service']}/environ").read_bytes(),
        "limit the service": lambda: __import__("resource").prlimit(
            plan["service"], __import__("resource").RLIMIT_NOFILE, (4096, 4096)
        ),
        "mount": lambda: call("mount", b"/proc", os.fsencode(os.environ["TMPDIR"]), None, _MS_BIND, None),
        "new namespaces": lambda: call("unshare", _NEW_USERS | _NEW_NETWORK),
        "shared memory": lambda: call("shmget", 4711, 4096, 0o1600),
    }  # fmt: skip
    for path in plan["read"]:
        found[f"read {path}"] = lambda path=path: Path(path).read_bytes()
        found[f"unpickle {path}"] = lambda path=path: pickle.load(Path(path).open("rb"))
    for path in plan["list"]:
        found[f"list {path}"] = lambda path=path: os.listdir(path)
    for path in plan["write"]:
        found[f"write {path}"] = lambda path=path: Path(path, "burglar").write_text("was here")
        found[f"link {path}"] = lambda path=path: os.symlink("/", Path(path, "burglar-link"))
    for path in plan["change"]:
        found[f"overwrite {path}"] = lambda path=path: Path(path).open("r+b")
        found[f"remove {path}"] = lambda path=path: os.unlink(path)
        found[f"rename {path}"] = lambda path=path: os.rename(path, f"{path}.gone")
        found[f"open up {path}"] = lambda path=path: os.chmod(path, 0o777)
        found[f"date {path}"] = lambda path=path: os.utime(path, (0, 0))
    return found
