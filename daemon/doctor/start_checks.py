"""What a service asks itself when it starts: the doctor's own checks, those that cost milliseconds.

What would lose accepted captures ends the start. Everything else is said in the log and goes on: a service that works
less well than it could is better than none, and the person who can cure it may come tomorrow.
"""

from __future__ import annotations

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.layout import clash
from meshdrop.daemon.doctor.checks.models import configured
from meshdrop.daemon.doctor.checks.run import make_plainly
from meshdrop.daemon.doctor.checks.settings import open_settings
from meshdrop.daemon.doctor.checks.workers import workers
from meshdrop.daemon.doctor.examine import Surroundings, standing
from meshdrop.daemon.host.machine import Machine
from meshdrop.daemon.workers import kernels

log = get_logger()


def refuse_what_loses_data(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where folders lie so that captures or results could be lost."""
    if (found := clash(settings.places)) is not None:
        raise ConfigurationError(f"{found.says}: {found.why}", found.fix)


def refuse_open_settings(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where somebody else could put other settings in the place of ours, at any time:
    they say which programs are run."""
    if (found := open_settings(settings.root)) is not None:
        raise ConfigurationError(f"{found.says}: {found.why}", found.fix)


def refuse_open_workers(settings: Settings) -> None:
    """Raise ``ConfigurationError`` where others could give the workers programs to run, or where the settings ask for
    walls around them that this kernel does not have."""
    if (found := kernels.unsafe(settings.places.cache)) is not None:
        raise ConfigurationError(f"{found.says}: {found.why}", found.fix)
    if settings.worker_confinement == "strict" and (finding := workers(settings)).result == "fail":
        raise ConfigurationError(f"{finding.says}: {finding.why}", finding.fix)


def look_around(settings: Settings, machine: Machine | None = None) -> list[Finding]:
    """Make the cheap checks, put into the log what is not in order, and return it. Never raises."""
    here = Surroundings(machine or Machine(), settings, None, configured(settings))
    checks = [check for check in standing(here, Finding("settings", "ok", "")) if check.at_start]
    troubles = [finding for check in checks if (finding := make_plainly(check)).is_trouble]
    for finding in troubles:
        tell = log.error if finding.result == "fail" else log.warning
        tell("check", line=finding.name, says=finding.says, why=finding.why, fix=finding.fix)
    return troubles
