"""STATUS.txt, and when the status pages are written."""

from __future__ import annotations

import contextlib
import json
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from meshdrop.daemon.base import fsops
from meshdrop.daemon.base.places import Places
from meshdrop.daemon.host import systemd
from meshdrop.daemon.status.activity import Activity
from meshdrop.daemon.status.page_files import FolderPages
from meshdrop.daemon.status.pages import Working, and_left, date_time
from meshdrop.models.files.problem import printable

#: The shortest time between two looks at the activity, between two pages that differ in progress alone, and the longest
#: time between two versions of STATUS.txt: its age tells whether the service is alive.
_CHANGE_S, _PROGRESS_S, _SIGN_OF_LIFE_S = 0.5, 1.0, 5.0
#: At the end everything that changed is written, but not for ever.
_LAST_PAGES, _LAST_PAGES_S = 100_000, 5.0
_WIDTH = 110


# -- STATUS.txt ----------------------------------------------------------------------------------------------------


def status_text(facts: Mapping[str, Any]) -> str:
    """STATUS.txt: what somebody at the share wants to know, the most urgent first."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(facts["at"]))
    if facts["stopped"]:
        lines = [
            f"Meshdrop was stopped at {when}.",
            "",
            "STOPPED: nothing is worked on until the service is started again. Nothing is lost; what is dropped into",
            "the inbox meanwhile is taken then.",
            "",
        ]
    else:
        lines = [
            f"Meshdrop, {when}.",
            "This page is rewritten every few seconds. If the time above is old, the service is not running.",
            "",
        ]
    if facts["paused_since"] is not None and not facts["stopped"]:
        since = date_time(facts["paused_since"])
        lines += [
            f"PAUSED since {since}: what runs is finished, and nothing new is taken or started until somebody",
            "says `meshdrop resume`. Nothing is lost.",
            "",
        ]
    if facts["draining"] and not facts["stopped"]:
        lines += ["DRAINING: what runs is finished, then the service ends. What waits goes on at its next start.", ""]
    if facts["held"]:
        lines += [f"HELD: {printable(reason)}" for reason in facts["held"]]
        lines += ["Nothing is lost; work goes on by itself once this is cured.", ""]
    lines += _work_lines(facts)
    lines += ["Finished last", *_finished_lines(facts["finished"]), ""]
    lines += _section("Waiting in the inbox", facts["inbox"], facts["inbox_total"], empty="nothing")
    if facts["inbox_unseen"]:
        lines[-1:] = [f"  ... and {facts['inbox_unseen']:,} that were not looked at yet", ""]
    if facts["litter"]:
        lines += ["In the inbox, but no capture folders", *(f"  {line}" for line in facts["litter"])]
        lines += [*_and_more(facts["litter_total"] - len(facts["litter"])), ""]
    return "\n".join(lines)


def _work_lines(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    if working := facts["working"]:
        progress = f"{working['note']} ({int(100 * working['progress'])} % of the job){and_left(working['left'])}"
        lines += ["Working on", f"  {working['name']}: {printable(progress)}", ""]
    lines += _section("Being finished", facts["finishing"], facts["finishing_total"])
    if facts["queue"]:
        lines.append(f"In the queue ({facts['queue_total']})")
        lines += [f"  {place:2d}. {job['name']}{and_left(job['left'])}" for place, job in enumerate(facts["queue"], 1)]
        lines += [*_and_more(facts["queue_total"] - len(facts["queue"])), ""]
    lines += _section("Waiting for another attempt", facts["later"], facts["later_total"])
    lines += _section("Being read", facts["reading"], facts["reading_total"])
    return lines or ([] if facts["stopped"] else ["Nothing is being worked on and the queue is empty.", ""])


def _section(title: str, entries: Sequence[Mapping[str, Any]], total: int, *, empty: str = "") -> list[str]:
    """A title with its entries; nothing at all, or ``empty``, where there are none."""
    if not entries:
        return [title, f"  {empty}", ""] if empty else []
    listed = [f"  {entry['name']}: {entry['sentence']}{and_left(entry.get('left'))}" for entry in entries]
    return [f"{title} ({total})", *listed, *_and_more(total - len(entries)), ""]


def _and_more(count: int) -> list[str]:
    return [f"  ... and {count:,} more"] if count > 0 else []


def _finished_lines(finished: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for job in finished:
        start = f"  {date_time(job['at'])}  "
        lines += _wrapped(start, f"{job['name']}: {job['sentence']}")
        lines += _wrapped(f"{'-> ':>{len(start) + 5}}", job["fix"] or "")
    return lines or ["  nothing yet"]


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


# -- when the pages are written ------------------------------------------------------------------------------------


class StatusPages:
    """Writes the activity out: STATUS.txt and status.json within half a second of a change, within one of progress, and
    every five seconds as a sign of life; the pages of single folders when they change. One thread only.
    """

    def __init__(self, places: Places, activity: Activity) -> None:
        self._places = places
        self._activity = activity
        self._systemd = systemd.Status()
        self._folders = FolderPages(places.status, activity.page_of)
        self._looked = self._last = -_SIGN_OF_LIFE_S
        self._version = -1
        self._told: Working | None = None
        self._told_at = -_PROGRESS_S
        self._name = b""

    def write(self, monotonic: float, now: float, *, force: bool = False) -> bool:
        """Write what is due; True when there is more that should be written soon.

        A full disk or an absent share is no reason to stop.
        """
        if force or monotonic - self._looked >= _CHANGE_S:
            self._looked = monotonic
            self._activity.look_at_clock()
            changed = self._activity.version != self._version
            progressed = self._activity.working != self._told and monotonic - self._told_at >= _PROGRESS_S
            self._version = self._activity.version
            if force or changed or progressed or monotonic - self._last >= _SIGN_OF_LIFE_S:
                self._last = monotonic
                self._write_overview()
            if changed or progressed:
                self._told, self._told_at = self._activity.working, monotonic
            self._folders.mark(self._activity.take_news())
            if progressed and self._activity.working is not None:
                self._folders.mark([self._activity.working_name])
        if force:
            return self._folders.write(now, all_known=self._activity.all_known, most=_LAST_PAGES, seconds=_LAST_PAGES_S)
        too_soon = self._activity.version != self._version
        return self._folders.write(now, all_known=self._activity.all_known) or too_soon

    def _write_overview(self) -> None:
        facts = self._activity.facts()
        self._systemd.tell(facts)
        with contextlib.suppress(OSError):
            fsops.show_file(self._places.live_status, json.dumps(facts).encode(), 0o600)
        with contextlib.suppress(OSError):
            fsops.show_file(self._places.overview, status_text(facts).encode("utf-8", "backslashreplace"))
