"""The error table: what can go wrong with a capture or a model run, and what a person does next."""

from __future__ import annotations

import errno
from dataclasses import dataclass


class ExitCode:
    """Exit codes of the command, as sysexits.h has them where it has one."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    #: EX_TEMPFAIL: the same command may succeed later.
    TRY_AGAIN = 75
    CONFIGURATION = 78


@dataclass(frozen=True)
class Failure:
    """One row: ``says`` is the sentence on WHY.txt's first line, ``fix`` what to do next."""

    says: str
    fix: str


#: Why a job ends in failed/. Problems of single files carry their own sentence and fix beside this.
FAILURES: dict[str, Failure] = {
    "capture": Failure(
        "The capture has a problem that no waiting can cure.",
        "Mend what is named above, then move this folder back into the inbox.",
    ),
    "incomplete": Failure(
        "The capture never became complete.",
        "Add the files named above (or copy the capture again), then move this folder back into the inbox.",
    ),
    "changed": Failure(
        "The files kept changing while they were being read.",
        "Wait until the rig has finished writing, then move this folder back into the inbox.",
    ),
    "unreadable": Failure(
        "Reading this capture failed three times.",
        "Run `meshdrop check` on this folder on another machine, and send the folder to whoever looks after the "
        "service.",
    ),
    "poison": Failure(
        "The service or the machine went down three times while this capture was being worked on.",
        "Look at the log in this folder. If the machine was simply switched off, move this folder back into the inbox.",
    ),
    "no_model": Failure(
        "None of the models asked for can run on this machine.",
        "Run `meshdrop doctor`; change `models` in capture.json or in the settings, then move this folder back into "
        "the inbox.",
    ),
    "models": Failure(
        "No model produced a mesh.",
        "Read each model's reason, and log.txt for more. Mend what it names, then move this folder back into the "
        "inbox.",
    ),
    "quality": Failure(
        "A mesh was made, but it does not look like the photographs.",
        "Look at the pictures in previews/. Usually a camera moved or a mask is wrong: check the rig, capture again.",
    ),
    "cancelled": Failure(
        "The job was cancelled.", "Nothing is wrong. Move this folder back into the inbox to start it again."
    ),
    "damaged": Failure(
        "The service's working copy of the capture no longer matches what was received.",
        "The disk may be failing: run `meshdrop doctor`, then move this folder back into the inbox.",
    ),
    "unfinished": Failure(
        "Starting the models for this capture, or keeping, measuring or publishing what they made, failed three times.",
        "What could be saved is in this folder. Move it back into the inbox to try again; if it happens twice, run "
        "`meshdrop doctor` and send the folder to whoever looks after the service.",
    ),
    "results": Failure(
        "The finished files did not pass the last check before publishing.",
        "Move this folder back into the inbox to try again; if it happens twice, run `meshdrop doctor`.",
    ),
}


@dataclass(frozen=True)
class RunFailure:
    """Why one model run failed; ``retries`` counts how many further attempts are worth it."""

    retries: int
    says: str
    fix: str


RUN_FAILURES: dict[str, RunFailure] = {
    "bad_input": RunFailure(0, "the model refused the capture", "read the reason and mend the capture"),
    "no_result": RunFailure(0, "the model came to no usable object", "set another `seed`, or take it out of `models`"),
    "settings": RunFailure(
        0, "the model cannot run with its settings", "correct `model_settings`; `meshdrop config validate` checks them"
    ),
    "defect": RunFailure(
        0,
        "the model stopped with an error that another try would repeat",
        "see the end of the log in this folder; it may be this capture alone, so try another one or another model",
    ),
    "error": RunFailure(2, "the model stopped with an error", "see the end of the log in this folder"),
    "crash": RunFailure(2, "the model's process died", "see the end of the log; run `meshdrop doctor`"),
    "gpu_memory": RunFailure(1, "the GPU ran out of memory", "free the GPU or choose a smaller preset"),
    "host_memory": RunFailure(1, "the machine ran out of memory", "add memory or lower the model's resolution"),
    "memory_limit": RunFailure(
        0,
        "it would have taken more memory than a worker may hold",
        "lower the model's resolution or the size of the pictures; where the machine has more memory raise "
        "worker_memory_mb",
    ),
    "not_begun": RunFailure(
        2, "the model's process could not begin its work", "run `meshdrop doctor`: the installation may be damaged"
    ),
    "disk": RunFailure(0, "the disk is full or failing", "make room on the disk of state_dir; work goes on by itself"),
    "timeout": RunFailure(1, "the model took longer than its limit", "raise run_limit_s or lower the resolution"),
    "stalled": RunFailure(1, "the model stopped making progress", "see the end of the log; run `meshdrop doctor`"),
    "garbage": RunFailure(1, "the model said it was done but left no valid result", "see the end of the log"),
    "cancelled": RunFailure(0, "the run was cancelled", "move the folder back into the inbox to run it again"),
}

#: Pauses before attempt 2 and 3; other jobs go first meanwhile.
BACK_OFF_S = (10.0, 60.0)
#: Pause after a full disk, which is not the job's fault: work is to go on soon after there is room again.
DISK_BACK_OFF_S = 15.0
MAX_ATTEMPTS = 3
MAX_INGEST_TRIES = 3
MAX_FINISH_TRIES = 3
#: Tries at one step of a job that fails though the machine is sound; then the job gets out of the way.
MAX_TROUBLES = 3
MAX_REFUNDS = 20


#: What a disk, a server or a machine says that is full, failing or away for a while: never a capture's fault.
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EREMOTEIO,
        errno.ENODEV,
        errno.ENOMEDIUM,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    }
)


class MeshdropError(Exception):
    """An error for a person at the command line: one sentence, and what to do next."""

    exit_code = ExitCode.PROBLEM

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class ConfigurationError(MeshdropError):
    """Settings, folders or the database do not fit this version."""

    exit_code = ExitCode.CONFIGURATION


class ShareMissing(ConfigurationError):
    """There is no share where one should be: it was never set up, or it is not mounted yet."""


class AnotherInstance(MeshdropError):
    """Somebody else already runs on these folders."""

    exit_code = ExitCode.TRY_AGAIN


class LeftBehind(MeshdropError):
    """``run --once`` came to an end, and some jobs did not: each waits for somebody to mend what holds it up."""

    exit_code = ExitCode.TRY_AGAIN


class NoService(MeshdropError):
    """No running service answers here."""


class ShareUnavailable(Exception):
    """The share is not there, not ours or not readable: nothing may be concluded from what is (not) seen."""


class JobTrouble(Exception):
    """A step of one job failed, and the machine is sound: others go on, and this one gets out of the way in the end.

    ``stays`` when it cannot: every way out was tried, and somebody has to mend what the sentence names.
    """

    def __init__(self, sentence: str, *, stays: bool = False) -> None:
        super().__init__(sentence)
        self.stays = stays


class Stopping(Exception):
    """The daemon was asked to stop in the middle of a step; the step is taken up again at the next start."""
