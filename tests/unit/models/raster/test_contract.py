"""Arguments that do not fit are refused in words, not drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from tests.unit.models.raster.scenes import each_raster, raster_called  # noqa: E402 - torch may be absent

N, V, F, H, W, C = 2, 5, 3, 4, 6, 3


def fitting(device: Any) -> dict[str, Any]:
    """One of everything, of the right shape."""
    whole = {"dtype": torch.int32, "device": device}
    return {
        "clip": torch.ones(N, V, 4, device=device),
        "faces": torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 4]], **whole),
        "size": (H, W),
        "attribute": torch.ones(V, C, device=device),
        "fragments": torch.zeros(N, H, W, 4, device=device),
        "image": torch.ones(8, 9, C, device=device),
        "uv": torch.zeros(N, H, W, 2, device=device),
        "colour": torch.zeros(N, H, W, C, device=device),
    }


TAKES = {
    "rasterize": ("clip", "faces", "size"),
    "interpolate": ("attribute", "fragments", "faces"),
    "texture": ("image", "uv"),
    "antialias": ("colour", "fragments", "clip", "faces"),
}

Change = Callable[[Any], Any]
WRONG: list[tuple[str, str, Change]] = [
    ("rasterize", "clip", lambda t: t[0]),
    ("rasterize", "clip", lambda t: t[..., :3]),
    ("rasterize", "clip", lambda t: t.half()),
    ("rasterize", "clip", lambda t: t[:0]),
    ("rasterize", "faces", lambda t: t.long()),
    ("rasterize", "faces", lambda t: t[:, :2]),
    ("rasterize", "faces", lambda t: t[:0]),
    ("rasterize", "size", lambda t: (0, 5)),
    ("interpolate", "attribute", lambda t: t[:, 0]),
    ("interpolate", "attribute", lambda t: t.double()),
    ("interpolate", "attribute", lambda t: t[None].repeat(3, 1, 1)),
    ("interpolate", "attribute", lambda t: t[None, None]),
    ("interpolate", "fragments", lambda t: t[..., :3]),
    ("texture", "image", lambda t: t[0]),
    ("texture", "image", lambda t: t[0, 0]),
    ("texture", "image", lambda t: t[None].repeat(3, 1, 1, 1)),
    ("texture", "image", lambda t: t[None, None]),
    ("texture", "uv", lambda t: t[0]),
    ("texture", "uv", lambda t: t[..., :1]),
    ("antialias", "colour", lambda t: t[:, :-1]),
    ("antialias", "colour", lambda t: t[..., 0]),
    ("antialias", "clip", lambda t: t[:1]),
    ("antialias", "fragments", lambda t: t[:1]),
]


@each_raster
@pytest.mark.parametrize(("operation", "argument", "change"), WRONG)
def test_a_wrong_argument_is_named(name: str, operation: str, argument: str, change: Change) -> None:
    raster = raster_called(name)
    arguments = fitting(raster.device)
    arguments[argument] = change(arguments[argument])
    with pytest.raises(ValueError, match=argument):
        getattr(raster, operation)(*(arguments[taken] for taken in TAKES[operation]))


@each_raster
@pytest.mark.parametrize("operation", TAKES)
def test_what_fits_is_taken_in_any_memory_order(name: str, operation: str) -> None:
    raster = raster_called(name)
    arguments = fitting(raster.device)
    taken = [arguments[argument] for argument in TAKES[operation]]
    scattered = [
        torch.stack([tensor, tensor], dim=-1)[..., 0] if isinstance(tensor, torch.Tensor) else tensor
        for tensor in taken
    ]
    assert not any(isinstance(tensor, torch.Tensor) and tensor.is_contiguous() for tensor in scattered)
    run = getattr(raster, operation)
    assert torch.equal(run(*scattered), run(*taken))


@pytest.mark.parametrize("operation", ["rasterize", "interpolate", "antialias"])
@pytest.mark.parametrize("index", [-1, V])
def test_the_cpu_refuses_a_face_that_names_no_vertex(operation: str, index: int) -> None:
    raster = raster_called("numba")
    arguments = fitting(raster.device)
    arguments["faces"][1, 1] = index
    with pytest.raises(ValueError, match="faces name vertices"):
        getattr(raster, operation)(*(arguments[taken] for taken in TAKES[operation]))


def test_more_faces_than_a_fragment_can_name_are_refused() -> None:
    arguments = fitting("cpu")
    arguments["faces"] = arguments["faces"][:1].expand(2**24 + 1, 3)
    with pytest.raises(ValueError, match="16,777,217 faces"):
        raster_called("numba").rasterize(*(arguments[taken] for taken in TAKES["rasterize"]))


@pytest.mark.gpu
def test_tensors_of_another_device_are_refused() -> None:
    raster = raster_called("nvdiffrast")
    here, there = fitting(raster.device), fitting("cpu")
    with pytest.raises(ValueError, match="lie"):
        raster.rasterize(there["clip"], there["faces"], (H, W))
    with pytest.raises(ValueError, match="lies on"):
        raster.rasterize(here["clip"], there["faces"], (H, W))
