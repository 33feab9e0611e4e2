"""What the doctor finds out about those whom the service tells outside: set rightly, and (--deep) to be reached?"""

from __future__ import annotations

import socket
from contextlib import closing

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.doctor.checks.finding import Finding
from meshdrop.daemon.doctor.checks.service import running
from meshdrop.daemon.notify.channel import Channel
from meshdrop.daemon.notify.channels import CHANNELS
from meshdrop.daemon.notify.targets import read_targets

GROUP = "outside"
_CONNECT_S = 3.0


def notifications(settings: Settings) -> Finding:
    """Are addresses and keys complete, and is the package there that some of them need?"""
    try:
        targets = read_targets(settings)
    except ConfigurationError as error:
        return Finding("notifications", "fail", str(error), "the service refuses to start", error.fix)
    counts = [(kind, sum(isinstance(channel, kind) for channel in targets.channels)) for kind in CHANNELS]
    told = [kind.counted(count) for kind, count in counts if count]
    return Finding("notifications", "ok", ", ".join(told) or "nobody is told anything")


def metrics(settings: Settings) -> Finding:
    """Can metrics be served where the settings say?"""
    port, address = settings.metrics_port, str(settings.metrics_address)
    if port is None:
        return Finding("metrics", "ok", "not served")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if running(settings.places) is not None:
        return Finding("metrics", "ok", f"port {port} of {address}, by the running service")
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return Finding(
                "metrics",
                "fail",
                f"port {port} of {address} cannot be used: {error.strerror}",
                "metrics are not served",
                f"set another metrics_port, or end what has it: ss -ltnp 'sport = :{port}'",
            )
    return Finding("metrics", "ok", f"port {port} of {address} is free")


def reachable(settings: Settings) -> list[Finding]:
    """Can the hosts of those be reached that have one? A connection is opened and closed; nothing is sent."""
    try:
        targets = read_targets(settings)
    except ConfigurationError:
        return []  # the line `notifications` says it
    return [_reach(channel, *channel.host) for channel in targets.channels if channel.host is not None]


def _reach(channel: Channel, host: str, port: int) -> Finding:
    line = f"reach {channel.called}"
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        return Finding(
            line,
            "warn",
            f"the host of {channel.setting} cannot be reached: {error.strerror or error}",
            "messages wait and are tried again; the service itself goes on",
            f"check {channel.setting}, the firewall, and that the unit allows a network (docs/monitoring.md)",
            GROUP,
        )
    return Finding(line, "ok", f"the host of {channel.setting} answers", group=GROUP)
