"""The activity: what the daemon is doing and what waits, put together for whoever shows it."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

from meshdrop.daemon.base.places import shown
from meshdrop.daemon.inbox.scanner import FolderState
from meshdrop.daemon.inbox.settle import Judgement
from meshdrop.daemon.status.forecast import in_words
from meshdrop.daemon.status.pages import FINISHED_KEPT, Page, Working, ended_page, job_page, told_place, waiting_page
from meshdrop.db.records import InLine, Job, is_put_off
from meshdrop.db.states import State
from meshdrop.models.files.problem import printable

SCHEMA = "meshdrop.status/2"
_WAITING_SHOWN, _JOBS_SHOWN, _LITTER_SHOWN, _FINISHED_SHOWN = 200, 30, 50, 10
_NAME_LENGTH = 80


@dataclass(frozen=True)
class WaitingFolder:
    """A folder in the inbox that was not taken yet, and why."""

    name: str
    state: str
    sentence: str


@dataclass(frozen=True)
class Finished:
    """A published job; ``at`` is when it was published."""

    name: bytes
    at: float
    page: Page


@dataclass(frozen=True, slots=True)
class _Line:
    """A live job and its place among those that wait for their turn, as it is told; ``later`` means that its time has
    not come."""

    job: InLine
    place: int | None
    later: bool


class Activity:
    """The current picture. Any thread may write to it; readers get values of their own.

    ``now`` gives Unix seconds, as in the record. ``changed`` is called when something new is to be told.
    """

    def __init__(self, now: Callable[[], float] = time.time, changed: Callable[[], None] = lambda: None) -> None:
        self._now = now
        self._changed = changed
        self._lock = threading.RLock()
        self._version = 0
        self._news: dict[bytes, None] = {}
        # the inbox, as of the last scan
        self._names: list[bytes] = []
        self._judgements: list[Judgement] = []
        self._inbox: dict[bytes, Judgement] = {}
        self._inbox_at = -1.0
        self._inbox_first: list[bytes] = []
        self._backlog = 0
        self._litter: tuple[str, ...] = ()
        # the record
        self._lines: list[_Line] | None = None
        self._by_name: dict[bytes, tuple[_Line, ...]] = {}
        self._next_due = float("inf")
        self._finished: dict[bytes, Finished] = {}
        # what is in hand
        self._working: Working | None = None
        self._working_name = b""
        self._finishing: tuple[str, str] | None = None
        self._holds: dict[str, str] = {}
        self._ends: dict[str, float] = {}
        self._left: dict[str, str] = {}
        self._paused: float | None = None
        self._draining = False
        self._stopped = False

    # -- what is told to the activity --------------------------------------------------------------------------------

    def see_inbox(self, findings: Sequence[FolderState], backlog: int = 0) -> None:
        """What the last scan found, and how many more folders it has not looked at yet.

        Ten thousand folders of which nothing is new cost about a millisecond.
        """
        names, judgements = list(map(_NAME, findings)), list(map(_JUDGEMENT, findings))
        with self._lock:
            first, self._inbox_at = self._inbox_at < 0, self._now()
            same = judgements == self._judgements and names == self._names and backlog == self._backlog
            if same and not first:
                return
            before, self._inbox = self._inbox, dict(zip(names, judgements, strict=True))
            self._names, self._judgements, self._backlog = names, judgements, backlog
            self._inbox_first = [finding.name for finding in heapq.nsmallest(_WAITING_SHOWN, findings, key=_turn)]
            self._tell(name for name in before if name not in self._inbox)
            self._tell(
                name
                for name, judgement in self._inbox.items()
                if (old := before.get(name)) is not judgement and old != judgement
            )

    def see_litter(self, sentences: Sequence[str]) -> None:
        """Lines about what lies in the inbox and is no folder."""
        with self._lock:
            if (litter := tuple(sentences)) != self._litter:
                self._litter = litter
                self._tell()

    def see_jobs(self, jobs: Sequence[InLine]) -> None:
        """The live jobs, as ``Jobs.line_up`` gives them."""
        with self._lock:
            now = self._now()
            self._next_due = min((job.not_before for job in jobs if _is_later(job, now)), default=float("inf"))
            self._lines = _with_places(jobs, now)
            before, self._by_name = self._by_name, _newest_first(self._lines)
            news = [name for name, of_name in self._by_name.items() if before.get(name) != of_name]
            self._leave_out_taken(news)
            self._tell([*news, *(name for name in before if name not in self._by_name)])

    def _leave_out_taken(self, names: Iterable[bytes]) -> None:
        """A folder that became a job after the last scan is no longer in the inbox, whatever that scan said."""
        taken = {
            name
            for name in names
            if name in self._inbox and any(line.job.created_at >= self._inbox_at for line in self._by_name[name])
        }
        if not taken:
            return
        for name in taken:
            del self._inbox[name]
        self._names = []  # the next scan is something new in any case
        left = dict.fromkeys(name for name in self._inbox_first if name not in taken)
        others = (name for name in self._inbox if name not in left)
        self._inbox_first = [*left, *islice(others, _WAITING_SHOWN - len(left))]

    def look_at_clock(self) -> None:
        """Jobs whose pause is over take their places in the queue."""
        with self._lock:
            if self._now() >= self._next_due:
                self.see_jobs([line.job for line in self._lines or ()])

    def work(self, working: Working | None, name: bytes = b"") -> None:
        """What runs, or that nothing does; ``name`` is the folder it came from."""
        with self._lock:
            before, self._working, name_before = self._working, working, self._working_name
            self._working_name = name
            if (before and before.job) != (working and working.job):
                self._tell(one for one in (name_before, name) if one)

    def finish(self, job: Job | None) -> None:
        """The job that is being measured and published, or that none is."""
        with self._lock:
            self._finishing = None if job is None else (job.id, short(job.name))
            self._tell([] if job is None else [job.name])

    def hold(self, reasons: Mapping[str, str]) -> None:
        """Why things cannot go on now: by the job's id, or by a word for the whole service."""
        reasons = dict(reasons)  # other threads may write to theirs meanwhile
        with self._lock:
            if reasons == self._holds:
                return
            touched = {key for key, _ in self._holds.items() ^ reasons.items()}
            self._holds = reasons
            self._tell([line.job.name for line in self._lines or () if line.job.id in touched])

    def expect(self, ends: Mapping[str, float]) -> None:
        """When jobs will probably be published: Unix seconds by the job's id. Not told before the overview is due:
        pages are written anew only where the words have changed.
        """
        with self._lock:
            now, before = self._now(), self._left
            self._ends, self._left = dict(ends), {job: in_words(end - now) for job, end in ends.items()}
            if changed := {job for job, _ in before.items() ^ self._left.items()}:
                names = (line.job.name for line in self._lines or () if line.job.id in changed)
                self._news.update(dict.fromkeys(names))

    def pause(self, since: float | None) -> None:
        """Since when nothing new is taken or started, because somebody wished so; None when that is not so."""
        with self._lock:
            if since != self._paused:
                self._paused = since
                self._tell()

    def drain(self) -> None:
        """The service ends by itself once what runs is finished."""
        with self._lock:
            self._draining = True
            self._tell()

    def publish(self, job: Job) -> None:
        """A job came to rest: its folder is in outbox/ or failed/."""
        problems = (job.inspection or {}).get("problems", ())
        at = job.finished_at or self._now()
        with self._lock:
            if (older := self._finished.get(job.name)) is not None and older.at > at:
                return
            self._finished.pop(job.name, None)
            self._finished[job.name] = Finished(job.name, at, ended_page(job, problems))
            expired = list(self._finished)[:-FINISHED_KEPT]
            for name in expired:
                del self._finished[name]
            if any(line.job.id == job.id for line in self._by_name.get(job.name, ())):
                self._lines = [line for line in self._lines or () if line.job.id != job.id]
                self._by_name = _newest_first(self._lines)
            self._tell([job.name, *expired])

    def stop(self) -> None:
        """The service ends in good order."""
        with self._lock:
            self._working, self._finishing, self._stopped = None, None, True
            self.expect({})
            self._tell(line.job.name for line in self._lines or () if line.job.state is State.RUNNING)

    def _tell(self, names: Iterable[bytes] = ()) -> None:
        self._version += 1
        self._news.update(dict.fromkeys(names))
        self._changed()

    # -- what the activity tells -------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Another number whenever anything but the progress of a run has changed."""
        return self._version

    @property
    def all_known(self) -> bool:
        """Whether the inbox and the record have been seen since the start."""
        return self._inbox_at >= 0 and not self._backlog and self._lines is not None

    @property
    def inbox(self) -> list[WaitingFolder]:
        """Folders in the inbox, those that changed last first; no more than are shown."""
        with self._lock:
            found = [(name, self._inbox[name]) for name in self._inbox_first]
        return [WaitingFolder(short(name), one.state, waiting_page(one).sentence) for name, one in found]

    @property
    def working(self) -> Working | None:
        """What runs."""
        return self._working

    @property
    def finishing(self) -> str | None:
        """The name of what is being measured and published."""
        finishing = self._finishing
        return finishing[1] if finishing else None

    @property
    def finished(self) -> list[Finished]:
        """What was published last, newest first; no more than are shown."""
        with self._lock:
            return list(reversed(list(self._finished.values())[-_FINISHED_SHOWN:]))

    @property
    def is_held(self) -> bool:
        """Whether something outside keeps work from going on."""
        return bool(self._holds)

    @property
    def takes_turns(self) -> bool:
        """Whether what waits will be begun when its turn comes, as far as anybody knows."""
        return not (self._holds or self._draining or self._stopped) and self._paused is None

    @property
    def has_jobs(self) -> bool:
        """Whether any job is on its way."""
        return bool(self._lines)

    @property
    def paused_since(self) -> float | None:
        """Since when nothing new is begun; None when there is no pause."""
        return self._paused

    @property
    def working_name(self) -> bytes:
        """The folder that what runs came from."""
        return self._working_name

    def take_news(self) -> list[bytes]:
        """Names of folders of which something new is to be told, each once."""
        with self._lock:
            news, self._news = list(self._news), {}
            return news

    def page_of(self, name: bytes) -> dict[str, Any] | None:
        """Everything about one folder's name, the newest drop first; None when there is nothing."""
        with self._lock:
            judgement, finished = self._inbox.get(name), self._finished.get(name)
            pages = [] if judgement is None else [waiting_page(judgement)]
            pages += [self._job_page(line) for line in self._by_name.get(name, ())]
            if finished is not None and finished.page.job not in [page.job for page in pages]:
                pages.append(finished.page)
        return pages[0].to_json(name, pages[1:]) if pages else None

    def _job_page(self, line: _Line) -> Page:
        working = self._working if self._working and self._working.job == line.job.id else None
        return job_page(
            line.job,
            place=line.place,
            later=line.later,
            working=working,
            hold=self._holds.get(line.job.id),
            finishing=self._finishing is not None and self._finishing[0] == line.job.id,
            stopped=self._stopped,
            left=self._left.get(line.job.id),
        )

    def facts(self) -> dict[str, Any]:
        """Everything as plain JSON values; long lists are cut, and ``*_total`` says how long they are."""
        with self._lock:
            lines = self._lines or []
            queue = [line for line in lines if line.place is not None]
            by_stage: dict[str, list[_Line]] = {"later": [], "reading": [], "finishing": []}
            for line in lines:
                if line.place is None and (stage := self._stage(line)) in by_stage:
                    by_stage[stage].append(line)
            return {
                "schema": SCHEMA,
                "at": self._now(),
                "pid": os.getpid(),
                "stopped": self._stopped,
                "held": list(self._holds.values()),
                "paused_since": self._paused,
                "draining": self._draining,
                "working": self._working and {**asdict(self._working), "left": self._left.get(self._working.job)},
                "expected": self._ends,
                **{stage: [self._brief(line) for line in found[:_JOBS_SHOWN]] for stage, found in by_stage.items()},
                **{f"{stage}_total": len(found) for stage, found in by_stage.items()},
                "queue": [self._brief(line) for line in queue[:_JOBS_SHOWN]],
                "queue_total": len(queue),
                "inbox": [asdict(folder) for folder in self.inbox],
                "inbox_total": len(self._inbox),
                "inbox_unseen": self._backlog,
                "litter": [printable(line) for line in self._litter[:_LITTER_SHOWN]],
                "litter_total": len(self._litter),
                "finished": [_brief_end(finished) for finished in self.finished],
            }

    def live(self) -> list[dict[str, Any]]:
        """Every live job as plain JSON values, in the order of their turns."""
        with self._lock:
            return [
                {
                    "job": line.job.short_id,
                    "name": shown(line.job.name),
                    "state": str(line.job.state),
                    "attempt": line.job.attempt,
                    "created_at": line.job.created_at,
                }
                for line in self._lines or ()
            ]

    def _stage(self, line: _Line) -> str:
        """The section of the overview that a job outside the queue belongs to."""
        if self._working is not None and self._working.job == line.job.id:
            return "working"
        if line.job.state is State.CLAIMING:
            return "reading"
        return "later" if line.later else "finishing"

    def _brief(self, line: _Line) -> dict[str, Any]:
        page = self._job_page(line)
        return {"job": line.job.id, "name": short(line.job.name), "sentence": page.sentence, "left": page.left}


