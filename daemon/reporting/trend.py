"""How the captures of one rig did lately: a camera that was knocked or a worn lamp shows as a step in these figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from meshdrop.daemon.base.places import shown
from meshdrop.db.rig_history import Earlier

#: Rows in a report.
MOST = 10


@dataclass(frozen=True)
class EarlierCapture:
    """What became of an earlier capture of the same rig. ``finished`` is ISO 8601 text, UTC."""

    name: str
    finished: str
    verdict: str
    psnr_masked_db: float | None
    probe_score: float | None


def rig_of(inspection: Mapping[str, Any]) -> str:
    """What a capture's cameras are known by: the stored rig's name, else the format."""
    rig = inspection.get("rig")
    return str(rig["name"]) if isinstance(rig, dict) and "name" in rig else str(inspection.get("layout"))


def probe_score(inspection: Mapping[str, Any]) -> float | None:
    """The score of the conventions that a capture was read with; None where nothing could be compared."""
    probe = inspection.get("probe")
    stated = probe.get("stated") if isinstance(probe, dict) else None
    score = stated.get("score") if isinstance(stated, dict) else None
    return float(score) if isinstance(score, int | float) else None


def trend(earlier: Sequence[Earlier]) -> tuple[EarlierCapture, ...]:
    """The rows of a report's ``trend``, newest first."""
    return tuple(
        EarlierCapture(
            name=shown(one.name),
            finished=datetime.fromtimestamp(one.finished_at, UTC).isoformat(timespec="seconds"),
            verdict=one.verdict or "failure",
            psnr_masked_db=(one.figures or {}).get("psnr_masked_db"),
            probe_score=probe_score(one.inspection),
        )
        for one in earlier
    )
