"""nvdiffrast and the CPU rasteriser on the same random inputs: values and all gradients.

Each operation gets the very same inputs on both sides, so that the rounding of one does not count against the next.
A failure names its scene's seed. Where a decision hangs on rounding, few places may differ:

- ``FACES``: a corner half-way between two points of the 1/16-pixel grid snaps either way, nvdiffrast snaps again where
  a triangle leaves the picture, and at equal depth its fixed-point depth decides;
- ``PLACES``: slivers seen edge-on, where float32 leaves few digits of u and v (the CPU computes in float64), texture
  coordinates within rounding of a texel's centre, where the derivative jumps, and silhouettes that just touch a limit.

Gradients are compared by the norm of the difference relative to the norm, fed only from where the values agree.
"""

from __future__ import annotations

import itertools
import os

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402 - torch may be absent

from meshdrop.models.raster.differentiable import Raster  # noqa: E402
from tests.unit.models.raster.scenes import Scene, random_scene, raster_called  # noqa: E402

pytestmark = pytest.mark.gpu

#: At most this share of the covered pixels may show another face.
FACES = 5e-3
#: At most this share of the places may differ by more than rounding.
PLACES = 1e-2
#: Relative norm of the difference of gradients.
GRADIENTS = 5e-3

again = pytest.mark.parametrize("run", range(3))


#: The same scenes in every run; ``MESHDROP_SEED`` draws others. In some a silhouette just touches a limit, and their
#: tests fail.
_seeds = itertools.count(int(os.environ.get("MESHDROP_SEED", "0")))


class Pair:
    """Both rasterisers and a new scene."""

    def __init__(self, size: tuple[int, int] = (90, 123), corners: int = 300) -> None:
        self.cuda: Raster = raster_called("nvdiffrast")
        self.cpu: Raster = raster_called("numba")
        self.seed = next(_seeds)
        self.random = torch.Generator().manual_seed(self.seed)
        self.scene: Scene = random_scene(self.seed, size, corners=corners)

    def fragments(self) -> Tensor:
        """The CPU's, as both sides' input of the other operations."""
        return self.cpu.rasterize(self.scene.clip, self.scene.faces, self.scene.size)

    def noise(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random)

    def run(self, operation: str, inputs: list[Tensor], moving: list[int], weights: Tensor) -> list[list[Tensor]]:
        """[value, gradient by each of ``inputs[moving]``] of both, on the CPU; ``weights`` is what flows back."""
        return [self._run(raster, operation, inputs, moving, weights) for raster in (self.cuda, self.cpu)]

    def _run(
        self, raster: Raster, operation: str, inputs: list[Tensor], moving: list[int], weights: Tensor
    ) -> list[Tensor]:
        here = [tensor.detach().to(raster.device) for tensor in inputs]
        for k in moving:
            here[k].requires_grad_()
        value = getattr(raster, operation)(*here)
        gradients = torch.autograd.grad(value, [here[k] for k in moving], weights.to(raster.device))
        return [tensor.detach().cpu() for tensor in (value, *gradients)]

    def close(self, ours: Tensor, theirs: Tensor, bound: float) -> None:
        """The norm of the difference is at most ``bound`` of the norm."""
        assert torch.isfinite(theirs).all(), f"seed {self.seed}"
        relative = ((ours - theirs).norm() / theirs.norm()).item()
        assert relative <= bound, f"seed {self.seed}: relative difference {relative:.3g}"

    def close_at_corners(self, ours: Tensor, theirs: Tensor) -> None:
        """Gradients (N, V, 4) by clip-space corners: nearly all agree to a hundredth, and none is far off.

        One sliver, or one silhouette that just touches a limit, may carry some per cent of the norm, but it moves two
        or three corners only.
        """
        self.close(ours, theirs, 10 * GRADIENTS)
        usual = theirs.square().mean().sqrt()
        self.mostly((ours - theirs).norm(dim=-1) < 1e-2 * (theirs.norm(dim=-1) + usual), PLACES)
        assert not theirs[..., 2].any(), f"seed {self.seed}: z has a gradient"

    def mostly(self, agree: Tensor, share: float) -> None:
        """All but ``share`` of the places agree."""
        missing = 1 - agree.double().mean().item()
        assert missing <= share, f"seed {self.seed}: {missing:.3%} of {agree.numel()} places differ"


