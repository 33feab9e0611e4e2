"""Before the service runs: the share must be there, the lock ours and the record open."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from meshdrop.daemon.base.errors import ShareMissing
from meshdrop.daemon.base.lock import only_instance
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.base.record import open_record
from meshdrop.daemon.base.share import Share, find_sentinel, open_share
from meshdrop.daemon.host import systemd
from meshdrop.db.engine import Database

log = get_logger()

T = TypeVar("T")

_RETRY_S, _RETRY_MOST_S = 1.0, 30.0


def wait_for_root(root: Path) -> None:
    """Wait until the share is mounted on ``root``; its settings file may lie there too, so nothing is read before."""
    _patiently(lambda: find_sentinel(root))


def move_in(places: Places, house: contextlib.ExitStack, *, patient: bool) -> tuple[Share, Database]:
    """Take the lock, open share and record, in this order; ``house`` closes what was opened.

    Raises ``AnotherInstance`` and ``ConfigurationError``; ``ShareMissing`` and ``OSError`` unless ``patient``.
    """

    def step() -> tuple[Share, Database]:
        return _move_in(places, house)

    return _patiently(step) if patient else step()


def _move_in(places: Places, house: contextlib.ExitStack) -> tuple[Share, Database]:
    with contextlib.ExitStack() as opened:
        find_sentinel(places.root)
        opened.enter_context(only_instance(places))
        share = open_share(places)
        database = open_record(places)
        opened.callback(database.close)
        house.enter_context(opened.pop_all())
    return share, database


def _patiently(step: Callable[[], T]) -> T:
    """Do ``step`` until it succeeds. A share that is not mounted yet and a full or read-only disk are waited for.

    After a power cut the machine may be up before the file server is, and nobody should have to come and start the
    service again.
    """
    pause = _RETRY_S
    while True:
        try:
            return step()
        except (OSError, ShareMissing) as error:
            log.warning("waiting", reason=str(error), fix=getattr(error, "fix", "it goes on by itself afterwards"))
            systemd.waiting(str(error))
        for _ in range(round(pause / _RETRY_S)):
            systemd.alive()
            time.sleep(_RETRY_S)
        pause = min(2 * pause, _RETRY_MOST_S)
