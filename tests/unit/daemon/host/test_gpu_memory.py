"""GPU memory as the driver's own program tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshdrop.daemon.host.gpu_memory import GpuMemory, gpu_memory

#: The answer of a real card, and of one that does not tell its memory, in the fields that daemon/host/gpus.py asks for.
ANSWER = """\
0, GPU-1, NVIDIA H200, 575.57.08, 143771, 143168, Enabled, Default, Disabled, 0, 9.0
1, GPU-2, NVIDIA Odd, 575.57.08, [N/A], [N/A], Enabled, Default, Disabled, 0, 9.0
"""


def driver(folder: Path, script: str) -> str:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_used_is_what_is_not_free(tmp_path: Path) -> None:
    script = f"case $1 in *gpu=*) cat <<'END'\n{ANSWER}END\n;; esac"
    path = f"{driver(tmp_path, script)}:/usr/bin:/bin"
    assert gpu_memory(path) == [GpuMemory(0, 603, 143_771)]


def test_without_a_driver_there_is_nothing(tmp_path: Path) -> None:
    assert gpu_memory(str(tmp_path)) == []


@pytest.mark.parametrize("script", ["exit 9", "echo nonsense", "kill -9 $$"])
def test_a_driver_in_trouble_is_no_trouble(tmp_path: Path, script: str) -> None:
    assert gpu_memory(driver(tmp_path, script)) == []
