"""Weights from the network: the Hugging Face Hub and plain URLs, both through huggingface_hub.

Only this file imports it, and only when something is fetched. Its own ``hf_hub_download`` begins a file again after an
interruption (since release 2), so the parts are kept here and only its transport is used: requests with Range, retries,
proxies, HF_ENDPOINT and HF_TOKEN.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from meshdrop.daemon.base.errors import MeshdropError
from meshdrop.daemon.weights.sources import Offer
from meshdrop.models.contract.weights import Resource, WeightFile

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_TIMEOUT_S = 30.0
_ELSEWHERE = "fetch on another machine and copy: see docs/weights.md, Closed sites"
_LATER = "try again later; what has arrived is kept"


class HubSource:
    """The Hugging Face Hub (or what HF_ENDPOINT names) and the servers of the other resources."""

    def __init__(self, endpoint: str | None = None) -> None:
        # Read when it is imported: it asks for nothing but what is fetched, and draws no bars beside ours.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        try:
            import huggingface_hub
        except ImportError as error:
            raise MeshdropError(
                "fetching over the network needs huggingface_hub, which is not installed",
                "make weights (a service: install requirements-weights.lock, see docs/operations.md); copying with "
                "--from DIR needs nothing",
            ) from error
        self._api = huggingface_hub.HfApi(endpoint or os.environ.get("HF_ENDPOINT"))
        self.says = urlsplit(self._api.endpoint).netloc

    def offers(self, resource: Resource, files: Sequence[WeightFile]) -> list[Offer]:
        """Sizes and hashes: the hub is asked for its own, for the others this release knows them."""
        if resource.base_url is not None:
            return [
                Offer(resource.target(file), _below(resource.base_url, file), file.bytes or 0, file.sha256, None)
                for file in files
            ]
        with _explained(f"{self._api.endpoint}/{resource.name}", resource.revision):
            told = self._api.model_info(
                resource.name, revision=resource.revision, files_metadata=True, timeout=_TIMEOUT_S
            )
        if told.sha != resource.revision:
            raise MeshdropError(
                f"{self.says} answered with revision {told.sha} of {resource.name}, asked for {resource.revision}",
                "check HF_ENDPOINT, or " + _ELSEWHERE,
            )
        there = {sibling.rfilename: sibling for sibling in told.siblings or ()}
        return [self._offer(resource, file, there) for file in files]

    def _offer(self, resource: Resource, file: WeightFile, there: dict[str, RepoSibling]) -> Offer:
        found = there.get(file.path)
        if found is None or found.size is None:
            raise MeshdropError(
                f"{self.says} has no {file.path} in {resource.source}", "check HF_ENDPOINT, or " + _ELSEWHERE
            )
        sha256 = found.lfs.sha256 if found.lfs is not None else None
        if sha256 is None and found.blob_id is None:
            raise MeshdropError(
                f"{self.says} tells no hash of {file.path} in {resource.source}", "check HF_ENDPOINT, or " + _ELSEWHERE
            )
        place = _below(f"{self._api.endpoint}/{resource.name}/resolve/{resource.revision}", file)
        return Offer(resource.target(file), place, found.size, sha256, None if sha256 else found.blob_id)

    def bring(self, offer: Offer, partial: Path, follow: Callable[[int], None]) -> None:
        """Download the rest."""
        from huggingface_hub import get_token
        from huggingface_hub.file_download import http_get

        # A compressed answer would have other offsets than the file.
        headers = {"Accept-Encoding": "identity"}
        if (token := get_token()) is not None and offer.place.startswith(f"{self._api.endpoint}/"):
            headers["Authorization"] = f"Bearer {token}"  # for the hub and nobody else
        with _explained(offer.place), _Followed(partial, follow) as file:
            http_get(offer.place, file, resume_size=file.tell(), headers=headers, expected_size=offer.bytes)


def _below(url: str, file: WeightFile) -> str:
    return f"{url}/{quote(file.path)}"


class _Followed(io.FileIO):
    """A file to append to that tells its length after every write."""

    def __init__(self, path: Path, follow: Callable[[int], None]) -> None:
        super().__init__(path, "r+b" if path.exists() else "w+b")
        self.seek(0, os.SEEK_END)
        self._follow = follow

    def write(self, content: Any) -> int:
        """All of it, unlike a raw file's: whoever downloads does not look at the answer."""
        rest = memoryview(content)
        while rest:
            rest = rest[super().write(rest) :]
        self._follow(self.tell())
        return len(content)


@contextmanager
def _explained(place: str, revision: str = "") -> Iterator[None]:
    """Turn what the library raises into a sentence with a cure."""
    import httpx2
    from huggingface_hub import errors

    host = urlsplit(place).netloc
    try:
        yield
    except errors.OfflineModeIsEnabled as error:
        raise MeshdropError(
            "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set, so nothing may be fetched", "unset it, or " + _ELSEWHERE
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MeshdropError(f"{place} has no revision {revision}", "check HF_ENDPOINT, or " + _ELSEWHERE) from error
    except errors.RepositoryNotFoundError as error:
        raise MeshdropError(
            f"{place} is not there, or not for everybody", "check HF_ENDPOINT and HF_TOKEN, or " + _ELSEWHERE
        ) from error
    except errors.HfHubHTTPError as error:
        raise MeshdropError(f"{host} answered {error.response.status_code} for {place}", _LATER) from error
    except httpx2.HTTPError as error:
        raise MeshdropError(
            f"{host} cannot be reached ({error or type(error).__name__}); what has arrived is kept",
            "check the network and the proxy (https_proxy), then give the same command again; or " + _ELSEWHERE,
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise MeshdropError(
            f"{host} answered something that is not what the Hugging Face Hub answers: {error}",
            "check HF_ENDPOINT, and whether a proxy or a login page answers instead; or " + _ELSEWHERE,
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise  # of this machine's disk, not of the network
        raise MeshdropError(f"{place} did not arrive whole: {error}", _LATER) from error
