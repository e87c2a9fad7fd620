"""A server that speaks vLLM's routes, in threads of the test's own process, over a Hugging Face folder.

It stands in for vLLM in `make test`, where a real one would take minutes to start; `tests/distributed` has the same
generator on real ones. Tokens are drawn from the model's real distribution, by transformers, so that log-probabilities
mean something. Every request and every answer is held against what a real server says of its routes (`routes.json`).
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from jsonschema import Draft202012Validator
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROUTES: dict[str, Any] = json.loads(Path(__file__).with_name("routes.json").read_text())
DEVELOPMENT = {
    *("/server_info", "/weight_info", "/get_world_size", "/pause", "/resume", "/collective_rpc"),
    *("/update_weight_version", "/init_weight_transfer_engine", "/start_weight_update", "/update_weights"),
    "/finish_weight_update",
}


class FakeVLLM:
    """One server.

    Args:
        folder: the model's.
        scale_out: whether it has `/inference/v1/generate`.
        development: whether it has the routes that change weights.
        logprobs_mode: as vLLM's `--logprobs-mode`.
        context: as vLLM's `--max-model-len`.
        key: as vLLM's `--api-key`.
        loads: whether new weights have an effect, but for the label.

    Attributes:
        calls: route and body of every request but those for samples, in order.
        drawn: bodies of the requests for samples.
        violations: what a real server would not have asked or answered.
        before_sample: called with the number of the request for a sample, from 0, before it is answered.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale_out: bool = True,
        development: bool = True,
        logprobs_mode: str = "processed_logprobs",
        context: int = 2048,
        key: str = "",
        loads: bool = True,
    ) -> None:
        self.scale_out, self.development, self.mode = scale_out, development, logprobs_mode
        self.context, self.key, self.loads = context, key, loads
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.label = "default"
        self.calls: list[tuple[str, Any]] = []
        self.drawn: list[dict[str, Any]] = []
        self.violations: list[str] = []
        self.before_sample: Callable[[int], None] = lambda number: None
        self.dead = False
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._paused, self._under_way = False, 0
        self._connections: set[socket.socket] = set()
        handler = type("Handler", (_Handler,), {"fake": self})
        self._http = _Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def die(self) -> None:
        """Break off everything, as a process that is killed."""
        with self._turn:
            self.dead, self._paused = True, False
            self._turn.notify_all()
        self._http.shutdown()
        self._http.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # closed by the other side
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, route: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        if route == "/v1/models":
            listed = json.loads(json.dumps(ROUTES["answers"][route]))
            listed["data"][0] |= {"id": "served", "max_model_len": self.context}
            return 200, listed
        if route == "/inference/v1/generate" and self.scale_out:
            return self._generate(body)
        if route == "/v1/completions":
            return self._complete(body)
        if route not in DEVELOPMENT or not self.development:
            return 404, {"detail": "Not Found"}
        with self._lock:
            self.calls.append((route, body))
        return self._develop(route, query, body)

    def _develop(self, route: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if route == "/pause":
            assert query == {"mode": ["wait"], "clear_cache": ["true"]}
            with self._turn:
                self._paused = True
                self._turn.wait_for(lambda: self.dead or not self._under_way)
        elif route == "/resume":
            with self._turn:
                self._paused = False
                self._turn.notify_all()
        elif route == "/collective_rpc":
            return self._reload(Path(body["kwargs"]["weights_path"]))
        elif route == "/update_weight_version":
            self.label = body["new_version"]
            return 200, {"success": True, "new_version": self.label}
        elif route == "/finish_weight_update":
            self.label = body["weight_version"]
        found = {
            "/server_info": {"vllm_config": {"model_config": {"logprobs_mode": self.mode}}},
            "/weight_info": {"weight_version": self.label},
        }
        return 200, found.get(route, ROUTES["answers"].get(route, {"message": "done"}))

    def _reload(self, folder: Path) -> tuple[int, Any]:
        files = sorted(folder.glob("*.safetensors"))
        if not files or not self._paused:
            return 500, {"error": {"message": f"Worker failed with error '{folder}'", "type": "E", "code": 500}}
        weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
        if self.loads:
            self.model.load_state_dict(weights)
        return 200, {"results": [None]}

    def _sample(self, prompt: list[int], how: dict[str, Any]) -> tuple[list[int], list[float], str]:
        with self._lock:
            number = len(self.drawn)
            self.drawn.append(how | {"prompt_ids": prompt})
        self.before_sample(number)
        with self._turn:
            self._turn.wait_for(lambda: not self._paused)
            self._under_way += 1
        try:
            return *self._draw(prompt, how), self.label
        finally:
            with self._turn:
                self._under_way -= 1
                self._turn.notify_all()

    def _draw(self, prompt: list[int], how: dict[str, Any]) -> tuple[list[int], list[float]]:
        rng = torch.Generator().manual_seed(how["seed"])
        ends = set() if how["ignore_eos"] else {*how["stop_token_ids"]}
        ids, logprobs, cache = list(prompt), [], None
        with torch.inference_mode():
            while len(ids) - len(prompt) < how["max_tokens"] and not (logprobs and ids[-1] in ends):
                seen = ids if cache is None else ids[-1:]
                output = self.model(torch.tensor([seen]), past_key_values=cache, use_cache=True)
                logits, cache = output.logits[0, -1].float(), output.past_key_values
                scaled = logits / (how["temperature"] or 1.0)
                token = int(
                    torch.multinomial(scaled.softmax(-1), 1, generator=rng) if how["temperature"] else logits.argmax()
                )
                reported = scaled if self.mode == "processed_logprobs" else logits
                ids.append(token)
                logprobs.append(float(reported.log_softmax(-1)[token]))
        return ids[len(prompt) :], logprobs

    def _generate(self, body: Any) -> tuple[int, Any]:
        ids, logprobs, label = self._sample(body["token_ids"], body["sampling_params"])
        content = [
            {"token_id": token, "logprob": logprob, "rank": 1}
            | {"top_logprobs": [{"token_id": token, "logprob": logprob, "rank": 1}]}
            for token, logprob in zip(ids, logprobs, strict=True)
        ]
        answer = json.loads(json.dumps(ROUTES["answers"]["/inference/v1/generate"]))
        answer["choices"][0] |= {
            "token_ids": ids,
            "logprobs": {"content": content},
            "weight_versions": [{"version": label, "start": 0, "end": len(ids)}],
            "finish_reason": "stop" if ids[-1] in body["sampling_params"]["stop_token_ids"] else "length",
        }
        return 200, answer

    def _complete(self, body: Any) -> tuple[int, Any]:
        if body["model"] != "served":
            return 404, {"error": {"message": "no such model", "type": "E", "code": 404}}
        ids, logprobs, _ = self._sample(body["prompt"], body)
        answer = json.loads(json.dumps(ROUTES["answers"]["/v1/completions"]))
        answer["choices"][0] |= {
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
            "finish_reason": "stop" if ids[-1] in body["stop_token_ids"] else "length",
        }
        answer["choices"][0]["logprobs"] |= {"token_logprobs": logprobs}
        return 200, answer


@contextmanager
def serving(folder: Path, *, count: int = 1, **options: Any) -> Iterator[list[FakeVLLM]]:
    """Servers over one folder; what they saw must be what a real one would have seen."""
    fakes = [FakeVLLM(folder, **options) for _ in range(count)]
    try:
        yield fakes
    finally:
        for fake in fakes:
            fake.die()
    assert [violation for fake in fakes for violation in fake.violations] == []


def problems(route: str, method: str, body: Any) -> list[str]:
    """What a real server would refuse in a request, or ignore in silence."""
    if (declared := ROUTES["paths"].get(route, {}).get(method)) is None:
        return [f"no {method} {route}"]
    schema = declared.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        return []
    found = _violations(schema, body)
    name = schema["$ref"].rpartition("/")[2]
    properties = ROUTES["components"]["schemas"][name]["properties"]
    found += [f"{name} has no {key}" for key in body if key not in properties]
    if name == "GenerateRequest":
        known = properties["sampling_params"]["properties"]
        found += [f"sampling_params have no {key}" for key in body["sampling_params"] if key not in known]
    for key in ("init_info", "update_info"):
        found += [f"{key} has no {name}" for name in body.get(key, ()) if name not in ROUTES["nccl"][key]]
    return found


def unlike(route: str, answer: Any) -> list[str]:
    """How an answer differs in form from a real server's."""
    found = []
    if route == "/inference/v1/generate":
        found = _violations({"$ref": "#/components/schemas/GenerateTokensResponse"}, answer)
    real = ROUTES["answers"].get(route)
    return found + ([] if real is None or _form(real) == _form(answer) else [f"{route}: {answer} is not like {real}"])


def _violations(schema: dict[str, Any], content: Any) -> list[str]:
    validator = Draft202012Validator(schema | {"components": ROUTES["components"]})
    return [error.message for error in validator.iter_errors(content)]


def _form(content: Any) -> Any:
    """The keys of a JSON value, and of the first element of its lists."""
    if isinstance(content, dict):
        return {key: _form(value) for key, value in content.items()}
    return [_form(content[0])] if isinstance(content, list) and content else None


class _Quiet(ThreadingHTTPServer):
    """Says nothing of connections that end while they are answered."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A server that dies has many of these."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeVLLM

    def setup(self) -> None:
        super().setup()
        self.fake._connections.add(self.connection)

    def do_GET(self) -> None:
        self._handle("get", {})

    def do_POST(self) -> None:
        self._handle("post", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, method: str, body: Any) -> None:
        fake, address = self.fake, urlsplit(self.path)
        if fake.key and self.headers["Authorization"] != f"Bearer {fake.key}":
            self._send(401, {"error": "Unauthorized"})
            return
        fake.violations += problems(address.path, method, body)
        status, content = fake.answer(address.path, parse_qs(address.query), body)
        if status == 200:
            fake.violations += unlike(address.path, content)
        if fake.dead:
            self.close_connection = True
        else:
            self._send(status, content)

    def _send(self, status: int, content: Any) -> None:
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: a test that fails shows the client's side."""
