"""The kernels are compiled before the first model runs: by a worker of the service's own that sees no capture."""

from __future__ import annotations

from pathlib import Path

from daemon import kernels
from daemon.log import get_logger
from daemon.process import Ended, Home, Limits, WorkerProcess, worker_request
from models.limits import CaptureLimits

log = get_logger()

#: It takes half a minute of a processor's time; a machine may be busy with other things.
_LIMIT_S = 1800.0


class Warming:
    """Compiles once for this version and processor; when that fails, workers compile for themselves, each time."""

    def __init__(self, home: Home, grace_s: float = 10.0) -> None:
        self._home = home
        self._grace_s = grace_s
        self._failed = False
        self._folder = Path()

    def is_due(self) -> bool:
        """Whether kernels are missing that can be compiled."""
        return not self._failed and not kernels.are_kept(self._home.cache) and kernels.SAMPLE.is_dir()

    def start(self, key: str) -> WorkerProcess:
        """Begin. Raises ``OSError`` when others could have written to the cache."""
        self._folder = folder = kernels.warming_folder(self._home.state, self._home.cache)
        request = worker_request("warm", kernels.SAMPLE, folder / "warm.json", CaptureLimits(), output=folder)
        return WorkerProcess(f"{key}.kernels", request, folder, self._home, Limits(_LIMIT_S, _LIMIT_S, self._grace_s))

    def conclude(self, ended: Ended) -> None:
        """Keep what was compiled; of a process that was stopped nothing is kept, and the next attempt begins anew.

        Raises ``OSError`` when it cannot be kept.
        """
        try:
            if ended.answer is not None:
                kernels.keep(self._home.cache, self._folder)
                log.info("kernels compiled", seconds=round(ended.seconds, 1), cpu_seconds=round(ended.cpu_seconds, 1))
            elif ended.error_class != "cancelled":
                self._failed = True
                fix = "each run compiles its own until a restart"
                log.warning("kernels not compiled", reason=ended.reason, fix=fix)
        finally:
            kernels.forget(self._folder)
