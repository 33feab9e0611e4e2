"""The files in status/ that hold the pages of single folders: written when they change, removed when they are over."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.places import other_page_stem, page_name, publishable, shown
from meshdrop.daemon.base.repeats import Repeats
from meshdrop.daemon.status.pages import SCHEMA
from meshdrop.models.files import walk

log = get_logger()

#: Limits of one call of ``FolderPages.write``: the main loop never waits long for a slow share, and when ten thousand
#: folders are taken at once, their pages do not hold that up.
_PAGES_A_CALL, _SECONDS_A_CALL = 300, 0.02
#: A name that is neither in the inbox nor a job may just be on its way from one to the other.
_GONE_AFTER_S = 2.0
_PAGE_MOST_BYTES = 65_536
#: Answers of the disk that mean: there is no page of ours under this name.
_NO_PAGE = frozenset({errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.EPERM})
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp")


class FolderPages:
    """Keeps the files in status/ as ``compose`` says. One thread only.

    ``compose(name)`` gives the page of a folder's name, or None when there is nothing to tell of it. A page is
    composed and written only after its name was marked. Files of others are never replaced and never removed.
    """

    def __init__(
        self,
        folder: Path,
        compose: Callable[[bytes], dict[str, Any] | None],
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._compose = compose
        self._stopwatch = stopwatch
        self._marked: dict[bytes, None] = {}
        self._gone: dict[bytes, float] = {}
        #: What was written in this run, by the folder's name: hash of the content without its time.
        self._written: dict[bytes, int] = {}
        #: Pages that could not have their usual file.
        self._elsewhere: dict[bytes, str] = {}
        #: Files of an earlier run; None before they were looked for.
        self._leftovers: set[str] | None = None
        self._said = Repeats(stopwatch)

    def mark(self, names: Iterable[bytes]) -> None:
        """These folders changed: write their pages anew, in this order."""
        for name in names:
            self._marked.setdefault(name)

    def write(
        self, now: float, *, all_known: bool, most: int = _PAGES_A_CALL, seconds: float = _SECONDS_A_CALL
    ) -> bool:
        """Write marked pages until a limit is reached; True when there are more to be written soon.

        ``now`` is the time that the pages carry. ``all_known`` says that the inbox and the record have been seen:
        pages that an earlier run left are removed then, if nothing is known of their folders.
        """
        end, left = self._stopwatch() + seconds, most
        try:
            self._return_gone()
            while self._marked and left and self._stopwatch() < end:
                name = next(iter(self._marked))
                del self._marked[name]
                left -= 1
                self._bring_up_to_date(name, now)
            while all_known and not self._marked and left and self._stopwatch() < end:
                left -= 1
                if not self._sweep_one():
                    break
        except OSError as error:
            self._complain(error)
            return False
        self._said.is_over("pages")
        return not left or self._stopwatch() >= end

    def _return_gone(self) -> None:
        """Names that have had nothing to tell of for a while come up once more, and then their pages go."""
        limit = self._stopwatch() - _GONE_AFTER_S
        for name, since in list(self._gone.items()):
            if since > limit:
                break  # they stand in the order of their times
            self._marked.setdefault(name)

    def _bring_up_to_date(self, name: bytes, now: float) -> None:
        try:
            facts = self._compose(name)
            if facts is not None:
                self._gone.pop(name, None)
                self._put(name, facts, now)
            elif self._gone.setdefault(name, self._stopwatch()) <= self._stopwatch() - _GONE_AFTER_S:
                self._take_away(name)
                del self._gone[name]
        except OSError:
            self._marked[name] = None  # last in the row: one bad page must not keep the others
            raise
        except Exception:  # a defect that one folder brings up: it has no page until something new is to be told of it
            log.exception("a status page cannot be made", folder=shown(name))

    def _put(self, name: bytes, facts: dict[str, Any], now: float) -> None:
        content = hash(json.dumps(facts))
        if self._written.get(name) == content or (file := self._file_of(name)) is None:
            return
        if name in self._written or not self._stands_there(file, facts):
            page = {**facts, "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))}
            text = json.dumps(page, indent=1, ensure_ascii=False) + "\n"
            fsops.show_file(self._folder / file, text.encode("utf-8", "backslashreplace"))
        self._written[name] = content
        if self._leftovers:
            self._leftovers.discard(file)

    def _take_away(self, name: bytes) -> None:
        file = self._file_of(name)
        if file is not None and self._read_own(file) is not None:
            fsops.remove_tree(self._folder / file)
        self._written.pop(name, None)
        self._elsewhere.pop(name, None)

    def _file_of(self, name: bytes) -> str | None:
        """The file for this name's page; another one where a stranger's file stands, None where both are taken."""
        usual = page_name(name)
        if name in self._written:
            return self._elsewhere.get(name, usual)
        if self._is_free(usual):
            return usual
        other = f"{other_page_stem(os.fsdecode(publishable(os.fsencode(usual.removesuffix('.json')))), name)}.json"
        if not self._is_free(other):
            return None
        self._elsewhere[name] = other
        return other

    def _is_free(self, file: str) -> bool:
        """Whether a page of ours may stand here."""
        return not walk.is_there(self._folder / file) or self._read_own(file) is not None

    def _stands_there(self, file: str, facts: dict[str, Any]) -> bool:
        """Whether an earlier run left exactly this page."""
        there = self._read_own(file)
        return there is not None and {key: value for key, value in there.items() if key != "updated"} == facts

    def _read_own(self, file: str) -> dict[str, Any] | None:
        """A page of ours as it stands on the disk; None when there is none, or it is not ours. Raises ``OSError`` when
        that cannot be known now."""
        try:
            page = json.loads(walk.read_file(self._folder / file, _PAGE_MOST_BYTES))
        except OSError as error:
            if error.errno not in _NO_PAGE:
                raise  # a share in trouble says nothing about whose file it is
            return None
        except (ValueError, RecursionError):
            return None
        return page if isinstance(page, dict) and page.get("schema") == SCHEMA else None

    def _sweep_one(self) -> bool:
        """Remove one page or half-written file of an earlier run that nobody needs; False when all were looked at."""
        if self._leftovers is None:
            ours = {self._elsewhere.get(name) or page_name(name) for name in self._written}
            self._leftovers = {
                file
                for file in walk.names(self._folder)
                if (file.endswith(".json") or _TEMPORARY.fullmatch(file)) and file not in ours
            }
        if not self._leftovers:
            return False
        file = self._leftovers.pop()
        half_written = _TEMPORARY.fullmatch(file) and walk.is_file(self._folder / file)
        if half_written or self._read_own(file) is not None:
            fsops.remove_tree(self._folder / file)
        return True

    def _complain(self, error: OSError) -> None:
        if self._said.is_worth("pages", error.strerror or str(error)):
            log.warning("status pages cannot be written", error=str(error))
