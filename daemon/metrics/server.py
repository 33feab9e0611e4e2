"""Serves the metrics over HTTP, one request after the other, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, SHUT_RDWR
from socketserver import TCPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from meshdrop.daemon.base.log import get_logger

log = get_logger()

_AGAIN_S = 30.0
#: A client that has not asked and read by then is let go, however busily it goes on.
_PATIENCE_S = 5.0


class MetricsServer:
    """Construct, ``run`` on a thread, ``close`` from another. A port that is taken is tried again and again: metrics
    are no reason for a service not to work.
    """

    def __init__(self, address: str, port: int, registry: CollectorRegistry) -> None:
        self._address, self._port, self._registry = address, port, registry
        self._ended, self._guard = threading.Event(), threading.Lock()
        self._server: TCPServer | None = None

    def run(self) -> None:
        """Serve until closed."""
        told = False
        while not self._ended.is_set():
            try:
                server = _server(self._address, self._port, self._page)
            except OSError as error:
                if not told:
                    log.warning("no metrics", port=self._port, reason=str(error), next="tried again")
                told = True
                self._ended.wait(_AGAIN_S)
                continue
            with self._guard:
                self._server = None if self._ended.is_set() else server
            if self._server is not None:
                log.info("metrics", address=f"http://{self._address}:{self._port}/metrics")
                server.serve_forever(poll_interval=1.0)
            server.server_close()

    def close(self) -> None:
        """End serving."""
        self._ended.set()
        with self._guard:
            if self._server is not None:
                self._server.shutdown()

    def _page(self) -> bytes:
        return generate_latest(self._registry)


def _server(address: str, port: int, page: Callable[[], bytes]) -> TCPServer:
    class Handler(BaseHTTPRequestHandler):
        """One page."""

        timeout = _PATIENCE_S
        server_version, sys_version = "Meshdrop", ""

        def handle(self) -> None:
            """The time-out of a socket is for each byte, and whoever sends a byte a second would never be over."""
            limit = threading.Timer(_PATIENCE_S, self._let_go)
            limit.daemon = True
            limit.start()
            try:
                super().handle()
            finally:
                limit.cancel()

        def _let_go(self) -> None:
            with suppress(OSError):
                self.connection.shutdown(SHUT_RDWR)

        def do_GET(self) -> None:
            """/metrics, and nothing else."""
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            try:
                content = page()
            except Exception as error:  # the record is being replaced, most likely; the next scrape finds the new one
                log.warning("no metrics", reason=f"{type(error).__name__}: {error}")
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Requests are not logged."""

    class Server(TCPServer):
        """On the family of the address. Python's own server for HTTP would ask a name server for a name to give itself,
        and wait."""

        allow_reuse_address = True
        address_family = AF_INET6 if ip_address(address).version == 6 else AF_INET

        def handle_error(self, *_: Any) -> None:
            """A client that went away is no trouble of ours."""

    return Server((address, port), Handler)
