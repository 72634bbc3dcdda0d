"""The page at an address of this machine, which no other machine reaches."""

from __future__ import annotations

import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
SECONDS = 10.0  # that a connection may be silent
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the page's own
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def server_of(page: str, port: int = 0) -> ThreadingHTTPServer:
    """A server that answers with one page; its ``serve_forever`` serves until it is interrupted.

    It listens to this machine alone, and answers to no other name than this machine's: a page of
    another place whose name was made to lead here is refused.

    Arguments:
        page: the HTML.
        port: where it listens; 0 takes one that is free.

    Raises:
        ValueError: a port that cannot be taken.
    """
    try:
        return _Server((HOST, port), partial(_Answer, page.encode()))
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise ValueError(
            f"cannot serve at port {port}: {why}; give another --port, or none for a free one"
        ) from None


def address(server: ThreadingHTTPServer) -> str:
    """Where the page of a server is."""
    return f"http://{HOST}:{server.server_port}/"


class _Server(ThreadingHTTPServer):
    """A server that outlives a browser that goes away while it is answered."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a connection that broke; other errors are printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Answer(BaseHTTPRequestHandler):
    """The page, at ``/`` alone."""

    timeout = SECONDS
    server_version, sys_version = "diffode", ""
    server: ThreadingHTTPServer

    def __init__(self, page: bytes, *given: Any) -> None:  # noqa: ANN401
        self._page = page
        super().__init__(*given)

    def do_GET(self) -> None:
        """Answer with the page."""
        self._answer(self._page)

    def do_HEAD(self) -> None:
        """Answer with the page's headers."""
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(403)
        elif self.path != "/":
            self.send_error(404)
        else:
            self.send_response(200)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(self._page)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *said: object) -> None:
        """Say nothing of each request."""
