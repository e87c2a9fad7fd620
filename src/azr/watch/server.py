"""`azr watch RUN --web`: the report's page, kept up to date, from a server that only this machine can reach.

It answers GET and HEAD at two addresses and makes no file's name of what it is asked. A page elsewhere that has its own
name point at 127.0.0.1 (DNS rebinding) would send that name as the host, and is refused.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from azr.analysis.follow import Follower
from azr.errors import UserError
from azr.report.build import page_data
from azr.report.page import render

HOST = "127.0.0.1"
DATA = "/data.json"
REST_SECONDS = 2.0
"""The log is read again at most this often, however many pages ask."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Picture:
    """What is to be shown of a run by now.

    Args:
        run: the run's folder.

    Raises:
        UserError: it is not the folder of a run.
    """

    def __init__(self, run: Path) -> None:
        self._follower = Follower(run)
        self._lock = threading.Lock()
        self._data, self._version, self._read = b"", "", 0.0

    def data(self) -> tuple[bytes, str]:
        """The page's data as JSON, and a mark that changes with it.

        Raises:
            UserError: the logs cannot be read.
        """
        with self._lock:
            if not self._data or time.monotonic() - self._read > REST_SECONDS:
                if self._follower.poll() or not self._data:
                    self._data = json.dumps(page_data([self._follower], ledgers=False)).encode("ascii")
                    self._version = f'"{hashlib.sha256(self._data).hexdigest()[:16]}"'
                self._read = time.monotonic()
            return self._data, self._version

    def page(self) -> bytes:
        """The whole page, which asks for newer data by itself.

        Raises:
            UserError: the logs cannot be read.
        """
        data, _ = self.data()
        return render(json.loads(data), live=DATA).encode("utf-8")


class LiveServer:
    """Serves a picture until it is closed. Use as a context manager.

    Args:
        picture: what is served.
        port: 0 for any that is free.

    Attributes:
        port: where it listens.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, picture: Picture, port: int) -> None:
        try:
            self._server = _Server(picture, port)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"--port {port}: {reason}; name another, or 0 for any that is free") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="azr-watch")

    @property
    def address(self) -> str:
        """For the browser."""
        return f"http://{HOST}:{self.port}/"

    def __enter__(self) -> LiveServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True  # a port that was just let go of is free; one that is listened on is not

    def __init__(self, picture: Picture, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.picture = picture
        self.names = {f"{name}:{self.server_address[1]}" for name in (HOST, "localhost")}

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up half way is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "azr", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """The page, or its data."""
        if self.headers.get("Host") not in self.server.names:
            self._answer(HTTPStatus.FORBIDDEN, b"this server answers to 127.0.0.1 and localhost only\n")
            return
        try:
            if self.path == "/":
                self._answer(HTTPStatus.OK, self.server.picture.page(), "text/html; charset=utf-8")
            elif self.path == DATA:
                self._send_data(*self.server.picture.data())
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there is / and /data.json\n")
        except UserError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode())

    def _send_data(self, data: bytes, version: str) -> None:
        if self.headers.get("If-None-Match") == version:
            self._answer(HTTPStatus.NOT_MODIFIED, b"", "application/json", version)
        else:
            self._answer(HTTPStatus.OK, data, "application/json", version)

    def _refuse(self) -> None:
        self.close_connection = True  # what it may have sent along is not read
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"this server only reads\n")

    do_HEAD = do_GET
    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8", version: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if version is not None:
            self.send_header("ETag", version)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The terminal says where the page is, and nothing of who looked."""
