"""Prometheus metrics: how many jobs stand where, how long things take, what fails, what the GPUs hold.

Counted from the record, so that a restart loses nothing, and over a connection of its own that can only read, so that
no scrape stands in the service's way. Every label comes from a list that is known beforehand, and everything else is
called ``other``: a stranger's capture cannot make new series.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session, sessionmaker

from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.host.gpu_memory import GpuMemory, gpu_memory
from meshdrop.daemon.notify.channels import kind_of
from meshdrop.daemon.reporting.trend import probe_score, rig_of
from meshdrop.daemon.status.activity import Activity
from meshdrop.db import history, messages
from meshdrop.db.history import Durations
from meshdrop.db.records import count_by_state
from meshdrop.db.states import State
from meshdrop.models.contract.failures import RUN_FAILURES

OTHER = "other"
_LIMITS_S = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_RIGS_MOST, _CAPTURES_ASKED = 50, 200
_GPU_EVERY_S = 10.0
_VERDICTS = frozenset({"normal", "warning"})


@dataclass
class _Record:
    """What was read from the record, and after which event."""

    event: int = -1
    metrics: list[Metric] = field(default_factory=list)
    since: float | None = None


class Metrics(Collector):
    """Collects when it is asked. ``models`` are the names that a label may have, ``free_bytes`` the room left."""

    def __init__(
        self,
        sessions: Callable[[], sessionmaker[Session]],
        activity: Activity,
        models: Collection[str],
        version: str,
        free_bytes: Callable[[], int],
        gpus: Callable[[], list[GpuMemory]] = gpu_memory,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions, self._activity, self._models, self._version = sessions, activity, frozenset(models), version
        self._free_bytes, self._gpus, self._now, self._monotonic = free_bytes, gpus, now, monotonic
        self._record, self._guard = _Record(), threading.Lock()
        self._memory: list[GpuMemory] = []
        self._memory_due = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """Every metric as of now. Raises ``OSError`` and SQLAlchemy's errors when the record cannot be read."""
        with self._guard:
            found = [*self._of_the_record(), *self._of_the_board(), *self._of_the_machine()]
        yield from found

    # -- the record -------------------------------------------------------------------------------------------------

    def _of_the_record(self) -> list[Metric]:
        """Counted anew when something was recorded since; the age of the oldest job and the messages each time."""
        with self._sessions()() as session:
            event = history.newest_event(session)
            if event != self._record.event:
                counted = [*self._jobs(session), *self._durations(session), *self._failures(session), *_probes(session)]
                self._record = _Record(event, counted, history.oldest_waiting(session))
            waiting = messages.waiting(session)
        age = 0.0 if self._record.since is None else max(self._now() - self._record.since, 0.0)
        oldest = _gauge("meshdrop_oldest_waiting_seconds", "Age of the oldest job that waits for its turn.", {(): age})
        undelivered = Counter[tuple[str, ...]]()
        for channel, waits in waiting.items():
            undelivered[(kind_of(channel) or OTHER,)] += waits.count
        text = "Messages that wait to be delivered."
        return [*self._record.metrics, oldest, _gauge("meshdrop_messages_waiting", text, undelivered, "receiver")]

    def _jobs(self, session: Session) -> Iterator[Metric]:
        counts = count_by_state(session)
        states = {(str(state),): float(counts.get(state, 0)) for state in State}
        yield _gauge("meshdrop_jobs", "Jobs by the state in which they are.", states, "state")
        ends = Counter[tuple[str, ...]]()
        for (end, word), count in history.ends(session).items():
            known = _VERDICTS if end == "done" else FAILURES.keys()
            ends[(end, word if word in known else OTHER)] += count
        text = "Published jobs: done by verdict, failed by the code of the error table."
        yield _counter("meshdrop_jobs_finished", text, ends, "end", "reason")

    def _durations(self, session: Session) -> Iterator[Metric]:
        by_model: dict[str, Durations] = {}
        for model, took in history.runs_by_model(session, _LIMITS_S).items():
            name = self._model(model)
            by_model[name] = _sum(by_model[name], took) if name in by_model else took
        yield _histogram("meshdrop_model_seconds", "Seconds of successful model runs.", by_model, "model")
        text = "Seconds of published jobs: being read, in the queue, and as a whole."
        yield _histogram("meshdrop_stage_seconds", text, history.stages(session, _LIMITS_S), "stage")

    def _failures(self, session: Session) -> Iterator[Metric]:
        failed = Counter[tuple[str, ...]]()
        for (model, reason), count in history.runs_by_end(session).items():
            known = reason in RUN_FAILURES or reason == "unavailable"
            failed[(self._model(model), reason if known else OTHER)] += count
        yield _counter("meshdrop_model_failures", "Model runs that failed or were skipped.", failed, "model", "reason")

    def _model(self, name: str) -> str:
        return name if name in self._models else OTHER

    # -- what goes on -----------------------------------------------------------------------------------------------

    def _of_the_board(self) -> Iterator[Metric]:
        facts = self._activity.facts()
        places = {
            (where,): float(facts[f"{where}_total"]) for where in ("inbox", "reading", "queue", "later", "finishing")
        }
        yield _gauge("meshdrop_waiting", "Captures by the place where they wait.", places, "where")
        working = facts["working"]
        flags = {
            "meshdrop_working": ("Whether a model runs.", working is not None),
            "meshdrop_held": ("Whether something outside keeps work from going on.", bool(facts["held"])),
            "meshdrop_paused": ("Whether somebody paused the service.", facts["paused_since"] is not None),
        }
        for name, (text, value) in flags.items():
            yield _gauge(name, text, {(): float(value)})

    # -- the machine ------------------------------------------------------------------------------------------------

    def _of_the_machine(self) -> Iterator[Metric]:
        yield InfoMetricFamily("meshdrop", "This service.", {"version": self._version})
        try:
            free = {(): float(self._free_bytes())}
        except OSError:  # the share is away: what cannot be known is left out
            free = {}
        yield _gauge("meshdrop_free_bytes", "Room left for captures.", free)
        if self._monotonic() >= self._memory_due:
            self._memory, self._memory_due = self._gpus(), self._monotonic() + _GPU_EVERY_S
        for kind in ("used", "total"):
            values = {(str(gpu.index),): float(getattr(gpu, f"{kind}_mib")) * 2**20 for gpu in self._memory}
            yield _gauge(f"meshdrop_gpu_memory_{kind}_bytes", f"GPU memory, {kind}.", values, "gpu")


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """A registry of our own, with the process's memory, time and descriptors beside the metrics."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    return registry


def _probes(session: Session) -> Iterator[Metric]:
    """The latest score of each rig; what it is can only come from the operator's own profiles."""
    scores: dict[tuple[str, ...], float] = {}
    for found in history.last_inspections(session, _CAPTURES_ASKED):
        score, name = probe_score(found), rig_of(found)
        if score is not None and (name,) not in scores and len(scores) < _RIGS_MOST:
            scores[(name,)] = score
    text = "How well depth and cameras of the rig's latest capture agree, 0 to 1; by stored rig, else by format."
    yield _gauge("meshdrop_probe_score", text, scores, "rig")


def _sum(one: Durations, other: Durations) -> Durations:
    within = tuple(a + b for a, b in zip(one.within, other.within, strict=True))
    return Durations(within, one.count + other.count, one.total_s + other.total_s)


def _gauge(name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), values)


def _counter(name: str, text: str, values: Mapping[Any, float], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), values)


def _filled(family: Any, values: Mapping[Any, float]) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family  # type: ignore[no-any-return]


def _histogram(name: str, text: str, found: Mapping[str, Durations], label: str) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label])
    for key, took in found.items():
        limits: Sequence[tuple[str, float]] = [
            (str(limit), count) for limit, count in zip(_LIMITS_S, took.within, strict=True)
        ]
        family.add_metric([key], [*limits, ("+Inf", took.count)], took.total_s)
    return family
