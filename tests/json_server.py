"""What the tests' small servers have in common: JSON over HTTP, in a process of their own that ends with its input."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class JSONHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.get()

    def do_POST(self) -> None:
        self.post(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def get(self) -> None:
        """Answer a question."""
        raise NotImplementedError

    def post(self, request: dict[str, Any]) -> None:
        """Answer a request, given its body."""
        raise NotImplementedError

    def answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer."""
        sent = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(sent), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: a test that fails shows the client's side."""


def serve(handler: type[JSONHandler]) -> None:
    """Print the port it listens on and serve until standard input ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


@contextmanager
def served_by(module: str, *options: str) -> Iterator[str]:
    """Run a module that calls `serve` in a process of its own, and give its address."""
    command, root = [sys.executable, "-m", module, *options], Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.communicate()
