"""The weights of reconviagen: what they are, where they come from, and where they stand in their folder.

The folder's layout is the one in which the code of TRELLIS, VGGT and torch.hub finds everything without a network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshdrop.models.contract import weights
from meshdrop.models.contract.weights import Catalogue, Damage, Resource, Tell, WeightFile
from meshdrop.models.reconviagen import dinov2_source

MODEL = "reconviagen"
_TRELLIS = "Stable-X/trellis-vggt-v0-2"
_VGGT = "Stable-X/vggt-object-v0-1"
_HUB = "torch/hub"
_DINOV2_SOURCE = f"{_HUB}/facebookresearch_dinov2_main"
_DINOV2_CHECKPOINT = "dinov2_vitl14_reg4_pretrain.pth"

#: The networks of TRELLIS-VGGT, a .json and a .safetensors each.
NETWORKS = (
    "ss_flow_img_dit_L_16l8_fp16",
    "ss_dec_conv3d_16l8_fp16",
    "slat_flow_img_dit_L_64l8p2_fp16",
    "slat_dec_gs_swin8_B_64l8gs32_fp16",
    "slat_dec_mesh_swin8_B_64l8m256c_fp16",
    "ss_vggt_cond",
    "slat_vggt_cond",
)
#: Hashes that are publicly known beforehand. A pinned revision binds the others, if the server is honest.
_KNOWN = {"slat_vggt_cond.safetensors": "18945872ec1a5fc13b2bfe86f279777c895c015ddff5cabc8f5a6dcd245d862a"}


def _network(name: str) -> WeightFile:
    return WeightFile(f"ckpts/{name}", sha256=_KNOWN.get(name))


CATALOGUE = Catalogue(
    MODEL,
    (
        Resource(
            _TRELLIS,
            "647659a5ad5fbf67e22793e7b5e2cee4b30c5d13",
            None,
            _TRELLIS,
            (
                WeightFile("pipeline.json"),
                *(_network(f"{name}.{ending}") for name in NETWORKS for ending in ("json", "safetensors")),
            ),
            3_100_000_000,
            "MIT (TRELLIS)",
            "two of its networks were trained on VGGT's features: ask its authors before commercial use",
        ),
        Resource(
            _VGGT,
            "aac569c280b52ccda1c84a81cd0e27e947bc2cf5",
            None,
            _VGGT,
            (
                WeightFile("config.json"),
                WeightFile(
                    "model.safetensors", sha256="65c4803ef021a4143bbe499faebaef1d1a522d1437b5742b89c85d557db4bba4"
                ),
            ),
            5_030_000_000,
            "derived from VGGT, CC BY-NC 4.0",
            "no commercial use",
        ),
        Resource(
            "facebookresearch/dinov2 weights",
            "",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14",
            f"{_HUB}/checkpoints",
            (
                WeightFile(
                    _DINOV2_CHECKPOINT,
                    1_217_607_321,
                    "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
                ),
            ),
            1_217_607_321,
            "Apache-2.0",
            "any use",
        ),
        Resource(
            "facebookresearch/dinov2 code",
            dinov2_source.COMMIT,
            dinov2_source.BASE_URL,
            _DINOV2_SOURCE,
            dinov2_source.FILES,
            sum(file.bytes or 0 for file in dinov2_source.FILES),
            "Apache-2.0",
            "any use",
        ),
    ),
)


@dataclass(frozen=True)
class WeightPaths:
    """Where the model finds everything: give these to the loaders, never a name that they would look up."""

    #: pipeline.json and ckpts/.
    trellis: Path
    #: config.json and model.safetensors.
    vggt: Path
    #: hubconf.py, for torch.hub.load(..., source="local", pretrained=False).
    dinov2_source: Path
    #: A pickle: load with weights_only=True.
    dinov2_checkpoint: Path

    def network(self, name: str) -> tuple[Path, Path]:
        """Configuration (.json) and weights (.safetensors) of one of ``NETWORKS``."""
        return self.trellis / "ckpts" / f"{name}.json", self.trellis / "ckpts" / f"{name}.safetensors"


def where(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of these weights as a worker finds it; raises ``ModelUnavailable`` when none is named."""
    return weights.where(MODEL, environ)


def paths(folder: Path) -> WeightPaths:
    """The explicit places below ``folder``. Looks at no file: see ``require``."""
    return WeightPaths(
        folder / _TRELLIS, folder / _VGGT, folder / _DINOV2_SOURCE, folder / _HUB / "checkpoints" / _DINOV2_CHECKPOINT
    )


def require(folder: Path) -> WeightPaths:
    """``paths`` of weights that are all there with their sizes; else ``ModelUnavailable`` with the command to run."""
    weights.require(folder, CATALOGUE)
    return paths(folder)


def digest(folder: Path) -> str | None:
    """One SHA-256 for all that was fetched, by the manifest's word; None where there is no manifest."""
    return weights.read_manifest(folder, MODEL).digest


def verify(folder: Path, *, deep: bool, tell: Tell = lambda read: None) -> tuple[Damage, ...]:
    """What is wrong with the files in ``folder``: missing, of another size, with ``deep`` of other bytes."""
    return weights.verify(folder, CATALOGUE, deep=deep, tell=tell)


def environment(folder: Path) -> dict[str, str]:
    """Variables that keep every library off the network and away from other people's caches.

    To be set before any of them is imported: huggingface_hub reads its own at import.
    """
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TORCH_HOME": str(folder / "torch"),
        "XFORMERS_DISABLED": "1",
    }
