"""Is there a CUDA device? Asked of the driver itself, so that neither torch nor anything else is imported."""

from __future__ import annotations

import ctypes

from meshdrop.models.contract.base import ModelUnavailable


def need_cuda(model: str, cure: str = "") -> None:
    """Raise ``ModelUnavailable`` when there is no CUDA device; ``cure`` is added to the fix."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ModelUnavailable(
            f"{model} needs an NVIDIA GPU, and there is no driver",
            f"install NVIDIA's driver and restart; `meshdrop doctor` tells what is missing{cure}",
        ) from None
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise ModelUnavailable(
            f"{model} needs an NVIDIA GPU, and CUDA finds none",
            f"`nvidia-smi -L` must list one, and CUDA_VISIBLE_DEVICES must not hide it{cure}",
        )
