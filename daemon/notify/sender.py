"""``python -m meshdrop.daemon.notify.sender``: sends what it reads on stdin, and says on stdout what came of it.

A process of its own: a name server, a TLS library or a mail server that never answers holds up nobody, the service's
memory has none of the libraries, and the alarm ends it at the limit wherever it is. Nothing is printed but the answers
below, because messages of libraries quote addresses, and addresses are secrets.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import OpenerDirector


#: Answers that say nothing about the message: the receiver wants to be left alone, or only its proxy is there.
AWAY = frozenset({429, 502, 503, 504})


def main() -> None:
    """Send one part of the request after the other, for as long as one may take; stop at a receiver that is away."""
    request = json.load(sys.stdin)
    end = time.monotonic() + request["limit_s"]
    for part in request["parts"]:
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"])
        answer = _notify(part) if request["task"] == "notify" else _call(part, request["limit_s"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(answer), flush=True)
        if (answer["trouble"] and answer["status"] in (None, *AWAY)) or time.monotonic() > end:
            return


def _call(part: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """One HTTP request. Redirects are not followed, and a certificate that does not prove the name ends it."""
    from http.client import HTTPException  # noqa: PLC0415 - only for those who call
    from urllib.error import HTTPError  # noqa: PLC0415
    from urllib.request import Request  # noqa: PLC0415

    body = None if part["body"] is None else part["body"].encode()
    try:
        request = Request(part["url"], data=body, headers=part["headers"], method=part["method"])
        with _opener().open(request, timeout=limit_s) as answer:
            return {"status": answer.status, "trouble": None}
    except HTTPError as error:
        elsewhere = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
        told = {"status": error.code, "trouble": f"it answered {error.code}{elsewhere}"}
        return told | {"wait_s": _seconds(error.headers.get("Retry-After"))}
    except (OSError, HTTPException, ValueError) as error:
        return {"status": None, "trouble": _in_words(error)}


def _seconds(retry_after: str | None) -> float:
    """How long a receiver wants to be left alone: it may say seconds or a date; 0 for nothing and for nonsense."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only for those who call

    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener  # noqa: PLC0415 - only for those who call

    class NoRedirects(HTTPRedirectHandler):
        """Whoever is led elsewhere would carry the message, and its key, to a place that nobody chose."""

        def redirect_request(self, *_: Any) -> None:
            return None

    return build_opener(NoRedirects)


def _in_words(error: BaseException) -> str:
    """What went wrong without the words of the library: those may quote the address."""
    from http.client import HTTPException  # noqa: PLC0415 - only for those who call
    from ssl import SSLCertVerificationError, SSLError  # noqa: PLC0415

    inner = getattr(error, "reason", error)
    if isinstance(inner, SSLCertVerificationError):
        return f"its certificate is not accepted: {inner.verify_message.partition(',')[0]}"
    if isinstance(inner, SSLError):
        return "no encrypted connection could be made"
    if isinstance(inner, socket.gaierror):
        return "its name is not known here"
    if isinstance(inner, TimeoutError):
        return "it did not answer in time"
    if isinstance(inner, ConnectionRefusedError):
        return "it refuses connections"
    if isinstance(inner, ConnectionError | HTTPException):
        return "it broke the connection off"
    if isinstance(inner, OSError) and inner.errno:
        return os.strerror(inner.errno).lower()
    return "its address cannot be called"


def _notify(part: Mapping[str, Any]) -> dict[str, Any]:
    """One message to people, by apprise, which reports no more than whether it was taken."""
    import logging  # noqa: PLC0415 - only for those who notify

    logging.disable()
    from apprise import Apprise, NotifyFormat  # noqa: PLC0415

    receiver = Apprise()
    if not receiver.add(part["url"]):
        return {"status": None, "trouble": "apprise does not understand its address"}
    taken = receiver.notify(body=part["text"], title=part["title"], body_format=NotifyFormat.TEXT)
    return {"status": None, "trouble": None if taken else "it did not take the message"}


if __name__ == "__main__":
    main()
