"""`meshdrop doctor --deep`: one capture through every model of the settings, on the very disks, then thrown away.

It is a whole service for itself, on a root of its own inside the spool, so on the share's mount, with a record beside
the real one: taking, reading, running, measuring and publishing are all tried. The real service, its record and its
folders are not touched, and nobody outside is told.
"""

from __future__ import annotations

import json
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops, log
from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.cli.demo import SAMPLE, SAMPLES
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.gpu import Wanted
from meshdrop.daemon.doctor.checks.models import configured
from meshdrop.daemon.doctor.checks.service import holder
from meshdrop.daemon.doctor.leftovers import TRIAL
from meshdrop.daemon.notify.channels import SETTINGS
from meshdrop.daemon.outbox.receipts import read_shared
from meshdrop.daemon.service.main import run_service
from meshdrop.daemon.status.activity import SCHEMA, Activity

GROUP = "trial"
LOG = "doctor-deep.log"
_NAME = "trial"
#: What is left out of a trial's settings: whatever would tell somebody else, serve something or wait for long.
_QUIET: Mapping[str, Any] = {
    "settle_s": 1.0,
    "settle_network_s": 1.0,
    "incomplete_after_s": 30.0,
    "retain_days": 0.0,
    "min_free_mb": 100.0,
    "deliver_capture": False,
    "metrics_port": None,
    **{name: Settings.model_fields[name].default for name in SETTINGS},
    "outbox_days": None,
    "outbox_mb": None,
    "failed_days": None,
    "failed_mb": None,
    "retain_mb": None,
}


def run_trial(
    settings: Settings, capture: Path | None = None, on_turn: Callable[[Activity], None] | None = None
) -> list[Finding]:
    """Put ``capture`` (default: the sample of the source tree) through every model; a line for each.

    Runs on the main thread. Raises ``MeshdropError`` when there is nothing to try with, or the service is at work.
    """
    source = capture or SAMPLES / SAMPLE
    if not source.is_dir():
        raise MeshdropError(
            f"there is no capture at {source} to try the models with",
            "name one of yours that went well: meshdrop doctor --deep --sample DIR",
        )
    places = settings.places
    _not_beside_work(places)
    with _thrown_away(settings) as trial, open(places.state / LOG, "w", encoding="utf-8") as file:
        log.configure(file=file)
        create_root(trial.places)
        _drop(source, trial.places)
        with _signals_put_back():
            run_service(trial, once=True, on_turn=on_turn)
        return _findings(settings, trial.places)


def _not_beside_work(places: Places) -> None:
    """One GPU, one model: a trial beside a running one may be the reason that this one fails."""
    if holder(places) is None:
        return
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(places.live_status.read_text(encoding="utf-8"))
        if told["schema"] == SCHEMA and told["working"] is not None:
            raise MeshdropError(
                f"the service is working on {told['working']['name']}, and a trial would take its memory",
                "meshdrop pause, wait until `meshdrop status` shows no work, try again, then meshdrop resume",
            )


@contextmanager
def _thrown_away(settings: Settings) -> Iterator[Settings]:
    """The settings of a root that is gone afterwards, however it ends; ``doctor --fix`` finds what a power cut left."""
    places, mark = settings.places, f"{TRIAL}{uuid.uuid4().hex[:8]}"
    root, state = places.spool / mark, places.state / mark
    private = {
        "root": root,
        "spool_dir": root / ".meshdrop" / "spool",
        "state_dir": state,
        "cache_dir": places.cache,
        "weights_dir": places.weights,
    }
    for folder in (places.spool, places.state, places.cache):
        fsops.make_dir(folder, 0o700)
    try:
        known = {name: value for name, value in _QUIET.items() if name in type(settings).model_fields}
        yield settings.model_copy(update={**known, **private})
    finally:
        fsops.remove_tree(root)
        fsops.remove_tree(state)


def _drop(source: Path, places: Places) -> None:
    """As a careful rig delivers: under another name first. What the capture says about models does not count here."""
    partial = places.inbox / f".{_NAME}.part"
    shutil.copytree(source, partial)
    sidecar = partial / "capture.json"
    with suppress(OSError, ValueError):
        told = json.loads(sidecar.read_text(encoding="utf-8"))
        told.pop("models", None)
        sidecar.write_text(json.dumps(told), encoding="utf-8")
    partial.rename(places.inbox / _NAME)


@contextmanager
def _signals_put_back() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _findings(settings: Settings, places: Places) -> list[Finding]:
    wanted = Wanted(configured(settings))
    for shelf in (places.outbox, places.failed):
        report = read_shared(shelf / _NAME / "report.json")
        models = report.get("models")
        if isinstance(models, dict) and models:
            return [_judged(name, models.get(name) or {}, wanted) for name in settings.models]
    failure = read_shared(places.failed / _NAME / "failure.json")
    if not failure:
        return [
            Finding(f"trial {name}", "skip", "stopped before it came to an end", group=GROUP)
            for name in settings.models
        ]
    problem: Mapping[str, Any] = next(iter(failure.get("problems") or []), {})
    says = str(problem.get("message") or failure.get("reason") or failure.get("says"))
    return [
        Finding(
            "trial",
            "fail",
            f"the capture was refused: {says}",
            "nothing is known about the models",
            str(problem.get("fix") or failure.get("fix") or "name another with --sample"),
            GROUP,
        )
    ]


def _judged(name: str, told: Mapping[str, Any], wanted: Wanted) -> Finding:
    """One model's line: what it came to, how long it took, and what it needed."""
    line, state = f"trial {name}", told.get("state")
    if state == "ok" and told.get("verdict") in ("normal", "warning", None):
        return Finding(line, "ok", _figures(told), "with the settings of this root, on its own disks", group=GROUP)
    result, why = wanted.loss_of([name])
    see = f"the log of the trial is {LOG} in the state folder"
    if state == "ok":
        return Finding(
            line,
            result,
            f"its mesh does not agree with the capture ({_figures(told)})",
            "on a capture that is known to be good this points to the machine: memory, driver, or a wrong package",
            f"meshdrop weights verify --deep; run `make install` again; {see}",
            GROUP,
        )
    says = str(told.get("reason") or "it left no result")
    return Finding(line, result, says, why, str(told.get("fix") or see), GROUP)


def _figures(told: Mapping[str, Any]) -> str:
    """``33.1 dB, SSIM 0.95, 6.2 s, 812 MiB of memory, 2,742 MiB of GPU memory``."""
    quality = ((told.get("measured") or {}).get("quality") or {}).get("mean") or {}
    parts = [
        (quality.get("psnr_masked_db"), "{:.1f} dB"),
        (quality.get("ssim_masked"), "SSIM {:.3f}"),
        (told.get("seconds"), "{:.1f} s"),
        (told.get("peak_rss_mib"), "{:,.0f} MiB of memory"),
        (told.get("peak_vram_mib"), "{:,.0f} MiB of GPU memory"),
    ]
    figures = ", ".join(form.format(value) for value, form in parts if isinstance(value, int | float))
    return f"{told.get('verdict') or 'no verdict'}: {figures}"
