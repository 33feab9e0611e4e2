"""``meshdrop notify``; like the other commands, it imports what it needs when it is called."""
# ruff: noqa: PLC0415

from __future__ import annotations

import typer

from meshdrop.daemon.base.errors import ConfigurationError, ExitCode
from meshdrop.daemon.cli.options import Config, Root, out, places_of


def notify(root: Root = None, config: Config = None) -> None:
    """Send a test message to every receiver in the settings, and say what came of it; no address is shown."""
    from meshdrop.daemon.base.settings import load
    from meshdrop.daemon.notify.channels import CHANNELS
    from meshdrop.daemon.notify.courier import Courier
    from meshdrop.daemon.notify.targets import read_targets

    places, targets = places_of(root, config), read_targets(load(root, config))
    if not targets.channels:
        *names, last = [channel.setting for channel in CHANNELS]
        raise ConfigurationError("there is nobody to tell", f"set {', '.join(names)} or {last}")
    bad, courier = False, Courier(places.state)
    for channel in targets.channels:
        answer = channel.try_out(courier)
        bad = bad or answer.trouble is not None
        out.print(f"{channel.called}: {answer.trouble or 'it has arrived'}", markup=False, soft_wrap=True)
    if bad:
        raise typer.Exit(ExitCode.PROBLEM)
