"""The table of ways to tell somebody outside. A new one is a file like those below, and a line here."""

from __future__ import annotations

from meshdrop.daemon.notify.channel import Channel
from meshdrop.daemon.notify.people import People
from meshdrop.daemon.notify.ping import Ping
from meshdrop.daemon.notify.webhook import Webhook

CHANNELS: tuple[type[Channel], ...] = (Webhook, People, Ping)


def _with_files(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for name in names for each in (name, f"{name}_file"))


#: Settings that name a receiver, and all of those that are addresses and keys.
ADDRESS_SETTINGS = _with_files(tuple(channel.setting for channel in CHANNELS))
SETTINGS = _with_files(tuple(name for channel in CHANNELS for name in (channel.setting, *channel.secrets)))


def kind_of(name: str) -> str | None:
    """Which kind of channel a name in the record belongs to; None for one that there is not, or not any more."""
    first = name.partition(".")[0]
    return first if first in {channel.kind for channel in CHANNELS} else None
