"""`azr watch RUN --web`: the report's page, kept up to date by a server that only this machine can reach.

It answers GET and HEAD at two addresses, and never uses a request as a file name. A foreign page whose name resolves to
127.0.0.1 (DNS rebinding) sends its own name as the host, and is refused.
"""

import hashlib
import json
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from azr.analysis.run import Follower
from azr.errors import UserError
from azr.report.build import page_data
from azr.report.page import render

HOST = "127.0.0.1"
DATA = "/data.json"
REST_SECONDS = 2.0
"""Seconds between two reads of the logs, however many pages ask."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LivePage:
    """The current page of the run in folder `run`.

    Raises:
        UserError: not the folder of a run; from the methods, the logs cannot be read.
    """

    def __init__(self, run: Path) -> None:
        self._follower = Follower(run)
        self._lock = threading.Lock()
        self._data, self._version, self._read = b"", "", 0.0

    def data(self) -> tuple[bytes, str]:
        """The page's data as JSON, and its ETag."""
        with self._lock:
            if not self._data or time.monotonic() - self._read > REST_SECONDS:
                if self._follower.poll() or not self._data:
                    self._data = json.dumps(page_data([self._follower], ledgers=False)).encode("ascii")
                    self._version = f'"{hashlib.sha256(self._data).hexdigest()[:16]}"'
                self._read = time.monotonic()
            return self._data, self._version

    def html(self) -> bytes:
        """The whole page, which polls for new data."""
        return render(json.loads(self.data()[0]), live=DATA).encode("utf-8")


class LiveServer(ThreadingHTTPServer):
    """Serves a page at `address` while it is entered as a context manager; port 0 chooses a free one.

    Raises:
        UserError: the port is taken.
    """

    def __init__(self, page: LivePage, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(f"--port {port}: {reason}; choose another, or 0 for any free one") from None
        self.page, self.port = page, int(self.server_address[1])
        self.address = f"http://{HOST}:{self.port}/"
        self.names = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        self._thread = threading.Thread(target=self.serve_forever, daemon=True, name="azr-watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore browsers that close the connection early."""


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
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
                self._answer(HTTPStatus.OK, self.server.page.html(), "text/html; charset=utf-8")
            elif self.path == DATA:
                data, version = self.server.page.data()
                known = self.headers.get("If-None-Match") == version
                status = HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK
                self._answer(status, b"" if known else data, "application/json", version)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there is / and /data.json\n")
        except UserError as error:
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode())

    def _refuse(self) -> None:
        self.close_connection = True  # the request's body is not read
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
        """Print nothing."""
