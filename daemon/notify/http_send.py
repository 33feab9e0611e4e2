"""One HTTP request, sent in the process of ``sender.py``. Imports nothing until it is called."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

#: How long one request may take.
LIMIT_S = 10.0
HEADERS: Mapping[str, str] = {"User-Agent": "Meshdrop"}


def send(part: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
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
