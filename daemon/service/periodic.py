"""What the service does beside its jobs: copies of the record, messages to the outside, metrics, deleting what is old.

Threads are started, and modules loaded, only for what the settings switch on: a service without any of it is as small
as before. The main loop calls ``turn``, which never waits for them.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.record import Backups
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share
from meshdrop.daemon.notify.targets import Targets
from meshdrop.daemon.status.activity import Activity
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs
from meshdrop.db.messages import GIVE_UP_S, Messages
from meshdrop.db.records import Job

if TYPE_CHECKING:
    from meshdrop.daemon.metrics.server import MetricsServer
    from meshdrop.daemon.notify.outgoing import Outgoing
    from meshdrop.daemon.notify.wording import Day
    from meshdrop.daemon.service.retention import Retention

_DAY_S = 86_400.0
#: A service is not well when its main loop has not turned for so long, or something outside has held it for so long.
_STILL_S, _HELD_S = 60.0, 300.0
#: When everything else is done, what was just finished is told once more before the service ends.
_FLUSH_S = 15.0
_CLOSE_S = 3.0


@dataclass
class Periodic:
    """Construct before the first job is touched, since ``bodies`` belongs to the record; ``start`` when all is open.

    ``guarded`` runs a step on a thread that takes the service down with it; ``stopping`` tells that it ends.
    """

    settings: Settings
    share: Share
    database: Database
    activity: Activity
    clock: Clock
    targets: Targets
    guarded: Callable[[Callable[[], None]], None]
    stopping: Callable[[], bool]
    _outgoing: Outgoing | None = None
    _outgoing_thread: threading.Thread | None = None
    _metrics: MetricsServer | None = None
    _retention: Retention | None = None
    _turned: float = field(init=False)
    _held_since: float | None = None

    def __post_init__(self) -> None:
        self._turned = self.clock.monotonic()
        self._backups = Backups(self.database, self.share.places.backups, self._turned)
        if self.targets.channels:
            from meshdrop.daemon.notify.courier import Courier
            from meshdrop.daemon.notify.outgoing import Outgoing

            courier = Courier(self.share.places.state)
            self._outgoing = Outgoing(self.targets, courier, self.clock, self._trouble, self._day)

    def bodies(self, job: Job) -> dict[str, str]:
        """What is to be told outside about a published job."""
        return {} if self._outgoing is None else self._outgoing.bodies(job)

    def start(self, jobs: Jobs) -> None:
        """Start the threads that are wanted."""
        self._turned = self.clock.monotonic()  # a start that took minutes is no loop that stands still
        if self.settings.deletes_what_is_old:
            from meshdrop.daemon.service.retention import Retention

            self._retention = Retention(self.share, jobs, self.settings, self.stopping)
        queue = Messages(self.database, self.clock.now)
        if (outgoing := self._outgoing) is None:
            queue.give_up(GIVE_UP_S)  # for receivers that were taken out of the settings
        else:
            step = (lambda: outgoing.run(queue),)
            self._outgoing_thread = threading.Thread(target=self.guarded, args=step, daemon=True, name="outgoing")
            self._outgoing_thread.start()
        if self.settings.metrics_port is not None:
            self._metrics = self._metrics_server(self.settings.metrics_port)
            threading.Thread(target=self._metrics.run, daemon=True, name="metrics").start()

    def turn(self, now: float) -> None:
        """Begin what is due; ``now`` in monotonic seconds. Raises ``DatabaseDamaged`` as ``Backups.turn`` does."""
        self._turned = now
        self._held_since = (self._held_since or now) if self.activity.is_held else None
        self._backups.turn(now)
        if self._retention is not None:
            self._retention.turn(now)

    def close(self, *, flush: bool, failed: bool) -> None:
        """End the threads. ``flush``: what waits is tried once more; ``failed``: whoever watches is told so."""
        if self._metrics is not None:
            self._metrics.close()
        if self._retention is not None:
            self._retention.close(_CLOSE_S)
        if self._outgoing is not None and self._outgoing_thread is not None:
            with contextlib.suppress(OSError):
                self._outgoing.close(self._outgoing_thread, patience_s=_FLUSH_S if flush else 0.0, failed=failed)
        self._backups.close()

    def _trouble(self) -> str | None:
        now = self.clock.monotonic()
        if now - self._turned > _STILL_S:
            return "the main loop stands still"
        return "held" if self._held_since is not None and now - self._held_since > _HELD_S else None

    def _day(self) -> Day:
        from meshdrop.daemon.notify.wording import Day
        from meshdrop.db import history, messages

        now = self.clock.now()
        ends = self.database.read(lambda session: history.ends(session, now - _DAY_S))
        oldest = self.database.read(history.oldest_waiting)
        waiting = self.database.read(messages.waiting)
        facts = self.activity.facts()
        waits = sum(facts[f"{where}_total"] for where in ("inbox", "reading", "queue", "later"))
        return Day(
            str(self.share.places.root),
            ends,
            waits,
            None if oldest is None else now - oldest,
            sum(found.count for found in waiting.values()),
            facts["paused_since"] is not None,
            facts["held"],
        )

    def _metrics_server(self, port: int) -> MetricsServer:
        from meshdrop.daemon.base.version import version
        from meshdrop.daemon.metrics.collector import Metrics, registry_of
        from meshdrop.daemon.metrics.server import MetricsServer
        from meshdrop.db.engine import reader
        from meshdrop.models.contract.registry import known

        metrics = Metrics(
            lambda: reader(self.share.places.database),
            self.activity,
            known(self.settings.custom_models),
            version(),
            self.share.free_bytes,
        )
        return MetricsServer(self.settings.metrics_address, port, registry_of(metrics))
