"""kill -9 at any moment of a run with the real reader, real model processes and the real measuring."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from dataclasses import dataclass

from tests.torture.case import MISSED, Case
from tests.torture.ground import Ground, RootRig, onlooker
from tests.torture.promise import check_at_rest, look

#: Two captures take the real service about this long; a third kill of a running model would rightly be called poison.
_RUN_MS, _MOST_KILLS = 5000, 2


@dataclass(frozen=True)
class AtMoment(Case):
    """Kill the first start after the first number of milliseconds, the second after the second; then let it finish."""

    after_ms: tuple[int, ...]

    @property
    def id(self) -> str:
        """Unique, readable, and enough to run it again."""
        return f"{self.part}/{'+'.join(map(str, self.after_ms))}"

    def run(self, ground: Ground) -> str:
        """Raises ``AssertionError`` when the promise is broken."""
        with ground.rig(ground.folder, light=False) as rig:
            try:
                return self._run(ground, rig)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__}: {error}\n{rig.log()[-3500:]}") from error

    def _run(self, ground: Ground, rig: RootRig) -> str:
        ground.drop(rig)
        before, killed = None, 0
        with onlooker(rig):
            for milliseconds in self.after_ms:
                service = rig.start("--once")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    service.wait(milliseconds / 1000)
                service.kill()
                killed += service.wait() == -signal.SIGKILL
                before = look(rig) if before is None else before
                time.sleep(0.05)
            assert rig.run_once() == 0, "the last start did not finish"
        assert before is not None
        check_at_rest(rig, ground.captures, before)
        return MISSED if killed < len(self.after_ms) else ""


def moments(count: int, chance: random.Random) -> list[AtMoment]:
    """One or two kills each, drawn by ``chance``."""
    return [
        AtMoment("moments", tuple(chance.randrange(300, _RUN_MS) for _ in range(chance.randint(1, _MOST_KILLS))))
        for _ in range(count)
    ]
