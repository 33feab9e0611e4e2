"""`meshdrop doctor`: everything that can be known about this machine and these folders before a capture arrives.

Needs no torch and no GPU library, answers in about two seconds, and changes nothing: it moves one empty folder
through the share, as the service will, and takes it away again. This file is the list of what is looked at, in the
order in which to cure it; each check stands in a ``check_*.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from meshdrop.daemon.base.pause import Pause
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor import leftovers
from meshdrop.daemon.doctor.checks import disks as check_disks
from meshdrop.daemon.doctor.checks import exports as check_exports
from meshdrop.daemon.doctor.checks import folders as check_folders
from meshdrop.daemon.doctor.checks import formats as check_formats
from meshdrop.daemon.doctor.checks import gpu as check_gpu
from meshdrop.daemon.doctor.checks import inbox as check_inbox
from meshdrop.daemon.doctor.checks import machine as check_machine
from meshdrop.daemon.doctor.checks import models as check_models
from meshdrop.daemon.doctor.checks import program as check_program
from meshdrop.daemon.doctor.checks import receivers as outside
from meshdrop.daemon.doctor.checks import record as check_record
from meshdrop.daemon.doctor.checks import service as check_service
from meshdrop.daemon.doctor.checks import settings as check_settings
from meshdrop.daemon.doctor.checks import workers as check_workers
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.gpu import Cards, Wanted
from meshdrop.daemon.doctor.checks.models import LIMIT_S as MODEL_LIMIT_S
from meshdrop.daemon.doctor.checks.run import Check, carry_out
from meshdrop.daemon.host.gpus import LIMIT_S as GPU_LIMIT_S
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.models.contract.entry import ModelEntry
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.contract.weights import Catalogue

#: What is asked when no settings say which models are used.
_DEFAULT_MODELS: Mapping[str, Mapping[str, Any]] = {name: {} for name in Settings.model_fields["models"].default}
_GROUPS = ("program", "machine", "GPU", "settings", "folders", "disks", "service", "record", "models")
#: Lines without which nothing in the folders can be judged: each hangs on the one before it.
_SET_UP = ("settings", "root")
_OURS = (*_SET_UP, "user")
#: The main loop answers between two of its steps, and a busy one takes its time.
_ANSWER_S = 5.0


@dataclass
class Surroundings:
    """What the checks look at. Whatever hangs on the settings is asked for only when their line is ok."""

    machine: Machine
    settings: Settings | None
    config: Path | None = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: What is known of each model; a service that starts asks none of somebody's own.
    entries: Mapping[str, ModelEntry] = field(default_factory=lambda: BUILT_IN)

    @property
    def known(self) -> Settings:
        """The settings; only for checks that need the line about them."""
        if self.settings is None:
            raise RuntimeError("this check must need the line `settings`")
        return self.settings

    @property
    def places(self) -> Places:
        """The folders."""
        return self.known.places

    @cached_property
    def pid(self) -> int | None:
        """The running service's process, as far as this user may know."""
        return check_service.running(self.places) if self.settings is not None else None

    @cached_property
    def service(self) -> ProcessFacts:
        """The running service, or this process in its place."""
        return ProcessFacts(self.machine.proc, self.pid or "self")

    @cached_property
    def wanted(self) -> Wanted:
        """What is asked of a GPU."""
        return Wanted(self.models, self.entries)

    @cached_property
    def cards(self) -> Cards:
        """The GPUs; the question is put at the first use."""
        return Cards(self.machine, self.service)


def examine(root: Path | None, config: Path | None, machine: Machine | None = None) -> list[Finding]:
    """Make every check that is possible and return what was found, in the order in which to cure it.

    Without a root the machine and the default model are still checked; with unreadable settings only the machine.
    """
    machine = machine or Machine()
    about_settings, settings = check_settings.read_settings(root, config)
    models = _DEFAULT_MODELS if about_settings.result == "warn" else {}
    if settings is not None:
        models = check_models.configured(settings)
    custom, weights = (settings.custom_models, settings.places.weights) if settings else ({}, None)
    with check_models.asked(models, custom, weights) as questions:
        entries = {question.model: question.entry() for question in questions}
        here = Surroundings(machine, settings, config, models, entries)
        if here.wanted.cuda:
            _ = here.cards  # asked now, and read when its line comes
        checks = [*standing(here, about_settings), *_models(here, questions)]
        return carry_out(sorted(checks, key=lambda check: _GROUPS.index(check.group)))


