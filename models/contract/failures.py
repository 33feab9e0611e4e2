"""Why a model run ends without a result, what is said then, and whether another try is worth it: the one table, for the
worker that finds the class and the service that acts on it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class RunClass(StrEnum):
    """How a model run, or another task of a worker, can fail. Written to the record and to pages as these words."""

    BAD_INPUT = "bad_input"
    NO_RESULT = "no_result"
    SETTINGS = "settings"
    DEFECT = "defect"
    ERROR = "error"
    CRASH = "crash"
    GPU_MEMORY = "gpu_memory"
    HOST_MEMORY = "host_memory"
    MEMORY_LIMIT = "memory_limit"
    NOT_BEGUN = "not_begun"
    DISK = "disk"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    GARBAGE = "garbage"
    CANCELLED = "cancelled"
    #: Not a failure of the run: the model cannot run here, and is skipped.
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class RunFailure:
    """Why one model run failed; ``retries`` counts how many further attempts are worth it."""

    retries: int
    says: str
    fix: str


#: Every class but ``UNAVAILABLE``, which brings its own cure.
RUN_FAILURES: Mapping[str, RunFailure] = {
    RunClass.BAD_INPUT: RunFailure(0, "the model refused the capture", "read the reason and mend the capture"),
    RunClass.NO_RESULT: RunFailure(
        0, "the model came to no usable object", "set another `seed`, or take it out of `models`"
    ),
    RunClass.SETTINGS: RunFailure(
        0, "the model cannot run with its settings", "correct `model_settings`; `meshdrop config validate` checks them"
    ),
    RunClass.DEFECT: RunFailure(
        0,
        "the model stopped with an error that another try would repeat",
        "see the end of the log in this folder; it may be this capture alone, so try another one or another model",
    ),
    RunClass.ERROR: RunFailure(2, "the model stopped with an error", "see the end of the log in this folder"),
    RunClass.CRASH: RunFailure(2, "the model's process died", "see the end of the log; run `meshdrop doctor`"),
    RunClass.GPU_MEMORY: RunFailure(1, "the GPU ran out of memory", "free the GPU or choose a smaller preset"),
    RunClass.HOST_MEMORY: RunFailure(1, "the machine ran out of memory", "add memory or lower the model's resolution"),
    RunClass.MEMORY_LIMIT: RunFailure(
        0,
        "it would have taken more memory than a worker may hold",
        "lower the model's resolution or the size of the pictures; where the machine has more memory raise "
        "worker_memory_mb",
    ),
    RunClass.NOT_BEGUN: RunFailure(
        2, "the model's process could not begin its work", "run `meshdrop doctor`: the installation may be damaged"
    ),
    RunClass.DISK: RunFailure(
        0, "the disk is full or failing", "make room on the disk of state_dir; work goes on by itself"
    ),
    RunClass.TIMEOUT: RunFailure(
        1, "the model took longer than its limit", "raise run_limit_s or lower the resolution"
    ),
    RunClass.STALLED: RunFailure(
        1, "the model stopped making progress", "see the end of the log; run `meshdrop doctor`"
    ),
    RunClass.GARBAGE: RunFailure(1, "the model said it was done but left no valid result", "see the end of the log"),
    RunClass.CANCELLED: RunFailure(0, "the run was cancelled", "move the folder back into the inbox to run it again"),
}
