"""Whose trouble it is: every step of a job's way x every fault of the machine, and of the job alone."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.errors import JobTrouble
from meshdrop.daemon.base.places import publishable
from meshdrop.daemon.base.tries import MAX_TROUBLES
from meshdrop.daemon.inbox import intake
from meshdrop.daemon.outbox import assess, gltf_validation
from meshdrop.daemon.workers import runner, warming
from meshdrop.daemon.workers.process import Ended, Home, TimeLimits
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.states import State
from tests.light import LightWorker
from tests.one_job import CODES, OWN_CODES, ROUNDS, Absence, Bench, Outage, bench, place_of
from tests.rig import assert_whole, contents

#: Tries that a fault of the machine lasts: more than any job has.
LASTS = 2 * MAX_TROUBLES


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder whose flushes cost nothing, where there is one."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def steps_of(folder: Path, monkeypatch: pytest.MonkeyPatch, ball: Path) -> list[tuple[str, tuple[Path, ...]]]:
    """Every operation of an undisturbed run, in order."""
    with bench(folder, monkeypatch) as here:
        here.drop(ball)
        job = here.bring()
        assert job is not None
        assert job.state is State.DONE_CLEAN
        assert not here.troubles
        return list(here.steps)


def kinds_of(steps: list[tuple[str, tuple[Path, ...]]], folder: Path, disk: str = "") -> list[int]:
    """The number of the first step of every kind on this disk: a file stands for all those of its folder."""
    found: dict[object, int] = {}
    for number, (operation, paths) in enumerate(steps):
        if any(path.relative_to(folder).parts[0] == disk or not disk for path in paths):
            of_files = operation in ("copy_file", "sync_file")
            place = place_of((operation, tuple(path.parent for path in paths) if of_files else paths), folder)
            found.setdefault(place, number)
    return list(found.values())


def check_delivered(here: Bench, job: Job | None, ball: Path) -> str | None:
    """What is wrong with a good capture that met trouble of the machine; None when nothing is."""
    if job is None or job.state is not State.DONE_CLEAN:
        return f"ended as {job and job.state}: {job and job.reason}"
    if (job.attempt, job.ingest_tries, job.finish_tries) != (1, 1, 1):
        return f"was charged: {job.attempt} attempts, {job.ingest_tries} + {job.finish_tries} tries"
    published, kept = here.places.outbox / "good", here.places.kept / job.id
    assert_whole(published)
    if contents(published / "capture") != contents(ball) or contents(kept) != contents(ball):
        return "is not the capture that went in"
    if not (here.places.outbox / "good.done").is_file():
        return "has no mark"
    if not (published / "ball" / "mesh.glb").is_file() and not list(published.glob("*/mesh.glb")):
        return "has no mesh"
    left = [*here.places.failed.iterdir(), *here.places.claimed.iterdir(), *here.places.staging.iterdir()]
    return f"left something behind: {left}" if left else None


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("disk", ["share", "state"])
def test_a_disk_that_refuses_everything_at_any_step_is_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, code: str, disk: str
) -> None:
    complaints = []
    steps = steps_of(memory / "clean", monkeypatch, ball)
    for first in kinds_of(steps, memory / "clean", "scans" if disk == "share" else "state"):
        with bench(memory / f"{first}", monkeypatch) as here:
            here.drop(ball)
            where = here.places.root if disk == "share" else here.places.state
            here.fault = Outage(here, where, first, CODES[code], LASTS)
            wrong = check_delivered(here, here.bring(), ball)
            if wrong is not None:
                complaints.append(f"{first} {place_of(here.steps[first], here.folder)}: {wrong}")
    assert complaints == []


def test_a_share_that_goes_away_at_any_step_is_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    complaints = []
    steps = steps_of(memory / "clean", monkeypatch, ball)
    for lasts in (1, LASTS):
        for first in kinds_of(steps, memory / "clean"):
            with bench(memory / f"{lasts}-{first}", monkeypatch) as here:
                here.drop(ball)
                absence = here.fault = Absence(here, first, lasts)
                here.between = absence.come_back
                wrong = check_delivered(here, here.bring(), ball)
                if wrong is not None:
                    complaints.append(f"{lasts}, {first} {place_of(here.steps[first], here.folder)}: {wrong}")
    assert complaints == []


#: Where the service keeps the folders of its jobs.
WORK = "state/work"
#: Where it must be able to write for a job to come out at all.
NEEDED = (
    f"{WORK}/JOB",
    f"{WORK}/JOB/DELIVERING",
    "scans/.meshdrop/spool/staging/JOB",
    *(f"scans/.meshdrop/spool/staging/JOB/{name}" for name in ("WHY.txt", "failure.json", "log.txt", "receipt.json")),
)


class Own:
    """One operation of one job is refused, however often it is tried."""

    def __init__(self, here: Bench, place: str, error: Exception) -> None:
        self.here, self.place, self.error = here, place, error

    def __call__(self, operation: str, paths: tuple[Path, ...]) -> None:
        if place_of((operation, paths), self.here.folder) == self.place:
            raise self.error


@pytest.mark.parametrize("kind", [*OWN_CODES, "ValueError"])
def test_what_fails_for_one_job_alone_ends_that_job_and_no_other(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, kind: str
) -> None:
    complaints = []
    steps = steps_of(memory / "clean", monkeypatch, ball)
    places = [place_of(steps[first], memory / "clean") for first in kinds_of(steps, memory / "clean")]
    for number, place in enumerate(place for place in places if "JOB" in place):
        with bench(memory / str(number), monkeypatch) as here:
            error = ValueError("a defect") if kind == "ValueError" else OSError(OWN_CODES[kind], f"{kind} for a test")
            here.fault = Own(here, place, error)
            here.drop(ball)
            wrong = what_is_wrong(here, here.bring(), place)
            here.fault = lambda *_: None
            here.drop(ball, "other")
            other = here.bring("other")
            if other is None or other.state is not State.DONE_CLEAN:
                wrong = f"another one ended as {other and other.state}"
            if wrong is not None:
                complaints.append(f"{place}: {wrong}: {here.troubles[:1]!r}")
    assert complaints == []


def what_is_wrong(here: Bench, job: Job | None, place: str) -> str | None:
    """What is wrong with the end of a job that alone met trouble; None when nothing is."""
    if place.startswith("rename scans/inbox"):
        return None if job is None and (here.places.inbox / "good").is_dir() else "left the inbox all the same"
    if job is None:
        return "is lost"
    where = place.split(" ")[1]
    if job.state not in (State.DONE_CLEAN, State.FAILED_CLEAN):
        return None if where in NEEDED and isinstance(here.troubles[-1], JobTrouble) else f"never came out: {job.state}"
    published = here.places.outbox if job.state is State.DONE_CLEAN else here.places.failed
    assert_whole(published / "good")
    if len(here.troubles) > 2 * MAX_TROUBLES + 2:
        return f"was tried {len(here.troubles)} times"
    if job.state is State.FAILED_CLEAN:
        why = (published / "good/WHY.txt").read_text()
        if job.reason_code not in ("unreadable", "unfinished") or not ("for a test" in why or "a defect" in why):
            return f"says why only as {job.reason_code}: {why}"
    originals = [folder / job.id for folder in (here.places.kept, here.places.claimed)]
    if not any(contents(original) == contents(published / "good/capture") for original in originals):
        return "has lost its original"
    return None


def refuse_workers(
    here: Bench, monkeypatch: pytest.MonkeyPatch, task: str, where: str, error: Exception, lasts: int
) -> None:
    """No worker for this task of the capture ``good`` can be started, or be asked how it is getting on, until that
    has been met ``lasts`` times.
    """

    class Refused(LightWorker):
        def __init__(self, key: str, request: Mapping[str, Any], folder: Path, home: Home, limits: TimeLimits) -> None:
            job = here.job()
            self._is_refused = request["task"] == task and job is not None and key.startswith(job.id)
            self._refuse("start")
            super().__init__(key, request, folder, home, limits)

        def poll(self) -> Ended | None:
            self._refuse("poll")
            return super().poll()

        def _refuse(self, at: str) -> None:
            if self._is_refused and at == where and len(here.troubles) < lasts:
                raise error

    for module in (assess, gltf_validation, intake, runner, warming):
        monkeypatch.setattr(module, "WorkerProcess", Refused)


@pytest.mark.parametrize("where", ["start", "poll"])
@pytest.mark.parametrize("task", ["inspect", "warm", "run", "measure", "validate"])
def test_a_worker_that_fails_for_one_job_alone_ends_that_job_and_no_other(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, task: str, where: str
) -> None:
    for number, error in enumerate((PermissionError(13, "EACCES for a test"), ValueError("a defect"))):
        with bench(memory / str(number), monkeypatch) as here:
            refuse_workers(here, monkeypatch, task, where, error, ROUNDS)
            here.drop(ball)
            job = here.bring()
            assert what_is_wrong(here, job, f"{where} {task}") is None
            assert job is not None
            if task == "warm" and where == "start":  # no job is to blame for the kernels
                assert job.state is State.DONE_CLEAN
                assert here.troubles == []
            elif task in ("inspect", "run"):
                assert job.reason_code == ("unreadable" if task == "inspect" else "unfinished")
            here.drop(ball, "other")
            other = here.bring("other")
            assert other is not None
            assert other.state is State.DONE_CLEAN


@pytest.mark.parametrize("where", ["start", "poll"])
@pytest.mark.parametrize("task", ["inspect", "warm", "run", "measure"])
def test_a_machine_that_cannot_start_a_worker_is_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, task: str, where: str
) -> None:
    for number, error in enumerate((OSError(12, "no memory"), OSError(28, "no space left"), MemoryError())):
        with bench(memory / str(number), monkeypatch) as here:
            refuse_workers(here, monkeypatch, task, where, error, LASTS)
            here.drop(ball)
            assert check_delivered(here, here.bring(), ball) is None
            assert len(here.troubles) == LASTS


def test_kernels_that_others_may_write_and_a_program_that_is_gone_are_the_machines_fault(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """Whatever a worker's start then fails with, no capture comes out for it."""

    def open_cache(here: Bench) -> Callable[[], None]:
        here.places.cache.mkdir(exist_ok=True, parents=True)
        here.places.cache.chmod(0o777)
        return lambda: here.places.cache.chmod(0o700)

    def lose_program(_: Bench) -> Callable[[], None]:
        real = sys.executable
        monkeypatch.setattr(sys, "executable", str(memory / "gone"))
        return lambda: monkeypatch.setattr(sys, "executable", real)

    def mended_later(here: Bench, mend: Callable[[], None]) -> Callable[[], None]:
        return lambda: mend() if len(here.troubles) >= LASTS else None

    for number, spoil in enumerate((open_cache, lose_program)):
        with bench(memory / str(number), monkeypatch) as here:
            refuse_workers(here, monkeypatch, "run", "start", PermissionError(13, "Permission denied"), LASTS)
            here.drop(ball)
            here.between = mended_later(here, spoil(here))
            assert check_delivered(here, here.bring(), ball) is None
            assert len(here.troubles) >= LASTS


