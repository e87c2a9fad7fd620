"""A small hub on this machine: the routes that its client uses for an upload, and what they store.

Answers follow the client's own checks of them. Tokens are `TOKENS`; each may write under one owner.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

import yaml

from tests.json_server import JSONHandler

TOKENS = {"hf_mine": "me", "hf_other": "other"}
LICENCES = {"mit", "apache-2.0"}


@dataclass
class Repo:
    """A repository: its visibility and the files of its last commit."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What the server stores, and the requests that it got, as method and path."""

    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    broken: str = ""
    """Requests whose path ends so are answered with status 500."""


@contextmanager
def fake_hub() -> Iterator[Hub]:
    """Serve a hub in a thread."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(JSONHandler):
    hub: Hub

    def do_HEAD(self) -> None:  # noqa: N802
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:  # noqa: N802
        self.route(b"")

    def do_POST(self) -> None:  # noqa: N802
        self.route(self.rfile.read(int(self.headers["Content-Length"])))

    def do_PUT(self) -> None:  # noqa: N802
        self.route(self.rfile.read(int(self.headers["Content-Length"])))

    def route(self, body: bytes) -> None:
        """Answer a request as the hub does."""
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.broken and path.endswith(self.hub.broken):
            self.refuse(501, "a disk is full")
            return
        if self.command == "PUT":  # an address with its own signature, as of a bucket: no token
            oid = path.rpartition("/")[2]
            if hashlib.sha256(body).hexdigest() != oid:
                self.refuse(400, "the content has another hash")
                return
            self.hub.objects[oid] = body
            self.answer(200, {})
            return
        user = TOKENS.get((self.headers["Authorization"] or "").removeprefix("Bearer "))
        if user is None:
            self.refuse(401, "Invalid username or password.")
            return
        match path.strip("/").split("/"):
            case ["api", "repos", "create"]:
                self.create(json.loads(body), user)
            case ["api", "validate-yaml"]:
                self.validate(json.loads(body))
            case ["api", kinds, owner, name, *rest]:
                self.in_repo(kinds[:-1], f"{owner}/{name}", rest, body, user)
            case [*parts] if "/".join(parts).endswith(".git/info/lfs/objects/batch"):
                self.batch(json.loads(body))
            case _:
                self.refuse(404, f"no route {path}")

    def refuse(self, status: int, message: str) -> None:
        self.answer(status, {"error": message}, {"X-Error-Message": message})

    def create(self, request: dict[str, Any], user: str) -> None:
        owner = request.get("organization") or user
        if owner != user:
            self.refuse(403, f"You don't have the rights to create a repository under {owner}")
            return
        kind, name = request.get("type", "model"), f"{owner}/{request['name']}"
        url = f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
        if (kind, name) in self.hub.repos:
            self.answer(409, {"error": "You already created this repo", "url": url, "name": name})
            return
        self.hub.repos[kind, name] = Repo(private=request["visibility"] == "private")
        self.answer(200, {"url": url, "name": name, "id": "1"})
        return

    def validate(self, request: dict[str, Any]) -> None:
        """Check the metadata of a card: the fields that azr writes, by the hub's rules for them."""
        _, header, _ = request["content"].split("---\n", 2)
        data, errors = yaml.safe_load(header), []
        if data.get("license") not in {None, *LICENCES}:
            errors.append('"license" must be one of the known licences')
        if request["repoType"] == "dataset" and not all(
            {"config_name", "data_files"} <= set(c) for c in data["configs"]
        ):
            errors.append('"configs" must have "config_name" and "data_files"')
        for model in data.get("model-index", []):
            for result in model["results"]:
                assert all((result["task"]["type"], result["dataset"]["name"], result["metrics"][0]["type"]))
        if errors:
            self.answer(400, {"errors": [{"message": error} for error in errors], "warnings": []})
            return
        self.answer(200, {"errors": [], "warnings": []})
        return

    def in_repo(self, kind: str, name: str, rest: list[str], body: bytes, user: str) -> None:
        repo = self.hub.repos.get((kind, name))
        if repo is None:
            self.answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return
        match rest:
            case [] | ["revision", _]:
                self.answer(200, {"id": name, "private": repo.private, "sha": "0" * 40, "siblings": []})
            case _ if not name.startswith(f"{user}/"):
                self.refuse(403, "Forbidden: you need the right to write")
            case ["preupload", "main"]:
                files = [
                    {"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False, "oid": None}
                    for file in json.loads(body)["files"]
                ]
                self.answer(200, {"files": files})
            case ["commit", "main"]:
                self.commit(repo, name, [json.loads(line) for line in body.splitlines()])
            case _:
                self.refuse(404, f"no route {rest}")

    def commit(self, repo: Repo, name: str, lines: list[dict[str, Any]]) -> None:
        files = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.hub.objects.get(value["oid"])
                if content is None or len(content) != value["size"]:
                    self.refuse(400, f"{value['path']} was not uploaded")
                    return
                files[value["path"]] = content
            else:
                self.refuse(400, f"unknown operation {line['key']}")
                return
        repo.files |= files
        repo.commits.append(lines[0]["value"]["summary"])
        oid = hashlib.sha1(str(sorted(files)).encode()).hexdigest()
        self.answer(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid, "success": True})
        return

    def batch(self, request: dict[str, Any]) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/objects/{wanted['oid']}", "header": {}}}}
            for wanted in request["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})


def mode(file: dict[str, Any]) -> str:
    """Tell small text from all else, as the hub does by content and .gitattributes."""
    sample = base64.b64decode(file["sample"])
    return "regular" if b"\0" not in sample and file["size"] < 10_000_000 else "lfs"
