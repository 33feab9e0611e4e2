"""The wiring: opens everything in order, starts the threads, turns the loop, closes everything in order.

Four threads: the main one turns the serial loop and starts model processes; ``intake`` scans and claims; ``reading``
copies and checks what was claimed; ``finishing`` measures and publishes. The last two are how CPU work for
neighbouring jobs overlaps with the model run. The record has a thread of its own (``db.engine``).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.base.control import Command, ControlSocket
from meshdrop.daemon.base.crash import crashpoint
from meshdrop.daemon.base.errors import JobTrouble, MeshdropError, ShareUnavailable, Stopping
from meshdrop.daemon.base.failures import FAILURES
from meshdrop.daemon.base.handover import Handover
from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.base.pause import Pause
from meshdrop.daemon.base.places import shown
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.base.share import Share, network_type
from meshdrop.daemon.doctor.start_checks import (
    look_around,
    refuse_open_settings,
    refuse_open_workers,
    refuse_what_loses_data,
)
from meshdrop.daemon.host import systemd
from meshdrop.daemon.inbox.intake import Intake
from meshdrop.daemon.inbox.settle import Window
from meshdrop.daemon.notify.targets import Targets, read_targets
from meshdrop.daemon.outbox.assess import Assessor
from meshdrop.daemon.outbox.deliver import Delivery
from meshdrop.daemon.service.advance import Advance
from meshdrop.daemon.service.inbox_thread import InboxThread
from meshdrop.daemon.service.loop import Loop
from meshdrop.daemon.service.periodic import Periodic
from meshdrop.daemon.service.recover import Recovery
from meshdrop.daemon.service.startup import move_in
from meshdrop.daemon.status.activity import Activity, short
from meshdrop.daemon.status.estimates import Estimates
from meshdrop.daemon.status.holds import Holds
from meshdrop.daemon.status.overview import StatusPages
from meshdrop.daemon.status.pages import FINISHED_KEPT, Working
from meshdrop.daemon.workers import kernels
from meshdrop.daemon.workers.attempts import read_manifest
from meshdrop.daemon.workers.executor import Report
from meshdrop.daemon.workers.process import home_of
from meshdrop.daemon.workers.retry import was_stopped
from meshdrop.daemon.workers.runner import LocalExecutor, RunRules
from meshdrop.daemon.workers.trouble import held_up, left_behind
from meshdrop.db.engine import Database, DatabaseDamaged
from meshdrop.db.jobs import Jobs
from meshdrop.db.records import Job
from meshdrop.db.states import State

log = get_logger()

T = TypeVar("T")

#: Seconds between turns while a model runs, and while nothing does (a queued job or a command ends that wait).
_TURN_S, _IDLE_TURN_S = 0.1, 1.0
#: Seconds after which the record is asked though nothing was written: a job's pause may be over.
_READ_EVERY_S = 5.0
_RETRY_S, _RETRY_MOST_S = 1.0, 30.0
_RUN_LEAST_S, _RUN_MOST_S, _RUN_FACTOR = 600.0, 3600.0, 5.0
_RETENTION_EVERY_S = 3600.0
_TRIM_EVERY_S = 60.0
_PR_SET_CHILD_SUBREAPER = 36
#: mallopt(3): M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD.
_MALLOPT = ((-8, 1), (-3, 131_072), (-1, 131_072))


def run_service(
    settings: Settings,
    *,
    once: bool = False,
    on_turn: Callable[[Activity], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Run the daemon on the calling (main) thread until it is stopped or, with ``once``, nothing is left to do.

    ``on_turn`` is called a few times a second with the current picture. Raises ``AnotherInstance`` and
    ``ConfigurationError`` before anything is touched; with ``once`` also ``ShareMissing`` and ``OSError``, which are
    waited out otherwise, and ``LeftBehind`` in the end when jobs are left that cannot go on by themselves.
    """
    with contextlib.ExitStack() as house:
        refuse_what_loses_data(settings)
        refuse_open_settings(settings)
        refuse_open_workers(settings)
        targets = read_targets(settings)
        share, database = move_in(settings.places, house, patient=not once)
        kernels.tidy(settings.places.state, settings.places.cache)
        service = Service(settings, share, database, clock or Clock(), targets)
        look_around(settings)
        service.run(once=once, on_turn=on_turn)


