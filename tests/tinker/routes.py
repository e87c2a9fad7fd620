"""How the fake service is asked and answers over HTTP: each body is read and written by the client's own types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import numpy as np
from tinker import types
from tinker.proto import tinker_public_pb2 as proto
from tinker.proto.request_conv import forward_backward_request_to_proto
from tinker.proto.response_conv import deserialize_proto_response

if TYPE_CHECKING:
    from tests.tinker.fake import FakeTinker

KEY = "tml-test"
JSON, PROTO = "application/json", "application/x-protobuf"


class RefusedError(Exception):
    """An answer with another status than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


POSTS: dict[str, tuple[str, type]] = {
    "client/config": ("client_config", types.ClientConfigRequest),
    "client/dynamic_config": ("client_dynamic_config", types.ClientConfigRequest),
    "create_session": ("create_session", types.CreateSessionRequest),
    "session_heartbeat": ("session_heartbeat", types.SessionHeartbeatRequest),
    "telemetry": ("telemetry", types.TelemetrySendRequest),
    "get_info": ("get_info", types.GetInfoRequest),
    "create_sampling_session": ("create_sampling_session", types.CreateSamplingSessionRequest),
    "create_model": ("create_model", types.CreateModelRequest),
    "load_weights": ("load_weights", types.LoadWeightsRequest),
    "optim_step": ("optim_step", types.OptimStepRequest),
    "save_weights": ("save_weights", types.SaveWeightsRequest),
    "save_weights_for_sampler": ("save_weights_for_sampler", types.SaveWeightsForSamplerRequest),
    "save_weights_external": ("save_weights_external", types.SaveWeightsExternalRequest),
    "asample": ("asample", types.SampleRequest),
    "retrieve_future": ("retrieve_future", types.FutureRetrieveRequest),
}
"""The method that answers a route, and the type of its requests."""

READ_AS = {proto.SampleResponse: types.SampleResponse, proto.ForwardBackwardOutput: types.ForwardBackwardOutput}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    fake: FakeTinker

    def do_GET(self) -> None:
        route = self.path.split("?")[0]
        if route.startswith("/files/"):
            self._send(200, "application/octet-stream", self.fake.files[route.removeprefix("/files/")])
        elif route.endswith("/external_weights_urls"):
            self._answer("external_weights_urls", self.fake.external_weights_urls)
        else:
            name = route.removeprefix("/api/v1/")
            self._answer(name, getattr(self.fake, name))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        route = self.path.removeprefix("/api/v1/")
        if ended := re.fullmatch(r"sessions/([^/]+)/finish", route):
            self.fake.finished[ended[1]] = json.loads(body)["reason"]["type"]
            self._send(200, JSON, b"null")
        elif route == "forward_backward":
            self._answer(route, lambda: self.fake.forward_backward(self._message(body)))
        elif route in POSTS:
            method, kind = POSTS[route]
            self._answer(route, lambda: getattr(self.fake, method)(self._request(route, kind, body)))
        else:
            self.fake.violations.append(f"no route {self.path}")
            self._send(404, JSON, b"{}")

    def _request(self, route: str, kind: Any, body: bytes) -> Any:
        request = kind.model_validate(json.loads(body))
        self.fake.calls.append((route, request))
        return request

    def _message(self, body: bytes) -> Any:
        """A forward and backward pass; the client's types must give the same message again."""
        message = proto.ForwardBackwardRequest.FromString(body)
        data = [
            types.Datum(
                types.ModelInput.from_ints(np.frombuffer(one.model_input[0].encoded_text.tokens, np.int32).tolist()),
                {
                    name: np.frombuffer(tensor.dense, np.int64 if tensor.dtype == proto.DTYPE_INT64 else np.float32)
                    for name, tensor in one.loss_fn_inputs.items()
                },
            )
            for one in message.data
        ]
        inputs = types.ForwardBackwardInput(data=data, loss_fn=message.loss_fn)
        request = types.ForwardBackwardRequest(
            forward_backward_input=inputs, model_id=message.model_id, seq_id=message.seq_id
        )
        again = forward_backward_request_to_proto(request)
        again.forward_only = message.forward_only
        if again != message or message.loss_fn != "cross_entropy":
            raise ValueError(f"not what the client's types make of it: {message.loss_fn}")
        self.fake.calls.append(("forward" if message.forward_only else "forward_backward", request))
        return message

    def _answer(self, route: str, make: Callable[[], Any]) -> None:
        fake = self.fake
        status = fake.before(route, fake.counted(route))
        if self.headers.get("X-API-Key") != KEY and route != "healthz":
            status = 401
        if status is not None:
            return self._send(status, JSON, json.dumps({"detail": "as the test wants it"}).encode())
        try:
            if route == "retrieve_future":
                answer = make()  # waits, and must not keep others waiting
            else:
                with fake.lock:
                    answer = make()
            return self._send(200, *_written(answer))
        except RefusedError as refused:
            return self._send(refused.status, JSON, json.dumps({"detail": str(refused)}).encode())
        except Exception as error:
            fake.violations.append(f"{route}: {type(error).__name__}: {error}")
            return self._send(400, JSON, json.dumps({"detail": str(error)}).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")  # the client leaves some connections open to its process's end
        with suppress(ConnectionError):  # the client may have gone
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


def _written(answer: Any) -> tuple[str, bytes]:
    """An answer as it is sent, once the client's own types have read it."""
    if (kind := READ_AS.get(type(answer))) is not None:
        content = answer.SerializeToString()
        deserialize_proto_response(content, kind)
        return PROTO, content
    dumped = answer.model_dump(mode="json")
    type(answer).model_validate(dumped, strict=False)
    return JSON, json.dumps(dumped).encode()
