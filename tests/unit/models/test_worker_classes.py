"""Which errors of a model may be other at the next try, and which would only cost the same time again."""

from __future__ import annotations

import errno
import subprocess

import pytest

from meshdrop.models.contract.base import ModelUnavailable, NoResult
from meshdrop.models.contract.failures import RUN_FAILURES
from meshdrop.models.contract.options import WrongSettings
from meshdrop.models.files.problem import CaptureError, Problem
from meshdrop.models.worker import classify


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names its own."""


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CaptureError([Problem("mask", None, "There is no object.", "Send masks.")]), "bad_input"),
        (WrongSettings("fusion", ["resolution = 1 is outside 48..512"]), "settings"),
        (ModelUnavailable("no GPU", "buy one"), "unavailable"),
        (NoResult("two seeds gave nothing"), "no_result"),
        (MemoryError(), "host_memory"),
        (OutOfMemoryError("CUDA out of memory"), "gpu_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        # the machine had a part in these
        (OSError(errno.ETIMEDOUT, "timed out"), "error"),
        (EOFError("a half file of the cache"), "error"),
        (subprocess.CalledProcessError(1, "nvcc"), "error"),
        (RuntimeError("CUDA error: unspecified launch failure"), "error"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "error"),
        (RuntimeError("can't start new thread"), "error"),
        (chained(ValueError("no picture"), OSError(errno.EAGAIN, "try again")), "error"),
        # these come out of sums alone
        (ValueError("43560 charts do not fit"), "defect"),
        (TypeError("not a number"), "defect"),
        (KeyError("w"), "defect"),
        (IndexError("9 is out of bounds"), "defect"),
        (ZeroDivisionError(), "defect"),
        (RecursionError(), "defect"),
        (NotImplementedError(), "defect"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "defect"),
        (AssertionError(), "defect"),
    ],
    ids=repr,
)
def test_only_what_the_machine_had_a_part_in_is_worth_another_try(error: Exception, kind: str) -> None:
    found, message, fix = classify(error)
    assert found == kind
    assert message
    assert fix
    retried = {"host_memory", "gpu_memory", "error"}
    assert found == "unavailable" or (RUN_FAILURES[found].retries > 0) is (found in retried)