def test_an_attempt_that_is_cancelled_while_it_is_held_up_comes_out_as_cancelled(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        here.fault = Own(here, f"write_file {WORK}/JOB/a1/attempt.json", OSError(13, "EACCES for a test"))
        here.drop(ball)

        def cancel_all() -> None:
            for job in here.jobs.live():
                here.loop.cancel(job.id)

        here.between = cancel_all
        job = here.bring()
        assert job is not None
        assert (job.state, job.reason_code) == (State.FAILED_CLEAN, "cancelled")


def test_a_file_that_is_missing_for_a_moment_puts_nothing_back(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """What is there again when one looks was away; a put-back counts, and the second fails the capture."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)

        def vanish(operation: str, paths: tuple[Path, ...]) -> None:
            if operation == "copy_file" and "claimed" in paths[0].parts and len(here.troubles) < LASTS:
                raise FileNotFoundError(2, "No such file or directory", str(paths[0]))

        here.fault = vanish
        assert check_delivered(here, here.bring(), ball) is None
        assert len(here.troubles) == LASTS


def test_a_folder_that_did_change_goes_back_into_the_inbox(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        changed: list[Path] = []

        def change(operation: str, paths: tuple[Path, ...]) -> None:
            if operation == "copy_file" and "claimed" in paths[0].parts and not changed:
                changed.append(paths[0].rename(paths[0].with_name("other.png")))

        here.fault = change
        assert here._go_on("good") is None
        claimed = here.job()
        assert claimed is not None
        assert here.advance.to_rest(claimed).state is State.ABANDONED
        assert len(list((here.places.inbox / "good").rglob("other.png"))) == 1


def test_a_file_that_grows_while_its_neighbours_are_copied_is_not_copied(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """A capture is weighed as a whole before: a hundred files that each grow to what one may have would fill a disk."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        here._go_on("good")
        claimed = here.job()
        assert claimed is not None
        copies = here.places.capture(claimed.id)
        largest = 0

        def grow(operation: str, paths: tuple[Path, ...]) -> None:
            nonlocal largest
            if operation == "copy_file" and paths[0].name.endswith("_00.png"):
                for other in here.places.claimed.rglob("*_01.png"):
                    os.truncate(other, 15_000_000)
            largest = max(largest, *(file.stat().st_size for file in copies.rglob("*.png")), 0)

        here.fault = grow
        assert here.advance.to_rest(claimed).state is State.ABANDONED
        assert (here.places.inbox / "good/views/view_01.png").stat().st_size == 15_000_000
        assert largest < 1_000_000


def test_a_shelf_of_rigs_that_cannot_be_read_is_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """Made by root with rights of its own, for example: the inbox is held for it, and so is what was taken before."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        shelf = here.places.rigs

        def between() -> None:
            if here.job() is not None and len(here.troubles) < LASTS:
                shelf.write_text("in the way")  # NotADirectoryError, also for root
            elif shelf.exists():
                shelf.unlink()

        here.between = between
        assert check_delivered(here, here.bring(), ball) is None
        assert len(here.troubles) == LASTS


def test_a_put_back_that_the_disk_refuses_is_done_later_and_counts_once(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        here._go_on("good")
        claimed = here.job()
        assert claimed is not None
        (here.places.claimed / claimed.id / "late.txt").write_text("x")

        def refuse(operation: str, paths: tuple[Path, ...]) -> None:
            back = operation == "rename" and paths[1].parent == here.places.inbox
            if len(here.troubles) < LASTS and (back or (operation == "commit" and len(here.troubles) % 2)):
                raise OSError(28, "No space left on device", str(paths[0]))

        here.fault = refuse
        job = claimed
        while (job := here.jobs.get(claimed.id)).state is not State.ABANDONED or not here.troubles[LASTS - 1 :]:
            try:
                here.advance.to_rest(job)
            except OSError as error:
                here.troubles.append(error)
        assert job.reason_code is None
        assert job.put_back == 1
        assert (here.places.inbox / "good/late.txt").is_file()


def test_an_attempt_that_cannot_be_begun_lets_others_go_first_and_is_not_charged(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        for name in ("good", "other"):
            here.drop(ball, name)
            while (job := here.job(name)) is None or job.state is State.CLAIMING:
                here._go_on(name)
        first = here.jobs.next_ready()
        assert first is not None

        def refuse(operation: str, paths: tuple[Path, ...]) -> None:
            if operation == "sync_dir" and first.id in paths[0].parts:
                raise PermissionError(13, "Permission denied", str(paths[0]))

        here.fault = refuse
        with pytest.raises(JobTrouble):
            here.loop.turn(accept=True)
        second = here.jobs.next_ready()
        assert second is not None
        assert second.id != first.id
        here.fault = lambda *_: None
        for name in ("other", "good"):
            job = here.bring(name)
            assert job is not None
            assert (job.state, job.attempt) == (State.DONE_CLEAN, 1)


def test_an_original_that_could_not_be_put_away_is_put_away_later(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)

        def refuse(operation: str, paths: tuple[Path, ...]) -> None:
            if operation == "rename" and paths[1].parent == here.places.kept and "probe" not in paths[1].name:
                raise PermissionError(13, "Permission denied", str(paths[0]))

        here.fault = refuse
        job = here.bring()
        assert job is not None
        assert job.state is State.DONE_CLEAN
        assert contents(here.places.claimed / job.id) == contents(ball)
        here.delivery.put_away_late()
        assert contents(here.places.claimed / job.id) == contents(ball)
        here.fault = lambda *_: None
        here.delivery.put_away_late()
        assert contents(here.places.kept / job.id) == contents(ball)
        assert not (here.places.claimed / job.id).exists()


def test_an_original_that_is_put_away_at_this_moment_is_not_lost(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """One thread puts it away and ends the job, after another has listed it among those to be put away."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        while (job := here.job()) is None or job.state is not State.DONE:
            if job is not None and job.state in (State.RUNNING, State.DELIVERING) and here._has_ended(job):
                here.advance.step(job)
            else:
                here.now += 100.0
                here._go_on("good") if job is None or job.state is not State.CLAIMING else here.advance.step(job)
        find, ended = here.jobs.find, []

        def end_first(_: Jobs, job_id: str) -> Job | None:
            ended.append(here.delivery.clean(here.jobs.get(job_id)))
            return find(job_id)

        monkeypatch.setattr(Jobs, "find", end_first)
        here.delivery.put_away_late()
        assert [one.state for one in ended] == [State.DONE_CLEAN]
        assert contents(here.places.kept / job.id) == contents(ball)


def test_a_reader_that_cannot_be_started_is_waited_for(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """A damaged installation is no fault of the capture: it stays accepted and unread, however often that is tried."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball, "poison-inspect-not_begun")
        job = here.bring("poison-inspect-not_begun")
        assert job is not None
        assert job.state is State.CLAIMING
        assert job.ingest_tries == 0
        assert "cannot be started" in str(here.troubles[-1])


def test_a_capture_that_takes_too_much_memory_to_read_is_refused_at_once(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball, "poison-inspect-memory_limit")
        job = here.bring("poison-inspect-memory_limit")
        assert job is not None
        assert (job.state, job.ingest_tries) == (State.FAILED_CLEAN, 1)
        why = (here.places.failed / "poison-inspect-memory_limit/WHY.txt").read_text()
        assert "too much memory" in why
        assert "worker_memory_mb" in why


def test_a_name_that_clients_take_for_another_is_not_proposed_again_and_again(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path
) -> None:
    """Somebody has put folders into the outbox that differ only in case from the names that a result would get."""
    long = "n" * 255
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball, long)
        while (job := here.job(long)) is None or job.state is State.CLAIMING:
            here.now += 100.0
            here._go_on(long)
        dest = os.fsdecode(publishable(job.name))
        for name in (dest, f"{dest}__{job.short_id}"):
            (here.places.outbox / name.upper()).mkdir()
        commits = []

        def stop_at_last(operation: str, _: tuple[Path, ...]) -> None:
            commits.append(operation)
            if commits.count("commit") > 100:
                raise RuntimeError("so many steps are no way to an end")

        here.fault = stop_at_last
        done = here.bring(long)
        assert done is not None
        assert done.state is State.DONE_CLEAN
        assert_whole(here.places.outbox / f"{dest}__{job.short_id}_2")
        assert (here.places.outbox / f"{dest}__{job.short_id}_2.done").is_file()


@pytest.mark.parametrize("retain_days", [0.0, 7.0])
def test_a_large_refused_folder_is_kept_when_what_was_published_of_it_is_gone(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, retain_days: float
) -> None:
    """It would follow into failed/ as it came; somebody was quicker and took the folder with WHY.txt away."""
    with bench(memory / "here", monkeypatch) as here:
        limits = {"retain_days": retain_days, "max_capture_mb": 1, "max_extra_mb": 1}
        here.delivery = replace(here.delivery, settings=here.settings.model_copy(update=limits))
        here.advance = replace(here.advance, delivery=here.delivery)
        here.drop(ball)
        (here.places.inbox / "good/capture.json").write_text('{"no key": 1}', encoding="utf-8")
        (here.places.inbox / "good/film.bin").write_bytes(b"x" * 5_000_000)
        came = contents(here.places.inbox / "good")
        while (job := here.job()) is None or job.state is not State.FAILED:
            here.now += 100.0
            here._go_on("good") if job is None else here.advance.step(job)
        (here.places.failed / "good").rename(memory / "taken")
        ended = here.bring()
        assert ended is not None
        assert ended.state is State.FAILED_CLEAN
        assert contents(here.places.kept / job.id) == came


@pytest.mark.parametrize("large_first", [False, True])
def test_whether_a_refused_folder_follows_its_why_is_decided_once(
    memory: Path, monkeypatch: pytest.MonkeyPatch, ball: Path, large_first: bool
) -> None:
    """Whoever dropped it may still have one of its files open, and make it large or small again at any time."""
    with bench(memory / "here", monkeypatch) as here:
        here.drop(ball)
        (here.places.inbox / "good/capture.json").write_text('{"nonsense": 1}')
        (here.places.inbox / "good/note.bin").touch()
        sizes = [1 << 40, 0] if large_first else [0, 1 << 40]
        os.truncate(here.places.inbox / "good/note.bin", sizes[0])

        def change(operation: str, paths: tuple[Path, ...]) -> None:
            if operation == "rename" and paths[1] == here.places.failed / "good":
                for note in here.places.claimed.glob("*/note.bin"):
                    os.truncate(note, sizes[1])

        here.fault = change
        job = here.bring()
        assert job is not None
        assert job.state is State.FAILED_CLEAN
        assert here.troubles == []
        assert os.listdir(here.places.claimed) == []
        capture = here.places.failed / "good/capture"
        assert sorted(os.listdir(capture)) == sorted([*os.listdir(ball), "capture.json", "note.bin"])
        follows = "it follows" in (here.places.failed / "good/WHY.txt").read_text()
        assert follows is large_first
        assert os.listdir(here.places.kept) == ([] if follows else [job.id])