@again
@pytest.mark.parametrize(
    ("size", "corners"), [((64, 64), 60), ((90, 123), 300), ((257, 200), 1500), ((512, 512), 7000)]
)
def test_the_same_faces_are_seen_at_the_same_places(run: int, size: tuple[int, int], corners: int) -> None:
    pair = Pair(size, corners)
    clip, faces = pair.scene.clip, pair.scene.faces
    theirs = pair.cuda.rasterize(clip.to(pair.cuda.device), faces.to(pair.cuda.device), size).cpu()
    ours = pair.cpu.rasterize(clip, faces, size)
    seen = (ours[..., 3] > 0) | (theirs[..., 3] > 0)
    same = ours[..., 3] == theirs[..., 3]
    assert seen.sum() > 500
    pair.mostly(same[seen], FACES)
    both = seen & same
    pair.mostly(((ours - theirs)[both][:, :2].abs() < 1e-3).all(dim=-1), PLACES)
    pair.mostly((ours - theirs)[both][:, 2].abs() < 1e-4, PLACES)
    assert not ours[~seen].any()
    assert not theirs[~seen].any()


@again
def test_triangles_through_the_camera_are_cut_alike(run: int) -> None:
    pair = Pair((64, 80))
    corners = torch.randn((4, 30, 4), generator=pair.random)
    corners[..., 3] += 0.5
    faces = torch.arange(30, dtype=torch.int32).reshape(10, 3)
    assert (corners[..., 3] < 0).any()
    theirs = pair.cuda.rasterize(corners.to(pair.cuda.device), faces.to(pair.cuda.device), (64, 80)).cpu()
    ours = pair.cpu.rasterize(corners, faces, (64, 80))
    # some of these triangles fill the picture and meet others at grazing angles: a hundredth of the pixels
    pair.mostly(ours[..., 3] == theirs[..., 3], 1e-2)
    both = (ours[..., 3] == theirs[..., 3]) & (ours[..., 3] > 0)
    pair.mostly(((ours - theirs)[both][:, :3].abs() < 2e-3).all(dim=-1), 1e-2)


@again
def test_barycentrics_pull_alike_at_the_corners(run: int) -> None:
    pair = Pair()
    clip, faces, size = pair.scene.clip, pair.scene.faces, pair.scene.size
    theirs = pair.cuda.rasterize(clip.to(pair.cuda.device), faces.to(pair.cuda.device), size).cpu()
    ours = pair.fragments()
    agree = (ours[..., 3] == theirs[..., 3]) & ((ours - theirs)[..., :2].abs() < 1e-3).all(dim=-1)
    weights = (pair.noise(*ours.shape) - 0.5) * agree[..., None]
    gradients = []
    for raster in (pair.cuda, pair.cpu):
        moving = clip.detach().to(raster.device).requires_grad_()
        fragments = raster.rasterize(moving, faces.to(raster.device), size)
        gradients.append(torch.autograd.grad(fragments, moving, weights.to(raster.device))[0].cpu())
    pair.close_at_corners(gradients[1], gradients[0])


@again
@pytest.mark.parametrize("shared", [True, False])
def test_attributes_are_interpolated_alike(run: int, shared: bool) -> None:
    pair = Pair()
    fragments, vertices = pair.fragments(), pair.scene.clip.shape[1]
    attribute = pair.noise(*(() if shared else (3,)), vertices, 5)
    weights = pair.noise(*fragments.shape[:3], 5) - 0.5
    theirs, ours = pair.run("interpolate", [attribute, fragments, pair.scene.faces], [0, 1], weights)
    pair.close(ours[0], theirs[0], 1e-5)
    pair.close(ours[1], theirs[1], 1e-4)
    pair.close(ours[2], theirs[2], 1e-4)


