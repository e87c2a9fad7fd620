"""A service that speaks the Tinker API over HTTP, in threads of the test's own process, over a Hugging Face folder.

It stands in for Thinking Machines' service, which needs an account. The client is the real one. Each request is parsed
with the client's own types, and each answer is made of them, so that what the client would not send or accept is noted
in `violations`. It trains all weights of the model by torch, since what counts here is the arithmetic of the update.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import tinker
import torch
from tinker import types
from tinker.proto import tinker_public_pb2 as proto
from tinker.types.try_again_response import TryAgainResponse
from transformers import AutoModelForCausalLM

from tests.tinker.routes import KEY, Handler, RefusedError

WRITTEN_FOR = "0.38"
"""The version of the client whose routes these are; it has no openapi.json."""

NAME = "tests/tiny"
__all__ = ["KEY", "NAME", "WRITTEN_FOR", "FakeTinker", "serving"]


@dataclass
class Trained:
    """A model that learns."""

    model: Any
    adam: torch.optim.AdamW
    waiting: dict[int, tuple[str, Callable[[], Any]]] = field(default_factory=dict)
    next: int = 1  # making the model was request 0


class FakeTinker:
    """One service.

    Args:
        folder: the model's.
        context: tokens that it says it holds.
        chunk: rollouts that the client puts into one request, at most.
        syncs: whether new samplers have the new weights.
        offset: added to the log-probabilities of sampled tokens.
        ends: whether completions come with the token that ended them.

    Attributes:
        calls: route and parsed body of every request that was understood, in order.
        violations: what the client's types do not allow.
        before: called with each route and how often it was asked before; what it returns is the status of the answer.
        gradients: of each optimizer step, before clipping, one tensor per weight.
        files: what can be downloaded, by name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        context: int = 2048,
        chunk: int = 1024,
        syncs: bool = True,
        offset: float = 0.0,
        ends: bool = True,
    ) -> None:
        self._context, self._chunk, self._syncs, self._offset, self._ends = context, chunk, syncs, offset, ends
        self._base = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.calls: list[tuple[str, Any]] = []
        self.violations: list[str] = []
        self.before: Callable[[str, int], int | None] = lambda route, count: None
        self.trained: dict[str, Trained] = {}
        self.samplers: dict[str, Any] = {}
        self.states: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.gradients: list[list[torch.Tensor]] = []
        self.results: dict[str, Any] = {}
        self.sessions: set[str] = set()
        self.finished: dict[str, str] = {}
        self.lock = threading.RLock()
        self._count: dict[str, int] = {}
        handler = type("Handler", (Handler,), {"fake": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()

    def lose_sessions(self) -> None:
        """Forget all that is not saved, as a service that was started anew."""
        with self.lock:
            self.sessions.clear()
            self.trained.clear()
            self.samplers.clear()

    def asked(self, route: str) -> list[Any]:
        """Bodies of the requests to a route."""
        return [body for name, body in self.calls if name == route]

    def counted(self, route: str) -> int:
        """How often the route was asked before."""
        with self.lock:
            count = self._count.get(route, 0)
            self._count[route] = count + 1
        return count

    # What is asked at once

    def healthz(self) -> Any:
        return types.HealthResponse(status="ok")

    def get_server_capabilities(self) -> Any:
        model = types.SupportedModel(model_name=NAME, max_context_length=self._context, trainable=True, sampleable=True)
        return types.GetServerCapabilitiesResponse(supported_models=[model])

    def client_config(self, request: types.ClientConfigRequest) -> Any:
        return types.ClientConfigResponse(fwdbwd_max_chunk_len=self._chunk, use_pyqwest_transport=False)

    def client_dynamic_config(self, request: types.ClientConfigRequest) -> Any:
        return types.ClientDynamicConfigResponse()

    def create_session(self, request: types.CreateSessionRequest) -> Any:
        if request.sdk_version != tinker.__version__:
            raise ValueError(f"client {request.sdk_version}")
        session = f"session-{len(self.sessions)}-{time.monotonic_ns()}"
        self.sessions.add(session)
        return types.CreateSessionResponse(session_id=session)

    def session_heartbeat(self, request: types.SessionHeartbeatRequest) -> Any:
        self._know(request.session_id)
        return types.SessionHeartbeatResponse()

    def telemetry(self, request: types.TelemetrySendRequest) -> Any:
        return types.TelemetryResponse(status="accepted")

    def get_info(self, request: types.GetInfoRequest) -> Any:
        self._model(request.model_id)
        data = types.ModelData(model_name=NAME, tokenizer_id=NAME)
        return types.GetInfoResponse(model_id=request.model_id, model_data=data, is_lora=True)

    def create_sampling_session(self, request: types.CreateSamplingSessionRequest) -> Any:
        self._know(request.session_id)
        session = f"{request.session_id}:sample:{request.sampling_session_seq_id}"
        self.samplers[session] = self._base
        return types.CreateSamplingSessionResponse(sampling_session_id=session)

    # What is asked for and comes later

    def create_model(self, request: types.CreateModelRequest) -> Any:
        self._know(request.session_id)
        return self._new(f"{request.session_id}:train:{request.model_seq_id}")

    def load_weights(self, request: types.LoadWeightsRequest) -> Any:
        self._know(request.session_id)
        if (saved := self.states.get(request.path)) is None:
            raise RefusedError(404, f"{request.path} does not exist")
        name = f"{request.session_id}:train:{request.model_seq_id}"
        self._new(name)
        trained = self.trained[name]
        trained.model.load_state_dict(saved["weights"])
        if request.optimizer:
            trained.adam.load_state_dict(saved["adam"])
        return self._later(types.LoadWeightsResponse(path=request.path, model_id=name, type="load_weights"))

    def forward_backward(self, message: Any) -> Any:
        return self._in_turn(message.model_id, message.seq_id, lambda trained: self._pass(trained, message))

    def optim_step(self, request: types.OptimStepRequest) -> Any:
        parameters = request.optim_params

        def step(trained: Trained) -> Any:
            weights = list(trained.model.parameters())
            self.gradients.append([weight.grad.clone() for weight in weights])
            norm = torch.nn.utils.clip_grad_norm_(weights, parameters.grad_clip_norm or float("inf"))
            trained.adam.param_groups[0].update(
                lr=parameters.learning_rate,
                betas=(parameters.beta1, parameters.beta2),
                eps=parameters.eps,
                weight_decay=parameters.weight_decay,
            )
            trained.adam.step()
            trained.adam.zero_grad()
            return types.OptimStepResponse(metrics={"norm:mean": float(norm)})

        return self._in_turn(request.model_id, request.seq_id, step)

    def save_weights(self, request: types.SaveWeightsRequest) -> Any:
        def save(trained: Trained) -> Any:
            path = f"tinker://{request.model_id}/weights/{request.path}"
            state = {"weights": trained.model.state_dict(), "adam": trained.adam.state_dict()}
            self.states[path] = copy.deepcopy(state)
            return types.SaveWeightsResponse(path=path)

        return self._in_turn(request.model_id, request.seq_id, save)

    def save_weights_for_sampler(self, request: types.SaveWeightsForSamplerRequest) -> Any:
        def save(trained: Trained) -> Any:
            session = f"{request.model_id}:sample:{request.sampling_session_seq_id}"
            self.samplers[session] = copy.deepcopy(trained.model) if self._syncs else self._base
            internal = types.SaveWeightsForSamplerResponseInternal
            return internal(sampling_session_id=session, type="save_weights_for_sampler")

        return self._in_turn(request.model_id, request.seq_id, save)

    def save_weights_external(self, request: types.SaveWeightsExternalRequest) -> Any:
        def save(trained: Trained) -> Any:
            path = f"tinker://{request.model_id}/external_weights/{request.path}"
            self.files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
            return types.SaveWeightsExternalResponseInternal(path=path, type="save_weights_external")

        return self._in_turn(request.model_id, request.seq_id, save)

    def external_weights_urls(self) -> Any:
        urls = {name: f"{self.url}/files/{name}" for name in self.files}
        return types.ExternalWeightsUrlsResponse(urls=urls, expires="2100-01-01T00:00:00Z")

    def asample(self, request: types.SampleRequest) -> Any:
        if (model := self.samplers.get(request.sampling_session_id or "")) is None:
            raise RefusedError(410, "this sampling session has ended")
        answer = proto.SampleResponse()
        for row in range(request.num_samples):
            tokens, logprobs, ended = self._draw(model, request, row)
            sequence = answer.sequences.add()
            sequence.stop_reason = proto.STOP_REASON_STOP if ended else proto.STOP_REASON_LENGTH
            sequence.tokens = np.array(tokens, np.int32).tobytes()
            sequence.logprobs = np.array(logprobs, np.float32).tobytes()
        ids = [f"{request.sampling_session_id}/{request.seq_id}/{row}" for row in range(request.num_samples)]
        return self._later(answer, sequence_ids=ids)

    def retrieve_future(self, request: types.FutureRetrieveRequest) -> Any:
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            with self.lock:
                if request.request_id in self.results:
                    return self.results[request.request_id]
            time.sleep(0.002)
        return TryAgainResponse(request_id=request.request_id, queue_state="active", queue_state_reason=None)

    # How

    def _know(self, session: str | None) -> None:
        if session not in self.sessions:
            raise RefusedError(410, "this session has ended")

    def _model(self, name: str) -> Trained:
        if name not in self.trained:
            raise RefusedError(410, "the session of this model has ended")
        return self.trained[name]

    def _new(self, name: str) -> Any:
        model = copy.deepcopy(self._base)
        self.trained[name] = Trained(model, torch.optim.AdamW(model.parameters()))
        return self._later(types.CreateModelResponse(model_id=name, type="create_model"))

    def _later(self, result: Any, *, sequence_ids: list[str] | None = None) -> Any:
        request = f"request-{len(self.results)}"
        self.results[request] = result
        return types.UntypedAPIFuture(request_id=request, sample_sequence_ids=sequence_ids)

    def _in_turn(self, name: str, number: int | None, work: Callable[[Trained], Any]) -> Any:
        """Do the work when that of all numbers before it is done."""
        trained, request = self._model(name), f"{name}-{number}"
        assert number is not None
        trained.waiting[number] = (request, lambda: work(trained))
        while trained.next in trained.waiting:
            ready, do = trained.waiting.pop(trained.next)
            trained.next += 1
            self.results[ready] = do()
        return types.UntypedAPIFuture(request_id=request)

    def _pass(self, trained: Trained, message: Any) -> Any:
        answer = proto.ForwardBackwardOutput(loss_fn_output_type="TorchLossReturn")
        record = answer.loss_fn_outputs.add()
        record.num_datums = len(message.data)
        outputs, total = [], 0.0
        for datum in message.data:
            ids = np.frombuffer(datum.model_input[0].encoded_text.tokens, np.int32)
            targets = torch.from_numpy(np.frombuffer(datum.loss_fn_inputs["target_tokens"].dense, np.int64).copy())
            logits = trained.model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0]
            logprobs = torch.log_softmax(logits.float(), -1).gather(1, targets[:, None])[:, 0]
            if not message.forward_only:
                weights = np.frombuffer(datum.loss_fn_inputs["weights"].dense, np.float32).copy()
                loss = -(logprobs * torch.from_numpy(weights)).sum()
                loss.backward()
                total += float(loss.detach())
            outputs.append(logprobs.detach().numpy())
        batch = record.fields["logprobs"]
        batch.dtype, batch.data = proto.DTYPE_FLOAT32, b"".join(one.tobytes() for one in outputs)
        batch.offsets = np.cumsum([0, *(one.nbytes for one in outputs)]).astype(np.int64).tobytes()
        answer.metrics["loss:sum"] = total
        return answer

    @torch.no_grad()
    def _draw(self, model: Any, request: types.SampleRequest, row: int) -> tuple[list[int], list[float], bool]:
        how = request.sampling_params
        randomness = torch.Generator().manual_seed((how.seed or 0) * 1000 + row)
        ids, tokens, logprobs, past = torch.tensor([request.prompt.to_ints()]), [], [], None
        stop = set(how.stop or ())
        for _ in range(how.max_tokens or 16):
            output = model(ids, past_key_values=past, use_cache=True)
            past, scores = output.past_key_values, output.logits[0, -1].float() / (how.temperature or 1.0)
            logprobs_V = torch.log_softmax(scores, -1)
            greedy = not how.temperature
            token = int(logprobs_V.argmax() if greedy else torch.multinomial(logprobs_V.exp(), 1, generator=randomness))
            tokens.append(token)
            logprobs.append(float(logprobs_V[token]) + self._offset)
            if token in stop:
                kept = len(tokens) if self._ends else len(tokens) - 1
                return tokens[:kept], logprobs[:kept], True
            ids = torch.tensor([[token]])
        return tokens, logprobs, False


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[FakeTinker]:
    """A service for the time of a test, which fails if the client's types were violated."""
    fake = FakeTinker(folder, **options)
    try:
        yield fake
    finally:
        fake.close()
    assert not fake.violations
