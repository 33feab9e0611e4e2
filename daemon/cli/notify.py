"""``meshdrop notify``; like the other commands, it imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode
from meshdrop.daemon.cli.options import Config, Root, out, places_of

if TYPE_CHECKING:
    from meshdrop.daemon.notify.courier import Courier, Outcome
    from meshdrop.daemon.notify.targets import Targets


def notify(root: Root = None, config: Config = None) -> None:
    """Send a test message to every receiver in the settings, and say what came of it; no address is shown."""
    from meshdrop.daemon.base.settings import load
    from meshdrop.daemon.notify.courier import Courier
    from meshdrop.daemon.notify.targets import read_targets

    places, targets = places_of(root, config), read_targets(load(root, config))
    if not targets.any:
        raise ConfigurationError("there is nobody to tell", "set webhook_url, notify_urls or ping_url")
    bad = False
    for receiver, answer in _tried(targets, Courier(places.state)):
        bad = bad or answer.trouble is not None
        out.print(f"{receiver}: {answer.trouble or 'it has arrived'}", markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(ExitCode.PROBLEM)


def _tried(targets: Targets, courier: Courier) -> Iterator[tuple[str, Outcome]]:
    from meshdrop.daemon.notify.wording import trial_body
    from meshdrop.db.messages import Message

    if targets.webhook:
        about = f"test.{uuid.uuid4().hex}"
        trial = Message(0, "webhook", about, None, trial_body(about), time.time(), 0, 0.0, None, None, None, None)
        yield "webhook", courier.post(targets.webhook, targets.key, [trial])[0]
    for number, url in enumerate(targets.notify.values(), 1):
        told = courier.notify(url, "Meshdrop: a test", "Messages about failed captures will come like this one.")
        yield f"number {number} of notify_urls", told
    if targets.ping:
        yield "ping", courier.call(targets.ping)
