"""Networks of the published sizes on a real card: memory, determinism and what is left behind. Random weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

from meshdrop.models.reconviagen.generated import Generated  # noqa: E402
from meshdrop.models.reconviagen.pipeline import STAGES, Generator  # noqa: E402
from meshdrop.models.reconviagen.presets import PRESETS, Preset, Sampling  # noqa: E402
from meshdrop.models.reconviagen.upstream import Upstream  # noqa: E402
from tests.unit.models.reconviagen import full_size  # noqa: E402

pytestmark = pytest.mark.gpu
PICTURES = np.random.default_rng(0).integers(0, 256, (6, 518, 518, 4), dtype=np.uint8)
#: MiB that each profile may take at six views.
MOST_MIB = {"resident": 16_000, "staged": 8_192, "tiny": 6_144}
#: Two steps of each flow: memory and repeatability do not depend on how many there are.
SHORT = Preset("short", 3, Sampling(2, 7.5), Sampling(2, 3.0))


@pytest.fixture(scope="module")
def folder(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """7.5 GB of weights, thrown away afterwards."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    place = tmp_path_factory.mktemp("full") / "reconviagen"
    yield full_size.write(place, upstream, torch.device("cuda"))
    shutil.rmtree(place)


def generator(upstream: Upstream, folder: Path, profile: str, preset: Preset = SHORT) -> Generator:
    """A generator with the known shape."""
    made = full_size.builders(upstream, folder, torch.device("cuda"))
    return Generator(upstream, folder, preset, profile, "cuda", builders=made)


def run(line: Generator) -> Generated:
    """One object of six views."""
    return line.generate(line.condition(PICTURES, lambda *_: None), lambda *_: None)


def taken_mib() -> int:
    """Memory that tensors hold now."""
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() >> 20


@pytest.mark.parametrize("profile", MOST_MIB)
def test_every_stage_fits_its_profile_and_leaves_nothing(upstream: Upstream, folder: Path, profile: str) -> None:
    """Also after twenty objects; 8 MiB are torch's own, for the matrix library."""
    before = taken_mib()
    line = generator(upstream, folder, profile)
    line.load()
    found = run(line)
    assert [record.name for record in found.stages] == list(STAGES)
    peaks = {record.name: record.peak_mib for record in found.stages}
    assert max(peak or 0 for peak in peaks.values()) <= MOST_MIB[profile], peaks
    assert found.profile == profile
    assert 14_000 < found.voxels < 20_000
    held = taken_mib()
    for _ in range(20 if profile == "staged" else 2):
        run(line)
    assert taken_mib() == held
    line.close()
    assert taken_mib() <= before + 64


def test_one_seed_gives_one_object_in_every_profile(upstream: Upstream, folder: Path) -> None:
    """Up to atomic additions and half precision."""
    found = [run(generator(upstream, folder, profile)) for profile in ("staged", "staged", "tiny")]
    for other in found[1:]:
        assert other.voxels == found[0].voxels
        np.testing.assert_allclose(other.gaussians.positions, found[0].gaussians.positions, atol=5e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_is_ended_gives_its_memory_back(upstream: Upstream, folder: Path, stage: str) -> None:
    class Ended(Exception):
        pass

    def tell(name: str, done: int, steps: int) -> None:
        if name == stage and done == steps - 1:
            raise Ended

    before = taken_mib()
    line = generator(upstream, folder, "staged")

    def attempt() -> None:
        try:
            line.generate(line.condition(PICTURES, tell), tell)
        except Ended:
            return
        pytest.fail(f"nothing was told of {stage}")

    attempt()
    line.close()
    assert taken_mib() <= before + 64


@contextmanager
def a_card_of(mib: int) -> Iterator[None]:
    """torch takes no more than this inside, and its allocator refuses the rest as it does on a card that is full."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(mib * 2**20 / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize(("mib", "stage"), [(4_400, "loading"), (7_000, "mesh")])
def test_a_card_too_small_for_the_profile_runs_a_smaller_one(
    upstream: Upstream, folder: Path, mib: int, stage: str
) -> None:
    """Networks that do not fit side by side, and a last stage that does not fit beside them."""
    before = taken_mib()
    with a_card_of(mib):
        line = generator(upstream, folder, "resident")
        line.load()
        found = run(line)
        line.close()
    assert [note for note in found.notes if "memory" in note] == [
        f"the GPU's memory does not hold profile resident (in stage {stage}); staged was used"
    ]
    assert found.profile == "staged"
    assert taken_mib() <= before + 64


def test_a_card_too_small_for_every_profile_is_an_error_and_gives_its_memory_back(
    upstream: Upstream, folder: Path
) -> None:
    before = taken_mib()
    line = generator(upstream, folder, "staged")

    def attempt() -> None:
        with a_card_of(1_500), pytest.raises(torch.cuda.OutOfMemoryError):
            run(line)

    attempt()
    line.close()
    assert taken_mib() <= before + 64
    assert run(generator(upstream, folder, "staged")).profile == "staged"


def test_the_published_settings_run_to_the_end(upstream: Upstream, folder: Path) -> None:
    line = generator(upstream, folder, "staged", PRESETS["seeds"])
    found = run(line)
    assert found.seed == 42
    assert len(found.vertices) > 100_000