_NAME, _JUDGEMENT = attrgetter("name"), attrgetter("judgement")


def _turn(finding: FolderState) -> float:
    """Folders that cannot be read need a person and come first; then those that changed last."""
    return finding.quiet_s if finding.quiet_s < float("inf") else -1.0


def _with_places(jobs: Sequence[InLine], now: float) -> list[_Line]:
    lines, place = [], 0
    for job in jobs:
        later = _is_later(job, now)
        waits = job.state is State.QUEUED and not later
        place += waits
        lines.append(_Line(job, told_place(place) if waits else None, later))
    return lines


def _is_later(job: InLine, now: float) -> bool:
    return job.state is State.QUEUED and is_put_off(job.not_before, now)


def _newest_first(lines: Sequence[_Line]) -> dict[bytes, tuple[_Line, ...]]:
    by_name: dict[bytes, tuple[_Line, ...]] = {}
    for line in lines:
        others = by_name.get(line.job.name, ())
        both = (line, *others)
        by_name[line.job.name] = tuple(sorted(both, key=lambda one: -one.job.created_at)) if others else both
    return by_name


def _brief_end(finished: Finished) -> dict[str, Any]:
    page = finished.page
    return {
        "job": page.job,
        "name": short(finished.name),
        "state": page.state,
        "folder": page.folder,
        "verdict": page.verdict,
        "sentence": page.sentence,
        "fix": page.fix,
        "at": finished.at,
    }


def short(name: bytes) -> str:
    """A folder's name for a line on a page: safe to print, and long ones without their middle."""
    text = shown(name)
    return text if len(text) <= _NAME_LENGTH else f"{text[: _NAME_LENGTH - 20]}...{text[-17:]}"
