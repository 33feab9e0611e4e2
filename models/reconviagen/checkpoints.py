"""Weights from files straight into a network on its device.

Upstream builds each network with random weights on the CPU, reads the file beside it and copies one into the other:
three times the memory and most of the time. Here parameters are built without storage and each tensor of the file
becomes a parameter. Upstream also ignores parameters that a file lacks, which stay random; here that is an error.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from meshdrop.models.contract.base import ModelUnavailable

FIX = "run `meshdrop weights verify reconviagen --deep`, then fetch what it names"


class WithoutStorage(TorchFunctionMode):
    """Inside, tensors made by the usual initialisers have no storage (device "meta").

    A default device of "meta" would do that for every tensor, and vision transformers read numbers back from
    ``torch.linspace`` while they are built.
    """

    MADE = frozenset({torch.empty, torch.zeros, torch.ones, torch.randn, torch.rand, torch.full})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.MADE and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """What ``make`` makes, in evaluation mode, without gradients and without storage."""
    with WithoutStorage():
        return make().eval().requires_grad_(False)


def read_config(path: Path) -> dict[str, Any]:
    """A json file of a checkpoint. Raises ``ModelUnavailable``."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"the weights' {path} cannot be read: {error}", FIX) from error
    if not isinstance(config, dict):
        raise ModelUnavailable(f"the weights' {path} holds no object", FIX)
    return config


def fill_from_safetensors(network: nn.Module, path: Path, device: torch.device, prefix: str = "") -> None:
    """Give ``network`` its weights: the tensors of ``path`` whose names begin with ``prefix``, in its own dtypes.

    Tensors that the network has no use for are not even read. Raises ``ModelUnavailable``.
    """
    safetensors = importlib.import_module("safetensors")
    try:
        with safetensors.safe_open(path, framework="pt", device=str(device)) as file:
            names = {name.removeprefix(prefix) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
            _fill(network, names, lambda name: file.get_tensor(prefix + name), path, device)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelUnavailable(f"the weights' {path} cannot be read: {error}", FIX) from error


def fill_from_pth(network: nn.Module, path: Path, device: torch.device) -> None:
    """The same from a file of ``torch.save`` that holds tensors only."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damage shows in many ways; memory of the device is not asked for yet
        reason = str(error).partition("\n")[0]
        raise ModelUnavailable(f"the weights' {path} cannot be read as tensors: {reason}", FIX) from error
    _fill(network, set(tensors), tensors.__getitem__, path, device)


def _fill(network: nn.Module, names: set[str], get: Callable[[str], Tensor], path: Path, device: torch.device) -> None:
    wanted = network.state_dict()
    missing = sorted(set(wanted) - names)
    if missing:
        raise ModelUnavailable(f"{path} lacks {len(missing)} of the network's weights, such as {missing[0]}", FIX)
    given: dict[str, Tensor] = {}
    for name, like in wanted.items():
        tensor = get(name)
        if tensor.shape != like.shape:
            raise ModelUnavailable(f"{path}: {name} is {list(tensor.shape)}, not {list(like.shape)}", FIX)
        given[name] = tensor.to(device=device, dtype=like.dtype)
    network.load_state_dict(given, assign=True)
    network.to(device)  # buffers that no file holds