@again
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_textures_are_looked_up_alike(run: int, shared: bool, channels: int) -> None:
    pair = Pair()
    image = pair.noise(*(() if shared else (3,)), 64, 48, channels)
    uv = pair.noise(3, *pair.scene.size, 2) * 1.2 - 0.1  # a sixth beyond the border
    weights = pair.noise(3, *pair.scene.size, channels) - 0.5
    theirs, ours = pair.run("texture", [image, uv], [0, 1], weights)
    pair.close(ours[0], theirs[0], 1e-4)
    pair.close(ours[1], theirs[1], 1e-4)
    agree = (ours[2] - theirs[2]).abs() < 1e-2 + 1e-3 * theirs[2].abs()
    pair.mostly(agree, PLACES)
    pair.close(ours[2] * agree, theirs[2] * agree, GRADIENTS)


@again
@pytest.mark.parametrize(("size", "corners"), [((90, 123), 300), ((256, 256), 2500)])
def test_silhouettes_are_smoothed_alike(run: int, size: tuple[int, int], corners: int) -> None:
    pair = Pair(size, corners)
    fragments, clip, faces = pair.fragments(), pair.scene.clip, pair.scene.faces
    colour = pair.noise(*fragments.shape[:3], 3)
    inputs = [colour, fragments, clip, faces]
    theirs, ours = pair.run("antialias", inputs, [0, 2], torch.ones_like(colour))
    changed = (theirs[0] != colour).any(dim=-1)
    assert changed.sum() > 300
    agree = ((ours[0] - theirs[0]).abs() < 1e-3).all(dim=-1)
    pair.mostly(agree[changed | (ours[0] != colour).any(dim=-1)], PLACES)
    weights = (pair.noise(*colour.shape) - 0.5) * agree[..., None]
    theirs, ours = pair.run("antialias", inputs, [0, 2], weights)
    pair.close(ours[1], theirs[1], GRADIENTS)
    pair.close_at_corners(ours[2], theirs[2])


@again
def test_a_whole_picture_pulls_alike_at_shape_and_texture(run: int) -> None:
    """All four in a row, each side on its own fragments: the few other pixels leave the direction as it is."""
    pair = Pair()
    faces, size = pair.scene.faces, pair.scene.size
    image, wanted = pair.noise(32, 32, 3), pair.noise(3, *size, 3)
    place = pair.noise(pair.scene.clip.shape[1], 2)
    pulls = []
    for raster in (pair.cuda, pair.cpu):
        clip, texels = (tensor.detach().to(raster.device).requires_grad_() for tensor in (pair.scene.clip, image))
        indices = faces.to(raster.device)
        fragments = raster.rasterize(clip, indices, size)
        uv = raster.interpolate(place.to(raster.device), fragments, indices)
        colour = raster.texture(texels, uv) * (fragments[..., 3:] > 0)
        loss = (raster.antialias(colour, fragments, clip, indices) - wanted.to(raster.device)).square().mean()
        pulls.append([gradient.cpu().flatten() for gradient in torch.autograd.grad(loss, (clip, texels))])
    for ours, theirs in zip(pulls[1], pulls[0], strict=True):
        alike = torch.nn.functional.cosine_similarity(ours, theirs, dim=0).item()
        assert alike > 0.99, f"seed {pair.seed}: cosine {alike:.5f}"


def test_the_edge_table_is_made_once_for_each_faces_tensor() -> None:
    pair = Pair()
    raster = pair.cuda
    clip, faces = pair.scene.clip.to(raster.device), pair.scene.faces.to(raster.device)
    fragments = raster.rasterize(clip, faces, pair.scene.size)
    colour = (fragments[..., 3:] > 0).float()
    made = []
    construct = raster._dr.antialias_construct_topology_hash  # type: ignore[attr-defined]

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(dr, name)

        @staticmethod
        def antialias_construct_topology_hash(triangles: Tensor) -> object:
            made.append(triangles)
            return construct(triangles)

    dr, raster._dr = raster._dr, Counting()  # type: ignore[attr-defined]
    for _ in range(3):
        raster.antialias(colour, fragments, clip, faces)
    assert len(made) == 1
    raster.antialias(colour, fragments, clip, faces.clone())
    assert len(made) == 2
