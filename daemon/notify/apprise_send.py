"""One message to people, sent by apprise in the process of ``sender.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: How long one message may take.
LIMIT_S = 30.0


def send(part: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """One message to people, by apprise, which reports no more than whether it was taken."""
    import logging  # noqa: PLC0415 - only for those who notify

    logging.disable()
    from apprise import Apprise, NotifyFormat  # noqa: PLC0415

    receiver = Apprise()
    if not receiver.add(part["url"]):
        return {"status": None, "trouble": "apprise does not understand its address"}
    taken = receiver.notify(body=part["text"], title=part["title"], body_format=NotifyFormat.TEXT)
    return {"status": None, "trouble": None if taken else "it did not take the message"}
