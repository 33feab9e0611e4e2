"""What was done, stage by stage, in ``stages.json``: written when a stage begins and when it ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SCHEMA = "meshdrop.stages/1"
Status = Literal["running", "done", "not better", "failed", "skipped"]


@dataclass
class Stage:
    """One stage. Times are Unix seconds; ``asked`` and ``iterations`` are None for stages without iterations;
    ``best_step`` is the step whose state was kept; ``reason`` says why a stage ended as it did."""

    name: str
    started: float
    ended: float | None = None
    status: Status = "running"
    asked: int | None = None
    iterations: int | None = None
    best_step: int | None = None
    reason: str = ""


class StageLog:
    """The stages of one run, kept in ``folder/stages.json``. ``complete`` is true only after ``finish``."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "stages.json"
        self.stages: list[Stage] = []
        self._complete = False

    @contextmanager
    def stage(self, name: str, asked: int | None = None) -> Iterator[Stage]:
        """Log a stage; what escapes from it marks it as failed and goes on its way."""
        stage = Stage(name, round(time.time(), 3), asked=asked)
        self.stages.append(stage)
        self._write()
        try:
            yield stage
        except BaseException as error:
            stage.status, stage.reason = "failed", f"{type(error).__name__}: {error}"[:500]
            raise
        else:
            stage.status = "done" if stage.status == "running" else stage.status
        finally:
            stage.ended = round(time.time(), 3)
            self._write()

    def finish(self) -> None:
        """State that every stage that counts was run and its result verified."""
        self._complete = True
        self._write()

    def to_json(self) -> dict[str, Any]:
        """Plain values, as in the file."""
        return {"schema": SCHEMA, "complete": self._complete, "stages": [asdict(stage) for stage in self.stages]}

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(self.to_json(), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self._path)
