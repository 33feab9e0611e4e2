"""Whom the service tells outside, as the settings say. What each channel is stands in ``channels.py``."""

from __future__ import annotations

from dataclasses import dataclass

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.notify.addresses import Addresses
from meshdrop.daemon.notify.channel import Channel
from meshdrop.daemon.notify.channels import CHANNELS


@dataclass(frozen=True)
class Targets:
    """Every receiver there is; ``digest_at`` is HH:MM, or "" for no digest."""

    channels: tuple[Channel, ...] = ()
    digest_at: str = ""


def read_targets(settings: Settings) -> Targets:
    """The targets of these settings; raises ``ConfigurationError`` with every problem at once, without any secret."""
    given = Addresses(settings)
    channels = tuple(found for channel in CHANNELS for found in channel.read(given))
    if given.problems:
        raise ConfigurationError(
            "the settings have problems:\n" + "\n".join(f"  {problem}" for problem in given.problems),
            "correct them; `meshdrop config show --origin` tells where each setting comes from",
        )
    return Targets(channels, settings.digest_at)
