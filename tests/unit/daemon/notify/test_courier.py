"""Sending: whatever a receiver does, it ends in time, is told in our own words, and the address stays a secret."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshdrop.daemon.notify import http_send, sender
from meshdrop.daemon.notify.courier import Courier, SendOutcome
from meshdrop.daemon.notify.people import People
from meshdrop.daemon.notify.ping import Ping, below
from meshdrop.daemon.notify.webhook import Webhook, signature
from meshdrop.db.messages import Message
from tests.patience import PATIENCE_S
from tests.receivers import DRIP, GARBAGE, HANG, RESET, Receiver, certificate_for, free_port, receivers

__all__ = ["receivers"]


def message(about: str = "0123.done", body: str = '{"schema": "meshdrop.webhook/1"}') -> Message:
    return Message(1, "webhook", about, None, body, 0.0, 0, 0.0, None, None, None, None)


def post(courier: Courier, url: str, key: bytes | None, messages: list[Message]) -> list[SendOutcome]:
    """What came of messages for a webhook."""
    return [sent.outcome for sent in Webhook(url, key).send(courier, messages)]


def call(courier: Courier, url: str, limit_s: float | None = None) -> SendOutcome:
    """What came of a ping."""
    return Ping(url).sign(courier, "well", limit_s)


def notify(courier: Courier, url: str, title: str, text: str) -> SendOutcome:
    """What came of a message to people."""
    [sent] = People(url).send(courier, [message(body=json.dumps({"title": title, "text": text}))])
    return sent.outcome


@pytest.fixture
def courier(tmp_path: Path) -> Courier:
    return Courier(tmp_path)


def test_a_message_arrives_word_for_word_with_its_name_and_its_proof(
    courier: Courier, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers()
    assert post(courier, receiver.url, b"key", [message()]) == [SendOutcome(200, None)]
    [one] = receiver.received
    assert (one.method, one.path, one.body) == ("POST", "/hook/t0ken-of-the-address", message().body.encode())
    assert one.headers["idempotency-key"] == "0123.done"
    assert one.headers["content-type"] == "application/json"
    wanted = hmac.new(b"key", one.body, hashlib.sha256).hexdigest()
    assert one.headers["x-meshdrop-signature"] == f"sha256={wanted}"


def test_without_a_key_nothing_is_signed(courier: Courier, receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    post(courier, receiver.url, None, [message()])
    assert "x-meshdrop-signature" not in receiver.received[0].headers


def test_the_signature_is_the_one_of_the_documentation() -> None:
    """printf '%s' '{"a": 1}' | openssl dgst -sha256 -hmac secret"""
    assert signature(b"secret", '{"a": 1}') == (
        "sha256=9efa14a18410a57a432fbf0ce38d4bc33339036a64e57b8c86da0bb1e122d972"
    )


@pytest.mark.parametrize(
    ("mood", "answer"),
    [
        (204, SendOutcome(204, None)),
        (500, SendOutcome(500, "it answered 500")),
        (404, SendOutcome(404, "it answered 404")),
        (302, SendOutcome(302, "it answered 302, a redirect, which is not followed")),
        (307, SendOutcome(307, "it answered 307, a redirect, which is not followed")),
        (RESET, SendOutcome(None, "it broke the connection off")),
        (GARBAGE, SendOutcome(None, "it broke the connection off")),
    ],
)
def test_every_answer_has_its_words(
    courier: Courier, receivers: Callable[..., Receiver], mood: int | str, answer: SendOutcome
) -> None:
    receiver = receivers(lambda _: mood)
    assert post(courier, receiver.url, None, [message()]) == [answer]
    assert [one.path for one in receiver.received] == ["/hook/t0ken-of-the-address"], "and nobody else was asked"


@pytest.mark.parametrize("mood", [HANG, DRIP])
def test_who_never_comes_to_an_end_is_left_at_the_limit(
    courier: Courier, receivers: Callable[..., Receiver], mood: str
) -> None:
    """A drip of header bytes keeps every single read alive: only the limit of the whole ends it."""
    receiver = receivers(lambda _: mood)
    answer = call(courier, receiver.url, limit_s=1.0)
    assert answer.status is None
    assert answer.trouble in ("it did not answer within 1 s", "it did not answer in time")


def test_a_closed_port_and_a_name_that_is_none(courier: Courier) -> None:
    assert call(courier, f"http://127.0.0.1:{free_port()}/") == SendOutcome(None, "it refuses connections")
    assert call(courier, "http://no-such-name.invalid/").trouble in (
        "its name is not known here",
        "it did not answer within 10 s",
    )


def test_certificates_are_looked_at(
    courier: Courier, receivers: Callable[..., Receiver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, other = certificate_for("localhost", tmp_path), certificate_for("other.example", tmp_path)
    trusted, stranger = receivers(certificate=good), receivers(certificate=other)
    unknown = call(courier, trusted.url)
    assert unknown == SendOutcome(None, "its certificate is not accepted: self-signed certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(good[0]))
    assert call(courier, trusted.url) == SendOutcome(200, None)
    monkeypatch.setenv("SSL_CERT_FILE", str(other[0]))
    assert call(courier, stranger.url) == SendOutcome(None, "its certificate is not accepted: Hostname mismatch")
    assert stranger.received == []


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_receiver_that_is_overloaded_is_not_sent_the_rest_and_says_how_long_to_wait(
    courier: Courier, receivers: Callable[..., Receiver], status: int
) -> None:
    receiver = receivers(lambda _: status, headers={"Retry-After": "120"})
    [answer] = post(courier, receiver.url, None, [message("1"), message("2")])
    assert answer == SendOutcome(status, f"it answered {status}", wait_s=120.0)
    assert not answer.was_reached
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        ("soon", 0),
        ("-5", 0),
        ("1e9", 0),
        ("9" * 400, 999_999_999),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 99 Oct 2015", 0),
        ("\u0664", 0),
        ("Thu, 01 Jan 1970 01:00:00 GMT", 3600),
    ],
)
def test_how_long_a_receiver_wants_to_be_left_alone(
    text: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0 if seconds == 3600 else 1.8e9
    monkeypatch.setattr("meshdrop.daemon.notify.http_send.time.time", lambda: now)
    assert http_send._seconds(text) == seconds


def test_a_batch_ends_when_its_time_is_over_and_the_rest_waits_for_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four seconds for each of ten: the third ends it, because one may take ten."""
    moments = iter(range(0, 400, 4))
    monkeypatch.setattr("meshdrop.daemon.notify.sender.time.monotonic", lambda: next(moments))
    monkeypatch.setattr("meshdrop.daemon.notify.http_send.send", lambda *_: {"status": 200, "trouble": None})
    request = {"task": http_send.__name__, "limit_s": 10.0, "parts": [{}] * 10}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
    sender.main()
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_after_one_that_was_not_reached_the_rest_is_not_tried(
    courier: Courier, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers(lambda one: RESET if one.headers["idempotency-key"] == "2" else 500)
    answers = post(courier, receiver.url, None, [message("1"), message("2"), message("3")])
    assert answers == [SendOutcome(500, "it answered 500"), SendOutcome(None, "it broke the connection off")]
    assert len(receiver.received) == 2


def test_stopping_ends_what_is_under_way(courier: Courier, receivers: Callable[..., Receiver]) -> None:
    asked = threading.Event()

    def hang(_: object) -> str:
        asked.set()
        return HANG

    receiver = receivers(hang)
    found: list[SendOutcome] = []
    thread = threading.Thread(target=lambda: found.append(call(courier, receiver.url, limit_s=PATIENCE_S)))
    thread.start()
    assert asked.wait(PATIENCE_S)
    courier.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert found == [SendOutcome(None, "the service ended while it was sent")]
    assert call(courier, receiver.url).trouble is not None


def test_a_message_to_people_goes_through_apprise(courier: Courier, receivers: Callable[..., Receiver]) -> None:
    pytest.importorskip("apprise", reason="the extra [notify] is not installed")
    receiver = receivers()
    url = receiver.url.replace("http://", "json://")
    assert notify(courier, url, "chair failed", "<b>why</b> & what next") == SendOutcome(None, None)
    [one] = receiver.received
    assert b"chair failed" in one.body
    assert b"what next" in one.body
    refused = receivers(lambda _: 500)
    answer = notify(courier, refused.url.replace("http://", "json://"), "a", "b")
    assert answer == SendOutcome(None, "it did not take the message")
    assert notify(courier, "nonsense://", "a", "b").trouble == "apprise does not understand its address"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://hc.example/ping/uuid", "https://hc.example/ping/uuid/fail"),
        ("https://hc.example/ping/uuid/", "https://hc.example/ping/uuid/fail"),
        ("https://up.example/push?key=1&x=/", "https://up.example/push/fail?key=1&x=/"),
    ],
)
def test_a_word_is_added_to_the_path(url: str, wanted: str) -> None:
    assert below(url, "fail") == wanted
