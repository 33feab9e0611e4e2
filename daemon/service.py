"""The wiring: opens everything in order, starts the threads, turns the loop, closes everything in order.

Four threads: the main one turns the serial loop and starts model processes; ``intake`` scans and claims; ``reading``
copies and checks what was claimed; ``finishing`` measures and publishes. The last two are how CPU work for
neighbouring jobs overlaps with the model run. The record has a thread of its own (``db.engine``).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from daemon.advance import Advance
from daemon.assess import Assessor
from daemon.clock import Clock, boot_id
from daemon.control import Command, ControlSocket
from daemon.crash import crashpoint
from daemon.deliver import Delivery
from daemon.errors import (
    FAILURES,
    AnotherInstance,
    ConfigurationError,
    ShareUnavailable,
    Stopping,
)
from daemon.executor import Report
from daemon.handover import Handover
from daemon.intake import Intake, NotYet
from daemon.log import get_logger
from daemon.loop import Loop
from daemon.places import Places, shown
from daemon.process import Home
from daemon.recover import Recovery
from daemon.retry import was_stopped
from daemon.runner import LocalExecutor, RunRules, read_manifest
from daemon.scanner import Finding, Scanner, Watcher
from daemon.settings import Settings
from daemon.settle import Judgement, Window
from daemon.share import Share, network_type, open_share
from daemon.status import Board, StatusPages, Working, tell_systemd
from db.engine import Database, DatabaseDamaged, SchemaError
from db.jobs import Jobs
from db.records import Job
from db.states import State

log = get_logger()

#: Seconds between turns while a model runs, and while nothing does (a queued job or a command ends that wait).
_TURN_S, _IDLE_TURN_S = 0.1, 1.0
_QUEUE_EVERY_S = 1.0
_PAUSE_LOCAL_S, _PAUSE_NETWORK_S = 1.0, 5.0
_RETRY_S, _RETRY_MOST_S = 1.0, 30.0
_RUN_LEAST_S, _RUN_MOST_S, _RUN_FACTOR = 600.0, 3600.0, 5.0
_RETENTION_EVERY_S = 3600.0
_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def only_instance(places: Places) -> Iterator[None]:
    """Hold the lock of this state folder; raises ``AnotherInstance`` when somebody else holds it."""
    places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode("ascii", "replace").split("\n")[0]
            raise AnotherInstance(
                f"another Meshdrop already runs on {places.root} (process {holder or 'unknown'})",
                "stop it first, or leave it to its work: `meshdrop status` shows what it does",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n{boot_id()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def open_record(places: Places) -> Database:
    """Open, check and migrate the database; raises ``ConfigurationError`` with the cure."""
    database = Database(places.database, before_commit=lambda: crashpoint("tx_mid"))
    try:
        database.check_integrity()
        database.migrate(places.backups)
    except (DatabaseDamaged, SchemaError) as error:
        database.close()
        raise ConfigurationError(str(error)) from error
    return database


def run_service(
    settings: Settings,
    *,
    once: bool = False,
    on_turn: Callable[[Board], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the daemon on the calling (main) thread until it is stopped or, with ``once``, nothing is left to do.

    ``on_turn`` is called a few times a second with the current picture. Raises ``AnotherInstance`` and
    ``ConfigurationError`` before anything is touched.
    """
    places = settings.places
    with only_instance(places):
        share = open_share(places)
        database = open_record(places)
        try:
            Service(settings, share, database, clock or Clock()).run(once=once, on_turn=on_turn)
        finally:
            database.close()


