"""How many threads torch may take in tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torch_needed import is_installed


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only wait for each other, on a busy machine twenty times as long as they work."""
    if not is_installed():
        yield
        return
    import torch  # noqa: PLC0415 - the tests that need it skip themselves where it is absent

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
