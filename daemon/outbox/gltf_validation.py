"""The Khronos validator's word on what is about to be delivered, asked for in processes of its own.

A GLB that breaks the standard is a defect to be told, not a reason to withhold a mesh that was read back and measured:
its verdict is ``warning`` at most. What cannot be validated (no engine here, or one that crashes or hangs) is said to
be so and changes no verdict.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.errors import Stopping
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.workers.answers import value_of
from meshdrop.daemon.workers.process import TimeLimits, WorkerProcess, home_of, run_to_end, worker_request
from meshdrop.models.mesh.gltf_engines import Engine, engine
from meshdrop.models.mesh.gltf_validation import Validation, no_engine, not_run


def validate(
    job_id: str, folders: Mapping[str, Path], work: Path, settings: Settings, stopping: Callable[[], bool]
) -> dict[str, Validation]:
    """Each model's validation, always one for each.

    ``folders`` are the models' folders by name, ``work`` a private folder for requests and logs. One process a model,
    so that a crash spoils nobody else's. Raises ``Stopping`` when the daemon ends, ``OSError`` when the disk is full.
    """
    found = engine()
    if found is None:
        return {name: no_engine() for name in folders}
    return {
        name: _validate_one(job_id, name, folder, work, settings, found, stopping) for name, folder in folders.items()
    }


def _validate_one(
    job_id: str, name: str, folder: Path, work: Path, settings: Settings, found: Engine, stopping: Callable[[], bool]
) -> Validation:
    own = work / f"validate-{name}"
    fsops.fresh_dir(own)
    request = worker_request(
        "validate",
        settings.places.capture(job_id),
        own / "validation.json",
        settings.limits,
        models={name: str(folder)},
        engine=found.name,
    )
    process = WorkerProcess(
        f"{job_id}.validate",
        request,
        own,
        home_of(settings),
        TimeLimits(settings.check_limit_s, settings.check_limit_s, settings.stop_grace_s),
    )
    ended = run_to_end(process, stopping)
    if ended.error_class == "cancelled":
        raise Stopping
    if ended.error_class == "disk":
        raise OSError(errno.ENOSPC, ended.reason)
    if ended.answer is None:
        took_long = ended.error_class in ("timeout", "stalled")
        why = f"it took longer than {settings.check_limit_s:g} s" if took_long else ended.reason
        return not_run(f"the validator's process came to no result: {why}", by=found.name)
    try:
        told = value_of(Validation, ended.answer.get(name))
    except ValueError as error:
        return not_run(f"the validator's process answered nonsense: {error}", by=found.name)
    if told.status == "failed" and not told.messages:
        return not_run("the validator's process says that it failed, and names no breach", by=found.name)
    return told


def objection(validation: Validation | None) -> str | None:
    """The sentence for the report when a file breaks the standard; None when it does not, or nobody knows."""
    if validation is None or validation.status != "failed":
        return None
    first, errors = validation.messages[0], validation.errors or 0
    count = f"{'at least ' if validation.truncated else ''}{errors:,}"
    return (
        f"{first.file} breaks the glTF standard ({count} error{'s' * (errors > 1)} by the Khronos "
        f"validator; the first: {first.code}, {first.message}): other programs may refuse it; "
        "the OBJ and PLY files beside it are not concerned"
    )