class Service:
    """The running daemon: its parts, its threads and the main loop."""

    def __init__(self, settings: Settings, share: Share, database: Database, clock: Clock) -> None:
        self._settings, self._share, self._clock = settings, share, clock
        self.board = Board()
        self._stop, self._wake, self._news = threading.Event(), threading.Event(), threading.Event()
        self._broken: BaseException | None = None
        self._take_signals()
        # For `run --once`: the inbox is settled when a scan found so that began after the last folder was put back.
        self._inbox_version, self._settled_version = 0, -1
        self._queue_shown = -_QUEUE_EVERY_S
        self._short_of = ""
        self._holds: dict[str, str] = {}
        self._to_read: Handover[Job] = Handover()
        self._to_finish: Handover[Job] = Handover()
        network = network_type(share.places.root)
        self._window = Window(
            settings.settle_network_s if network else settings.settle_s,
            settings.no_depth_wait_s, settings.incomplete_after_s,
        )  # fmt: skip
        self._pause = min(_PAUSE_NETWORK_S if network else _PAUSE_LOCAL_S, max(self._window.settle_s / 3, 0.05))
        self._jobs = Jobs(database, clock.now)
        self._intake = Intake(share, self._jobs, settings, self._window, self._stop.is_set)
        self._delivery = Delivery(share, self._jobs, settings)
        assessor = Assessor(share, self._jobs, settings, clock, self._stop.is_set)
        self._advance = Advance(self._jobs, self._intake, assessor, self._delivery)
        executor = LocalExecutor(self._run_rules())
        self._loop = Loop(share.places, self._jobs, settings, executor, hand_on=self._to_finish.put)
        log.info("starting", root=str(share.places.root), models=list(settings.models), network=network)

    def stop(self) -> None:
        """Ask the service to end; safe from a signal handler."""
        self._stop.set()
        self._wake.set()
        self._news.set()

    def run(self, *, once: bool, on_turn: Callable[[Board], None] | None) -> None:
        """Recover, start the threads, turn the loop; close everything in order whatever happens."""
        pages = StatusPages(self._share.places, self.board)
        control = ControlSocket(self._share.places.control, self._news.set)
        for job in Recovery(self._share, self._jobs, self._settings).run():
            if job.state is State.CLAIMING:
                self._to_read.put(job)
            elif job.state is not State.QUEUED:
                self._to_finish.put(job)
        threads = [
            threading.Thread(target=self._guarded, args=(step,), name=name, daemon=True)
            for name, step in (
                ("intake", self._scan_for_ever), ("reading", self._read_for_ever), ("finishing", self._finish_for_ever)
            )
        ]  # fmt: skip
        for job in reversed(self._jobs.recent(10)):
            self._show_published(job)
        for thread in threads:
            thread.start()
        tell_systemd("READY=1")
        try:
            self._turn_for_ever(pages, control, once=once, on_turn=on_turn)
        finally:
            tell_systemd("STOPPING=1")
            self.stop()
            with contextlib.suppress(OSError):  # the next start finds what could not be written down
                self._loop.stop()
            for thread in threads:
                thread.join(self._settings.stop_grace_s + 5)
            with contextlib.suppress(OSError):
                self._give_back_unfinished()
            control.close()
            self.board.set(working=None, finishing=None)
            pages.write(self._clock.monotonic(), self._clock.now(), force=True)
            crashpoint("END")
        if self._broken is not None:
            raise self._broken

    # -- main thread ----------------------------------------------------------------------------------------------

    def _turn_for_ever(
        self, pages: StatusPages, control: ControlSocket, *, once: bool, on_turn: Callable[[Board], None] | None
    ) -> None:
        next_retention = 0.0
        while not self._stop.is_set():
            try:
                # One attempt may wait to be measured while the next one runs; more would only pile up.
                self._show(self._loop.turn(accept=self._to_finish.open <= 1))
                self._unhold("loop")
            except OSError as error:
                self._hold("loop", str(error))
                self._stop.wait(_RETRY_S)
            while not control.commands.empty():
                self._obey_safely(control.commands.get())
            now = self._clock.monotonic()
            pages.write(now, self._clock.now())
            tell_systemd("WATCHDOG=1")
            if now >= next_retention:
                next_retention = now + _RETENTION_EVERY_S
                with contextlib.suppress(OSError):  # old originals can wait for the next hour
                    self._delivery.drop_expired(self._clock.now())
            if on_turn is not None:
                on_turn(self.board)
            if once and self._nothing_left():
                return
            self._news.wait(_TURN_S if self._loop.running or once else _IDLE_TURN_S)
            self._news.clear()

    def _show(self, reports: list[Report]) -> None:
        working = None
        for report in reports:
            job = self._loop.running.get(report.key)
            if job is not None:
                working = Working(job.short_id, shown(job.name), job.attempt, report.progress, report.note)
        self.board.set(working=working)
        if (now := self._clock.monotonic()) - self._queue_shown >= _QUEUE_EVERY_S:
            self._queue_shown = now
            self.board.set(queue=[shown(job.name) for job in self._jobs.live() if job.state is State.QUEUED])

    def _nothing_left(self) -> bool:
        settled = self._settled_version == self._inbox_version
        idle = settled and not (self._to_read.open or self._to_finish.open or self._loop.running)
        return idle and not self._jobs.live()

    def _obey_safely(self, command: Command) -> None:
        try:
            self._obey(command)
        except OSError as error:
            command.answer(False, f"this cannot be recorded now: {error}")

    def _obey(self, command: Command) -> None:
        if command.verb == "ping":
            command.answer(True, "running")
        elif command.verb == "cancel":
            command.answer(*self._cancel(str(command.arguments.get("job"))))
        else:
            command.answer(False, f"this version does not know the command {command.verb}")

    def _cancel(self, job_id: str) -> tuple[bool, str]:
        job = self._jobs.find(job_id)
        if job is None:
            return False, f"there is no job {job_id}"
        if job.state is State.QUEUED:
            self._to_finish.put(self._jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says))
            return True, f"{shown(job.name)} is cancelled and goes to failed/"
        if self._loop.cancel(job.id):
            return True, f"{shown(job.name)} is being stopped and goes to failed/"
        if job.state is State.CLAIMING:
            return False, f"{shown(job.name)} is still being read; try again in a moment"
        return False, f"{shown(job.name)} cannot be cancelled any more: its models are through"

    def _give_back_unfinished(self) -> None:
        """What was running is not to blame; what only waits to be measured is taken up there at the next start."""
        for job in self._jobs.live():
            if job.state is not State.RUNNING:
                continue
            outcomes = read_manifest(self._share.places.attempt(job.id, job.attempt))
            if outcomes is None or was_stopped(outcomes):
                self._advance.give_back(job)

    # -- intake thread --------------------------------------------------------------------------------------------

    def _scan_for_ever(self) -> None:
        pause = self._pause
        scanner = Scanner(self._share.places.inbox, self._window, self._settings.limits, self._clock)
        watcher = Watcher(self._share.places.inbox, self._wake)
        back_off = pause
        while not self._stop.is_set():
            try:
                version, self._short_of = self._inbox_version, ""
                self._share.check()
                watcher.ensure()
                findings = scanner.scan()
                left = [kept for finding in findings if (kept := self._take(finding, scanner)) is not None]
                self.board.see_inbox(left)
                settled = len(left) == len(findings) and all(_is_settled(one, pause) for one in left)
                self._settled_version = version if settled else -1
                if short := self._short_of:
                    self._hold("space", short)
                else:
                    self._unhold("space")
                self._unhold("inbox")
                back_off = pause
            except (OSError, ShareUnavailable) as error:
                self._hold("inbox", f"the inbox cannot be read: {error}")
                back_off = min(max(2 * back_off, _RETRY_S), 60.0)
            self._wake.wait(back_off)
            self._wake.clear()
        watcher.stop()

    def _take(self, finding: Finding, scanner: Scanner) -> Finding | None:
        """Claim a folder that is ready; returns the finding, perhaps with another sentence, when it stays."""
        if finding.judgement.state not in ("ready", "refuse"):
            return finding
        try:
            if (reason := self._lacks_room(finding)) is not None:
                self._short_of = reason
                return replace(finding, judgement=Judgement("arriving", reason))
            job = self._intake.claim(finding)
        except NotYet as reason:
            return replace(finding, judgement=Judgement("arriving", str(reason)))
        except OSError as error:
            return replace(finding, judgement=Judgement("arriving", f"this folder cannot be taken now: {error}"))
        if job is None:
            return finding
        scanner.forget(finding.name)
        self._to_read.put(job)
        return None

    def _lacks_room(self, finding: Finding) -> str | None:
        """Why a complete folder must wait for disk space. One that is too large is taken, to be refused."""
        needed = finding.snapshot.required_size
        if finding.judgement.state == "refuse" or needed > self._settings.limits.max_capture_bytes:
            return None
        wanted = max(self._settings.min_free_mb * 1e6, 3 * needed)
        if self._share.free_bytes() >= wanted:
            return None
        return f"less than {wanted / 1e6:.0f} MB are free on the disk: it is taken as soon as there is room"

    # -- reading and finishing threads ----------------------------------------------------------------------------

    def _read_for_ever(self) -> None:
        for job in self._to_read.until(self._stop):
            self._patiently(job, "unreadable")
            self._inbox_version += 1  # it may have been put back
            self._wake.set()
            self._news.set()

    def _finish_for_ever(self) -> None:
        for job in self._to_finish.until(self._stop):
            self.board.set(finishing=shown(job.name))
            self._patiently(job, "results")
            self.board.set(finishing=None)
            self._news.set()

    def _settle(self, job: Job) -> None:
        job = self._advance.to_rest(self._jobs.get(job.id))
        if job.state in (State.DONE_CLEAN, State.FAILED_CLEAN):
            self._show_published(job)

    def _show_published(self, job: Job) -> None:
        folder = "outbox" if job.state in (State.DONE, State.DONE_CLEAN) else "failed"
        self.board.publish(job, f"{folder}/{shown(job.dest or b'')}", job.finished_at or self._clock.now())

    def _patiently(self, job: Job, code: str) -> None:
        """Bring one job to rest. Trouble of the machine is waited out; a defect of ours fails this job (for ``code``),
        not the line.
        """
        pause = _RETRY_S
        while not self._stop.is_set():
            try:
                self._settle(job)
            except Stopping:
                return
            except (OSError, ShareUnavailable) as error:
                self._hold(job.id, f"{shown(job.name)}: {error}")
                self._stop.wait(pause)
                pause = min(2 * pause, _RETRY_MOST_S)
            except Exception as error:
                log.exception("unexpected error", job=job.short_id)
                current = self._jobs.get(job.id)
                if current.state in (State.CLAIMING, State.RUNNING):
                    self._jobs.reject(job.id, code, f"{type(error).__name__}: {error}")
                    continue
                raise
            else:
                self._unhold(job.id)
                return

    # -- shared ---------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], None]) -> None:
        """A thread that dies takes the service down, so that its supervisor starts it afresh and recovery runs."""
        try:
            step()
        except BaseException as error:
            log.exception("a thread of the service died")
            self._broken = error
            self.stop()

    def _hold(self, key: str, sentence: str) -> None:
        if self._holds.get(key) != sentence:
            log.warning("held", reason=sentence)
        self._holds[key] = sentence
        self.board.set(held="; ".join(self._holds.values()))

    def _unhold(self, key: str) -> None:
        if self._holds.pop(key, None) is not None:
            log.info("going on")
            self.board.set(held="; ".join(self._holds.values()) or None)

    def _run_rules(self) -> RunRules:
        def run_s(model: str) -> float:
            if self._settings.run_limit_s is not None:
                return self._settings.run_limit_s
            typical = self._jobs.typical_seconds(model)
            return min(max(_RUN_FACTOR * (typical or 0.0), _RUN_LEAST_S), _RUN_MOST_S)

        return RunRules(
            run_s, self._settings.stall_limit_s, self._settings.stop_grace_s, self._settings.limits,
            Home(self._settings.places.state, self._settings.places.cache),
        )

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        # A writer that opens a file during our read lease raises SIGIO, whose default action is to kill us.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        # Strays of a dead worker become our children and can be collected.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _is_settled(finding: Finding, pause: float) -> bool:
    """Whether waiting longer would change nothing about this folder by itself (for ``run --once``)."""
    return finding.judgement.state == "arriving" and finding.quiet_s >= 3 * pause
