"""Weights go from a file into a network without ever being random, and a file that does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torch_needed import torch_or_skip

torch_or_skip()

import torch  # noqa: E402

safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")

from torch import nn  # noqa: E402

from meshdrop.models.contract.base import ModelUnavailable  # noqa: E402
from meshdrop.models.reconviagen.checkpoints import built, fill_from_pth, fill_from_safetensors, read_config  # noqa: E402

CPU = torch.device("cpu")


class Net(nn.Module):
    """Two precisions, a kept and an unkept buffer, and a number read back while it is built."""

    given: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4).half()
        self.second = nn.Linear(4, 2)
        self.third = float(torch.linspace(0, 1, 3)[1].item())
        self.register_buffer("kept", torch.arange(2.0))
        self.register_buffer("given", torch.FloatTensor([5, 6]), persistent=False)


@pytest.fixture
def whole() -> dict[str, torch.Tensor]:
    """A network's tensors, all in float32."""
    torch.manual_seed(2)
    return {name: torch.randn_like(value, dtype=torch.float32) for name, value in Net().state_dict().items()}


def test_a_network_is_built_without_storage() -> None:
    network = built(Net)
    assert isinstance(network, Net)
    assert {weight.device.type for weight in network.parameters()} == {"meta"}
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not network.training
    assert network.third == 0.5


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_the_files_numbers_in_the_networks_precision(tmp_path: Path, whole: dict[str, torch.Tensor], kind: str) -> None:
    network, path = built(Net), tmp_path / f"x.{kind}"
    assert isinstance(network, Net)
    if kind == "pth":
        torch.save({**whole, "dead": torch.ones(9)}, path)
        fill_from_pth(network, path, CPU)
    else:
        named = {f"part.{name}": value for name, value in whole.items()}
        safetensors.save_file({**named, "part.dead": torch.ones(9), "other.weight": torch.ones(2)}, path)
        fill_from_safetensors(network, path, CPU, prefix="part.")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, whole[name].to(value.dtype), atol=0, rtol=0)
    assert network.first.weight.dtype == torch.float16
    assert network.given.tolist() == [5, 6]
    network.second(network.first(torch.ones(1, 3).half()).float())


def test_what_does_not_fit_is_refused(tmp_path: Path, whole: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.safetensors"

    def refused() -> str:
        with pytest.raises(ModelUnavailable) as error:
            fill_from_safetensors(built(Net), path, CPU)
        assert "weights verify" in error.value.fix
        return error.value.reason

    assert "cannot be read" in refused()
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00nonsense and more")
    assert "cannot be read" in refused()
    safetensors.save_file({name: value for name, value in whole.items() if name != "second.bias"}, path)
    assert "lacks 1 of the network's weights, such as second.bias" in refused()
    safetensors.save_file({**whole, "second.bias": torch.ones(5)}, path)
    assert "second.bias is [5], not [2]" in refused()
    safetensors.save_file(whole, path)
    path.write_bytes(path.read_bytes()[:-8])
    assert "cannot be read" in refused()


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"first.weight": Harm()}, tmp_path / "x.pth")
    with pytest.raises(ModelUnavailable):
        fill_from_pth(built(Net), tmp_path / "x.pth", CPU)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("text", [None, "{", "[1]"])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelUnavailable, match=r"x\.json"):
        read_config(tmp_path / "x.json")