def standing(here: Surroundings, about_settings: Finding) -> list[Check]:
    """Every check but those about single models."""
    return [
        *_program(here.machine),
        *_machine(here),
        *_gpu(here),
        *_settings(here, about_settings),
        *_folders(here),
        *_disks(here),
        *_service(here),
        *_record(here),
    ]


def _program(machine: Machine) -> list[Check]:
    return [
        Check("program", "python", lambda: check_program.python_version(machine)),
        Check("program", "packages", lambda: check_program.packages(machine)),
        Check("program", "sqlite", lambda: check_program.sqlite_version(machine), at_start=True),
        Check("program", "locale", lambda: check_program.locale(machine), at_start=True),
        Check("program", "glTF validator", check_formats.validator, at_start=True),
    ]


def _machine(here: Surroundings) -> list[Check]:
    machine = here.machine

    def inbox() -> Path | None:
        return here.places.inbox if here.settings is not None else None

    def largest() -> int:
        return check_record.largest_run_mib(here.places) if here.settings is not None else 0

    return [
        Check("machine", "open files", lambda: check_machine.open_files(here.service), at_start=True),
        Check("machine", "process limits", lambda: check_machine.process_limits(machine, here.service), at_start=True),
        Check("machine", "inotify", lambda: check_machine.inotify(machine, inbox()), at_start=True),
        Check("machine", "memory", lambda: check_machine.memory(machine, here.service, largest()), at_start=True),
        Check(
            "machine",
            "shared memory",
            lambda: check_machine.shared_memory(machine, bool(here.wanted.torch)),
            at_start=True,
        ),
        Check("machine", "clock", lambda: check_machine.clock(machine), at_start=True),
    ]


def _gpu(here: Surroundings) -> list[Check]:
    def gpu() -> Finding:
        return check_gpu.gpu(here.machine, here.wanted, here.cards)

    def torch() -> Finding:
        return check_gpu.torch(here.machine, here.wanted, here.cards.known() if here.wanted.cuda else ())

    def memory() -> Finding:
        return check_gpu.memory(here.wanted, here.cards.known() if here.wanted.cuda else (), here.service)

    def health() -> Finding:
        return check_gpu.health(here.wanted, here.cards.known() if here.wanted.cuda else ())

    return [
        Check("GPU", "gpu", gpu, limit_s=2 * GPU_LIMIT_S + 1),
        Check("GPU", "torch", torch, needs=("gpu",)),
        Check("GPU", "gpu memory", memory, needs=("gpu",)),
        Check("GPU", "gpu health", health, needs=("gpu",)),
    ]


def _settings(here: Surroundings, about_settings: Finding) -> list[Check]:
    return [
        Check("settings", "settings", lambda: about_settings),
        Check("settings", "environment", lambda: check_settings.environment(here.machine, here.service), at_start=True),
        Check(
            "settings",
            "secrets",
            lambda: check_settings.config_mode(here.known, here.config),
            _SET_UP[:1],
            at_start=True,
        ),
        Check("settings", "notifications", lambda: outside.notifications(here.known), _SET_UP[:1]),
        Check("settings", "metrics", lambda: outside.metrics(here.known), _OURS),
        Check("settings", "formats", lambda: check_formats.formats(here.known), _SET_UP[:1], at_start=True),
        Check("settings", "workers", lambda: check_workers.workers(here.known), _SET_UP[:1]),
        Check("settings", "licences", lambda: check_settings.licences(here.entries, here.models)),
    ]


