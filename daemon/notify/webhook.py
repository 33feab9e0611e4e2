"""A webhook: one program that is told of the end of every job, by a POST that proves where it comes from."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshdrop.daemon.base.log import get_logger
from meshdrop.daemon.notify import http_send
from meshdrop.daemon.notify.addresses import Addresses, host_of
from meshdrop.daemon.notify.channel import MessageChannel, Sent
from meshdrop.daemon.notify.wording import trial_body, webhook_body

if TYPE_CHECKING:
    from meshdrop.daemon.notify.courier import Courier, SendOutcome
    from meshdrop.db.messages import Message
    from meshdrop.db.records import Job

log = get_logger()


@dataclass(frozen=True)
class Webhook(MessageChannel):
    """``key`` signs what is sent."""

    url: str = field(repr=False)
    key: bytes | None = field(default=None, repr=False)

    kind = "webhook"
    setting = "webhook_url"
    secrets = ("webhook_secret",)
    batch = 10
    name = kind
    called = kind

    @classmethod
    def read(cls, given: Addresses) -> Sequence[Webhook]:
        """One at most."""
        url, key = given.http(cls.setting), given.one("webhook_secret")
        if key is not None and url is None:
            given.problems.append("webhook_secret is set, and webhook_url is not")
        return [] if url is None else [cls(url, None if key is None else key.encode())]

    @classmethod
    def counted(cls, count: int) -> str:
        """There is one."""
        return "a webhook"

    @property
    def host(self) -> tuple[str, int]:
        """Of its address."""
        return host_of(self.url)

    def about_job(self, job: Job) -> str:
        """Every end of a job."""
        return webhook_body(job)

    def send(self, courier: Courier, messages: Sequence[Message]) -> list[Sent]:
        """One after the other, until one does not reach the receiver, or all have taken as long as one may."""
        parts = [self._part(message.about, message.body) for message in messages]
        answers = courier.send(http_send.__name__, parts, http_send.LIMIT_S)
        return [Sent([message], answer) for message, answer in zip(messages, answers, strict=False)]

    def log(self, sent: Sent) -> None:
        """With the answer's status."""
        [message] = sent.messages
        log.info("webhook delivered", job=(message.job_id or "")[:8], status=sent.outcome.status)

    def try_out(self, courier: Courier) -> SendOutcome:
        """A body that tells of no job."""
        about = f"test.{uuid.uuid4().hex}"
        return courier.send(http_send.__name__, [self._part(about, trial_body(about))], http_send.LIMIT_S)[0]

    def _part(self, about: str, body: str) -> dict[str, Any]:
        headers = {**http_send.HEADERS, "Content-Type": "application/json", "Idempotency-Key": about}
        if self.key is not None:
            headers["X-Meshdrop-Signature"] = signature(self.key, body)
        return {"method": "POST", "url": self.url, "headers": headers, "body": body}


def signature(key: bytes, body: str) -> str:
    """What proves that a body is ours and unchanged: HMAC-SHA256 of its bytes, in hexadecimal."""
    return f"sha256={hmac.new(key, body.encode(), hashlib.sha256).hexdigest()}"