class Service:
    """The running daemon: its parts, its threads and the main loop."""

    def __init__(self, settings: Settings, share: Share, database: Database, clock: Clock, targets: Targets) -> None:
        self._settings, self._share, self._clock = settings, share, clock
        self._stop, self._wake, self._news = threading.Event(), threading.Event(), threading.Event()
        self.activity = Activity(clock.now, self._news.set)
        self._pages = StatusPages(share.places, self.activity)
        self._estimates = Estimates(database, self.activity, settings.models, clock)
        self._broken: BaseException | None = None
        self._is_through = False
        self._take_signals()
        self._keep_memory_flat()
        self._queue_due, self._queue_seen = 0.0, -1
        self._database, self._read_at_write, self._read_due = database, -1, 0.0
        self._holds = Holds(self.activity, clock.monotonic)
        #: Seconds after which a job is tried again that could not be brought on, by its id.
        self._pauses: dict[str, float] = {}
        #: Why jobs stay where they are until somebody mends it, by their ids.
        self._staying: dict[str, str] = {}
        self._pause, self._draining = Pause(share.places.pause), False
        self._asked: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._suspects: list[Job] = []
        self._suspects_tried = threading.Event()
        self._to_read: Handover[Job] = Handover(from_both_ends=True)
        self._to_finish: Handover[Job] = Handover()
        network = network_type(share.places.root)
        window = Window(
            settings.settle_network_s if network else settings.settle_s,
            settings.no_depth_wait_s,
            settings.incomplete_after_s,
        )
        self._periodic = Periodic(
            settings, share, database, self.activity, clock, targets, self._guarded, self._stop.is_set
        )
        self._jobs = Jobs(database, clock.now, self._periodic.bodies, clock.clocks)
        intake = Intake(share, self._jobs, settings, window, self._stop.is_set, network is not None)
        self._delivery = Delivery(share, self._jobs, settings)
        assessor = Assessor(share, self._jobs, settings, clock, self._stop.is_set)
        self._advance = Advance(self._jobs, intake, assessor, self._delivery)
        executor = LocalExecutor(self._run_rules())
        self._loop = Loop(share, self._jobs, settings, executor, hand_on=self._to_finish.put)
        self._inbox = InboxThread(
            share,
            self._jobs,
            settings,
            clock,
            intake,
            self.activity,
            self._stop,
            self._wake,
            take_on=self._to_read.put,
            hold=self._holds.hold,
            ask=self._ask_main,
            resting=self._rests,
        )
        log.info("starting", root=str(share.places.root), models=list(settings.models), network=network)

    def stop(self) -> None:
        """Ask the service to end; safe from a signal handler."""
        self._stop.set()
        self._wake.set()
        self._news.set()

    def run(self, *, once: bool, on_turn: Callable[[Activity], None] | None) -> None:
        """Recover, start the threads, turn the loop; close everything in order whatever happens."""
        pages = self._pages
        if once and self._pause.since is not None:
            raise MeshdropError("the service is paused, so nothing would be taken", "end that with `meshdrop resume`")
        control = self._insist(lambda: ControlSocket(self._share.places.control, self._news.set), once=once)
        if control is None:
            return
        for job in self._insist(Recovery(self._share, self._jobs, self._settings).run, once=once) or []:
            if _is_suspect(job):
                self._suspects.append(job)
            elif job.state is State.CLAIMING:
                self._to_read.put(job)
            elif job.state is not State.QUEUED:
                self._to_finish.put(job)
            else:
                self._settle_cancelled(job)
        self._inbox.to_the_end = once
        threads = [
            threading.Thread(target=self._guarded, args=(step,), name=name, daemon=True)
            for name, step in (
                ("intake", self._inbox.watch),
                ("reading", self._read_for_ever),
                ("finishing", self._finish_for_ever),
            )
        ]
        for job in reversed(self._jobs.recent(FINISHED_KEPT)):
            self.activity.publish(job)
        for thread in threads:
            thread.start()
        self._periodic.start(self._jobs)
        systemd.ready()
        try:
            self._turn_for_ever(pages, control, once=once, on_turn=on_turn)
        finally:
            systemd.stopping()
            self.stop()
            with contextlib.suppress(OSError):  # the next start finds what could not be written down
                self._loop.stop()
            for thread in threads:
                thread.join(self._settings.stop_grace_s + 5)
            with contextlib.suppress(OSError):
                self._give_back_unfinished()
            failed = self._broken is not None or sys.exc_info()[0] is not None
            self._periodic.close(flush=once or self._draining, failed=failed)
            control.close()
            with contextlib.suppress(OSError):
                self._show_queue()
            self.activity.stop()
            pages.write(self._clock.monotonic(), self._clock.now(), force=True)
            crashpoint("END")
        self._raise_what_is_amiss()

    def _insist(self, step: Callable[[], T], *, once: bool) -> T | None:
        """Do one step of the start, however often the disk refuses it; None when the service was stopped meanwhile."""
        while not self._stop.is_set():
            try:
                done = step()
            except (OSError, ShareUnavailable) as error:
                if once:
                    raise
                self._holds.hold("start", f"the start is held up: {error}")
                self._pages.write(self._clock.monotonic(), self._clock.now())
                systemd.waiting(str(error))
                self._stop.wait(_RETRY_S)
            else:
                self._holds.release("start")
                return done
        return None

    # -- main thread ----------------------------------------------------------------------------------------------

    def _turn_for_ever(
        self, pages: StatusPages, control: ControlSocket, *, once: bool, on_turn: Callable[[Activity], None] | None
    ) -> None:
        next_retention, next_trim, news = 0.0, self._clock.monotonic() + _TRIM_EVERY_S, True
        while not self._stop.is_set():
            self._look_at_pause()
            try:
                if once or news or self._is_due():
                    # One attempt may wait to be measured while the next one runs; more would only pile up. Those
                    # that wait for better times keep nobody waiting.
                    ready = self._suspects_tried.is_set() and self._to_finish.fresh <= 1
                    self._show(self._loop.turn(accept=ready and self._rests() is None))
                self._holds.release("loop")
            except (OSError, JobTrouble) as error:
                self._holds.hold("loop", str(error))
                self._stop.wait(_RETRY_S)
            for waiting in (control.commands, self._asked):
                while not waiting.empty():
                    self._obey_safely(waiting.get())
            now = self._clock.monotonic()
            more = pages.write(now, self._clock.now())
            systemd.alive()
            self._periodic.turn(now)
            if now >= next_trim:
                next_trim = now + _TRIM_EVERY_S
                self._trim()
            if now >= next_retention:
                next_retention = now + _RETENTION_EVERY_S
                with contextlib.suppress(OSError):  # old originals can wait for the next hour
                    self._delivery.drop_expired(self._clock.now())
                with contextlib.suppress(OSError):
                    self._delivery.put_away_late()
            if on_turn is not None:
                on_turn(self.activity)
            self._is_through = once and self._nothing_left()
            if self._is_through or (self._draining and self._nothing_runs()):
                return
            news = self._news.wait(_TURN_S if self._loop.running or once or more else _IDLE_TURN_S)
            self._news.clear()

    def _is_due(self) -> bool:
        """Whether the record may have something new: it was written to, a model runs, or nobody has looked for long.

        Asking it costs more than everything else that an idle service does.
        """
        now, written = self._clock.monotonic(), self._database.written
        if not self._loop.running and written == self._read_at_write and now < self._read_due:
            return False
        self._read_at_write, self._read_due = written, now + _READ_EVERY_S
        return True

    def _show(self, reports: list[Report]) -> None:
        found = {report.key: report for report in reports}
        working, name = None, b""
        for key, job in self._loop.running.items():
            report = found.get(key, Report(key, "running", 0.0, "starting"))
            working, name = Working(job.id, short(job.name), job.attempt, report.progress, report.note), job.name
        self.activity.work(working, name)
        if (now := self._clock.monotonic()) >= self._queue_due:
            self._show_queue()
            # Without news this is next to nothing; with them a long queue takes a twentieth of the time at most.
            self._queue_due = now + 20 * (self._clock.monotonic() - now)
        else:
            self._read_due = now  # at the next turn: the activity still shows an older queue
        self._estimates.turn()

    def _show_queue(self) -> None:
        """Tell the activity of the live jobs, if anything was recorded since the last time."""
        if (line_up := self._jobs.line_up(self._queue_seen)) is not None:
            self._queue_seen, jobs = line_up
            self.activity.see_jobs(jobs)

    def _look_at_pause(self) -> None:
        """Anybody of this user may begin or end a pause at any time, whether or not the service runs."""
        if (since := self._pause.since) != self.activity.paused_since:
            log.info("going on" if since is None else "paused")
            self.activity.pause(since)
            self._read_due = 0.0
            self._wake.set()

    def _rests(self) -> str | None:
        """Why nothing new may be taken or started, although nothing is wrong."""
        if self._draining:
            return "the service is about to end: it is taken when it is started again"
        return None if self.activity.paused_since is None else "the service is paused: it is taken when that is over"

    def _nothing_runs(self) -> bool:
        return self._suspects_tried.is_set() and not (self._loop.running or self._to_finish.fresh)

    def _nothing_left(self) -> bool:
        # what was put back while suspects were tried is known to the thread only when they all have been
        idle = self._suspects_tried.is_set() and self._inbox.is_settled
        # What stays is put off in one of the lines, tried again and again.
        idle = idle and self._to_read.open + self._to_finish.open == len(staying := set(self._staying))
        idle = idle and not self._loop.running
        return idle and (self._rests() is not None or all(job.id in staying for job in self._jobs.live()))

    def _raise_what_is_amiss(self) -> None:
        """At the very end: what ended the service, or that it was to see all jobs through and some stay."""
        if self._broken is not None:
            raise self._broken
        if self._is_through:  # asked again: a last try may have brought some on
            left = [(job, self._staying[job.id]) for job in self._jobs.live() if job.id in self._staying]
            if left:
                raise left_behind(left, self._share.places)

    def _obey_safely(self, command: Command) -> None:
        """Whatever one command is and does, the service goes on and whoever gave it gets an answer."""
        try:
            self._obey(command)
        except DatabaseDamaged:
            raise
        except OSError as error:
            command.answer(False, f"this cannot be recorded now: {error}")
        except Exception as error:
            log.exception("a command could not be obeyed", verb=command.verb)
            command.answer(False, f"this could not be done, and the log says why ({type(error).__name__}: {error})")

    def _obey(self, command: Command) -> None:
        if command.verb == "ping":
            command.answer(True, "running")
        elif command.verb == "cancel":
            command.answer(*self._cancel(str(command.arguments.get("job"))))
        elif command.verb == "look":
            self._look_at_pause()
            command.answer(True, "it is paused" if self._rests() else "it works")
        elif command.verb == "drain":
            self._draining = True
            self.activity.drain()
            log.info("draining")
            command.answer(True, "it ends when what runs is finished")
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
            job = self._jobs.ask_cancel(job.id)
            self._settle_cancelled(job)  # it may have been queued in this very moment
            return True, f"{shown(job.name)} goes to failed/ as soon as it is read"
        return self._cancel_late(job)

    def _cancel_late(self, job: Job) -> tuple[bool, str]:
        """The models are through. What is held up can still be turned to failed/; the rest is on its way out."""
        name, held = shown(job.name), self._holds.of(job.id)
        if held is not None and job.state is State.RUNNING:
            self._jobs.ask_cancel(job.id)
            return True, f"{name} goes to failed/ as soon as that can be done; it is held up now ({held})"
        if job.state is State.RUNNING:
            return False, f"{name} cannot be cancelled any more: its models are through"
        way = {
            State.DELIVERING: "its result is on its way to outbox/",
            State.DONE: "its result is in outbox/",
            State.FAIL_PENDING: "it goes to failed/ already",
            State.FAILING: "it goes to failed/ already",
            State.FAILED: "it is in failed/",
        }.get(job.state, "it is at rest")
        return False, f"{name} cannot be cancelled any more: {way}{f', as soon as it can ({held})' if held else ''}"

    def _settle_cancelled(self, job: Job) -> Job:
        """A job whose cancelling was asked for while it was read must not run."""
        if job.state is State.QUEUED and job.reason_code == "cancelled":
            job = self._jobs.reject(job.id, "cancelled", FAILURES["cancelled"].says)
            self._to_finish.put(job)
        return job

    def _give_back_unfinished(self) -> None:
        """What was running is not to blame; what only waits to be measured is taken up there at the next start."""
        for job in self._jobs.live():
            if job.state is not State.RUNNING:
                continue
            outcomes = read_manifest(self._share.places.attempt(job.id, job.attempt))
            if job.reason_code != "cancelled" and (outcomes is None or was_stopped(outcomes)):
                self._advance.give_back(job)

    def _ask_main(self, verb: str, **arguments: str) -> bool:
        """For other threads: hand a command to the main one, as the control socket does; whether it was obeyed."""
        command = Command(verb, dict(arguments))
        self._asked.put(command)
        self._news.set()
        return bool(command.wait(unless=self._stop.is_set)["ok"])

    # -- reading and finishing threads ----------------------------------------------------------------------------

    def _read_for_ever(self) -> None:
        while not self._suspects_tried.wait(_TURN_S):
            if self._stop.is_set():
                return
        for job in self._to_read.until(self._stop):
            self._inbox.let_pass()
            self._bring_on(job, self._to_read)
            self._inbox.returned()
            self._news.set()

    def _finish_for_ever(self) -> None:
        self._try_suspects()
        for job in self._to_finish.until(self._stop):
            self.activity.finish(job)
            self._bring_on(job, self._to_finish)
            self.activity.finish(None)
            self._news.set()

    def _try_suspects(self) -> None:
        """Jobs that were in hand when the service or the machine went down come first, each alone: if one of them was
        the cause, no other is blamed for its next try.
        """
        for job in self._suspects:
            if self._stop.is_set():
                return
            self._bring_on(job, self._to_read if job.state is State.CLAIMING else self._to_finish)
        self._inbox.returned()  # one may have been put back
        self._suspects_tried.set()

    def _settle(self, job: Job) -> None:
        job = self._settle_cancelled(self._advance.to_rest(self._jobs.get(job.id)))
        if job.state in (State.DONE_CLEAN, State.FAILED_CLEAN):
            self.activity.publish(job)

    def _bring_on(self, job: Job, line: Handover[Job]) -> None:
        """Bring one job to rest. One that cannot be brought there now is put off, and nobody waits for it."""
        try:
            self._settle(job)
        except Stopping:
            return
        except DatabaseDamaged:
            raise  # no fault of the job: the service ends, and the next start looks at the record
        except Exception as error:
            self._hold_up(job, error)
            pause = self._pauses.get(job.id, _RETRY_S)
            self._pauses[job.id] = min(2 * pause, _RETRY_MOST_S)
            line.put_off(job, pause)
        else:
            self._staying.pop(job.id, None)
            self._pauses.pop(job.id, None)
            self._holds.release(job.id)

    def _hold_up(self, job: Job, error: Exception) -> None:
        """Tell people why a job stands still, and remember whether somebody has to mend it."""
        if isinstance(error, JobTrouble):
            self._holds.hold(job.id, held_up(job.name, str(error)))
        else:
            self._holds.hold(job.id, f"{shown(job.name)}: {error}")
        if isinstance(error, JobTrouble) and error.stays:
            self._staying[job.id] = str(error)
        else:
            self._staying.pop(job.id, None)

    # -- shared ---------------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], None]) -> None:
        """A thread that dies takes the service down, so that its supervisor starts it afresh and recovery runs."""
        try:
            step()
        except BaseException as error:
            log.exception("a thread of the service died")
            self._broken = error
            self.stop()

    def _run_rules(self) -> RunRules:
        def run_s(model: str) -> float:
            if self._settings.run_limit_s is not None:
                return self._settings.run_limit_s
            typical = self._jobs.typical_seconds(model)
            return min(max(_RUN_FACTOR * (typical or 0.0), _RUN_LEAST_S), _RUN_MOST_S)

        return RunRules(
            run_s,
            self._settings.stall_limit_s,
            self._settings.stop_grace_s,
            self._settings.limits,
            home_of(self._settings),
        )

    @staticmethod
    def _keep_memory_flat() -> None:
        """glibc keeps an arena for each thread and learns to keep large freed blocks too; a service that runs for
        months gives them back instead. No effect with another C library.
        """
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            for parameter, value in _MALLOPT:
                libc.mallopt(parameter, value)
        gc.collect()  # what importing has left behind
        Service._trim()

    @staticmethod
    def _trim() -> None:
        """Give back what a burst of folders has left free inside the heap: malloc does so only at its end."""
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        # A writer that opens a file during our read lease raises SIGIO, whose default action is to kill us.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        # Strays of a dead worker become our children and can be collected.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _is_suspect(job: Job) -> bool:
    """Whether reading or measuring this job was begun and never came to an end."""
    return job.ingest_tries > 0 if job.state is State.CLAIMING else job.state is State.RUNNING and job.finish_tries > 0
