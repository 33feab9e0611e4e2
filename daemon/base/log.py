"""structlog, set up once: pretty on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

# structlog prints exceptions with rich where it is installed. That would load a syntax highlighter, 2 MB of memory in
# every service, which writes JSON. None stands for "cannot be imported"; exceptions then look as Python prints them.
sys.modules.setdefault("rich.traceback", None)  # type: ignore[arg-type]
import structlog  # noqa: E402

if sys.modules["rich.traceback"] is None:
    del sys.modules["rich.traceback"]

#: The one way to a logger: ``log = get_logger(); log.info("claimed", job=job.short_id)``.
get_logger = structlog.stdlib.get_logger


class _Forgiving:
    """A stream that never raises: a service whose log has no room, or no reader any more, works on unheard."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write it, or not."""
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand on what was written, or not."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure(verbose: bool = False, file: TextIO | None = None) -> None:
    """Set up logging for the process, to ``file`` or stderr. JSON unless that is a terminal and no journal listens."""
    stream = file or sys.stderr
    human = stream.isatty() and "JOURNAL_STREAM" not in os.environ
    renderer: Any = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info if not human else structlog.processors.UnicodeDecoder(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Forgiving(stream))),
        cache_logger_on_first_use=False,
    )
