"""The kernels are compiled before the first model runs: by a worker of the service's own that sees no capture."""

from __future__ import annotations

from pathlib import Path

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.process import Ended, Home, TimeLimits, WorkerProcess, worker_request
from meshdrop.daemon.workers.trouble import is_passing
from meshdrop.models.files.limits import CaptureLimits

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

    def start(self, key: str) -> WorkerProcess | None:
        """Begin; None when that cannot be done, which keeps no job from its models.

        Raises ``OSError`` when others could have written to the cache, or its disk is full, failing or away.
        """
        try:
            self._folder = folder = kernels.warming_folder(self._home.state, self._home.cache)
            request = worker_request("warm", kernels.SAMPLE, folder / "warm.json", CaptureLimits(), output=folder)
            limits = TimeLimits(_LIMIT_S, _LIMIT_S, self._grace_s)
            return WorkerProcess(f"{key}.kernels", request, folder, self._home, limits)
        except Exception as error:
            _raise_if_waited_for(error)
            log.warning("kernels not compiled", reason=str(error), fix="this run compiles its own")
            return None

    def conclude(self, ended: Ended) -> None:
        """Keep what was compiled; of a process that was stopped nothing is kept, and the next attempt begins anew.

        Raises ``OSError`` when it cannot be kept because the disk is full, failing or away.
        """
        try:
            if ended.answer is not None:
                kernels.keep(self._home.cache, self._folder)
                log.info("kernels compiled", seconds=round(ended.seconds, 1), cpu_seconds=round(ended.cpu_seconds, 1))
            elif ended.error_class != "cancelled":
                self._give_up(ended.reason)
        except Exception as error:
            _raise_if_waited_for(error)
            self._give_up(str(error))
        finally:
            kernels.forget(self._folder)

    def _give_up(self, reason: str) -> None:
        self._failed = True
        log.warning("kernels not compiled", reason=reason, fix="each run compiles its own until a restart")


def _raise_if_waited_for(error: Exception) -> None:
    """No job has a part in the kernels, so that none may be blamed for them."""
    if is_passing(error) or isinstance(error, kernels.OpenToOthers | MemoryError):
        raise error
