"""``python3 sink.py``: takes every HTTP request (port 8780 of the loopback) and every mail (8725), and prints them."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web(BaseHTTPRequestHandler):
    """Prints method, path and body, and is content."""

    def do_POST(self) -> None:
        """A message to a webhook."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print(self.command, self.path, body.decode(), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the request is printed above."""


class Mail(socketserver.StreamRequestHandler):
    """Prints the lines of a mail, and is content."""

    def handle(self) -> None:
        """One conversation."""
        self.wfile.write(b"220 sink\r\n")
        is_text = False
        for line in self.rfile:
            text = line.decode().rstrip()
            is_text = is_text and text != "."
            if is_text:
                print("MAIL", text, flush=True)
                continue
            is_text = text.upper() == "DATA"
            self.wfile.write({"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(text.upper(), b"250 ok\r\n"))


if __name__ == "__main__":
    threading.Thread(target=socketserver.ThreadingTCPServer(("127.0.0.1", 8725), Mail).serve_forever).start()
    ThreadingHTTPServer(("127.0.0.1", 8780), Web).serve_forever()
