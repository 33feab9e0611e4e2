"""What is told outside, when, and how often: with a clock moved by hand and a courier that only notes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from meshdrop.daemon.base.clock import Clock
from meshdrop.daemon.notify import apprise_send, http_send
from meshdrop.daemon.notify.channel import Channel
from meshdrop.daemon.notify.courier import SendOutcome
from meshdrop.daemon.notify.outgoing import Outgoing
from meshdrop.daemon.notify.people import People
from meshdrop.daemon.notify.ping import Ping
from meshdrop.daemon.notify.targets import Targets
from meshdrop.daemon.notify.webhook import Webhook
from meshdrop.daemon.notify.wording import Day
from meshdrop.db.engine import Database
from meshdrop.db.jobs import Jobs, Placement
from meshdrop.db.messages import GIVE_UP_S, Messages, waiting
from meshdrop.db.records import Job, events_of
from meshdrop.db.states import State
from meshdrop.db.tables import MessageRow

URL, PING = "https://hook.example/t0ken", "https://hc.example/uuid"
GOOD, BAD, AWAY = (
    SendOutcome(200, None),
    SendOutcome(500, "it answered 500"),
    SendOutcome(None, "it refuses connections"),
)
BUSY = SendOutcome(429, "it answered 429", wait_s=900.0)
HOOK, LIFE = Webhook(URL), Ping(PING, 300.0)
SLACK, MAIL = People("slack://a", 1), People("mailto://b", 2)


@dataclass
class Notebook:
    """A courier that answers as it is told to."""

    answer: Callable[[str], SendOutcome] = lambda _: GOOD
    posts: list[list[str]] = field(default_factory=list)
    bodies: dict[str, set[str]] = field(default_factory=dict)
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    pings: list[str] = field(default_factory=list)

    def send(self, task: str, parts: Sequence[Mapping[str, Any]], limit_s: float) -> list[SendOutcome]:
        if task == apprise_send.__name__:
            [note] = parts
            self.notes.append((note["url"], note["title"], note["text"]))
            return [self.answer(note["url"])]
        assert task == http_send.__name__
        if parts[0]["method"] == "GET":
            [ping] = parts
            self.pings.append(ping["url"])
            return [self.answer("ping")]
        return self._post(parts)

    def _post(self, parts: Sequence[Mapping[str, Any]]) -> list[SendOutcome]:
        abouts = [part["headers"]["Idempotency-Key"] for part in parts]
        self.posts.append(abouts)
        answers: list[SendOutcome] = []
        for about, part in zip(abouts, parts, strict=True):
            assert (part["method"], part["url"]) == ("POST", URL)
            self.bodies.setdefault(about, set()).add(part["body"])
            answers.append(self.answer(about))
            if not answers[-1].was_reached:
                break
        return answers

    def stop(self) -> None: ...


class Office:
    """A record, the messages, and one turn at a time."""

    def __init__(self, folder: Path, targets: Targets) -> None:
        # 2026-11-21 12:00 here, whatever the zone: digests go by the machine's own clock
        self.wall = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))
        self.seconds = 0.0
        self.trouble: str | None = None
        self.database = Database(folder / "a.db")
        self.database.migrate(folder)
        self.messages = Messages(self.database, self.now)
        self.courier = Notebook()
        self.restart(targets)

    def restart(self, targets: Targets) -> None:
        """What a new life of the service knows: the record, and nothing else."""
        clock = Clock(lambda: self.seconds, self.now)
        day = lambda: Day("/scans", {("done", "normal"): 2, ("failed", "quality"): 1}, 3, 7200.0, 0, False)  # noqa: E731
        self.outgoing = Outgoing(targets, self.courier, clock, lambda: self.trouble, day)  # type: ignore[arg-type]
        self.jobs = Jobs(self.database, self.now, self.outgoing.bodies)

    def now(self) -> float:
        return self.wall + self.seconds

    def ended(self, name: str = "chair", code: str | None = None) -> Job:
        """A job that was published."""
        job = self.jobs.queue(self.jobs.claim(name.encode(), "f").id, "d", {}, None, 0)
        if code is None:
            self.jobs.deliver(self.jobs.start(job.id, "boot").id, job.name, "normal", "fusion")
        else:
            self.jobs.failing(self.jobs.reject(job.id, code, "because").id, job.name)
        return self.jobs.published(job.id)

    def turn(self, after: float = 0.0) -> float:
        self.seconds += after
        return self.outgoing._turn(self.messages)

    def told(self, job: Job) -> list[str]:
        return [event.kind for event in self.database.read(lambda session: events_of(session, job.id))]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Callable[..., Office]]:
    made: list[Office] = []

    def make(*channels: Channel, digest_at: str = "") -> Office:
        made.append(Office(tmp_path, Targets(channels, digest_at)))
        return made[-1]

    yield make
    for one in made:
        one.database.close()


# -- webhook -------------------------------------------------------------------------------------------------------


def test_every_end_of_a_job_is_told_once(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    done, failed, cancelled = here.ended(), here.ended("cup", "quality"), here.ended("vase", "cancelled")
    here.turn()
    here.turn(1000)
    assert here.courier.posts == [[f"{done.id}.done", f"{failed.id}.failed", f"{cancelled.id}.failed"]]
    [body] = [json.loads(text) for text in here.courier.bodies[f"{failed.id}.failed"]]
    assert (body["schema"], body["event"], body["code"]) == ("meshdrop.webhook/1", "failed", "quality")
    assert (body["folder"], body["verdict"]) == ("failed/cup", None)
    assert body["fix"]
    [body] = [json.loads(text) for text in here.courier.bodies[f"{done.id}.done"]]
    assert (body["folder"], body["verdict"], body["best_model"]) == ("outbox/chair", "normal", "fusion")
    assert (body["name"], body["id"], body["code"]) == ("chair", f"{done.id}.done", None)
    assert here.told(done)[-1] == "told"


def test_the_message_and_the_end_are_one_transaction(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    here.jobs = Jobs(here.database, here.now, lambda _: {"webhook": 1 / 0})  # type: ignore[dict-item]
    with pytest.raises(ZeroDivisionError):
        here.ended()
    assert [job.state for job in here.jobs.live()] == [State.DELIVERING]
    assert here.database.read(waiting) == {}


def test_a_refused_message_is_tried_again_ever_more_seldom_and_is_always_the_same(
    office: Callable[..., Office],
) -> None:
    here = office(HOOK)
    job = here.ended()
    here.courier.answer = lambda _: BAD
    pauses = []
    here.turn()
    for _ in range(12):
        due = here.messages.next_due(["webhook"])
        assert due is not None
        pauses.append(round(due - here.now()))
        here.turn(pauses[-1] - 1)
        here.turn(1)
    # 5 s doubled each time, and an hour at the most
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert len(here.courier.posts) == 13
    here.courier.answer = lambda _: GOOD
    here.turn(3600)
    assert len(here.courier.bodies[f"{job.id}.done"]) == 1, "the same bytes at every try"
    assert here.database.read(waiting) == {}


@pytest.mark.parametrize("answer", [BAD, AWAY], ids=["refused", "broken off"])
def test_one_message_that_never_gets_through_does_not_stop_the_others(
    office: Callable[..., Office], answer: SendOutcome
) -> None:
    here = office(HOOK)
    poison = here.ended("poison")
    here.courier.answer = lambda about: answer if about == f"{poison.id}.done" else GOOD
    others = [here.ended(f"chair{number}") for number in range(25)]
    here.turn()
    here.turn(5)
    assert all(here.told(job)[-1] == "told" for job in others)
    assert here.told(poison)[-1] == "published"


def test_a_receiver_that_is_away_is_left_alone_and_then_gets_everything_in_order(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    here.courier.answer = lambda _: AWAY
    jobs = [here.ended(f"chair{number}") for number in range(25)]
    for _ in range(100):
        here.turn(10)
    # 5, 10, 20, ... and at most 300 s apart in a thousand seconds, one message each and not 25
    assert len(here.courier.posts) <= 12
    here.courier.answer = lambda _: GOOD
    here.courier.posts.clear()
    here.turn(300)
    here.turn(300)
    assert sorted(about for post in here.courier.posts for about in post) == sorted(f"{job.id}.done" for job in jobs)
    assert here.database.read(waiting) == {}


def test_one_that_is_overloaded_is_left_alone_as_a_whole_for_as_long_as_it_wishes(
    office: Callable[..., Office],
) -> None:
    here = office(HOOK)
    here.courier.answer = lambda _: BUSY
    jobs = [here.ended(f"chair{number}") for number in range(25)]
    for _ in range(90):
        here.turn(10)
    # tried at 10 s, and 900 s later
    assert len(here.courier.bodies) == 1
    here.courier.answer = lambda _: GOOD
    here.turn(20)
    here.turn(900)
    assert len(here.courier.bodies) == len(jobs)
    assert here.database.read(waiting) == {}
    here.courier.answer = lambda _: SendOutcome(503, "it answered 503", wait_s=1e8)
    here.ended("late")
    here.turn()
    here.courier.answer = lambda _: GOOD
    here.turn(3600)
    assert here.database.read(waiting) == {}, "nobody is waited for longer than an hour"


def test_the_sign_of_life_the_digest_and_other_receivers_do_not_wait_for_a_slow_one(
    office: Callable[..., Office],
) -> None:
    """Two hundred messages for a receiver that takes nine seconds for each: half an hour."""
    here = office(HOOK, SLACK, LIFE, digest_at="12:10")
    jobs = [here.ended(f"chair{number}", "quality") for number in range(200)]
    seen: list[tuple[int, int]] = []

    def slow(about: str) -> SendOutcome:
        if about.endswith(".failed"):
            here.seconds += 9.0
            seen.append((len(here.courier.pings), len(here.courier.notes)))
        return GOOD

    here.courier.answer = slow
    here.turn()
    assert len(seen) == len(jobs)
    # at every tenth message there may be a ping, so 300 s become 360 s: 5 of them before the last message, 1 at once
    assert seen[-1][0] >= 5
    assert [title for _, title, _ in here.courier.notes] == ["Meshdrop: 201 messages", "Meshdrop: 2 done, 1 failed"]
    assert seen[-1][1] == 2


def test_what_waited_while_the_service_rested_for_a_week_is_sent_and_not_given_up(
    office: Callable[..., Office],
) -> None:
    here = office(HOOK)
    jobs = [here.ended(f"chair{number}") for number in range(25)]
    here.seconds += 2 * GIVE_UP_S
    here.restart(Targets((HOOK,)))
    here.turn()
    assert {here.told(job)[-1] for job in jobs} == {"told"}


def test_a_clock_that_was_set_back_keeps_no_message_waiting(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    here.courier.answer = lambda _: BAD
    here.ended()
    here.turn()
    here.courier.answer = lambda _: GOOD
    here.wall -= 86_400
    here.turn(10)
    assert here.database.read(waiting) == {}


def test_a_new_life_goes_on_where_the_old_one_was_killed(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    here.courier.answer = lambda _: BAD
    job = here.ended()
    here.turn()
    here.restart(Targets((HOOK,)))
    here.courier.answer = lambda _: GOOD
    here.turn()
    assert len(here.courier.posts) == 1, "its pause is not over"
    here.turn(5)
    assert here.courier.posts == [[f"{job.id}.done"]] * 2


def test_after_a_week_it_is_given_up_and_the_history_says_so(office: Callable[..., Office]) -> None:
    here = office(HOOK)
    here.courier.answer = lambda _: AWAY
    job = here.ended()
    here.turn()
    here.turn(GIVE_UP_S + 1)
    assert here.told(job)[-1] == "not told"
    assert here.database.read(waiting) == {}


def test_a_record_that_was_lost_tells_of_what_it_finds_under_the_same_name(office: Callable[..., Office]) -> None:
    """A job that the folders prove to be published is told of too: its message may have been lost with its row."""
    here = office(HOOK)
    here.jobs.place([Placement("f" * 32, State.DONE_CLEAN, b"chair", {"dest": b"chair", "verdict": "normal"})])
    here.turn()
    assert here.courier.posts == [["f" * 32 + ".done"]]
    here.jobs.place([Placement("f" * 32, State.DONE_CLEAN, b"chair", {})])
    here.turn(1000)
    assert len(here.courier.posts) == 1


def test_a_message_that_cannot_be_worded_does_not_keep_a_result_from_being_published(
    office: Callable[..., Office], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = office(HOOK)
    monkeypatch.setattr("meshdrop.daemon.notify.wording.ended_page", lambda *_: 1 / 0)
    assert here.ended().state is State.DONE


# -- people --------------------------------------------------------------------------------------------------------


def test_a_failure_is_told_to_everybody_once_and_success_to_nobody(office: Callable[..., Office]) -> None:
    here = office(SLACK, MAIL)
    here.ended("good")
    here.ended("bad", "quality")
    here.ended("mine", "cancelled")
    here.turn()
    here.turn(1000)
    assert [(url, title) for url, title, _ in here.courier.notes] == [
        ("slack://a", "Meshdrop: bad failed"),
        ("mailto://b", "Meshdrop: bad failed"),
    ]
    assert "does not agree with the capture" in here.courier.notes[0][2]


def test_who_does_not_take_it_gets_it_again_and_nobody_else_does(office: Callable[..., Office]) -> None:
    here = office(SLACK, MAIL)
    here.courier.answer = lambda url: AWAY if url == "mailto://b" else GOOD
    here.ended("bad", "quality")
    here.turn()
    here.turn(100)
    assert [url for url, _, _ in here.courier.notes] == ["slack://a", "mailto://b", "mailto://b"]


def test_a_flood_of_failures_is_a_message_a_minute(office: Callable[..., Office]) -> None:
    here = office(SLACK)
    here.ended("first", "quality")
    here.turn()
    for number in range(30):
        here.ended(f"bad{number}", "quality")
        here.turn(1)
    assert len(here.courier.notes) == 1
    here.turn(60)
    assert [title for _, title, _ in here.courier.notes] == ["Meshdrop: first failed", "Meshdrop: 30 messages"]
    text = here.courier.notes[1][2]
    assert "bad0" in text
    assert "... and 10 more" in text


def test_names_of_folders_are_made_harmless(office: Callable[..., Office]) -> None:
    here = office(HOOK, SLACK, MAIL)
    job = here.ended("a\nb\x1b[31m", "quality")
    here.turn()
    assert "\x1b" not in here.courier.notes[0][1]
    assert "\n" not in here.courier.notes[0][1]
    [body] = [json.loads(text) for text in here.courier.bodies[f"{job.id}.failed"]]
    assert body["name"] == "a\\nb\\x1b[31m"


def test_the_digest_comes_at_once_and_then_once_a_day_at_its_time(office: Callable[..., Office]) -> None:
    here = office(SLACK, digest_at="12:30")
    here.turn()
    assert len(here.courier.notes) == 1
    here.turn(1799)
    assert len(here.courier.notes) == 1
    here.courier.notes.clear()
    here.turn(1)
    [(_, title, text)] = here.courier.notes
    assert title == "Meshdrop: 2 done, 1 failed"
    assert text.splitlines() == [
        "Meshdrop on /scans, the last 24 hours.",
        "done: 2 (2 normal)",
        "failed: 1 (1 quality)",
        "waiting now: 3, the oldest for 2.0 hours",
    ]
    here.turn(3600)
    here.restart(Targets((SLACK,), "12:30"))
    here.turn(3600)
    assert len(here.courier.notes) == 1
    here.turn(86_400)
    assert len(here.courier.notes) == 2


# -- sign of life --------------------------------------------------------------------------------------------------


def test_the_ping_comes_while_all_is_well_and_tells_when_it_is_not(office: Callable[..., Office]) -> None:
    here = office(LIFE)
    here.turn()
    here.turn(299)
    assert here.courier.pings == [PING]
    here.turn(1)
    here.trouble = "held"
    here.turn(300)
    assert here.courier.pings == [PING, PING, f"{PING}/fail"]
    here.trouble = None
    here.courier.answer = lambda _: AWAY
    here.turn(300)
    here.courier.answer = lambda _: GOOD
    here.turn(60)  # one that did not arrive is not waited for so long
    assert here.courier.pings[3:] == [PING, PING]


@pytest.mark.parametrize(
    ("start", "at", "first"),
    [
        ((2026, 3, 28), "02:30", 27),
        ((2026, 10, 24), "02:30", 23),
        ((2026, 10, 24), "23:59", 23),
        ((2026, 3, 28), "00:00", 28),
    ],
)
def test_the_digest_comes_once_for_each_day_also_when_the_clocks_change(
    office: Callable[..., Office], monkeypatch: pytest.MonkeyPatch, start: tuple[int, int, int], at: str, first: int
) -> None:
    """On 29 March 2026 there is no half past two in Berlin; on 25 October there are two. A look every ten minutes."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        here = office(SLACK, digest_at=at)
        here.wall = time.mktime((*start, 0, 0, 30, 0, 0, -1))
        for _ in range(3 * 24 * 6 + 6):
            here.turn(600)
        noted = here.database.read(lambda session: session.scalars(select(MessageRow.about)).all())
        assert [int(about[-2:]) for about in noted] == [first, first + 1, first + 2, first + 3]
        assert len(here.courier.notes) == 4
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_that_is_set_back_brings_no_second_digest(office: Callable[..., Office]) -> None:
    here = office(SLACK, digest_at="07:00")
    here.turn()
    for days in (1, 2, 3):
        here.wall -= 86_400 * days
        here.turn(100)
        here.wall += 86_400 * days
        here.turn(100)
    assert len(here.courier.notes) == 4, "the day itself, and each of three days that were not told of yet"


def test_nothing_is_noted_for_nobody(office: Callable[..., Office]) -> None:
    here = office()
    here.ended("bad", "quality")
    here.turn()
    assert (here.courier.posts, here.courier.notes, here.courier.pings) == ([], [], [])
    assert here.database.read(waiting) == {}