def _folders(here: Surroundings) -> list[Check]:
    used = (*_OURS, "folders")
    return [
        Check("folders", "root", lambda: check_folders.root_folder(here.places), _SET_UP[:1]),
        Check("folders", "user", lambda: check_folders.user(here.places, here.machine), _SET_UP),
        Check("folders", "share", lambda: check_disks.share_mount(here.places, here.machine), _SET_UP, at_start=True),
        Check("folders", "mounts", lambda: check_disks.mounts(here.places, here.machine), _SET_UP, at_start=True),
        Check("folders", "folders", lambda: check_folders.public_folders(here.places), _SET_UP),
        Check("folders", "permissions", lambda: check_folders.permissions(here.places), used, at_start=True),
        Check("folders", "private folders", lambda: check_folders.private_folders(here.places), _OURS, at_start=True),
        Check("folders", "exports", lambda: check_exports.exports(here.places, here.machine), _SET_UP, at_start=True),
        Check(
            "folders",
            "moving",
            lambda: check_folders.moving(here.places, here.machine),
            (*used, "private folders", "mounts"),
        ),
        Check(
            "folders",
            "names",
            lambda: check_folders.names(here.places, here.machine),
            ("locale", *used, "private folders", "mounts"),
        ),
        Check("folders", "rigs", lambda: check_inbox.rigs(here.places), (*used, "moving"), at_start=True),
        Check("folders", "inbox", lambda: check_inbox.waiting(here.places, here.machine), (*used, "moving", "rigs")),
    ]


def _disks(here: Surroundings) -> list[Check]:
    machine = here.machine
    return [
        Check("disks", "state", lambda: check_disks.state_disk(here.places, machine), (*_OURS, "mounts")),
        Check("disks", "kernel cache", lambda: check_disks.kernel_cache(here.places), (*_OURS, "mounts", "state")),
        Check("disks", "free space", lambda: check_disks.free_space(here.known, machine), _OURS, at_start=True),
        Check("disks", "free inodes", lambda: check_disks.free_inodes(here.known, machine), _OURS, at_start=True),
        Check("disks", "leftovers", lambda: leftovers.leftovers(here.places, machine), _OURS),
    ]


def _service(here: Surroundings) -> list[Check]:
    machine = here.machine
    return [
        Check(
            "service",
            "service",
            lambda: check_service.instance(here.places, machine),
            (*_OURS, "state"),
            limit_s=_ANSWER_S,
            late=check_service.silent(),
        ),
        Check(
            "service", "running version", lambda: check_service.same_program(here.places, machine), (*_OURS, "state")
        ),
        Check("service", "held", lambda: check_service.held(here.places, machine), (*_OURS, "service")),
        Check("service", "unit", lambda: check_service.unit(here.known, machine), _SET_UP),
    ]


def _record(here: Surroundings) -> list[Check]:
    whole = (*_OURS, "state", "record")

    def queue() -> Finding:
        paused = Pause(here.places.pause).since is not None
        return check_record.queue(here.places, here.machine, running=here.pid is not None, paused=paused)

    return [
        Check("record", "record", lambda: check_record.record(here.places, here.machine), whole[:-1]),
        Check("record", "backups", lambda: check_record.backups(here.places, here.machine), whole),
        Check("record", "clock and record", lambda: check_record.clock(here.places, here.machine), whole),
        Check("record", "queue", queue, (*whole, "service", "held")),
        Check("record", "failures", lambda: check_record.failures(here.places, here.machine), whole),
    ]


def _models(here: Surroundings, questions: Sequence[check_models.ModelQuestion]) -> list[Check]:
    """Lines about each model; whether it can run is asked once everything that it hangs on is in order."""
    checks = []
    for question in questions:
        name, needs = question.model, ["process limits"]
        if name in here.wanted.cuda:
            needs.append("gpu")
        if name in here.wanted.torch:
            needs.append("torch")
        entry = here.entries[name]
        if entry.code is not None:
            needs.append(f"code {name}")
            after = ("torch",) if name in here.wanted.torch else ()
            checks.append(Check("models", f"code {name}", _code(here, name, entry.code), after))
        if entry.weights is not None:
            needs.append(f"weights {name}")
            checks.append(Check("models", f"weights {name}", _weights(here, name, entry.weights), ("settings",)))
        checks.append(
            Check("models", f"model {name}", _answer(question, here.wanted), tuple(needs), limit_s=MODEL_LIMIT_S + 5)
        )
    return checks


def _code(here: Surroundings, name: str, which: Callable[[Mapping[str, Any]], str]) -> Callable[[], Finding]:
    return lambda: check_models.code(name, lambda: which(here.models[name]), here.wanted)


def _weights(here: Surroundings, name: str, catalogue: Catalogue) -> Callable[[], Finding]:
    return lambda: check_models.weights(name, catalogue, here.places.weights, here.wanted)


def _answer(question: check_models.ModelQuestion, wanted: Wanted) -> Callable[[], Finding]:
    return lambda: check_models.answered(question, wanted)
